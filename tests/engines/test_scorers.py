import json
from importlib.util import find_spec

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import pipeline

from bert_multilabel import MultiLabelPredictor, from_backbone
from bert_multilabel.engines import graph_engines
from bert_multilabel.engines.choice import ENGINES, GRAPH_ENGINES
from bert_multilabel.engines.graph import cached_graph, to_graph
from bert_multilabel.engines.scorers import load_scorer, make_scorer
from bert_multilabel.inference.predict_file import PredictionOptions, predict_split
from bert_multilabel.model.scoring import MultiLabelScorer, store_in_bfloat16
from bert_multilabel.model.windows import Windows
from bert_multilabel.output_dir.checkpoints import PREDICTIONS_FILE
from bert_multilabel.utils.extras import EXTRAS
from tests.conftest import LABELS

FORMS = {
    "cls": ("cls", {"temperature": 1.5, "threshold": [0.4, 0.5, 0.6]}),
    "full": ("label_tokens", {}),
    "isolated-1": ("label_tokens", {"label_attention": "isolated", "label_layers": 1}),
}
TEXTS = ["", "good", "too expensive " * 60, *("the price is not good " * count for count in range(1, 8))]
PAIRS = ["gift", "", "buy", *["the price is good"] * 7]


def needs(engine):
    """Skip where a package of the engine is not installed."""
    missing = [package for package in EXTRAS[engine] if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


# tests/export/ converts them by default.
CONVERTED_ELSEWHERE = [pytest.mark.slow, pytest.mark.dependency]
INSTALLED = [pytest.param(engine, marks=needs(engine)) for engine in GRAPH_ENGINES]


@pytest.fixture(scope="module")
def models(backbone, tmp_path_factory):
    """The folder of a model of each form; each label has a bias of its own."""
    root = tmp_path_factory.mktemp("engines")
    for form, (strategy, config) in FORMS.items():
        model, tokenizer = from_backbone(backbone, LABELS, strategy, **config)
        torch.manual_seed(1)
        with torch.no_grad():
            model.label_bias.copy_(torch.randn(3))
        for part in (model, tokenizer):
            part.save_pretrained(root / form)
    return root


@pytest.mark.parametrize(
    "form", ["cls", *(pytest.param(form, marks=CONVERTED_ELSEWHERE) for form in FORMS if form != "cls")]
)
@pytest.mark.parametrize("engine", INSTALLED)
def test_a_graph_computes_what_torch_does(models, form, engine):
    expected, scorer = load_scorer(models / form, device="cpu"), load_scorer(models / form, engine)
    for arguments in (
        (TEXTS,),
        (TEXTS, PAIRS),
        (TEXTS, PAIRS, Windows(3)),
        (TEXTS, None, Windows(0, "mean")),
        (TEXTS[:1],),
        (["good"] * 7,),  # without padding
    ):
        logits = expected.logits(*arguments)
        assert torch.allclose(scorer.logits(*arguments), logits, rtol=0, atol=1e-5)
        assert len(set(arguments[0])) == 1 or logits.std(0).min() > 1e-3
    assert scorer.max_length == expected.max_length and scorer.config.temperature == expected.config.temperature


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_model_computes_what_torch_does(models, form, precision):
    expected = load_scorer(models / form, "torch", precision)
    scorer = load_scorer(models / form, "compile", precision)
    for arguments in ((TEXTS, PAIRS), (TEXTS, None, Windows(3)), (["good"] * 7,), (["good"],)):
        atol = 1e-5 if precision == "float32" else 0.05
        assert torch.allclose(scorer.logits(*arguments), expected.logits(*arguments), rtol=0, atol=atol)


@needs("openvino")
def test_openvino_computes_in_bfloat16(models):
    exact, scorer = load_scorer(models / "cls", device="cpu"), load_scorer(models / "cls", "openvino", "bfloat16")
    logits = exact.logits(TEXTS)
    assert torch.allclose(scorer.logits(TEXTS), logits, rtol=0, atol=0.1 * float(logits.std()))


@needs("onnx")
def test_a_graph_is_made_once_and_again_for_other_weights(models):
    model, tokenizer = from_backbone(models / "cls", LABELS, "cls")
    logits = make_scorer(model, tokenizer, "onnx").logits(["good"])
    graph = cached_graph(model)
    made = graph.stat().st_ino
    assert cached_graph(model) == graph and graph.stat().st_ino == made
    with torch.no_grad():
        model.label_bias.add_(1)
    assert torch.allclose(make_scorer(model, tokenizer, "onnx").logits(["good"]), logits + 1, rtol=0, atol=1e-5)
    assert cached_graph(model) != graph


@needs("onnx")
def test_an_engine_that_computes_something_else_is_refused(models, monkeypatch):
    monkeypatch.setattr(graph_engines, "onnx_engine", lambda *_: lambda batch: torch.zeros(len(batch["input_ids"]), 3))
    with pytest.raises(ValueError, match="engine 'onnx' computes other logits than torch, by up to"):
        load_scorer(models / "cls", "onnx")


@needs("onnx")
@pytest.mark.parametrize("has_pairs", [False, True])
def test_an_engine_is_tried_with_what_the_model_was_trained_on(models, has_pairs, monkeypatch):
    model, tokenizer = from_backbone(models / "cls", LABELS, "cls")
    model.config.trained_on_pairs = has_pairs
    seen, tokens = [], MultiLabelScorer.tokens

    def spy(scorer, texts, pairs=None, windows=None):
        seen.append(pairs is not None)
        return tokens(scorer, texts, pairs, windows)

    monkeypatch.setattr(MultiLabelScorer, "tokens", spy)
    make_scorer(model, tokenizer, "onnx")  # else a warning of other input, which is only given once
    assert seen == [has_pairs] * 2


@needs("onnx")
def test_the_predictor_and_the_pipeline_take_engines(models):
    columns = {"text": TEXTS}
    ours, theirs = (MultiLabelPredictor(models / "full", engine=engine)(columns) for engine in ("torch", "onnx"))
    assert ours["labels"] == theirs["labels"]
    scorer = load_scorer(models / "full", "onnx")
    parts = {"model": scorer.model, "tokenizer": load_scorer(models / "full").tokenizer}
    calls = []

    def engine(batch):
        calls.append(len(batch["input_ids"]))
        return scorer.engine(batch)

    pipe = pipeline("multilabel-classification", **parts, engine=engine)
    assert [answer["labels"] for answer in pipe(TEXTS, max_length=30)] and sum(calls) == len(TEXTS)
    assert [answer["labels"] for answer in pipe(TEXTS)] == ours["labels"] and sum(calls) == 2 * len(TEXTS)


@needs("onnx")
def test_the_predictions_of_a_file_are_those_of_torch(models, tmp_path):
    parts = from_backbone(models / "full", LABELS, "label_tokens")
    rows = Dataset.from_dict({"text": TEXTS, "pair": PAIRS})
    for engine in ("torch", "onnx"):
        predict_split(*parts, rows, "new.csv", tmp_path / engine, PredictionOptions(engine=engine))
    ours, theirs = (
        [json.loads(line) for line in (tmp_path / engine / PREDICTIONS_FILE).read_text().splitlines()]
        for engine in ("torch", "onnx")
    )
    assert [row["labels"] for row in ours] == [row["labels"] for row in theirs] and len(ours) == len(TEXTS)
    assert all(
        row["scores"] == pytest.approx(other["scores"], abs=1e-5) for row, other in zip(ours, theirs, strict=True)
    )


def test_engines_that_cannot_compute_as_asked_say_so(models, monkeypatch):
    with pytest.raises(
        ValueError, match="engine must be one of 'torch', 'compile', 'onnx', 'openvino', got 'tensorrt'"
    ):
        load_scorer(models / "cls", "tensorrt")
    with pytest.raises(ValueError, match="engine 'onnx' computes in float32, not in bfloat16"):
        MultiLabelPredictor(models / "cls", engine="onnx", precision="bfloat16")
    with pytest.raises(ValueError, match="max_length=99 is more than the 64 tokens"):
        load_scorer(models / "cls", "onnx", max_length=99)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="engine 'compile' needs a C.. compiler, but there is no 'no-such-compiler'"):
        load_scorer(models / "cls", "compile", device="cpu")


