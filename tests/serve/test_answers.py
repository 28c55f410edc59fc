import json

import pytest
import torch

from bert_multilabel import from_backbone
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import Windows
from bert_multilabel.serve.answers import answer
from bert_multilabel.serve.request_form import PredictRequest
from bert_multilabel.serve.served_model import load_served
from tests.conftest import LABELS

LONG = "the price is good " * 30  # of 120 words, for a model of 64 tokens


@pytest.fixture(scope="module")
def engine(backbone):
    return MultiLabelScorer(*from_backbone(backbone, LABELS, "cls"))


def ask(engine, *requests):
    """Answer requests, each given as inputs and parameters; a refusal becomes its status and message."""
    bodies = [PredictRequest(inputs=inputs, parameters=parameters) for inputs, parameters in requests]
    answers = answer(engine, bodies)
    return [json.loads(got) if isinstance(got, bytes) else (got.status, got.message) for got in answers]


def scores(engine, logits):
    return [
        pytest.approx(dict(zip(LABELS, row, strict=True)), abs=1e-6)
        for row in engine.config.decide(logits)[0].tolist()
    ]


def test_the_texts_of_a_batch_go_through_the_model_together(engine, monkeypatch):
    asked, logits = [], engine.logits
    monkeypatch.setattr(engine, "logits", lambda texts, *args, **kw: asked.append(texts) or logits(texts, *args, **kw))
    one, two = ask(engine, ("good", {}), (["the price", "buy"], {"threshold": 0}))
    assert asked == [["good", "the price", "buy"]]
    assert two[1]["labels"] == LABELS and len(two) == 2
    assert ask(engine, ("good", {})) == [one]


def test_long_texts_are_cut_and_said_to_be_or_read_in_windows(engine):
    mean = {"stride": 8, "pooling": "mean"}
    cut, most, average, whole = ask(engine, (LONG, {}), ([LONG, "good"], {"stride": 8}), (LONG, mean), ("good", {}))
    assert [cut["scores"]] == scores(engine, engine.logits([LONG]))
    assert [row["scores"] for row in most] == scores(engine, engine.logits([LONG, "good"], None, Windows(8)))
    assert [average["scores"]] == scores(engine, engine.logits([LONG], None, Windows(8, "mean")))
    assert [row["truncated"] for row in (cut, *most, average, whole)] == [True, False, False, False, False]


def test_a_text_is_cut_if_it_has_one_token_too_many(engine):
    room = engine.max_length - 2  # [CLS] and [SEP]
    fits, beyond, pair = ask(
        engine,
        ("good " * room, {}),
        ("good " * (room + 1), {}),
        ([{"text": "good " * (room - 3), "text_pair": "gift " * count} for count in (2, 3)], {}),
    )
    assert (fits["truncated"], beyond["truncated"]) == (False, True)
    assert [row["truncated"] for row in pair] == [False, True]


def test_what_does_not_fit_the_model_is_refused_alone(engine):
    no_room = {"text": LONG, "text_pair": "gift " * 60}
    first, *refused, last = ask(
        engine,
        ("good", {"stride": 3}),
        ("good", {"threshold": {"prise": 0.5}}),
        ("good", {"pooling": "max"}),
        ("good", {"stride": 3, "pooling": "median"}),
        ("good", {"min_labels": 4}),
        ("good", {"stride": 33}),
        (no_room, {"stride": 3}),
        ("good", {"stride": 3}),
    )
    assert first == last and first["truncated"] is False
    assert [status for status, _ in refused] == [422] * 6
    for (_, message), start in zip(
        refused,
        (
            "parameters: Unknown labels in threshold: ['prise']",
            "parameters: pooling='max' is for windows over long texts: pass a stride",
            "parameters: pooling must be one of 'max', 'mean', got 'median'",
            "parameters: min_labels must be a whole number from 0",
            "parameters: stride=33 is more than half of the 64 tokens of a window",
            "a text of 120 tokens cannot be cut into windows of 64: its pair",
        ),
        strict=True,
    ):
        assert message.startswith(start)


def test_the_options_reach_torch(backbone, tmp_path):
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(tmp_path)
    threads = torch.get_num_threads()
    try:
        engine = load_served(tmp_path, "bfloat16", threads + 1)
        assert torch.get_num_threads() == threads + 1 and engine.precision == "bfloat16"
    finally:
        torch.set_num_threads(threads)
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bfloat16', got 'int8'"):
        load_served(tmp_path, "int8")
