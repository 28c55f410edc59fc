"""Reads label descriptions from a file."""

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from bert_multilabel.errors import DataError

from .formats.registry import open_file
from .formats.sample import check_is_file
from .json_file import read_json_pairs
from .spec import DataSpec
from .table import Batch, Reader, RowsReader, located, raise_problems
from .values import shorten, unknown_label

_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def read_label_descriptions(path: str, label_names: list[str]) -> dict[str, str]:
    """Read descriptions of some labels: a json file with one object such as `{"gift": "The buyer ..."}`, or rows.

    Rows are csv, tsv, jsonl or parquet with the columns `label` and `description`.

    Raises:
        DataError: If the file cannot be read or lacks a column, or rows are bad; lists all bad rows.
    """
    reader = _open(path)
    batches = list(reader.batches())
    _check_columns(path, reader, batches)
    descriptions: dict[str, str] = {}
    problems = [problem for batch in batches for problem in batch.problems.items()]
    for number, *cells in _rows(batches):
        name, description = (cell.strip() if isinstance(cell, str) else "" for cell in cells)
        if problem := _find_problem(name, description, label_names, descriptions):
            problems.append((number, problem))
        else:
            descriptions[name] = description
    raise_problems(path, located(path, reader, problems))
    return descriptions


def _open(path: str) -> Reader:
    check_is_file(path)
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataError(f"cannot read {path!r}: its extension must be one of {', '.join(_SUFFIXES)}")
    return RowsReader(_rows_of_object(path)) if suffix == ".json" else open_file(path, DataSpec())


def _rows_of_object(path: str) -> list[dict[str, Any]]:
    pairs = read_json_pairs(path)
    if not isinstance(pairs, tuple):
        raise DataError(f'{path} must hold one object such as {{"gift": "..."}}, got a {type(pairs).__name__}')
    return [{"label": name, "description": description} for name, description in pairs]


def _check_columns(path: str, reader: Reader, batches: list[Batch]) -> None:
    columns = list(dict.fromkeys([*reader.features, *(name for batch in batches for name in batch.columns)]))
    if not columns:
        raise_problems(path, located(path, reader, [item for batch in batches for item in batch.problems.items()]))
        raise DataError(f"{path} has no rows")
    if not {"label", "description"} <= set(columns):
        raise DataError(f"{path} must have the columns 'label' and 'description', but it has {shorten(columns)}")


def _rows(batches: list[Batch]) -> Iterator[tuple[int, Any, Any]]:
    for batch in batches:
        missing = [None] * len(batch.numbers)
        columns = (batch.columns.get(name, missing) for name in ("label", "description"))
        yield from zip(batch.numbers, *columns, strict=True)


def _find_problem(name: str, description: str, label_names: list[str], before: Container[str]) -> str:
    if name not in label_names:
        return unknown_label(name, label_names)
    if name in before:
        return f"label {name!r} is described already; remove one of the two"
    if not description:
        return f"label {name!r} has a blank description, or one that is not text; write one, or remove the row"
    return ""
