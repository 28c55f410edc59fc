"""Reads JSON in every shape in which rows are written: lines, arrays, objects one after another, rows under a key."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, KnownColumns, Reader, in_columns, rows_in_batches
from bert_multilabel.data.values import few, shorten
from bert_multilabel.errors import DataError

from .sample import Sample, filled_lines, lines_of_rows, read_lines

_LINE_SUFFIXES = (".jsonl", ".ndjson", ".json1")
_SUFFIXES = (".json", *_LINE_SUFFIXES)
_DEPTH = 3  # of keys above the rows
_ROWS = 250  # lines in a batch: of many more rows, the garbage collector would look at each several times
_QUOTED = 40  # characters of a text in a message
_BEGINNING = re.compile(r'\s*(\{\s*"(?:[^"\\]|\\.)*"\s*:|\[[\s\[]*[{"])')
_CONSTANTS = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}
_PYTHON = re.compile(r"'|None|True|False")
_BETWEEN = re.compile("[\\s,\ufeff\x1e]*")  # what tools write between objects

_decoder = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__)


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Return why this is a file of JSON, or None."""
    if sample.kind:
        return None
    if sample.suffix in _SUFFIXES:
        return f"its extension is {sample.suffix}"
    if _BEGINNING.match("".join(sample.lines)) is None:
        return None
    return f"it begins with a JSON {'object' if sample.first.startswith('{') else 'array'}"


def read(sample: Sample, spec: DataSpec) -> Reader:
    """Return the reader for the shape of this file.

    Raises:
        DataError: If it is no JSON, most of its lines are broken, or it holds several lists of rows.
    """
    texts = [line for line in sample.lines if line.strip()]
    if len(texts) < 2:  # a first line may be longer than a sample
        texts = list(islice(filled_lines(sample.path, sample.encoding), 2))
    parsed = list(map(_parse_line, texts))
    are_rows = len(texts) > 1 and 2 * sum(isinstance(value, (dict, list)) for value in parsed) >= len(parsed)
    is_row = len(texts) == 1 and sample.suffix in _LINE_SUFFIXES and spec.rows_key is None and _has_text(parsed[0])
    if are_rows or is_row:
        return LinesReader(path=sample.path, encoding=sample.encoding)
    said, _ = _rows_in(sample.path, sample.encoding, spec.rows_key)
    return DocumentReader(path=sample.path, encoding=sample.encoding, rows_key=spec.rows_key, said=said)


@dataclass(frozen=True, kw_only=True)
class LinesReader:
    """Reads a file with one row per line.

    Attributes:
        path: Of the file.
        encoding: Of the file.
    """

    path: str
    encoding: str
    known_columns: KnownColumns = field(default_factory=dict)
    said: str = "JSON lines"

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        lines = filled_lines(self.path, self.encoding)
        first = 1
        while texts := list(islice(lines, _ROWS)):
            yield _batch(first, texts)
            first += len(texts)

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines on which rows start."""
        return lines_of_rows(self.path, self.encoding, numbers)


@dataclass(frozen=True, kw_only=True)
class DocumentReader:
    """Reads a file of any other shape, which is held in memory during a pass.

    Attributes:
        path: Of the file.
        encoding: Of the file.
        rows_key: The key of the rows, if one is passed.
        said: What was recognized.
    """

    path: str
    encoding: str
    rows_key: str | None
    said: str
    known_columns: KnownColumns = field(default_factory=dict)

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        _, rows = _rows_in(self.path, self.encoding, self.rows_key)
        yield from rows_in_batches((number, _as_row(value)) for number, (_, value) in enumerate(rows, 1))

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines on which rows start; none of those under a key."""
        _, rows = _rows_in(self.path, self.encoding, self.rows_key)
        return {number: line for number, (line, _) in enumerate(rows, 1) if number in numbers and line}


class _Broken(str):
    """Why a line is no JSON."""


