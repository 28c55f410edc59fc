import copy
from collections.abc import Iterator
from itertools import count, islice

import hypothesis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, pipeline
from transformers.pipelines.pt_utils import KeyDataset, KeyPairDataset

from bert_multilabel import from_backbone
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model import configuration_multilabel, pipeline_multilabel
from bert_multilabel.model.handler import EndpointHandler
from bert_multilabel.model.pipeline_multilabel import MultiLabelPipeline
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import Windows
from tests import hostile
from tests.conftest import LABELS

TASK = "multilabel-classification"
TEXTS = ["the price is good", "not good", "", "quality too expensive, not a gift to buy", "good", "the gift is good"]
PAIRS = ["gift", "", "price", "the price", "good", ""]
BOTH = [{"text": text, "text_pair": pair} for text, pair in zip(TEXTS, PAIRS, strict=True)]


@pytest.fixture(scope="module", params=["cls", "label_tokens"])
def built(request, backbone):
    torch.manual_seed(0)
    return from_backbone(backbone, LABELS, request.param, threshold=[0.2, 0.3, 0.4], temperature=2.0)


@pytest.fixture(scope="module")
def pipe(built):
    model, tokenizer = built
    return pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")


def probabilities(built, inputs):
    """Of each text or pair by itself, by the model alone."""
    model, tokenizer = built
    model.eval()
    with torch.inference_mode():
        batches = [tokenizer(**one, return_tensors="pt") for one in inputs]
        return model.config.decide(torch.cat([model(**batch).logits for batch in batches]))


def close(answers, expected):
    assert [answer["labels"] for answer in answers] == [answer["labels"] for answer in expected]
    for answer, other in zip(answers, expected, strict=True):
        assert answer["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_answers_are_the_decisions_of_the_model_in_the_order_of_the_texts(built, pipe):
    for inputs in ([{"text": text} for text in TEXTS], BOTH):
        scores, decisions = probabilities(built, inputs)
        answers = pipe(inputs)
        for answer, row, given in zip(answers, scores.tolist(), decisions.tolist(), strict=True):
            assert list(answer) == ["labels", "scores"]
            assert list(answer["scores"]) == LABELS
            assert answer["scores"] == pytest.approx(dict(zip(LABELS, row, strict=True)), abs=1e-5)
            assert answer["labels"] == [name for name, is_given in zip(LABELS, given, strict=True) if is_given]
    assert len({str(answer) for answer in answers}) == len(TEXTS)


def test_one_text_gives_one_answer_and_a_list_a_list(pipe):
    close([pipe(TEXTS[0]), pipe(BOTH[0])], pipe([TEXTS[0], BOTH[0]]))
    assert pipe([]) == []


def test_a_data_set_is_read_as_far_as_its_length(pipe):
    class Unbounded(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return {0: "gift", 1: "price", 2: "value"}[index]  # raises a KeyError, not an IndexError

    assert pipe(Unbounded()) == pipe(["gift", "price", "value"])


def test_texts_with_and_without_a_pair_can_be_mixed(pipe):
    mixed = [TEXTS[0], BOTH[0], {"text": TEXTS[0], "text_pair": None}, {"text": TEXTS[0], "text_pair": ""}, TEXTS[1]]
    answers = pipe(mixed)
    close(answers, [pipe(one) for one in mixed])
    assert answers[0] == answers[2]
    assert answers[3] not in (answers[0], answers[1])


def test_what_has_a_length_and_an_index_gives_a_list(pipe):
    rows = Dataset.from_dict({"text": TEXTS, "pair": PAIRS})
    inputs = [
        (np.array(TEXTS), TEXTS),
        (np.array(TEXTS, dtype=object), TEXTS),
        (pd.Series(TEXTS, index=range(10, 10 + len(TEXTS))), TEXTS),
        (tuple(TEXTS), TEXTS),
        (rows["text"], TEXTS),
        (rows.select_columns("text"), TEXTS),
        (KeyDataset(rows, "text"), TEXTS),
        (KeyPairDataset(rows, "text", "pair"), BOTH),
        (pd.DataFrame({"text": TEXTS}), TEXTS),
        (pd.DataFrame({"text_pair": PAIRS, "text": TEXTS}), BOTH),
        (pa.table({"text": TEXTS, "text_pair": PAIRS}), BOTH),
    ]
    for given, expected in inputs:
        answers = pipe(given)
        assert isinstance(answers, list)
        assert answers == pipe(expected)
    for stream in (rows.to_iterable_dataset().select_columns("text"), iter(TEXTS), (text for text in TEXTS)):
        answers = pipe(stream)
        assert isinstance(answers, Iterator)
        assert list(answers) == pipe(TEXTS)


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (pd.DataFrame({"comment": TEXTS}), "comment"),
        (pd.DataFrame({"text": TEXTS, "product": PAIRS}), "text', 'product"),
        (pa.table({"text": TEXTS, "id": PAIRS}), "text', 'id"),
    ],
)
def test_a_table_of_other_columns_is_refused_with_what_to_do(pipe, table, names):
    with pytest.raises(MultiLabelError, match=rf"the table has the columns \['{names}'\], but .* pass one column"):
        pipe(table)


