"""`export --format transformers`: a stock folder has our probabilities, and with folded thresholds our decisions."""

import json
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from io import StringIO

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    pipeline,
)

from bert_multilabel import from_backbone
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.export import cli as export
from bert_multilabel.export import transformers_folder
from bert_multilabel.hub.model_card import plain
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer
from tests.backbones import save_family
from tests.conftest import LABELS
from tests.model.test_decision import RULE

RULES = {"implies": {"gift": ["good value"]}}
# A model that has learned nothing is sure of little: with these, one text gets a label that another does not.
THRESHOLDS = [0.43, 0.5, 0.61]
FORMS = {
    "plain": {"threshold": THRESHOLDS, "temperature": [0.5, 1.0, 2.0], "trained_on_pairs": True},
    "rules": {
        **{"threshold": THRESHOLDS, "temperature": 1.3, "min_labels": 1, "label_rules": RULES},
        "decision": {**RULE, "score": "samples_f1"},
    },
    "border": {"threshold": [0.0, 1.0, 0.5]},
}
TEXTS = [
    *("", "good", "the price is good", "quality " * 200, "émigré \u4e2d \x00"),
    *("not good [SEP] [CLS] [PAD]", "a [MASK]"),
    *("the price is not good " * count for count in range(1, 8)),
]
PAIRS = ["gift", "", "[SEP] gift", "the price", "good " * 100, "", "buy", *["value"] * 7]


def run(*words):
    return export.main([str(word) for word in words])


@pytest.fixture(scope="module")
def exported(backbone, tmp_path_factory):
    """Build a form and export it when it is first asked for: its folder, that of the export, and what was printed."""
    root = tmp_path_factory.mktemp("export")

    @cache
    def export_form(form, *words):
        torch.manual_seed(0)
        model, tokenizer = from_backbone(backbone, LABELS, "cls", **FORMS[form])
        torch.nn.init.normal_(model.classifier.out_proj.weight, std=0.4)
        torch.nn.init.normal_(model.classifier.out_proj.bias, std=0.4)
        source, output = root / form, root / "-".join(["out", form, *words])
        for part in (model, tokenizer):
            part.save_pretrained(source)
        with redirect_stdout(StringIO()) as printed:
            assert run(source, "--output", output, "--format", "transformers", *words) == 0
        return source, output, printed.getvalue()

    return export_form


def ours(folder, pairs=None):
    """Probabilities and decisions of PyTorch's own model, (N, L) each."""
    model, tokenizer = load_trained(folder)
    return model.config.decide(MultiLabelScorer(model, tokenizer).logits(TEXTS, pairs))


