"""Cards are read back as the Hub and a reader see them: the metadata by huggingface_hub, the text as HTML."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt
from transformers import EvalPrediction

from bert_multilabel import MultiLabelConfig
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import AS_STORED, tune
from bert_multilabel.hub.model_card import plain, write_model_card
from bert_multilabel.hub.run_facts import RunFacts
from bert_multilabel.metrics import evaluate, per_label_scores

HOSTILE = [
    "a: 'b' \"c\"",
    "two\nlines\r\n---\n",
    "| pipe | `tick` ``",
    "<script>alert(1)</script></details>",
    "{{x}} $y$ \\ \\| &lt; &amp;",
    "**bold** _under_ [link](http://x.y) ~~gone~~ # no heading",
    "🦄 \u200d משאלה \u202e reversed \x85 end",
    "---",
]
FACTS = RunFacts(
    hub_name=None,
    base_model="bert-tiny",
    base_model_id=None,
    train_source="train.csv",
    train_rows=100,
    positives=[60, 3, 0],
    validation_source="validation.csv",
    dataset_id=None,
    has_pairs=False,
    max_seq_length=None,
    recipe={"loss": "bce"},
    hardware="CPU",
    seconds=75.2,
    versions={"bert-multilabel": "0.1.0"},
    languages=[],
    license=None,
    examples=[],
)


def made_rows(num_labels, num_rows=120):
    """Logits that say something of the labels, of which the last is never true."""
    rng = np.random.default_rng(0)
    labels = (rng.random((num_rows, num_labels)) < 0.4).astype(np.float32)
    labels[:, -1] = 0
    logits = (labels * 2 - 1 + rng.normal(size=labels.shape)).astype(np.float32)
    logits[:, -1] = -20  # never given
    return logits, labels


def write(path, names, facts=FACTS, tuned=None, **config):
    facts = replace(facts, positives=(facts.positives * len(names))[: len(names)])
    write_model_card(path, MultiLabelConfig(label_names=names, **config), facts, tuned)
    text = path.read_text(encoding="utf-8")
    # What a reader of the text sees, and what a program sees.
    return metadata_load(path), text, Page(ModelCard.load(path).text)


class Page(HTMLParser):
    """The body of a card as HTML: its tags, its tables and its text."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.text, self.tables, self.cell = [], "", [], None
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data

    @property
    def labels(self):
        """The table of the labels, by name."""
        (table,) = [table for table in self.tables if table[0][0] == "label"]
        return {row[0]: dict(zip(table[0][1:], row[1:], strict=True)) for row in table[1:]}


@pytest.mark.parametrize("thresholds", ["global", "per_label"])
def test_the_card_says_what_is_decided_and_how_well(tmp_path, thresholds):
    names = ["price", "good quality", "never"]
    logits, labels = made_rows(3)
    config = MultiLabelConfig(label_names=names)
    bound = DecisionArguments(thresholds=thresholds, threshold_goal="recall=0.9", min_labels=1)  # fitted as asked
    tuned = tune(logits, labels, config, bound)
    tuned.decisions.store(config)
    path = tmp_path / "opinions" / "README.md"
    path.parent.mkdir()
    write_model_card(path, config, FACTS, tuned)
    page = Page(ModelCard.load(path).text)
    assert (
        "thresholds were fitted on 120 examples of “validation.csv”, for a recall of at least 0.9. The temp"
        in page.text
    )
    assert "Every text gets at least 1 label" in page.text
    (scores,) = [table for table in page.tables if table[0][0] == "score"]
    shown = {row[0]: row[1:] for row in scores[1:]}
    for name, title in (("hamming_score", "hamming score (mean samples Jaccard)"), ("macro_f1", "macro F1")):
        fitted, at_half = shown[title]
        assert fitted.startswith(f"{tuned.scores[name]:.4f}") and at_half == f"{tuned.scores[f'{name}_at_half']:.4f}"
    low, high = map(
        float, re.findall(r"\((0\.\d+) to (0\.\d+)\)", shown["hamming score (mean samples Jaccard)"][0])[0]
    )
    assert low < tuned.scores["hamming_score"] < high
    expected = per_label_scores(tuned.predicted, labels, names)
    stored = config.threshold if isinstance(config.threshold, list) else [config.threshold] * 3
    for name, threshold in zip(names, stored, strict=True):
        row = page.labels[name]
        assert row["support"] == f"{expected[name]['support']:.0f}"
        assert row["F1"] == (f"{expected[name]['f1']:.3f}" if name != "never" else "–")
        assert float(row["threshold"]) == pytest.approx(threshold, rel=0.01)
    assert page.labels["never"]["recall"] == page.labels["never"]["precision"] == "–"
    assert page.labels["never"]["training examples"] == "0"


