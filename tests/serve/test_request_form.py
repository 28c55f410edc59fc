import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.serve.refusal import Refused
from bert_multilabel.serve.request_form import PredictRequest, read_request
from tests import hostile

FORM = 'must be a text, an object with "text", or a list of these'
BAD = [
    ({}, "inputs is missing"),
    ({"inputs": None}, f"inputs {FORM}, got null"),
    ({"inputs": 7}, f"inputs {FORM}, got 7"),
    ({"inputs": []}, "inputs is an empty list: give at least one text"),
    ({"inputs": ["a", 7]}, 'inputs[1] must be a text or an object with "text", got 7'),
    ({"inputs": [["a"]]}, 'inputs[0] must be a text or an object with "text", got ["a"]'),
    ({"inputs": {"text": 1}}, "inputs.text must be a valid string, got 1"),
    ({"inputs": ["a", {"text": "b", "text_pair": ["c"]}]}, 'inputs[1].text_pair must be a valid string, got ["c"]'),
    ({"inputs": {"txt": "a"}}, "inputs.text is missing; inputs.txt is unknown: check the spelling"),
    ({"inputs": "half of a pair: \ud83d"}, 'inputs must be valid Unicode, got "half of a pair: \\ud83d"'),
    ({"inputs": "a", "parameter": {}}, "parameter is unknown: check the spelling"),
    ({"inputs": "a", "two words": {}}, '["two words"] is unknown: check the spelling'),
    ({"inputs": "a", "parameters": 1}, "parameters must be an object, got 1"),
    ({"inputs": "a", "parameters": {"top_p": 1}}, "parameters.top_p is unknown: check the spelling"),
    ({"inputs": "a", "parameters": {"threshold": True}}, "parameters.threshold must be a valid number, got true"),
    ({"inputs": "a", "parameters": {"threshold": "0.3"}}, 'parameters.threshold must be a valid number, got "0.3"'),
    (
        {"inputs": "a", "parameters": {"threshold": math.nan}},
        "parameters.threshold must be a finite number, got NaN",
    ),
    (
        {"inputs": "a", "parameters": {"threshold": {"too dear": 2}}},
        'parameters.threshold["too dear"] must be less than or equal to 1, got 2',
    ),
    ({"inputs": "a", "parameters": {"top_k": 0}}, "parameters.top_k must be greater than or equal to 1, got 0"),
    ({"inputs": "a", "parameters": {"top_k": 1.5}}, "parameters.top_k must be a valid integer, got 1.5"),
    (
        {"inputs": "a", "parameters": {"min_labels": -1}},
        "parameters.min_labels must be greater than or equal to 0, got -1",
    ),
]


UNREADABLE = [
    (b"{", 400, "the body is not JSON: Expecting property name enclosed in double quotes at character 1"),
    (b'{"inputs": "\xff"}', 400, "the body cannot be read: 'utf-8' codec can't decode byte 0xff"),
    (b"9" * 5000, 400, "the body cannot be read: Exceeds the limit"),
    (b"", 422, "the body is missing"),
    (b"[]", 422, "the body must be an object, got []"),
    (b'{"inputs": "a", "inputs": "b"}', 400, 'the body has an object with two keys "inputs": leave one out'),
    (
        b'{"inputs": "a", "parameters": {"threshold": {"x": 1, "y": 0, "x": 0}}}',
        400,
        'the body has an object with two keys "x": leave one out',
    ),
]


def refusal_of(body):
    with pytest.raises(Refused) as refused:
        read_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    return refused.value.status, refused.value.message


@pytest.mark.parametrize(("body", "message"), BAD)
def test_what_is_wrong_is_said_with_its_place_and_value(body, message):
    assert refusal_of(body) == (422, message)


@pytest.mark.parametrize(("body", "status", "message"), UNREADABLE)
def test_what_cannot_be_read_is_refused(body, status, message):
    answered, told = refusal_of(body)
    assert answered == status and told.startswith(message)


def test_of_many_faults_and_long_values_the_beginning_is_shown():
    _, message = refusal_of({"inputs": [["a" * 1000]] * 9})
    assert message.count("inputs[") == 5 and message.endswith("; and 4 more")
    assert len(message) < 1000


def test_one_text_or_many_with_or_without_pairs():
    def rows(inputs):
        return PredictRequest.model_validate({"inputs": inputs}).examples

    assert rows("a") == [("a", None)]
    assert rows({"text": "a", "text_pair": "b"}) == [("a", "b")]
    assert rows(["", {"text": "a"}, {"text": "a", "text_pair": ""}]) == [("", None), ("a", None), ("a", "")]


@given(
    body=hostile.json_values
    | st.fixed_dictionaries({"inputs": hostile.json_values}, optional={"parameters": hostile.json_values})
)
@settings(max_examples=60, deadline=None)
def test_any_body_is_a_request_or_told_what_is_wrong(body):
    try:
        request = read_request(json.dumps(body).encode())
    except Refused as refused:
        assert refused.status in (400, 422) and 0 < len(refused.message.encode()) < 5000
    else:
        assert all((text + (pair or "")).encode() is not None for text, pair in request.examples)
