"""Rows of annotation tools: they give rows of texts and labels, or a `DataError`, also in the middle of a file."""

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from random import Random
from types import ModuleType
from typing import Any

from bert_multilabel.data.formats.registry import EXPORTS
from bert_multilabel.data.spec import ANNOTATORS, DataSpec
from bert_multilabel.errors import DataError

from .inputs import check_message, mutated_value, random_value

_CHOICES = {"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": ["price"]}}
ROWS: dict[str, list[Any]] = {
    "doccano": [
        {"id": 1, "text": "So nice", "meta": {}, "annotations": [{"label": 1, "user": 1}, {"label": 2, "user": 2}]},
        {"id": 2, "text": "Too dear", "label": ["price"], "Comments": []},
        {"id": 3, "text": "Too dear", "labels": [[0, 3, "price"]]},
        {
            "id": 4,
            "text": "So nice",
            "entities": [{"label": "a", "start_offset": 0, "end_offset": 2}],
            "relations": [],
        },
    ],
    "label_studio": [
        {"id": 1, "data": {"text": "So nice"}, "annotations": [{"id": 7, "completed_by": 1, "result": [_CHOICES]}]},
        {
            "id": 2,
            "data": {"text": "Too dear", "title": "A"},
            "annotations": [
                {"completed_by": {"id": 1}, "was_cancelled": True, "result": []},
                {"completed_by": {"id": 2}, "was_cancelled": False, "result": [_CHOICES, _CHOICES]},
            ],
            "predictions": [{"result": [_CHOICES], "score": 0.5}],
        },
        {"id": 3, "text": "So nice", "topic": {"choices": ["price", "gift"]}, "annotator": 1, "lead_time": 3.2},
        {"id": 4, "text": "So nice", "topic": "price", "annotator": 1, "annotation_id": 9},
        {"id": 5, "data": {"text": "Dear"}, "completions": [{"result": [_CHOICES], "was_cancelled": False}]},
    ],
    "prodigy": [
        {"text": "So", "options": [{"id": "a", "text": "A"}, {"id": 2}], "accept": ["a"], "answer": "accept"},
        {"text": "Dear", "label": "price", "answer": "reject", "_input_hash": 1, "_session_id": "x-anna"},
        {"text": "So", "accept": [], "answer": "ignore", "_annotator_id": "ben", "_view_id": "choice"},
        {"text": "So", "spans": [{"start": 0, "end": 2, "label": "A"}], "answer": "accept"},
    ],
    "argilla": [
        {
            "text": "So nice",
            "topic": [{"user_id": "u1", "value": ["price"], "status": "submitted"}],
            "topic-suggestion": ["price"],
            "topic-suggestion-metadata": {"type": None},
        },
        {
            "id": "0",
            "status": "completed",
            "text": "So nice",
            "topic.responses": [["price"], ["gift"]],
            "topic.responses.users": ["u1", "u2"],
            "topic.responses.status": ["submitted", "discarded"],
            "topic.suggestion": ["price"],
            "topic.suggestion.score": [0.9],
        },
        {
            "id": "1",
            "fields": {"text": "So nice"},
            "responses": {"topic": [{"user_id": "u1", "value": ["price"]}]},
            "suggestions": {"topic": {"value": ["price"], "score": None}},
            "status": "pending",
        },
        {
            "fields": {"text": "So"},
            "responses": [{"values": {"topic": {"value": ["price"]}}, "status": "submitted", "user_id": "u"}],
            "suggestions": [{"question_name": "topic", "value": ["gift"]}],
        },
    ],
    "spacy_cats": [
        {"text": "So nice", "cats": {"price": 1.0, "gift": 0.5}},
        ["Too dear", {"cats": {"price": True, "gift": 0}}],
    ],
    "lighttag": [
        {
            "content": "So nice",
            "example_id": "a",
            "annotations": [],
            "classifications": [{"classname": "price", "annotator": "anna"}, {"classname": "gift"}],
        },
        {"example": {"content": "So"}, "annotations_and_examples": [], "seen_by": [{"annotator": "ben"}]},
    ],
    "chat": [
        {"messages": [{"role": "user", "content": "So nice"}, {"role": "assistant", "content": "price"}]},
        {"conversations": [{"from": "human", "value": "So"}, {"from": "gpt", "value": "price"}]},
        {"instruction": "Which labels?", "input": "So nice", "output": "price"},
    ],
}
_ALL_ROWS = [row for rows in ROWS.values() for row in rows]
_SPECS = [
    DataSpec(),
    *(DataSpec(annotators=rule) for rule in ANNOTATORS),
    DataSpec(use_suggestions=True),
    DataSpec(label_names=["price", "gift"], label_ids=[1, 2]),
    DataSpec(text_column="text", label_column="topic"),
    DataSpec(label_values="shares", text_column=["title", "text"]),
]


def targets() -> dict[str, Callable[[Random], None]]:
    """Return a target for each export."""
    return {name: partial(_run, import_module(f"bert_multilabel.data.formats.{name}"), name) for name in EXPORTS}


def _run(export: ModuleType, name: str, generator: Random) -> None:
    rows = [_row(generator, ROWS.get(name, _ALL_ROWS)) for _ in range(generator.randint(1, 3))]
    reason = export.recognizes(rows)
    assert reason is None or isinstance(reason, str) and 0 < len(reason) < 1000
    spec = generator.choice(_SPECS)
    if reason is not None and hasattr(export, "prepare"):
        try:
            spec = export.prepare(rows, spec)
        except DataError as error:
            check_message(error)
    for row in rows:
        try:
            judgements = export.read(row, spec)
        except DataError as error:
            check_message(error)
        else:
            _check(judgements)


def _row(generator: Random, rows: list[Any]) -> Any:
    if (kind := generator.random()) < 0.1:
        return random_value(generator)
    row = generator.choice(rows if kind < 0.9 else _ALL_ROWS)
    for _ in range(generator.randrange(4)):
        row = mutated_value(generator, row)
    return row


def _check(judgements: Any) -> None:
    assert isinstance(judgements, list)
    for row in judgements:
        assert isinstance(row, dict) and all(isinstance(name, str) for name in row)
        assert _are_labels(row.get("labels")), row["labels"]


def _are_labels(labels: Any) -> bool:
    if labels is None or isinstance(labels, str):
        return True  # it is checked with the column
    if isinstance(labels, dict):
        return all(isinstance(name, str) and _is_share(number) for name, number in labels.items())
    return isinstance(labels, list) and len({type(item) for item in labels}) <= 1


def _is_share(number: Any) -> bool:
    return number is None or isinstance(number, (int, float)) and (math.isnan(number) or 0 <= number <= 1)
