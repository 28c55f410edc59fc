"""Reads files that say something of each label: descriptions, and weights."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from bert_multilabel.errors import DataError

from .formats.registry import open_file
from .formats.sample import check_is_file
from .json_file import read_json_pairs
from .spec import DataSpec
from .table import Batch, Reader, RowsReader, located, raise_problems
from .values import as_weight, shorten, unknown_label

_Value = TypeVar("_Value")
_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def read_label_descriptions(path: str, label_names: list[str]) -> dict[str, str]:
    """Read descriptions of some labels: a json file with one object such as `{"gift": "The buyer ..."}`, or rows.

    Rows are csv, tsv, jsonl or parquet with the columns `label` and `description`.

    Raises:
        DataError: If the file cannot be read or lacks a column, or rows are bad; lists all bad rows.
    """
    return _read(path, "description", label_names, _as_description)


def read_label_weights(path: str, label_names: list[str]) -> list[float]:
    """Read weights of some labels from a file like those of descriptions, with the column `weight`.

    Returns:
        The weight of each of the L labels, 1 for those that are not in the file.

    Raises:
        DataError: As `read_label_descriptions`.
    """
    weights = _read(path, "weight", label_names, as_weight)
    return [weights.get(name, 1.0) for name in label_names]


def _read(path: str, column: str, label_names: list[str], parse: Callable[[Any], _Value]) -> dict[str, _Value]:
    """Read a value for each of some labels; `parse` raises a DataError that says what is wrong with a cell."""
    reader = _open(path, column)
    batches = list(reader.batches())
    _check_columns(path, column, reader, batches)
    values: dict[str, _Value] = {}
    problems = [problem for batch in batches for problem in batch.problems.items()]
    for number, label, cell in _rows(batches, column):
        name = label.strip() if isinstance(label, str) else ""
        if name not in label_names:
            problems.append((number, unknown_label(name, label_names)))
        elif name in values:
            problems.append((number, f"label {name!r} has a {column} already; remove one of the two"))
        else:
            try:
                values[name] = parse(cell)
            except DataError as error:
                problems.append((number, f"label {name!r}: {error}"))
    raise_problems(path, located(path, reader, problems))
    return values


def _as_description(cell: Any) -> str:
    if not isinstance(cell, str) or not cell.strip():
        raise DataError("a blank description, or one that is not text; write one, or remove the row")
    return cell.strip()


def _open(path: str, column: str) -> Reader:
    check_is_file(path)
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataError(f"cannot read {path!r}: its extension must be one of {', '.join(_SUFFIXES)}")
    return RowsReader(_rows_of_object(path, column)) if suffix == ".json" else open_file(path, DataSpec())


def _rows_of_object(path: str, column: str) -> list[dict[str, Any]]:
    pairs = read_json_pairs(path)
    if not isinstance(pairs, tuple):
        raise DataError(f'{path} must hold one object such as {{"gift": "..."}}, got a {type(pairs).__name__}')
    return [{"label": name, column: value} for name, value in pairs]


def _check_columns(path: str, column: str, reader: Reader, batches: list[Batch]) -> None:
    columns = list(dict.fromkeys([*reader.known_columns, *(name for batch in batches for name in batch.columns)]))
    if not columns:
        raise_problems(path, located(path, reader, [item for batch in batches for item in batch.problems.items()]))
        raise DataError(f"{path} has no rows")
    if not {"label", column} <= set(columns):
        raise DataError(f"{path} must have the columns 'label' and {column!r}, but it has {shorten(columns)}")


def _rows(batches: list[Batch], column: str) -> Iterator[tuple[int, Any, Any]]:
    for batch in batches:
        missing = [None] * len(batch.numbers)
        columns = (batch.columns.get(name, missing) for name in ("label", column))
        yield from zip(batch.numbers, *columns, strict=True)
