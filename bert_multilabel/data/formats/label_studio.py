"""The JSON and JSON-MIN exports of Label Studio. Its CSV export is plain rows, with choices as label cells."""

from collections.abc import Sequence
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .questions import choose_question, with_question
from .shapes import are_objects, are_objects_in_list, as_name, as_names, as_object, as_objects, as_row, single_values

NAME = "Label Studio"
_KIND = "control"
_OF_THE_TOOL = {"annotator", "annotation_id", "lead_time", "created_at", "updated_at", "agreement"}
_ANNOTATIONS = ("annotations", "completions")  # the second before version 1.0


def recognizes(rows: Sequence[Any]) -> str | None:
    """Return what the first rows of an export have, else None."""
    if are_objects(rows) and all(map(_is_min, rows)):
        controls = sorted(_min_controls(rows))
        return f"rows have 'annotator', and choices in {shorten(controls[0])}" if controls else None
    if not are_objects(rows, "data") or not all(isinstance(row["data"], dict) for row in rows):
        return None
    for key in (*_ANNOTATIONS, "predictions"):
        lists = [row[key] for row in rows if row.get(key) is not None]
        if lists and all(are_objects_in_list(items, "result") for items in lists):
            return f"rows have 'data', and {key!r} with 'result'"
    return None


def prepare(rows: Sequence[Any], spec: DataSpec) -> DataSpec:
    """Return the spec with the control whose choices are the labels.

    Raises:
        DataError: If the first rows have choices of several controls and none is named, or not the named one.
    """
    if all(map(_is_min, rows)):
        is_named = any(set(spec.label_columns) & row.keys() - _OF_THE_TOOL for row in rows)
        return spec if is_named else with_question(_min_controls(rows), spec, _KIND)
    controls: set[str] = set()
    for row in rows:
        for key in (*_ANNOTATIONS, "predictions") if spec.use_suggestions else _ANNOTATIONS:
            for judgement in as_objects(as_row(row).get(key), key):
                controls.update(_choices(judgement)[0])
    return with_question(controls, spec, _KIND)


def read(row: Any, spec: DataSpec) -> list[dict[str, Any]]:
    """Return one row per annotation that was not cancelled, with the columns of the data.

    Raises:
        DataError: If several controls have choices, or only others have values, and no control is named.
        BadValue: If a value has another form.
    """
    row = as_row(row)
    if _is_min(row):
        return [_read_min(row, spec)]
    judgements = [item for key in _ANNOTATIONS for item in as_objects(row.get(key), key)]
    if not judgements and spec.use_suggestions:
        judgements = as_objects(row.get("predictions"), "predictions")
    columns = {key: row[key] for key in ("id",) if key in row} | single_values(as_object(row.get("data"), "data"))
    return [
        {**columns, "labels": _labels(judgement, spec)}
        for judgement in judgements
        if not judgement.get("was_cancelled") and not judgement.get("skipped")
    ]


def _labels(judgement: dict[str, Any], spec: DataSpec) -> list[str]:
    choices, others = _choices(judgement)
    control = choose_question(choices, spec, _KIND)
    if others and control is None:
        raise DataError(
            f"an annotation has no choices but values of {shorten(sorted(others))}, which do not label a whole "
            "text: if no choice was made there, name the control that has choices, such as --label_column topic"
        )
    return [] if control is None else choices.get(control, [])


def _choices(judgement: dict[str, Any]) -> tuple[dict[str, list[str]], set[str]]:
    """Return the choices for the whole text by control, and the controls with other values, such as spans."""
    choices: dict[str, list[str]] = {}
    others: set[str] = set()
    for item in as_objects(judgement.get("result"), "result"):
        control, value = item.get("from_name"), item.get("value")
        if isinstance(value, dict) and "choices" in value and "start" not in value:
            names = choices.setdefault(as_name(control, "from_name"), [])
            names += as_names(value["choices"], "choices")
        else:
            others.add(control if isinstance(control, str) else "relations")
    return choices, others


# JSON-MIN: a row for each annotation; a control is missing where nothing was chosen


def _is_min(row: dict[str, Any]) -> bool:
    return "annotator" in row and not row.keys().isdisjoint(("annotation_id", "lead_time"))


def _min_controls(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Return the columns with choices in any row, or else those that some rows lack."""
    columns = {key for row in rows for key in row} - _OF_THE_TOOL
    with_choices = {key for row in rows for key in columns & row.keys() if _are_choices(row[key])}
    return with_choices or {key for key in columns if any(row.get(key) is None for row in rows)}


def _are_choices(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"choices"}


def _read_min(row: dict[str, Any], spec: DataSpec) -> dict[str, Any]:
    control = choose_question({key for key, value in row.items() if _are_choices(value)}, spec, _KIND)
    value = row.get(control) if control is not None else None
    names = as_names(value["choices"] if isinstance(value, dict) and _are_choices(value) else value, str(control))
    columns = {key: value for key, value in row.items() if key not in _OF_THE_TOOL | {control}}
    return {**single_values(columns), "labels": names}