def test_arguments_of_other_pipelines_are_taken(built, pipe, caplog):
    model, tokenizer = built
    expected = pipe(TEXTS)
    assert pipe(TEXTS, truncation=True, padding=True) == expected
    pipeline_multilabel.logger.warning_once.cache_clear()
    assert caplog.messages == []
    for _ in range(2):
        assert pipe(TEXTS, batch_size=2, num_workers=0, padding="max_length") == expected
    other = pipeline(TASK, model=model, tokenizer=tokenizer, batch_size=2, num_workers=0)
    assert other(TEXTS) == expected
    assert [message.split(":")[0] for message in caplog.messages] == [
        "batch_size, num_workers, padding has no effect",
        "batch_size, num_workers has no effect",
    ]


def test_a_shorter_limit_cuts_texts_off(pipe):
    specials = pipe.tokenizer.num_special_tokens_to_add()
    assert pipe("the price is good", max_length=specials + 2) == pipe("the price")
    assert pipe("the price is good", max_length=specials + 4) == pipe("the price is good")
    with pytest.raises(ValueError, match="max_length=1000 is more than the 64 tokens"):
        pipe("good", max_length=1000)


def test_a_list_of_thresholds_is_taken_as_the_configuration_holds_it(pipe):
    scores = [answer["scores"] for answer in pipe(TEXTS)]
    for thresholds in ([0.2, 1, 0.1], np.array([0.2, 1.0, 0.1])):
        expected = [[n for n, least in zip(LABELS, [0.2, 1, 0.1], strict=True) if row[n] >= least] for row in scores]
        assert [answer["labels"] for answer in pipe(TEXTS, threshold=thresholds)] == expected


def test_the_tokenizer_of_another_model_is_refused(built, backbone, checkpoints):
    model, tokenizer = built
    strategy = model.config.strategy
    others = [
        from_backbone(backbone, ["price"], strategy)[1],
        from_backbone(backbone, LABELS, {"cls": "label_tokens", "label_tokens": "cls"}[strategy])[1],
        from_backbone(checkpoints["chinese"], LABELS, strategy)[1],
        None,
    ]
    for other in others:
        with pytest.raises(
            MultiLabelError, match="The tokenizer does not belong to the model: its? .*. Use the token"
        ):
            MultiLabelPipeline(model=model, tokenizer=other)
        with pytest.raises(
            MultiLabelError, match="The tokenizer does not belong to the model: its? .*. Use the token"
        ):
            MultiLabelScorer(model, other)
    stock = BertTokenizer.from_pretrained(backbone)
    if strategy == "cls":  # it reads texts like the model's own
        pipes = [pipeline(TASK, model=model, tokenizer=one) for one in (stock, tokenizer)]
        assert pipes[0](TEXTS) == pipes[1](TEXTS)
    else:
        with pytest.raises(MultiLabelError, match=r"its label_names\[0\] is None, the model's 'good value'"):
            pipeline(TASK, model=model, tokenizer=stock)