def _parse_line(text: str) -> Any:
    try:
        return _decoder.decode(text)
    except RecursionError:
        return _Broken("broken JSON: nested too deeply")
    except ValueError as error:
        return _Broken(f"broken JSON: {error}")


def _batch(first: int, texts: list[str]) -> Batch:
    try:
        rows = list(map(_decoder.decode, texts))
    except (ValueError, RecursionError):
        rows = list(map(_parse_line, texts))
    types = {*map(type, rows)}
    if types == {dict}:
        return Batch(range(first, first + len(rows)), in_columns(rows))
    as_row = _as_object if dict in types else _as_row
    return next(rows_in_batches(enumerate(map(as_row, rows), first)))


def _as_row(value: Any) -> Mapping[str, Any] | str:
    """Return a value as a row, whose columns have numbers if it is a list; or why it is none."""
    if isinstance(value, list):
        return {str(position): cell for position, cell in enumerate(value)}
    return _as_object(value)


def _as_object(value: Any) -> Mapping[str, Any] | str:
    """Return a value as a row if it is an object, as the other rows are; or why it is none."""
    if isinstance(value, (dict, _Broken)):
        return value
    return f'{shorten(value)} is not a JSON object; write a row like {{"text": "..."}}'


def _has_text(document: Any) -> bool:
    return isinstance(document, dict) and any(isinstance(value, str) for value in document.values())


# Whole files


def _rows_in(path: str, encoding: str, rows_key: str | None) -> tuple[str, Iterator[tuple[int, Any]]]:
    """Return what was recognized, and the rows with their lines; 0 where these are not known."""
    text = "".join(read_lines(path, encoding))
    if text.lstrip().startswith("["):
        return "a JSON array", _values(path, text, text.index("[") + 1, "]")
    values = _values(path, text)
    documents = list(islice(values, 2))
    if len(documents) != 1:
        return "JSON objects one after another", chain(documents, values)
    said, rows = _find_rows(documents[0][1], path, rows_key)
    return said, ((0, row) for row in rows)


def _values(path: str, text: str, start: int = 0, closing: str = "") -> Iterator[tuple[int, Any]]:
    """Yield the values from a position on, each with its line; commas between them do not matter."""
    line, position = 1 + text.count("\n", 0, start), start
    while True:
        begin = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]  # it matches everywhere
        line += text.count("\n", position, begin)
        if text[begin : begin + 1] in ("", closing):
            break
        try:
            value, position = _decoder.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            raise _explain(path, line, text, error) from error
        yield line, value
        line += text.count("\n", begin, position)
    if closing and begin == len(text):
        raise DataError(f"{path}, line {line}: broken JSON: the file ends before its array does; is it complete?")
    if behind := text[begin + 1 :].strip():
        line = 1 + text.count("\n", 0, text.rindex(behind))
        advice = "write all rows into one array, or one row per line"
        raise DataError(f"{path}, line {line}: more JSON behind the first array; {advice}")


def _explain(path: str, line: int, text: str, error: Exception) -> DataError:
    """Return the error for a value that starts on this line."""
    if isinstance(error, RecursionError):
        return DataError(f"{path}, line {line}: broken JSON: nested too deeply")
    if not isinstance(error, json.JSONDecodeError):
        return DataError(f"{path}, line {line}: broken JSON: {error}")
    rest = text[error.pos : error.pos + _QUOTED]
    if _PYTHON.match(rest):
        problem = f"{shorten(rest, _QUOTED)} is Python, not JSON: print rows by json.dumps(row), not by print(row)"
    else:
        problem = f"broken JSON: {error.msg}, at {shorten(rest, _QUOTED)}"
    return DataError(f"{path}, line {error.lineno}: {problem}")


# Where the rows are in one value


