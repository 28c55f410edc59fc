"""Exports of Argilla: records of version 2 (also with flat keys), feedback records and older ones of version 1."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue, shorten

from .questions import choose_question, with_question
from .shapes import (
    are_objects,
    are_objects_in_list,
    as_list,
    as_name,
    as_names,
    as_object,
    as_objects,
    as_row,
    is_number,
    single_values,
)

NAME = "Argilla"
_OLD_STATUS = {"Validated": "submitted", "Default": "submitted", "Edited": "draft", "Discarded": "discarded"}
_THRESHOLD = 0.5  # above it, old versions took a label as predicted
_KIND = "question"
_SINGLE_QUESTION = "annotation"  # of old records
_FLAT_ENDS = (".responses", ".suggestion")
_SURE_ENDS = (".responses.status", ".suggestion.agent", ".suggestion.score")
_SUGGESTED = "-suggestion"
_OF_THE_TOOL = {"status", "_server_id", "external_id", "inserted_at", "updated_at", "score"}


class _Record(NamedTuple):
    """A record in one form.

    Attributes:
        columns: The texts and the id.
        responses: The status and the value of each annotator's answer, by question; the status may be unknown.
        suggestions: What a model suggested, by question.
    """

    columns: dict[str, Any]
    responses: dict[str, list[tuple[Any, Any]]]
    suggestions: dict[str, Any]


def recognizes(rows: Sequence[Any]) -> str | None:
    """Return what the first rows of an export have, else None; rows may lack keys without a value."""
    if not are_objects(rows):
        return None
    if all(map(_is_old, rows)):
        key = next((key for key in (_SINGLE_QUESTION, "prediction") for row in rows if key in row), None)
        return None if key is None else f"rows have {shorten(key)}, 'multi_label' and 'status'"
    if are_objects(rows, "fields", "responses"):
        return "rows have 'fields' and 'responses'" if all(map(_is_nested, rows)) else None
    return _recognize_flat(rows) or _recognize_listed(rows)


def prepare(rows: Sequence[Any], spec: DataSpec) -> DataSpec:
    """Return the spec with the question whose answers are the labels.

    Raises:
        DataError: If the first rows have several questions and none is named, or not the named one.
    """
    records = [_parse(as_row(row)) for row in rows]
    return with_question(
        {name for record in records for name in (*record.responses, *record.suggestions)}, spec, _KIND
    )


def read(row: Any, spec: DataSpec) -> list[dict[str, Any]]:
    """Return one row per submitted answer; without one, a row with what a model suggested, if this is wanted.

    Raises:
        DataError: If there are several questions and none is named.
        BadValue: If a value has another form.
    """
    record = _parse(as_row(row))
    question = choose_question({*record.responses, *record.suggestions}, spec, _KIND)
    if question is None:
        return []
    responses = record.responses.get(question, [])
    values = [value for status, value in responses if status in (None, "submitted") and value is not None]
    is_discarded = any(status == "discarded" for status, _ in responses)
    suggested = record.suggestions.get(question)
    if spec.use_suggestions and suggested is not None and not values and not is_discarded:
        values = [suggested]
    return [{**record.columns, "labels": as_names(value, question)} for value in values]


def _parse(row: dict[str, Any]) -> _Record:
    if _is_old(row):
        return _parse_old(row)
    if "fields" in row and "responses" in row:
        return _parse_nested(row)
    return _parse_flat(row) if _flat_questions(row) else _parse_listed(row)


# Records as they are, and feedback records of version 1


def _is_nested(row: dict[str, Any]) -> bool:
    """Whether answers are lists by question, or objects with their values by question."""
    responses = row["responses"]
    if not isinstance(row["fields"], dict):
        return False
    if isinstance(responses, dict):
        return all(are_objects_in_list(answers, "value") for answers in responses.values())
    return are_objects_in_list(responses, "values")


def _parse_nested(row: dict[str, Any]) -> _Record:
    responses: dict[str, list[tuple[Any, Any]]] = {}
    if isinstance(row["responses"], dict):
        for question, answers in row["responses"].items():
            responses[question] = _answers(answers, question)
    else:
        for response in as_objects(row["responses"], "responses"):
            # Null in a response that was discarded before anything was answered.
            for question, answer in as_object(response.get("values") or {}, "responses").items():
                value = as_object(answer, question).get("value")
                responses.setdefault(question, []).append((response.get("status"), value))
    identifier = row.get("id", row.get("external_id"))
    columns = {"id": identifier} | single_values(as_object(row["fields"], "fields"))
    return _Record(columns, responses, _suggestions(row.get("suggestions")))


def _answers(answers: Any, question: str) -> list[tuple[Any, Any]]:
    return [(answer.get("status"), answer.get("value")) for answer in as_objects(answers, question)]


def _suggestions(suggestions: Any) -> dict[str, Any]:
    if isinstance(suggestions, dict):
        return {name: as_object(suggestion, "suggestions").get("value") for name, suggestion in suggestions.items()}
    return {
        as_name(suggestion.get("question_name"), "suggestions"): suggestion.get("value")
        for suggestion in as_objects(suggestions, "suggestions")
    }


# Keys such as "topic.responses"


def _recognize_flat(rows: Sequence[dict[str, Any]]) -> str | None:
    key = next((key for row in rows for key in row if key.endswith(_SURE_ENDS)), None)
    are_records = all(_flat_questions(row) or row.get("status") in ("pending", "completed") for row in rows)
    return f"rows have {shorten(key)}" if key is not None and are_records else None


def _flat_questions(row: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(key.rpartition(".")[0] for key in row if key.endswith(_FLAT_ENDS)))


def _parse_flat(row: dict[str, Any]) -> _Record:
    questions = _flat_questions(row)
    responses = {}
    for question in questions:
        values = as_list(row.get(f"{question}.responses"), question)
        statuses = as_list(row.get(f"{question}.responses.status"), question) or [None] * len(values)
        if len(values) != len(statuses):
            raise BadValue(f"{len(values)} responses with {len(statuses)} statuses", f"{question}.responses")
        responses[question] = list(zip(statuses, values, strict=True))
    prefixes = (*(f"{name}." for name in questions), "metadata.", "vectors.")
    texts = {key: row[key] for key in row if not key.startswith(prefixes) and key not in _OF_THE_TOOL}
    return _Record(single_values(texts), responses, {name: row.get(f"{name}.suggestion") for name in questions})


# Data sets of version 1: answers under the names of the questions


def _recognize_listed(rows: Sequence[dict[str, Any]]) -> str | None:
    key = next((key for row in rows for key, value in row.items() if _are_answers(value)), None)
    if key is None or not all(_are_answers(row[key]) or not row[key] for row in rows if key in row):
        return None
    are_records = all(key in row or f"{key}{_SUGGESTED}" in row or "metadata" in row for row in rows)
    return f"rows have {shorten(key)} with 'user_id', 'value' and 'status'" if are_records else None


def _are_answers(value: object) -> bool:
    return bool(value) and are_objects_in_list(value, "user_id", "value", "status")


def _parse_listed(row: dict[str, Any]) -> _Record:
    questions = {key for key, value in row.items() if _are_answers(value)}
    questions |= {key.removesuffix(_SUGGESTED) for key in row if key.endswith(_SUGGESTED)}
    suggested = {f"{name}{_SUGGESTED}{end}" for name in questions for end in ("", "-metadata")}
    others = questions | suggested | _OF_THE_TOOL | {"metadata"}
    texts = {key: value for key, value in row.items() if key not in others}
    identifier = {"id": row["external_id"]} if "external_id" in row else {}
    responses = {name: _answers(row.get(name), name) for name in questions}
    suggestions = {name: row.get(f"{name}{_SUGGESTED}") for name in questions}
    return _Record(identifier | single_values(texts), responses, suggestions)


# Records of the first versions


def _is_old(row: dict[str, Any]) -> bool:
    status = row.get("status")
    return isinstance(row.get("multi_label"), bool) and isinstance(status, str) and status in _OLD_STATUS


def _parse_old(row: dict[str, Any]) -> _Record:
    inputs = row.get("inputs")
    texts = {"text": inputs} if isinstance(inputs, str) else single_values(as_object(inputs or {}, "inputs"))
    columns = {"id": row.get("id")} | texts | ({} if row.get("text") is None else {"text": row["text"]})
    predicted = _predicted(row.get("prediction"), row["multi_label"])
    answer = (_OLD_STATUS[row["status"]], row.get(_SINGLE_QUESTION))
    return _Record(columns, {_SINGLE_QUESTION: [answer]}, {_SINGLE_QUESTION: predicted})


def _predicted(prediction: Any, is_multi_label: bool) -> list[str] | None:
    """Return the labels that a model predicted: those above the threshold, or else that of the highest score."""
    scores: dict[str, float] = {}
    for item in as_list(prediction, "prediction"):
        if isinstance(item, dict):
            item = [item.get("label"), item.get("score")]
        if not isinstance(item, list) or len(item) != 2 or not is_number(item[1]):
            raise BadValue(f"{shorten(item)} is not a label with a score", "prediction")
        scores[as_name(item[0], "prediction")] = item[1]
    if not scores:
        return None
    if is_multi_label:
        return [name for name, score in scores.items() if score > _THRESHOLD]
    return [max(scores, key=lambda name: scores[name])]
