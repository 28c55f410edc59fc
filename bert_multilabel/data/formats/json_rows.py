"""Reads JSON in every shape in which rows are written: lines, arrays, objects one after another, rows under a key."""

import json
import re
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat
from typing import Any

from datasets import Features

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import BATCH_SIZE, Batch, Reader, in_columns, rows_in_batches
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .sample import Sample, read_lines

_LINE_SUFFIXES = (".jsonl", ".ndjson", ".json1")
_SUFFIXES = (".json", *_LINE_SUFFIXES)
_END = "\n"
_SPLITS = {"train", "validation", "valid", "val", "dev", "test"}
_DEPTH = 3  # of keys above the rows
_ROWS_LOOKED_AT = 100
_PART_SIZE = 200  # lines: of many more rows, the garbage collector would look at each several times
_NAMES_SHOWN = 10
_QUOTED = 40  # characters of a text in a message
_BUFFER_SIZE = 2**16  # characters
_CUT = 10  # an error closer to the end than this many characters may come from a token that was cut
_BEGINS_WITH_OBJECT = re.compile(r'[\[\s]*\{\s*"(?:[^"\\]|\\.)*"\s*:')
_CONSTANTS = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}
_PYTHON_WORD = re.compile(r"None|True|False")
_BLANKS = re.compile("[\\s\ufeff\x1e]*")  # also what other tools write between objects

_decoder = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__)


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Return why this is a file of JSON, or None."""
    if sample.magic and not sample.lines:  # a binary file
        return None
    if sample.suffix in _SUFFIXES:
        return f"its extension is {sample.suffix}"
    if not sample.first.startswith(("{", "[")):
        return None
    text = "".join(sample.lines).lstrip()
    try:
        _decoder.raw_decode(text)
    except (ValueError, RecursionError):
        if _BEGINS_WITH_OBJECT.match(text) is None:
            return None
    return f"it begins with a JSON {'object' if text.startswith('{') else 'array'}"


def read(sample: Sample, spec: DataSpec) -> Reader:
    """Return the reader for the shape of this file.

    Raises:
        DataError: If it is no JSON, most of its lines are broken, or it holds several lists of rows.
    """
    path, encoding = sample.path, sample.encoding
    texts = [line for line in sample.lines if line.strip()]
    if len(texts) == 1:  # a first line may be longer than a sample
        texts = list(islice(_filled_lines(path, encoding), 2))
    if len(texts) > 1 and (reader := _lines_reader(path, encoding, texts)) is not None:
        return reader
    if sample.first.startswith("["):
        width = _width([value for _, value in islice(_items(path, encoding), _ROWS_LOOKED_AT)])
        return SequenceReader(path=path, encoding=encoding, is_array=True, width=width)
    documents = [value for _, value in islice(_values(path, encoding), 2)]
    if len(documents) != 1:
        return SequenceReader(path=path, encoding=encoding, is_array=False)
    if len(texts) == 1 and sample.suffix in _LINE_SUFFIXES and spec.rows_key is None and _has_text(documents[0]):
        return LinesReader(path=path, encoding=encoding)
    said, rows_of = _find_rows(documents[0], path, spec.rows_key)
    return DocumentReader(path=path, encoding=encoding, rows_of=rows_of, said=said)


@dataclass(frozen=True, kw_only=True)
class LinesReader:
    """Reads a file with one row per line.

    Attributes:
        path: Of the file.
        encoding: Of the file.
        width: Number of values, if the rows are lists.
        commas: Whether commas at the ends of lines are left out.
    """

    path: str
    encoding: str
    width: int | None = None
    commas: bool = False
    features: Features = field(default_factory=Features)
    said: str = "JSON lines"

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        lines = _filled_lines(self.path, self.encoding)
        start = 1
        while texts := list(islice(lines, BATCH_SIZE)):
            yield self._batch(start, texts)
            start += len(texts)

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines on which rows start."""
        filled = (line for line, text in enumerate(read_lines(self.path, self.encoding), 1) if text.strip())
        return {number: line for number, line in enumerate(filled, 1) if number in numbers}

    def _batch(self, start: int, texts: list[str]) -> Batch:
        numbers = range(start, start + len(texts))
        if not self.commas and self.width is None:
            parts = [_columns_of(texts[start : start + _PART_SIZE]) for start in range(0, len(texts), _PART_SIZE)]
            if None not in parts:
                return Batch(numbers, _joined([part for part in parts if part is not None], len(texts)))
        parsed = map(_parse_line, texts, repeat(self.commas))
        return next(rows_in_batches(zip(numbers, (_as_row(value, self.width) for value in parsed), strict=True)))