def _find_rows(document: Any, path: str, rows_key: str | None = None) -> tuple[str, list[Any]]:
    """Return what was recognized, and the rows in a document."""
    if rows_key is not None and isinstance(document, dict):
        said, rows = _find_rows(_value_at(document, path, rows_key), path)
        return f"JSON, {said} under the key {shorten(rows_key)}", rows
    if isinstance(document, list):
        return "an array", document
    if not isinstance(document, dict):
        return "a JSON value", [document]
    for said, rows_of in _SHAPES.items():
        if found := rows_of(document):
            return said, found
    lists = {".".join(keys): rows for keys, rows in _lists_of_objects(document)}
    if len(lists) > 1:
        listed = [f"{key} ({len(rows)} row{'s' * (len(rows) != 1)})" for key, rows in lists.items()]
        longest = max(lists, key=lambda key: len(lists[key]))
        advice = f"choose one, such as --rows_key {longest[:80]}"
        raise DataError(f"{path} holds several lists of rows: {few(listed)}; {advice}")
    for key, rows in lists.items():
        return f"JSON, rows under the key {shorten(key)}", rows
    if len(document) > 1 and all(isinstance(value, list) for value in document.values()):
        lengths = few([f"{key} {len(value)}" for key, value in document.items()])
        advice = "write one object per row; if this is one row, write it into an array, in [ and ]"
        raise DataError(f"{path} holds columns of different lengths ({lengths}): {advice}")
    return "one JSON object", [document]


def _value_at(document: dict[str, Any], path: str, rows_key: str) -> Any:
    """Return the value under a key, in which dots may separate the keys on the way to it."""
    value: Any = document
    for key in [rows_key] if rows_key in document else rows_key.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        raise DataError(f"{path} has no rows under the key {rows_key!r}; its keys are {few([*document])}")
    return value


def _lists_of_objects(document: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Yield the lists that hold objects, each with the keys on the way to it."""
    if not isinstance(document, dict) or len(above) == _DEPTH:
        return
    for key, value in document.items():
        if _is_list_of(value, dict):
            yield (*above, key), value
        yield from _lists_of_objects(value, (*above, key))


def _is_list_of(value: Any, kind: type) -> bool:
    """Whether a list holds mainly values of this type: a few bad rows are told later."""
    return isinstance(value, list) and 2 * sum(isinstance(item, kind) for item in value) > len(value)


def _from_split(document: dict[str, Any]) -> list[Any]:
    names, rows = document.get("columns"), document.get("data")
    if not isinstance(names, list) or not _is_list_of(names, str) or not isinstance(rows, list):
        return []
    are_whole = rows and all(isinstance(row, list) and len(row) == len(names) for row in rows)
    return [dict(zip(names, row, strict=True)) for row in rows] if are_whole else []


def _from_columns(document: dict[str, Any]) -> list[Any]:
    """Return the rows of lists of the same length, unless these hold objects, as the splits of a data set do."""
    columns = document.values()
    if not all(isinstance(column, list) for column in columns) or len({*map(len, columns)}) != 1:
        return []
    if all(_is_list_of(column, dict) for column in columns):
        return []
    return [dict(zip(document, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _from_numbered_columns(document: dict[str, Any]) -> list[Any]:
    """Return the rows of columns that map the number or name of a row to its cell."""
    columns = list(document.values())
    if not all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        return []
    names = list(columns[0]) if columns else []
    holds_texts = any(_is_list_of([*column.values()], str) for column in columns)
    are_names = holds_texts and len(names) > len(document) > 1 and not all(map(str.isdecimal, document))
    if not are_names and not all(map(str.isdecimal, names)):
        return []
    return _from_columns({name: list(column.values()) for name, column in document.items()})


def _from_named_rows(document: dict[str, Any]) -> list[Any]:
    """Return the rows, with their names as ids if they are not just numbers."""
    if len(document) < 2 or not all(map(_has_text, document.values())):
        return []
    if all(map(str.isdecimal, document)):
        return list(document.values())
    return [{"id": name, **row} for name, row in document.items()]


_SHAPES = {
    "JSON as pandas writes it with orient='split'": _from_split,
    "JSON columns as lists": _from_columns,
    "JSON as pandas writes it with orient='columns'": _from_numbered_columns,
    "JSON rows by their names": _from_named_rows,
}