@torch.inference_mode()
def raw_scores(folder, pairs=None):
    """What Transformers computes without code of ours: logits, (N, L)."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
    assert type(model) is BertForSequenceClassification
    return model.eval()(**tokenizer(TEXTS, pairs, padding=True, truncation=True, return_tensors="pt")).logits


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["texts", "pairs"])
def test_a_sigmoid_gives_our_probabilities(exported, pairs):
    source, output, _ = exported("plain")
    probabilities, decisions = ours(source, pairs)
    scores = raw_scores(output, pairs).sigmoid()
    torch.testing.assert_close(scores, probabilities, rtol=0, atol=1e-6)
    assert 0 < decisions.float().mean() < 1
    stored = json.loads((output / "config.json").read_text())["multi_label"]
    assert torch.equal(scores >= torch.tensor(stored["threshold"]), decisions)


def test_the_stock_pipeline_gives_our_probabilities(exported):
    source, output, _ = exported("plain")
    probabilities, _ = ours(source)
    answers = pipeline("text-classification", model=str(output), top_k=None)(TEXTS, truncation=True)
    for row, answer in enumerate(answers):
        assert {entry["label"]: pytest.approx(entry["score"], abs=1e-6) for entry in answer} == dict(
            zip(LABELS, probabilities[row].tolist(), strict=True)
        )


@pytest.mark.parametrize("form", ["plain", "border"])
def test_at_half_every_tool_decides_as_we_do(exported, form):
    source, output, printed = exported(form, "--decide_at_half")
    for pairs in (None, PAIRS):
        _, decisions = ours(source, pairs)
        raw = raw_scores(output, pairs)
        assert torch.equal(raw >= 0, decisions) and torch.equal(raw.sigmoid() >= 0.5, decisions)
    if form == "border":
        assert decisions.all(0).tolist()[0] and not decisions.any(0).tolist()[1]
    assert json.loads((output / "config.json").read_text())["multi_label"]["threshold"] == 0.5
    assert "scores are not probabilities" in printed


def test_a_label_at_its_threshold_is_predicted_at_half(exported, tmp_path):
    """All weights are 0 but the biases, so each logit is known to the last bit."""
    source, _, _ = exported("plain")
    model, tokenizer = load_trained(source)
    torch.nn.init.zeros_(model.classifier.out_proj.weight)
    bias = torch.tensor([-0.75, 0.0, 1.25])
    model.classifier.out_proj.bias.data.copy_(bias)
    model.config.temperature = 1.0
    probabilities, _ = model.config.decide(bias[None])
    tokenizer.save_pretrained(tmp_path / "model")
    for step, is_predicted in ((0, True), (1, False)):  # at the threshold, and one float below it
        model.config.threshold = [
            float(torch.tensor(p).nextafter(torch.tensor(2.0))) if step else p for p in probabilities[0].tolist()
        ]
        model.save_pretrained(tmp_path / "model")
        output = tmp_path / f"out-{step}"
        assert run(tmp_path / "model", "--output", output, "--format", "transformers", "--decide_at_half") == 0
        assert (ours(tmp_path / "model")[1] == is_predicted).all()
        assert ((raw_scores(output) >= 0) == is_predicted).all()


def test_what_no_other_tool_knows_is_said(exported):
    source, output, printed = exported("rules")
    card = (output / "README.md").read_text()
    for phrase in (
        "The set with the highest expected samples f1 is not predicted: the thresholds alone decide.",
        "min_labels 1 is not obeyed: a text may get fewer labels.",
        "The label rules (",
        "Long texts are cut at 64 tokens",
    ):
        assert f"  - {phrase}" in printed
        assert plain(phrase) in card
    assert "What stock tools do otherwise than the original:\n  - The set" in printed
    assert '"raw_scores": true' in card and "softmax" in card
    report = json.loads((output / "parity.json").read_text())
    assert report["tolerance"] == 1e-5 and report["float32"]["largest_probability_difference"] <= 1e-6
    assert report["float32"]["equal_rows"] < 1  # the rules were compared as well
    torch.testing.assert_close(raw_scores(output).sigmoid(), ours(source)[0], rtol=0, atol=1e-6)


def test_the_card_runs_and_keeps_what_the_original_says(exported, tmp_path):
    source, _, _ = exported("plain")
    metadata = "---\nlicense: mit\ntags:\n- multi-label\n- bert_multilabel\n---\n"
    (source / "README.md").write_text(f"{metadata}\n# X\n\n## Use\n\nload_it()\n\n## Scores\n\nhigh\n")
    assert run(source, "--output", tmp_path / "out", "--format", "transformers") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: mit" in card and "- bert_multilabel" not in card and "load_it" not in card
    assert card.endswith("## Scores\n\nhigh\n")
    code = card.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("[")
    (source / "README.md").unlink()


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "distilbert"])
def test_other_backbones_are_exact_too(tmp_path, family):
    save_family(tmp_path / "backbone", family)
    model, tokenizer = from_backbone(tmp_path / "backbone", LABELS, "cls", temperature=0.7)
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=0.4)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "ours")
    assert run(tmp_path / "ours", "--output", tmp_path / "out", "--format", "transformers") == 0
    for pairs in (None, PAIRS):
        torch.testing.assert_close(
            raw_scores(tmp_path / "out", pairs).sigmoid(), ours(tmp_path / "ours", pairs)[0], rtol=0, atol=1e-6
        )


def test_without_parity_nothing_is_written(exported, tmp_path, monkeypatch, capsys):
    source, _, _ = exported("plain")
    monkeypatch.setattr(transformers_folder, "TOLERANCE", 0.0)
    assert run(source, "--output", tmp_path / "out", "--format", "transformers") == 1
    assert "the exported model differs from the original: probabilities by up to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_limit_of_tokens_travels(exported, tmp_path):
    source, _, _ = exported("plain")
    words = [source, "--format", "transformers", "--max_seq_length", "20"]
    assert run(*words, "--output", tmp_path / "out") == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer("quality " * 100, truncation=True)["input_ids"]) == 20


@pytest.mark.parametrize(
    ("form", "words", "message"),
    [
        (
            "plain",
            ["--quantize", "int8"],
            "--quantize int8 is for --format onnx and web, not for transformers: leave it out",
        ),
        ("plain", ["--max_seq_length", "65"], "max_seq_length=65 is more than the 64 tokens"),
        ("plain", ["--max_seq_length", "2"], "max_length=2 leaves no room for text"),
        ("rules", ["--decide_at_half"], "predicts the set with the highest expected samples_f1, which no thresholds"),
        ("plain", ["--format", "onnx", "--decide_at_half"], "--decide_at_half is for --format transformers"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(exported, tmp_path, form, words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(exported(form)[0], "--output", tmp_path / "out", "--format", "transformers", *words)
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_label_tokens_are_refused_with_what_would_do(backbone, tmp_path, capsys):
    for part in from_backbone(backbone, LABELS, "label_tokens"):
        part.save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "model", "--output", tmp_path / "out", "--format", "transformers")
    assert "has label tokens (strategy 'label_tokens')" in (error := capsys.readouterr().err)
    assert "--format onnx" in error and not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMS)
def test_the_way_back_restores_all_decisions(exported, form):
    source, output, _ = exported(form)
    names = LABELS[::-1]  # the labels may be given in another order
    model, tokenizer = from_backbone(output, names, "cls", keep_head=True)
    logits = MultiLabelScorer(model, tokenizer).logits(TEXTS)
    probabilities, decisions = (values.flip(1) for values in model.config.decide(logits))
    expected = ours(source)
    torch.testing.assert_close(probabilities, expected[0], rtol=0, atol=1e-6)
    assert torch.equal(decisions, expected[1])
    assert model.config.trained_on_pairs == FORMS[form].get("trained_on_pairs")


def test_the_way_back_from_folded_thresholds_decides_at_half(exported):
    source, output, _ = exported("plain", "--decide_at_half")
    model, tokenizer = from_backbone(output, LABELS, "cls", keep_head=True)
    assert model.config.threshold == 0.5
    assert torch.equal(model.config.decide(MultiLabelScorer(model, tokenizer).logits(TEXTS))[1], ours(source)[1])


def test_arguments_come_before_what_is_restored(exported):
    model, _ = from_backbone(exported("plain")[1], LABELS, "cls", keep_head=True, threshold=0.25)
    assert model.config.threshold == 0.25
    model, _ = from_backbone(exported("plain")[1], LABELS, "cls")  # a new head has no decisions yet
    assert model.config.threshold == 0.5


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            {"threshold": 0.3, "rule": 1},
            "multi_label in config.json of .* has 'rule', which this version does not export",
        ),
        ({"threshold": [0.3, 0.4]}, "multi_label in config.json of .* lists 2 thresholds for 3 labels"),
        ({"threshold": "high"}, "threshold must be a number from 0 to 1, got 'high'"),
        (True, None),
    ],
)
def test_what_others_write_under_our_key_is_refused_or_left(exported, tmp_path, stored, message):
    shutil.copytree(exported("plain")[1], tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "multi_label": stored}))
    if message is None:
        assert from_backbone(tmp_path / "model", LABELS, "cls", keep_head=True)[0].config.threshold == 0.5
        return
    with pytest.raises(MultiLabelError, match=message):
        from_backbone(tmp_path / "model", LABELS, "cls", keep_head=True)