@dataclass(frozen=True, kw_only=True)
class SequenceReader:
    """Reads a file of one array, or of objects one after another, row by row.

    Attributes:
        path: Of the file.
        encoding: Of the file.
        is_array: Whether the rows are in an array.
        width: Number of values, if the rows are lists.
    """

    path: str
    encoding: str
    is_array: bool
    width: int | None = None
    features: Features = field(default_factory=Features)

    @property
    def said(self) -> str:
        """What was recognized."""
        return "a JSON array" if self.is_array else "JSON objects one after another"

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        rows = (_as_row(value, self.width) for _, value in self._values())
        return rows_in_batches(enumerate(rows, 1))

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines on which rows start."""
        return {number: line for number, (line, _) in enumerate(self._values(), 1) if number in numbers}

    def _values(self) -> Iterator[tuple[int, Any]]:
        return (_items if self.is_array else _values)(self.path, self.encoding)


@dataclass(frozen=True, kw_only=True)
class DocumentReader:
    """Reads a file of one object that holds the rows, which is parsed as a whole at each pass.

    Attributes:
        path: Of the file.
        encoding: Of the file.
        rows_of: Returns the rows in the object.
        said: What was recognized.
    """

    path: str
    encoding: str
    rows_of: Callable[[Any], Sequence[Any]]
    said: str
    features: Features = field(default_factory=Features)

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        rows = [row for _, document in _values(self.path, self.encoding) for row in self.rows_of(document)]
        width = _width(rows)
        yield from rows_in_batches((number, _as_row(row, width)) for number, row in enumerate(rows, 1))

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return no lines: rows are not parsed one by one."""
        return {}


def _columns_of(texts: list[str]) -> dict[str, list[Any]] | None:
    """Parse some lines; None if not all are objects."""
    try:
        rows = list(map(_decoder.decode, texts))
    except (ValueError, RecursionError):
        return None
    return in_columns(rows) if {*map(type, rows)} == {dict} else None


def _joined(parts: list[dict[str, list[Any]]], size: int) -> dict[str, list[Any]]:
    """Join columns of `_PART_SIZE` rows each to columns of this size; a part may lack a column."""
    columns: dict[str, list[Any]] = {}
    for number, part in enumerate(parts):
        for name, cells in part.items():
            column = columns.setdefault(name, [])
            column += [None] * (number * _PART_SIZE - len(column))
            column += cells
    for column in columns.values():
        column += [None] * (size - len(column))
    return columns


def _lines_reader(path: str, encoding: str, texts: list[str]) -> LinesReader | None:
    """Return the reader of one row per line, if at least half of these lines are rows."""
    for has_commas in (False, True):
        parsed = [_parse_line(text, has_commas) for text in texts]
        if _are_rows(parsed, has_commas):
            said = "JSON lines that end with commas" if has_commas else "JSON lines"
            return LinesReader(path=path, encoding=encoding, width=_width(parsed), commas=has_commas, said=said)
    return None


class _Broken(str):
    """Why a line is no JSON."""