@pytest.mark.parametrize(("trained", "inputs"), [(True, TEXTS), (False, BOTH)])
def test_the_wrong_kind_of_input_is_warned_about(built, caplog, monkeypatch, trained, inputs):
    model, tokenizer = built
    monkeypatch.setattr(model.config, "trained_on_pairs", trained)
    pipe = pipeline(TASK, model=model, tokenizer=tokenizer)
    configuration_multilabel.logger.warning_once.cache_clear()
    pipe(TEXTS if inputs is BOTH else BOTH)
    assert caplog.messages == []
    for _ in range(2):
        pipe(inputs)
    assert len(caplog.messages) == 1
    assert "The model was trained on" in caplog.text


def test_an_iterator_is_read_in_bounded_parts_as_its_answers_are_taken(pipe, monkeypatch):
    monkeypatch.setattr(pipeline_multilabel, "READ_AHEAD", 4)
    read = []

    def texts():
        for number in count():
            read.append(number)
            yield TEXTS[number % len(TEXTS)]

    answers = pipe(texts())
    assert read == []
    first = next(answers)
    assert len(read) == 4
    close([first, *islice(answers, 10)], [pipe(TEXTS[number % len(TEXTS)]) for number in range(11)])
    assert len(read) == 12


def test_thresholds_of_a_call_replace_the_stored_ones_for_that_call(pipe):
    stored = copy.deepcopy(pipe.model.config.to_dict())
    scores = [answer["scores"] for answer in pipe(TEXTS)]
    for threshold, used in ((0.25, [0.25] * 3), ({"gift": 0.1}, [0.2, 0.3, 0.1]), ({}, [0.2, 0.3, 0.4])):
        expected = [[name for name, least in zip(LABELS, used, strict=True) if row[name] >= least] for row in scores]
        assert [answer["labels"] for answer in pipe(TEXTS, threshold=threshold)] == expected
    assert [answer["labels"] for answer in pipe(TEXTS, threshold=1, min_labels=1)] == [
        [max(row, key=row.get)] for row in scores
    ]
    assert pipe.model.config.to_dict() == stored


def test_scores_can_be_fewer_than_labels(pipe):
    for full, top, given in zip(
        pipe(TEXTS), pipe(TEXTS, top_k=2), pipe(TEXTS, return_all_scores=False, min_labels=1), strict=True
    ):
        assert top["labels"] == full["labels"]
        highest = sorted(full["scores"], key=full["scores"].get, reverse=True)
        assert list(top["scores"]) == highest[:2]
        assert list(given["scores"]) == given["labels"] != []


def test_long_texts_are_cut_or_read_in_windows(pipe):
    long = "the " * 100 + "gift is good"
    inputs = [{"text": long, "text_pair": "price"}, {"text": "good", "text_pair": "price"}]
    assert pipe(long) == pipe("the " * 100)
    for asked, windows in (({"stride": 8}, Windows(8)), ({"stride": 8, "pooling": "mean"}, Windows(8, "mean"))):
        logits = pipe.scorer.logits([long, "good"], ["price", "price"], windows)
        scores = pipe.model.config.decide(logits)[0].tolist()
        for answer, row in zip(pipe(inputs, **asked), scores, strict=True):
            assert answer["scores"] == pytest.approx(dict(zip(LABELS, row, strict=True)), abs=1e-6)
    assert pipe(long, stride=8) != pipe(long, stride=8, pooling="mean") != pipe(long)