def test_the_table_is_of_decisions_that_the_fit_has_not_seen(tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(60, 2)).astype(np.float32)  # they say nothing about the labels
    labels = (rng.random((60, 2)) < 0.5).astype(np.float32)
    config = MultiLabelConfig(label_names=["a", "b"])
    tuned = tune(logits, labels, config, DecisionArguments(threshold_goal="micro_f1"))
    tuned.decisions.store(config)
    write_model_card(tmp_path / "README.md", config, replace(FACTS, positives=[30, 30]), tuned)
    shown = [float(row["F1"]) for row in Page(ModelCard.load(tmp_path / "README.md").text).labels.values()]
    assert np.mean(shown) == pytest.approx(tuned.scores["macro_f1"], abs=1e-3)
    assert np.mean(shown) < evaluate(EvalPrediction(logits, labels), config)["macro_f1"]


@pytest.mark.parametrize("fitted", [True, False])
def test_hostile_names_are_shown_as_they_are_and_break_nothing(tmp_path, fitted):
    tuned = tune(*made_rows(len(HOSTILE)), MultiLabelConfig(label_names=HOSTILE), DecisionArguments())
    folder = tmp_path / HOSTILE[0]
    folder.mkdir()
    facts = replace(FACTS, examples=HOSTILE, validation_source=HOSTILE[2], recipe={"loss": HOSTILE[4]})
    metadata, _, page = write(folder / "README.md", HOSTILE, facts, tuned if fitted else None)
    assert [example["text"] for example in metadata["widget"]] == HOSTILE
    assert list(page.labels) and set(page.labels) == {" ".join(name.split()) for name in HOSTILE}
    assert not {"script", "a", "em", "strong", "s", "details"} & set(page.tags)
    assert page.tags.count("h1") == 1 and page.tags.count("h2") == 6
    assert "hr" not in page.tags
    if fitted:
        name, results = model_index_to_eval_results(metadata["model-index"])
        assert name == HOSTILE[0]
        assert {result.dataset_name for result in results} == {HOSTILE[2]}


def test_the_metadata_holds_what_is_known(tmp_path):
    logits, labels = made_rows(3)
    tuned = tune(logits, labels, MultiLabelConfig(label_names=["a", "b", "c"]), DecisionArguments())
    facts = replace(
        FACTS,
        hub_name="me/opinions",
        base_model_id="google-bert/bert-base-uncased",
        dataset_id="me/reviews",
        validation_source="me/reviews",
        languages=["en", "de"],
        license="apache-2.0",
    )
    write(tmp_path / "README.md", ["a", "b", "c"], facts, tuned)
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert (data.base_model, data.datasets, data.license) == (facts.base_model_id, ["me/reviews"], "apache-2.0")
    assert (data.language, data.model_name) == (["en", "de"], "me/opinions")
    found = {
        result.metric_name: (result.metric_type, result.metric_value, result.dataset_type)
        for result in data.eval_results
    }
    assert found == {
        "hamming score": ("hamming_score", round(tuned.scores["hamming_score"], 4), "me/reviews"),
        "micro F1": ("f1", round(tuned.scores["micro_f1"], 4), "me/reviews"),
        "macro F1": ("f1", round(tuned.scores["macro_f1"], 4), "me/reviews"),
    }
    # Other rows, a file given to `tune`, are not those of the data set.
    write_model_card(tmp_path / "README.md", MultiLabelConfig(label_names=["a", "b", "c"]), facts, tuned, "mine.csv")
    (result, *_) = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert (result.dataset_name, result.dataset_type) == ("mine.csv", "unknown")


def test_what_is_not_known_is_left_out(tmp_path):
    metadata, text, page = write(tmp_path / "README.md", ["a"], replace(FACTS, seconds=None, positives=[50]))
    assert set(metadata) == {"library_name", "pipeline_tag", "tags", "metrics"}
    assert "None: the run did not evaluate." in page.text
    assert "were not fitted by this run" in page.text
    assert "The language of the texts was not stated" in page.text
    assert "not known: training was resumed from a checkpoint" in page.text
    assert page.labels == {"a": {"training examples": "50", "threshold": "0.5"}}
    assert "fewer than" not in text


