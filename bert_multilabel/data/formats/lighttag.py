"""Exports of LightTag: examples with the classes that each annotator chose."""

from collections.abc import Sequence
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .shapes import are_objects, are_objects_in_list, as_name, as_objects, as_row

NAME = "LightTag"
LABEL_COLUMNS = ("classifications",)


def recognizes(rows: Sequence[Any]) -> str | None:
    """Return what the first rows of an export have, else None."""
    if not are_objects(rows, "content", "classifications"):
        return None
    if not all(are_objects_in_list(row["classifications"], "classname") for row in rows):
        return None
    if any(row["classifications"] for row in rows):
        return "rows have 'content', and 'classifications' with 'classname'"
    return "rows have 'content', 'classifications' and 'seen_by'" if are_objects(rows, "seen_by") else None


def prepare(rows: Sequence[Any], spec: DataSpec) -> DataSpec:
    """Return the spec as it is.

    Raises:
        DataError: If the first rows have labels of parts of texts alone.
    """
    if are_objects(rows) and not any(row.get("classifications") for row in rows):
        if any(row.get("annotations") for row in rows):
            raise DataError(
                "'annotations' mark parts of a text, and 'classifications' are empty, but whole texts are classified "
                "here: export a task that has classes, or write a column 'labels' with the labels of each text"
            )
    return spec


def read(row: Any, spec: DataSpec) -> list[dict[str, Any]]:
    """Return one row per annotator who has seen the text.

    Raises:
        BadValue: If a value has another form.
    """
    row = as_row(row)
    chosen: dict[str, list[str]] = {_annotator(person): [] for person in as_objects(row.get("seen_by"), "seen_by")}
    for item in as_objects(row.get("classifications"), "classifications"):
        name = as_name(item.get("classname"), "classname")
        for annotator in map(_annotator, as_objects(item.get("classified_by"), "classified_by") or [{}]):
            chosen.setdefault(annotator, []).append(name)
    columns = {"text": row.get("content")} | ({"id": row["example_id"]} if "example_id" in row else {})
    return [{**columns, "labels": names} for names in chosen.values()]


def _annotator(person: dict[str, Any]) -> str:
    return shorten(person.get("annotator_id", person.get("annotator")))