def test_what_is_given_at_construction_holds_unless_a_call_says_otherwise(built):
    model, tokenizer = built
    pipe = pipeline(TASK, model=model, tokenizer=tokenizer, top_k=1, stride=4, pooling="mean")
    assert len(pipe("good")["scores"]) == 1
    assert len(pipe("good", top_k=2)["scores"]) == 2
    assert len(pipe("good", top_k=None)["scores"]) == 3
    long = "good " * 100 + "gift"
    assert pipe(long) == pipe(long, stride=4, pooling="mean")
    assert pipe(long) != pipe(long, stride=None, pooling=None)


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ({"truncation": False}, "truncation must be True, got False: for long texts pass a stride"),
        ({"truncation": "only_second"}, "truncation must be True, got 'only_second'"),
        ({"max_length": 0}, "max_length must be a whole number from 1 up, got 0"),
        ({"threshold": [0.5, 0.5]}, "threshold lists 2 values for 3 labels"),
        ({"threshold": [0.5, "a", 0.5]}, "threshold must be a number from 0 to 1, got 'a' for label 'too_expensive'"),
        ({"treshold": 0.5, "topk": 1}, "unknown arguments: treshold, topk; this pipeline takes threshold, "),
        ({"threshold": 1.5}, "threshold must be a number from 0 to 1, got 1.5"),
        ({"threshold": "high"}, "threshold must be a number from 0 to 1, got 'high'"),
        ({"threshold": True}, "threshold must be a number from 0 to 1, got True"),
        ({"threshold": {"gift": 2}}, "threshold must be a number from 0 to 1, got 2.0 for label .gift."),
        ({"threshold": {"gift": None}}, "threshold must be a number from 0 to 1, got None for label .gift."),
        ({"threshold": {"gifts": 0.5}}, r"Unknown labels in threshold: \[.gifts.\]. Known labels: \[.good value., "),
        ({"min_labels": 4}, "min_labels must be a whole number from 0 to the number of labels, 3, got 4"),
        ({"min_labels": 1.0}, "min_labels must be a whole number from 0 to .* got 1.0"),
        ({"top_k": 0}, "top_k must be a whole number from 1 up, got 0"),
        ({"top_k": True}, "top_k must be a whole number from 1 up, got True"),
        ({"return_all_scores": "no"}, "return_all_scores must be True or False, got 'no'"),
        ({"pooling": "max"}, "pooling='max' is for windows over long texts: pass a stride, too"),
        ({"stride": 4, "pooling": "sum"}, "pooling must be one of 'max', 'mean', got 'sum'"),
        ({"stride": -1}, "stride must be a whole number of tokens from 0 up, got -1"),
    ],
)
def test_arguments_that_are_unknown_or_bad_are_refused_in_calls_and_at_construction(pipe, arguments, phrase):
    with pytest.raises(ValueError, match=phrase):
        pipe(iter(TEXTS), **arguments)  # at once, not when the answers are taken
    with pytest.raises(ValueError, match=phrase):
        pipeline(TASK, model=pipe.model, tokenizer=pipe.tokenizer, **arguments)


@pytest.mark.parametrize(
    ("inputs", "phrase"),
    [
        (None, "input 0 must be a text, or a pair as .* got None"),
        (["good", 7], "input 1 must be a text, or a pair as .* got 7"),
        (["good", ("good", "gift")], r"input 1 must be .* got \('good', 'gift'\)"),
        ({"txt": "good"}, "input 0 has the key 'txt': pass 'text' and 'text_pair' only"),
        ({"text": "good", "pair": "gift"}, "input 0 has the key 'pair'"),
        (["good", "a\ud800b"], r"input 1 has a lone surrogate .* 'a\\ud800b'"),
        ({"text": "good", "text_pair": 7}, "input 0 must be .* got {'text': 'good', 'text_pair': 7}"),
    ],
)
def test_inputs_that_are_no_texts_are_refused_by_number(pipe, inputs, phrase):
    with pytest.raises(ValueError, match=phrase):
        pipe(inputs)