def _parse_line(text: str, has_commas: bool = False) -> Any:
    """Parse one line; a line that cannot be parsed gives a `_Broken`."""
    try:
        return _decoder.decode(text.rstrip().removesuffix(",") if has_commas else text)
    except RecursionError:
        return _Broken("broken JSON: nested too deeply")
    except ValueError as error:
        return _Broken(f"broken JSON: {error}")


def _are_rows(parsed: list[Any], has_commas: bool) -> bool:
    """Whether at least half of these lines are objects or lists, and not lines of one long value."""
    if has_commas and not isinstance(parsed[0], dict):
        return False
    return 2 * sum(isinstance(value, (dict, list)) for value in parsed) >= len(parsed)


def _width(rows: Sequence[Any]) -> int | None:
    """Return the length of the rows, if all are lists of the same length and not empty."""
    lengths = {len(row) if isinstance(row, list) else 0 for row in rows if not isinstance(row, _Broken)}
    return lengths.pop() or None if len(lengths) == 1 else None


def _as_row(value: Any, width: int | None) -> Mapping[str, Any] | str:
    """Return a value as a row, or why it is none."""
    if isinstance(value, (dict, _Broken)):
        return value
    if isinstance(value, list) and len(value) == width:
        return {str(position): cell for position, cell in enumerate(value)}
    if width is not None:
        return f"{shorten(value)} is not a list of {width} values as the first rows are"
    return f'{shorten(value)} is not a JSON object; write a row like {{"text": "..."}}'


def _filled_lines(path: str, encoding: str) -> Iterator[str]:
    """Yield the lines that are not blank."""
    return filter(str.strip, read_lines(path, encoding))


def _values(path: str, encoding: str) -> Iterator[tuple[int, Any]]:
    """Yield the JSON values of a file one after another, each with the line on which it starts."""
    text = _Text(path, encoding)
    while text.peek():
        yield text.line, text.parse()
        if text.peek() == ",":
            text.skip()


def _items(path: str, encoding: str) -> Iterator[tuple[int, Any]]:
    """Yield the items of the array in a file, each with the line on which it starts."""
    text = _Text(path, encoding)
    text.peek()
    text.skip()
    closing = text.peek() == "]"
    while not closing:
        yield text.line, text.parse()
        if not (closing := text.peek() == "]"):
            text.skip_comma()
    text.skip()
    if text.peek():
        advice = "write all rows into one array, or one row per line"
        raise DataError(f"{path}, line {text.line}: more JSON behind the first array; {advice}")


class _Text:
    """The text of a file, which is read and parsed piece by piece.

    Attributes:
        line: The current line, from 1.
    """

    def __init__(self, path: str, encoding: str) -> None:
        self.line = 1
        self._path, self._pieces = path, _pieces(path, encoding)
        next(self._pieces)
        self._text, self._position, self._is_whole = "", 0, False

    def peek(self) -> str:
        """Skip blanks and return the next character; "" at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._position)
            self._advance(blanks.end() if blanks else self._position)
            if self._position < len(self._text):
                return self._text[self._position]
            if self._is_whole:
                return ""
            self._read_more()

    def skip(self) -> None:
        """Skip the next character."""
        self._position += 1

    def skip_comma(self) -> None:
        """Skip the comma before the next item of an array."""
        if self.peek() != ",":
            raise self._broken(json.JSONDecodeError("Expecting ',' delimiter", self._text, self._position))
        self.skip()
        if self.peek() == "]":
            raise self._broken(json.JSONDecodeError("Illegal trailing comma", self._text, self._position))

    def parse(self) -> Any:
        """Parse the value that begins here."""
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                if self._is_whole or not _may_be_cut(error, len(self._text)):
                    raise self._broken(error) from error
            else:
                if end < len(self._text) or self._is_whole:
                    self._advance(end)
                    return value
            self._read_more()

    def _advance(self, position: int) -> None:
        self.line += self._text.count("\n", self._position, position)
        self._position = position

    def _read_more(self) -> None:
        rest = self._text[self._position :]
        # Twice as much at each try: the time stays in proportion to the size of the value.
        more = self._pieces.send(len(rest))
        self._text, self._position, self._is_whole = rest + more, 0, not more

    def _broken(self, error: Exception) -> DataError:
        return _explain(self._path, self.line, self._text, self._position, error)


def _pieces(path: str, encoding: str) -> Generator[str, int, None]:
    """Yield the text of a file in pieces of at least the size that is sent; an empty one at its end."""
    piece: list[str] = []
    size = 0
    wanted = yield ""
    for line in read_lines(path, encoding):
        piece.append(line)
        size += len(line)
        if size >= max(wanted, _BUFFER_SIZE):
            wanted = yield "".join(piece)
            piece, size = [], 0
    while True:
        yield "".join(piece)
        piece = []


def _may_be_cut(error: Exception, size: int) -> bool:
    """Whether a text of this size could be broken only because the rest of it is not read yet."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated") or error.pos >= size - _CUT


