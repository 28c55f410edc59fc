"""Training data of spaCy's text categorizers: rows with "cats", or pairs of a text and an object with "cats"."""

from collections.abc import Sequence
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue, shorten

from .shapes import as_object, as_row, is_number

NAME = "spaCy"
LABEL_COLUMNS = ("cats",)


def recognizes(rows: Sequence[Any]) -> str | None:
    """Return what the first rows have, else None."""
    found = [_cats(row) for row in rows]
    if not all(isinstance(cats, dict) and all(map(_is_value, cats.values())) for cats in found) or not any(found):
        return None
    form = "are pairs of a text and" if _as_pair(rows[0]) else "have"
    return f"rows {form} 'cats' such as {shorten(next(filter(None, found)))}"


def read(row: Any, spec: DataSpec) -> list[dict[str, Any]]:
    """Return the row with a value from 0 to 1 for each label, None for labels that were not judged.

    Raises:
        BadValue: If a value has another form.
    """
    if pair := _as_pair(row):
        row = {"text": pair[0], "cats": as_object(pair[1], "cats").get("cats")}
    row = as_row(row)
    columns = {key: row[key] for key in ("id", "text") if key in row}
    values = as_object(row.get("cats"), "cats")
    return [{**columns, "labels": {name: _share(name, value) for name, value in values.items()}}]


def _cats(row: Any) -> Any:
    """Return the "cats" of a row or a pair, None if it has none."""
    if pair := _as_pair(row):
        return pair[1].get("cats") if isinstance(pair[0], str) and isinstance(pair[1], dict) else None
    return row.get("cats") if isinstance(row, dict) and "text" in row else None


def _as_pair(row: Any) -> list[Any] | None:
    """Return the items of a pair, whose columns have the names "0" and "1" in a table."""
    if isinstance(row, dict) and row.keys() == {"0", "1"}:
        return [row["0"], row["1"]]
    return list(row) if isinstance(row, (list, tuple)) and len(row) == 2 else None


def _is_value(value: object) -> bool:
    return value is None or isinstance(value, bool) or is_number(value)


def _share(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not _is_value(value) or not 0 <= value <= 1:
        raise BadValue(f"{shorten(value)} for {shorten(name)} is not a number from 0 to 1", "cats")
    return float(value)
