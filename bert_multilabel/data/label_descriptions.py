"""Reads label descriptions from a file."""

from collections.abc import Container, Iterator
from functools import partial
from pathlib import Path

from bert_multilabel.errors import DataError

from .labels import unknown_label
from .reading import Row, Table, check_is_file, describe_problem, parse_json, raise_problems, read_lines, read_rows


def read_label_descriptions(path: str, label_names: list[str]) -> dict[str, str]:
    """Read descriptions of some labels: a json file with one object such as `{"gift": "The buyer ..."}`, or rows.

    Rows are csv, tsv, jsonl or parquet with the columns `label` and `description`.

    Raises:
        DataError: If the file cannot be read or lacks a column, or rows are bad; lists all bad rows.
    """
    read = _object_rows if Path(path).suffix.lower() == ".json" else read_rows
    table = Table(path, partial(read, path))
    if not {"label", "description"} <= set(table.columns):
        raise DataError(f"{path} must have the columns 'label' and 'description', but it has {table.columns}")
    descriptions: dict[str, str] = {}
    problems = []
    for row in table:
        cells = (row.values.get(column) for column in ("label", "description"))
        name, description = (cell.strip() if isinstance(cell, str) else "" for cell in cells)
        if problem := row.problem or _find_problem(name, description, label_names, descriptions):
            problems.append(describe_problem(path, row, problem))
        else:
            descriptions[name] = description
    raise_problems(path, problems)
    return descriptions


def _object_rows(path: str) -> Iterator[Row]:
    check_is_file(path)
    try:
        # As pairs, which keep repeated names.
        pairs = parse_json("".join(read_lines(path)), object_pairs_hook=tuple)
    except ValueError as error:
        raise DataError(f"{path}: broken JSON: {error}") from error
    if not isinstance(pairs, tuple):
        raise DataError(f'{path} must hold one object such as {{"gift": "..."}}, got a {type(pairs).__name__}')
    for number, (name, description) in enumerate(pairs, 1):
        yield Row(number, None, {"label": name, "description": description})


def _find_problem(name: str, description: str, label_names: list[str], before: Container[str]) -> str:
    if name not in label_names:
        return unknown_label(name, label_names)
    if name in before:
        return f"label {name!r} is described already; remove one of the two"
    if not description:
        return f"label {name!r} has a blank description, or one that is not text; write one, or remove the row"
    return ""