def _explain(path: str, line: int, text: str, start: int, error: Exception) -> DataError:
    """Return the error for a value that starts on this line of the file and at this position of the text."""
    if not isinstance(error, json.JSONDecodeError):
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return DataError(f"{path}, line {line}: broken JSON: {reason}")
    place = f"{path}, line {line + text.count(_END, start, error.pos)}"
    rest = text[error.pos : error.pos + _QUOTED]
    if rest.startswith("'") or _PYTHON_WORD.match(rest):
        advice = "print rows by json.dumps(row), not by print(row) or str(row)"
        return DataError(f"{place}: {shorten(rest, _QUOTED)} is Python, not JSON: {advice}")
    is_closing = rest.startswith(("]", "}")) and text[: error.pos].rstrip().endswith(",")
    if is_closing or error.msg.startswith("Illegal trailing comma"):
        return DataError(f"{place}: broken JSON: a comma before a closing bracket; remove it")
    return DataError(f"{place}: broken JSON: {error.msg}, at {shorten(rest, _QUOTED)}")


# Where the rows are in one value


def _find_rows(document: Any, path: str, rows_key: str | None) -> tuple[str, Callable[[Any], Sequence[Any]]]:
    """Return what was recognized, and the function that returns the rows in the document."""
    if rows_key is not None and isinstance(document, dict):
        keys = _keys_of(document, path, rows_key)
        said, rows_of = _find_rows(_value_at(document, keys), path, None)
        return f"JSON, {said} under the key {shorten(rows_key)}", partial(_rows_at, keys=keys, rows_of=rows_of)
    if isinstance(document, list):
        return "an array", list
    if not isinstance(document, dict):
        return "a JSON value", _only_row
    for said, recognizes_shape, rows_of in _SHAPES:
        if recognizes_shape(document):
            return said, rows_of
    lists = dict(_lists_of_objects(document))
    if len(lists) > 1:
        raise _several_lists(path, lists)
    for keys in lists:
        return f"JSON, rows under the key {shorten('.'.join(keys))}", partial(_rows_at, keys=keys)
    _check_lengths(document, path)
    return "one JSON object", _only_row


def _several_lists(path: str, lists: dict[tuple[str, ...], list[Any]]) -> DataError:
    names = {".".join(keys): len(rows) for keys, rows in lists.items()}
    listed = [f"{shorten(name)} ({size} row{'s' * (size != 1)})" for name, size in names.items()]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    advice = f"choose one, such as --rows_key {max(names, key=names.__getitem__)[:80]}"
    return DataError(f"{path} holds several lists of rows: {', '.join(listed[:_NAMES_SHOWN])}{more}; {advice}")


def _keys_of(document: Any, path: str, rows_key: str) -> tuple[str, ...]:
    """Return the keys on the way to the rows: dots separate them, but a key may hold dots itself."""
    for keys in ((rows_key,), tuple(rows_key.split("."))):
        if _value_at(document, keys) is not None:
            return keys
    known = ", ".join(shorten(key, 40) for key in list(document)[:_NAMES_SHOWN])
    raise DataError(f"{path} has no rows under the key {rows_key!r}; its keys are {known}")


