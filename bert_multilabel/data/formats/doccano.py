"""Old exports of doccano, whose labels are ids of its database, and its labels of parts of a text, which are refused.

Newer exports of labels of whole texts hold names: they are plain rows.
"""

from collections.abc import Sequence
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue, shorten
from bert_multilabel.errors import DataError

from .shapes import are_objects, as_objects, as_row

NAME = "doccano"
LABEL_COLUMNS = ("annotations", "label", "labels", "entities")
_IN_PARTS = (
    "{key!r} holds labels of parts of a text, such as {span}, but whole texts are classified here: export a project "
    "for text classification, or write a column 'labels' with the labels of each text"
)


def recognizes(rows: Sequence[Any]) -> str | None:
    """Return what the first rows of an old export, or of one with labels of parts of texts, have; else None."""
    if not are_objects(rows, "text"):
        return None
    for key in LABEL_COLUMNS:
        lists = [_items(row, key) for row in rows]
        if None not in lists and (items := [item for found in lists for item in found or []]):
            return f"rows have {key!r} such as {shorten(items[0])}"
    return None


def read(row: Any, spec: DataSpec) -> list[dict[str, Any]]:
    """Return one row per annotator, with the names of the labels.

    Raises:
        DataError: If labels belong to parts of the text, or the names of ids are unknown.
        BadValue: If a value has another form.
    """
    row = as_row(row)
    for key in LABEL_COLUMNS:
        if spans := [item for item in _items(row, key) or [] if isinstance(item, list) or "start_offset" in item]:
            raise DataError(_IN_PARTS.format(key=key, span=shorten(spans[0])))
    judgements: dict[str, list[str]] = {}
    for annotation in as_objects(row.get("annotations"), "annotations"):
        names = judgements.setdefault(shorten(annotation.get("user")), [])
        names.append(_name(annotation.get("label"), spec))
    columns = {key: row[key] for key in ("id", "text") if key in row}
    return [{**columns, "labels": names} for names in judgements.values() or [[]]]


def _items(row: dict[str, Any], key: str) -> list[Any] | None:
    """Return the items of a list in a row if all have a form of doccano, else None."""
    if key == "entities" and not row.keys().isdisjoint({"label", "labels", "cats"}):
        return None  # they are further columns
    items = row.get(key)
    belongs = {"annotations": _is_annotation, "entities": _is_entity}.get(key, _is_span)
    return items if isinstance(items, list) and all(map(belongs, items)) else None


def _is_annotation(item: object) -> bool:
    """Whether an item is like {"label": 3, "user": 1}, perhaps with offsets."""
    return isinstance(item, dict) and (_is_id(item.get("label")) or isinstance(item.get("label"), str))


def _is_entity(item: object) -> bool:
    """Whether an item is like {"label": "name", "start_offset": 0, "end_offset": 5}."""
    return isinstance(item, dict) and {"label", "start_offset", "end_offset"} <= item.keys()


def _is_span(item: object) -> bool:
    """Whether an item is like [0, 5, "name"] or ["name", 0, 5]."""
    if not isinstance(item, list) or len(item) != 3:
        return False
    ids = [_is_id(part) for part in item]
    return isinstance(item[2], str) and ids[:2] == [True, True] or isinstance(item[0], str) and ids[1:] == [True, True]


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _name(label: object, spec: DataSpec) -> str:
    """Return the name of a label: itself, or that of its id. The ids of a database start at 1."""
    if isinstance(label, str):
        return label
    if not isinstance(label, int) or isinstance(label, bool):
        raise BadValue(f"{shorten(label)} is not the id of a label", "annotations")
    if spec.label_names is None:
        raise DataError(
            f"labels are ids of doccano's database, such as {shorten(label)}: pass their names with "
            "--label_names_file, in the order of the ids from 1, or with the id of each name"
        )
    ids = list(spec.label_ids or range(1, len(spec.label_names) + 1))
    names = dict(zip(ids, spec.label_names, strict=False))
    if label not in names:
        raise BadValue(f"id {shorten(label)} has no name; the ids with names are {shorten(ids)}", "annotations")
    return names[label]
