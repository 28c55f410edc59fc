"""Data for training chat models: conversations and instructions. They have no labels, and are refused."""

from collections.abc import Sequence
from typing import Any, NoReturn

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

from .shapes import are_objects, are_objects_in_list

NAME = "chat data"
LABEL_COLUMNS = ()  # if one is named, rows are plain
_TURNS = {"messages": ("role", "content"), "conversations": ("from", "value")}
_PAIRS = {"instruction": "output", "prompt": "completion"}
_MORE = {"id", "text", "input", "system", "history"}


def recognizes(rows: Sequence[Any]) -> str | None:
    """Return what the first rows of such data have, else None."""
    for key, parts in _TURNS.items():
        if are_objects(rows, key) and all(row[key] and are_objects_in_list(row[key], *parts) for row in rows):
            return f"rows have {key!r} with {parts[0]!r} and {parts[1]!r}"
    for asked, answered in _PAIRS.items():
        # Further columns may hold labels.
        if are_objects(rows, asked, answered) and all(row.keys() <= {asked, answered} | _MORE for row in rows):
            return f"rows have {asked!r} and {answered!r}"
    return None


def read(row: Any, spec: DataSpec) -> NoReturn:
    """Raise a DataError that names the form and says what to do."""
    raise DataError(
        f"{_form(row)} are made for chat models: write rows with a column of texts and one of labels instead, such as "
        '{"text": "Fair price", "labels": ["price"]}, or name them with --text_column and --label_column'
    )


def _form(row: Any) -> str:
    keys = row.keys() if isinstance(row, dict) else set()
    for key in _TURNS:
        if key in keys:
            return f"conversations in {key!r}"
    asked = next((asked for asked in _PAIRS if asked in keys), "instruction")
    return f"rows of {asked!r} and {_PAIRS[asked]!r}"