def _value_at(document: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _rows_at(document: Any, keys: tuple[str, ...], rows_of: Callable[[Any], Sequence[Any]] = list) -> Sequence[Any]:
    return rows_of(_value_at(document, keys))


def _only_row(document: Any) -> list[Any]:
    return [document]


def _has_text(document: Any) -> bool:
    return isinstance(document, dict) and any(isinstance(value, str) for value in document.values())


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


def _check_lengths(document: dict[str, Any], path: str) -> None:
    """Refuse columns of different lengths."""
    if len(document) > 1 and all(isinstance(value, list) for value in document.values()):
        lengths = ", ".join(f"{shorten(key, 40)} {len(value)}" for key, value in list(document.items())[:_NAMES_SHOWN])
        advice = "write one object per row; if this is one row, write it into an array, in [ and ]"
        raise DataError(f"{path} holds columns of different lengths ({lengths}): {advice}")


def _is_split(document: dict[str, Any]) -> bool:
    names, rows = document.get("columns"), document.get("data")
    return _is_list_of(names, str) and _is_list_of(rows, list)


def _from_split(document: dict[str, Any]) -> list[Any]:
    names = document["columns"]
    rows = document["data"]
    return [dict(zip(names, row, strict=True)) if _has_length(row, len(names)) else row for row in rows]


def _has_length(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length


def _is_table(document: dict[str, Any]) -> bool:
    fields = _value_at(document, ("schema", "fields"))
    return set(document) == {"schema", "data"} and _is_list_of(fields, dict) and isinstance(document["data"], list)


def _from_table(document: dict[str, Any]) -> list[Any]:
    rows = document["data"]
    return [_without(row, "index") if isinstance(row, dict) else row for row in rows]


def _without(row: dict[str, Any], left_out: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != left_out}


def _is_columns(document: dict[str, Any]) -> bool:
    """Whether these are lists of the same length, and not just lists of objects, such as the splits of a data set."""
    columns = document.values()
    lengths = {len(column) if isinstance(column, list) else 0 for column in columns}
    return len(lengths) == 1 and lengths != {0} and not all(_is_list_of(column, dict) for column in columns)


def _from_columns(document: dict[str, Any]) -> list[Any]:
    return [dict(zip(document, cells, strict=True)) for cells in zip(*document.values(), strict=True)]


def _is_numbered_columns(document: dict[str, Any]) -> bool:
    """Whether these are columns that map the name of a row to its cell."""
    columns = list(document.values())
    if not columns or not all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        return False
    if all(map(str.isdecimal, columns[0])):
        return True
    holds_texts = any(_is_list_of(list(column.values()), str) for column in columns)
    return holds_texts and len(columns[0]) > len(document) > 1 and not all(map(str.isdecimal, document))


def _from_numbered_columns(document: dict[str, Any]) -> list[Any]:
    return _from_columns({name: list(column.values()) for name, column in document.items()})


def _is_named_rows(document: dict[str, Any]) -> bool:
    return len(document) > 1 and all(map(_has_text, document.values())) and not _SPLITS >= set(document)


def _from_named_rows(document: dict[str, Any]) -> list[Any]:
    """Return the rows, with their names as ids if they are not just numbers."""
    if all(map(str.isdecimal, document)):
        return list(document.values())
    return [{"id": name, **row} for name, row in document.items()]


_SHAPES = [
    ("JSON as pandas writes it with orient='split'", _is_split, _from_split),
    ("JSON as pandas writes it with orient='table'", _is_table, _from_table),
    ("JSON columns as lists", _is_columns, _from_columns),
    ("JSON as pandas writes it with orient='columns'", _is_numbered_columns, _from_numbered_columns),
    ("JSON rows by their names", _is_named_rows, _from_named_rows),
]