def test_a_model_in_bfloat16_multiplies_in_it(built, pipe):
    model, tokenizer = built
    narrow = pipeline(TASK, model=copy.deepcopy(model).to(torch.bfloat16), tokenizer=tokenizer)
    assert narrow.scorer.model.classifier.dense.weight.dtype == torch.bfloat16
    assert pipe.scorer.model.classifier.dense.weight.dtype == torch.float32
    for answer, other in zip(narrow(TEXTS), pipe(TEXTS), strict=True):
        assert answer["scores"] == pytest.approx(other["scores"], abs=0.05)


def test_a_stock_model_is_refused(pipe):
    stock = BertForSequenceClassification(
        BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    )
    with pytest.raises(ValueError, match="a BertForSequenceClassification of model_type 'bert': pass one"):
        pipeline(TASK, model=stock, tokenizer=pipe.tokenizer)


@pytest.fixture(scope="module")
def handler(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoint")
    for part in built:
        part.save_pretrained(folder)
    return EndpointHandler(str(folder))


def test_the_handler_answers_requests(handler, pipe):
    close([handler({"inputs": TEXTS[0]})], [pipe(TEXTS[0])])
    close(handler({"inputs": BOTH, "parameters": {"top_k": 1}}), pipe(BOTH, top_k=1))
    close(handler({"inputs": [TEXTS[0]], "parameters": None}), pipe([TEXTS[0]]))


@pytest.mark.parametrize(
    ("request_", "phrase"),
    [
        ("good", r"a request must be {\"inputs\": .* got 'good' \(str\)"),
        ({"text": "good"}, r"a request must be {\"inputs\": .* got {'text': 'good'}"),
        ({"inputs": "good", "parameter": {}}, r"this one also has \['parameter'\]"),
        ({"inputs": 7}, r"inputs must be a text, a pair, or a list of those, got 7 \(int\)"),
        ({"inputs": [7]}, "input 0 must be a text, or a pair"),
        ({"inputs": "good", "parameters": []}, r"parameters must be an object of call arguments, got \[\]"),
        ({"inputs": "good", "parameters": {"inputs": "x"}}, "parameters must be an object of call arguments"),
        ({"inputs": "good", "parameters": {"topk": 1}}, "unknown arguments: topk"),
    ],
)
def test_bad_requests_are_refused(handler, request_, phrase):
    with pytest.raises(ValueError, match=phrase):
        handler(request_)


@hypothesis.given(
    inputs=st.lists(
        hostile.texts | st.fixed_dictionaries({"text": hostile.texts, "text_pair": hostile.texts}), max_size=5
    ),
    asked=st.fixed_dictionaries(
        {}, optional={"top_k": st.integers(1, 5), "stride": st.just(2), "min_labels": st.integers(0, 3)}
    ),
    order=st.randoms(use_true_random=False),
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_any_texts_are_answered_alike_in_any_company(pipe, inputs, asked, order):
    # Windows need room, which long pairs leave none.
    inputs = [given if isinstance(given, str) else {**given, "text_pair": given["text_pair"][:20]} for given in inputs]
    alone = [pipe(given, **asked) for given in inputs]
    places = list(range(len(inputs)))
    order.shuffle(places)
    close(pipe([inputs[place] for place in places], **asked), [alone[place] for place in places])
    assert all(set(answer["labels"]) <= set(LABELS) for answer in alone)


@hypothesis.given(value=hostile.json_values)
@hypothesis.settings(max_examples=30, deadline=None)
def test_anything_is_answered_or_refused_by_its_number(pipe, value):
    try:
        (answer,) = pipe([value])
    except ValueError as error:
        assert str(error).startswith("input 0 ")
    else:
        assert set(answer["scores"]) == set(LABELS)


@hypothesis.given(
    request=hostile.json_values
    | st.fixed_dictionaries({"inputs": hostile.json_values}, optional={"parameters": hostile.json_values})
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_an_endpoint_answers_or_refuses_anything(built, pipe, request):
    handler = EndpointHandler.__new__(EndpointHandler)
    handler.pipeline = pipe
    try:
        handler(request)
    except ValueError as error:
        assert 0 < len(str(error)) < 2000
