"""Bodies of requests to the server: they give texts that a tokenizer accepts, or an error message."""

import json
from random import Random

from bert_multilabel.serve.refusal import Refused
from bert_multilabel.serve.request_form import read_request

from .inputs import LONGEST_MESSAGE, mutated_bytes, mutated_value

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
_BODIES = [json.loads(seed) for seed in SEEDS]


def run(generator: Random) -> None:
    """Check a body."""
    if generator.random() < 0.5:
        body = mutated_bytes(generator, SEEDS)
    else:
        body = json.dumps(mutated_value(generator, generator.choice(_BODIES))).encode()
    try:
        request = read_request(body)
    except Refused as refused:
        assert refused.status in (400, 422) and 0 < len(refused.message.encode()) <= LONGEST_MESSAGE
    else:
        assert request.examples and all((text + (pair or "")).encode() is not None for text, pair in request.examples)
