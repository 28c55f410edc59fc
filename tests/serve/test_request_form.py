import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bert_multilabel.serve.request_form import PredictRequest, describe
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


@pytest.mark.parametrize(("body", "message"), BAD)
def test_what_is_wrong_is_said_with_its_place_and_value(body, message):
    with pytest.raises(ValidationError) as refused:
        PredictRequest.model_validate(body)
    # FastAPI puts "body" in front of the places.
    assert describe([{**error, "loc": ("body", *error["loc"])} for error in refused.value.errors()]) == message


def test_of_many_faults_and_long_values_the_beginning_is_shown():
    with pytest.raises(ValidationError) as refused:
        PredictRequest.model_validate({"inputs": [["a" * 1000]] * 9})
    message = describe([{**error, "loc": ("body", *error["loc"])} for error in refused.value.errors()])
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
        request = PredictRequest.model_validate(body)
    except ValidationError as refused:
        message = describe([{**error, "loc": ("body", *error["loc"])} for error in refused.errors()])
        assert 0 < len(message.encode()) < 5000
    else:
        assert all((text + (pair or "")).encode() is not None for text, pair in request.examples)
