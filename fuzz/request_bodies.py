"""Bodies of requests to the server: they give texts that a tokenizer accepts, or an error message."""

import json

from pydantic import ValidationError

from bert_multilabel.serve.request_form import PredictRequest, describe

from .expectations import LONGEST_MESSAGE

SEEDS = [
    text.encode()
    for text in (
        '{"inputs": "a text"}',
        '{"inputs": ["a", {"text": "b", "text_pair": "c"}], "parameters": {"threshold": {"a": 0.5}, "top_k": 1}}',
        '{"inputs": {"text": "a", "text_pair": null}, "parameters": {"threshold": 1e-9, "min_labels": 0}}',
        '{"inputs": "\\ud800", "parameters": {"threshold": NaN}}',
        '{"inputs": ' + "[" * 500 + "]" * 500 + "}",
        '{"inputs": [7, true, null, {"txt": 1}, [[]]], "parameters": {"top_k": ' + "9" * 4000 + "}}",
        '{"inputs": "a", "parameters": {"threshold": {"\\udfff": 2, "<text>": -1}}}',
        "[]",
    )
]


def run(data: bytes) -> None:
    """Check a body as FastAPI does, which parses it by the json module and answers what that refuses."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        request = PredictRequest.model_validate(body)
    except ValidationError as error:
        message = describe([{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()])
        assert 0 < len(message.encode()) <= LONGEST_MESSAGE
    else:
        assert request.examples and all((text + (pair or "")).encode() is not None for text, pair in request.examples)
