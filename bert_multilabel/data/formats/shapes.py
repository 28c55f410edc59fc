"""Checks values in the rows of annotation tools: any JSON value may be where an object, a list or a name belongs."""

from collections.abc import Mapping, Sequence
from typing import Any

from bert_multilabel.data.values import BadValue, shorten


def are_objects(rows: Sequence[Any], *keys: str) -> bool:
    """Whether there are rows, and all are objects with these keys."""
    return len(rows) > 0 and all(isinstance(row, dict) and all(key in row for key in keys) for row in rows)


def are_objects_in_list(value: object, *keys: str) -> bool:
    """Whether a value is a list of objects with these keys; it may be empty."""
    return isinstance(value, list) and (not value or are_objects(value, *keys))


def is_number(value: object) -> bool:
    """Whether a value is a number, and neither true nor false."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_row(row: object) -> dict[str, Any]:
    """Return a row, or raise a BadValue if it is not an object."""
    return as_object(row, "text")


def as_object(value: object, column: str) -> dict[str, Any]:
    """Return a value if it is an object, else raise a BadValue."""
    if not isinstance(value, dict):
        raise BadValue(f"{shorten(value)} is not a JSON object", column)
    return value


def as_list(value: object, column: str) -> list[Any]:
    """Return a list, empty for null, or raise a BadValue if a value is neither."""
    if not isinstance(value, list | None):
        raise BadValue(f"{shorten(value)} is not a list", column)
    return value or []


def as_objects(value: object, column: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty for null, or raise a BadValue if a value is neither."""
    return [as_object(item, column) for item in as_list(value, column)]


def as_name(value: object, column: str) -> str:
    """Return a value if it is text, else raise a BadValue."""
    if not isinstance(value, str):
        raise BadValue(f"{shorten(value)} is not the name of a label", column)
    return value


def as_names(value: object, column: str) -> list[str]:
    """Return the names of labels in a list, or one name as a list; raise a BadValue if a value is neither."""
    return [value] if isinstance(value, str) else [as_name(item, column) for item in as_list(value, column)]


def single_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are neither lists nor objects; "labels" among them becomes "labels in the data"."""
    return {
        "labels in the data" if key == "labels" else key: value
        for key, value in values.items()
        if not isinstance(value, (list, dict))
    }