@needs("onnx")
def test_a_graph_needs_float32_on_the_cpu(models):
    model, tokenizer = from_backbone(models / "cls", LABELS, "cls")
    with pytest.raises(ValueError, match="engine 'onnx' computes on the CPU, but the model is on meta: move it there"):
        make_scorer(model.to("meta"), tokenizer, "onnx")
    model, tokenizer = from_backbone(models / "cls", LABELS, "cls")
    store_in_bfloat16(model)
    with pytest.raises(ValueError, match="made of float32 weights, but some are torch.bfloat16"):
        make_scorer(model, tokenizer, "onnx")


@needs("onnx")
def test_weights_too_large_for_a_file_are_refused_before_they_are_converted():
    large = nn.Linear(2**15, 2**14, bias=False, device="meta")  # 2 ** 29 weights of 4 bytes
    with pytest.raises(ValueError, match="the weights take 2.1 GB, and an ONNX file at most 2.1"):
        to_graph(large, {})


def test_an_engine_gets_a_mask_in_every_batch(models):
    model, tokenizer = from_backbone(models / "cls", LABELS, "cls")
    seen = []

    def engine(batch):
        seen.append(batch["attention_mask"])
        return torch.zeros(len(batch["input_ids"]), 3)

    scorer = MultiLabelScorer(model, tokenizer, engine=engine)
    assert scorer.logits(["good", "good"]).tolist() == [[0, 0, 0]] * 2
    assert seen[0].tolist() == [[1, 1, 1]] * 2


def test_the_engines_that_run_a_graph_have_an_extra():
    assert {*GRAPH_ENGINES} == {*ENGINES} & {*EXTRAS}