def test_thresholds_that_were_there_before_are_not_said_to_be_unseen(tmp_path):
    config = MultiLabelConfig(label_names=["a", "b"])
    logits, labels = made_rows(2, num_rows=400)
    tune(logits + 2, labels, config, DecisionArguments()).decisions.store(config)
    assert config.threshold != 0.5
    again = tune(logits + 2, labels, config, DecisionArguments())  # nothing beats what was fitted on the same rows
    assert again.scope == "keep"
    write_model_card(tmp_path / "README.md", config, replace(FACTS, positives=[9, 9]), again)
    text = (tmp_path / "README.md").read_text()
    assert "if they were fitted on these examples, the scores are too high" in text and "ross-fitted" not in text
    assert "none fitted on 400 examples of “validation.csv” did better, by more than a standard" in text


@pytest.mark.parametrize("fitted", [True, False])
def test_the_expected_score_rule_is_not_said_to_have_thresholds(tmp_path, fitted):
    config = MultiLabelConfig(label_names=["a", "b", "c"])
    tuned = tune(*made_rows(3, num_rows=200), config, DecisionArguments(thresholds="expected_score"))
    rule = {
        "rule": "expected_score",
        "score": "hamming_score",
        "temperature": 1.0,
        "threshold_weight": 0.5,
        "shift": 0.1,
    }
    tuned = replace(tuned, scope="expected_score", decisions=replace(tuned.decisions, decision=rule))
    tuned.decisions.store(config)
    write_model_card(tmp_path / "README.md", config, FACTS, tuned if fitted else None)
    page = Page(ModelCard.load(tmp_path / "README.md").text)
    scored = ["support", "precision", "recall", "F1"] if fitted else []
    assert list(page.labels["a"]) == ["training examples", *scored]
    assert "It compares no probability with a threshold." in page.text
    assert ("the rule is the stored one, fitted on all examples" in page.text) is fitted
    assert ("fit them again with bert-multilabel tune." in page.text) is fitted
    assert not re.search(r"thresholds? (is|are|were)\b|python -m|and thresholds", page.text)


def test_rows_too_few_to_fit_are_said_to_have_fitted_nothing(tmp_path):
    tuned = tune(*made_rows(2, num_rows=5), MultiLabelConfig(label_names=["a", "b"]), DecisionArguments())
    _, _, page = write(tmp_path / "README.md", ["a", "b"], tuned=tuned)
    assert "were not fitted by this run" in page.text and "ross-fitted" not in page.text
    assert "On 5 examples of “validation.csv”." in page.text


@pytest.mark.parametrize(
    ("strategy", "config", "said"),
    [
        ("cls", {}, ["strategy cls", "at most 64 tokens at a time."]),
        ("label_tokens", {}, ["attention full, in all layers", "64 tokens at a time, including 2 tokens of the"]),
        ("label_tokens", {"label_attention": "isolated"}, ["attention isolated", "at most 64 tokens at a time."]),
        ("label_tokens", {"label_layers": 1, "num_hidden_layers": 2}, ["in the last 1 of 2 layers"]),
    ],
)
def test_each_form_says_how_it_reads(tmp_path, strategy, config, said):
    _, _, page = write(tmp_path / "README.md", ["a", "b"], strategy=strategy, max_position_embeddings=64, **config)
    assert all(phrase in page.text for phrase in said)


def test_pairs_are_used_as_pairs(tmp_path):
    _, text, page = write(tmp_path / "README.md", ["a"], replace(FACTS, has_pairs=True, hub_name="me/opinions"))
    assert "predicts any number of 1 label for each pair of texts" in page.text
    for line in ('name = "me/opinions"', '{"text": "a text", "text_pair": ', 'tokenizer(["a text"], ["its second'):
        assert line in text


def test_many_labels_are_folded_the_most_frequent_first_and_rare_ones_named(tmp_path):
    names = [f"label {number}" for number in range(260)]
    logits, labels = made_rows(260)
    tuned = tune(logits, labels, MultiLabelConfig(label_names=names), AS_STORED)
    _, text, page = write(tmp_path / "README.md", names, replace(FACTS, positives=[5] * 40 + [100] * 220), tuned)
    assert "<details>\n<summary>All 260 labels</summary>\n\n| label |" in text
    assert len(page.labels) == 260
    support = [int(row["support"]) for row in page.labels.values()]
    assert support == sorted(support, reverse=True) and support[0] > support[-1] == 0
    assert "40 labels with fewer than 20 training examples" in page.text and "and 10 more." in page.text


def test_one_run_has_one_card(tmp_path):
    tuned = tune(*made_rows(3), MultiLabelConfig(label_names=["a", "b", "c"]), DecisionArguments())
    texts = [write(tmp_path / "README.md", ["a", "b", "c"], tuned=tuned)[1] for _ in range(2)]
    assert texts[0] == texts[1]
    assert "1 min 15 s" in texts[0]


def test_plain_text_stays_readable():
    assert plain("too expensive, or: role::program (50%)") == "too expensive, or: role::program (50%)"
