"""Reads csv, tsv and their dialects. All values stay text, also numbers and words such as "null"."""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any

from bert_multilabel.data.columns import is_common_name
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, KnownColumns, kept_names
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .sample import Sample, open_bytes, read_lines

SEPARATORS = (",", ";", "\t", "|")

_BY_EXTENSION = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
_NO_SEPARATOR = "\udfff"  # for files of a single column: no decoded text holds half of a surrogate pair
_LONGEST_FIELD = 2**25  # so that a quote that is never closed does not take the rest of a large file into memory
_ROWS = 500  # in a batch: of more lists, the garbage collector would look at each several times
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\\ ])"?\s*', re.IGNORECASE)
_HEADER_OF_R = re.compile(r'"[^"]*"( "[^"]*")+\s*')  # as write.table separates by default
_BACKSLASH = re.compile(r'(\\["\\])|\\')
_QUOTED = re.compile('"[^"]*"')
_LINE_END = re.compile("\r\n|\r|\n")
_ADVICE = "close each quote at the end of its field and double the quotes inside"


class Quoting(StrEnum):
    """How a field may hold quotes, as `Reader.said` puts it."""

    DOUBLED = ""
    BACKSLASH = ' with \\" escaped by a backslash'
    NONE = " without quoting"


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file become fields; blanks before fields are left out.

    Attributes:
        separator: One character; "" in files of a single column.
        quoting: How a field may hold quotes.
        start: Number of lines before the header.
    """

    separator: str
    quoting: Quoting = Quoting.DOUBLED
    start: int = 0

    def __str__(self) -> str:
        separated = f"csv separated by {_spelled(self.separator)}" if self.separator else "csv of a single column"
        return f"{separated}{self.quoting}" + f", from line {self.start + 1} on" * (self.start > 0)

    def records(self, lines: Iterable[str], strict: bool = True) -> Any:
        """Parse lines into lists of fields, [] for a blank line, by a reader of the csv module."""
        csv.field_size_limit(_LONGEST_FIELD)  # the default, 131,072 characters, is too low for documents
        lines = islice(lines, self.start, None)
        is_escaped = self.quoting is Quoting.BACKSLASH
        # If not strict, the csv module guesses at bad quoting and loses rows.
        return csv.reader(
            map(_only_escapes, lines) if is_escaped else lines,
            delimiter=self.separator or _NO_SEPARATOR,
            escapechar="\\" if is_escaped else None,
            quoting=csv.QUOTE_NONE if self.quoting is Quoting.NONE else csv.QUOTE_MINIMAL,
            skipinitialspace=self.separator != " ",
            strict=strict,
        )


@dataclass(frozen=True, kw_only=True)
class DelimitedReader:
    """Reads a delimited file; see `Reader`.

    Attributes:
        path: Of the file.
        encoding: Of its text.
        dialect: How its lines become fields.
        names: The names of all columns; None for those that are left out.
        has_header: Whether the first record holds the names.
    """

    path: str
    encoding: str
    dialect: Dialect
    names: list[str | None]
    has_header: bool

    @property
    def said(self) -> str:
        """What was recognized."""
        return f"{self.dialect}" + ", index column left out" * (None in self.names)

    @property
    def known_columns(self) -> KnownColumns:
        """All columns, which hold texts."""
        return dict.fromkeys(filter(None, self.names))

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        first = 1
        try:
            records = filter(None, self.records())
            while chunk := list(islice(records, _ROWS)):
                batch = self._batch(chunk, first)
                yield batch
                first += len(batch.numbers) + len(batch.problems)
        except csv.Error:  # `read` finds it, unless the file has changed since
            self.check_quotes()
            raise

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines of the file on which rows start."""
        last = max(numbers, default=0)
        until_last = takewhile(lambda place: place[0] <= last, self._located())
        return {number: line for number, line, _ in until_last if number in numbers}

    def records(self) -> Any:
        """Begin a pass over the records below the header, by a reader of the csv module."""
        records = self.dialect.records(read_lines(self.path, self.encoding))
        if self.has_header:
            next(filter(None, records), None)
        return records

    def check_quotes(self) -> None:
        """Raise a DataError at a field that is not closed, or over lines each of which is a record of its own."""
        for number, line, fields in self._located():
            if count := self.swallowed_lines(fields):
                raise DataError(
                    f"{self.path}, row {number} (line {line}): a quoted field goes over {count} lines, which have "
                    f"{len(self.names)} fields each: it swallows rows; {_ADVICE}"
                )

    def swallowed_lines(self, fields: list[str]) -> int:
        """Return the number of lines of a record over several lines, if each has the header's number of fields."""
        separator = self.dialect.separator
        record = separator.join(fields)
        if "\n" not in record and "\r" not in record:
            return 0
        lines = _LINE_END.split(record)
        # A text over two lines may well have a comma in each, but hardly a tab.
        fewest = 2 if separator == "\t" else 3
        are_records = len(lines) >= fewest and all(line.count(separator) == len(self.names) - 1 for line in lines)
        return len(lines) if are_records else 0

    def row(self, fields: list[str]) -> list[str]:
        """Return the fields without blank ones behind the columns; [] if all are blank."""
        width = len(self.names)
        if len(fields) > width and not any(map(str.strip, fields[width:])):
            return fields[:width]
        return [] if len(fields) == 1 < width and not fields[0].strip() else fields

    def _located(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield the number of each row with its line and fields."""
        number, line = int(not self.has_header), self.dialect.start + 1
        records = self.dialect.records(read_lines(self.path, self.encoding))
        try:
            for fields in records:
                if self.row(fields):
                    yield number, line, fields
                    number += 1
                line = self.dialect.start + records.line_num + 1
        except csv.Error as error:
            place = f"{self.path}, {f'row {number}' if number else 'header'} (line {line})"
            raise DataError(f"{place}: broken quoting ({error}); {_ADVICE}") from error

    def _batch(self, records: list[list[str]], first: int) -> Batch:
        numbers: Sequence[int] = range(first, first + len(records))
        problems = {}
        may_be_header = {self.names[0] or "", f"\ufeff{self.names[0]}"}
        if {*map(len, records)} != {len(self.names)} or not may_be_header.isdisjoint(map(itemgetter(0), records)):
            rows = dict(enumerate(filter(None, map(self.row, records)), first))
            problems = {number: problem for number, row in rows.items() if (problem := self._problem(row))}
            numbers = [number for number in rows if number not in problems]
            records = [rows[number] for number in numbers]
        cells = map(list, zip(*records, strict=True)) if records else ([] for _ in self.names)
        columns = {name: column for name, column in zip(self.names, cells, strict=True) if name is not None}
        return Batch(numbers, columns, problems)

    def _problem(self, row: list[str]) -> str:
        """Say why a row cannot be read; "" if it can. Of files that were joined, each may begin with a header."""
        if len(row) > 1 and [row[0].removeprefix("\ufeff"), *row[1:]] == [name or "" for name in self.names]:
            return "it repeats the header; remove it"
        if len(row) == len(self.names):
            return ""
        expected = f"{'the header has' if self.has_header else 'other rows have'} {len(self.names)}"
        return f"{len(row)} fields where {expected}; quote a field that holds {_spelled(self.dialect.separator)}"


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Recognize a delimited file by its extension, or by lines with the same number of fields."""
    if sample.kind:
        return None
    if sample.suffix in _BY_EXTENSION:
        return f"the extension is {sample.suffix}"
    if sample.first.startswith(("{", "[", "<")):
        return None
    dialect = _find_dialect(sample, spec)
    if dialect.separator == " ":
        return f"it begins with {shorten(sample.first)}, as tables of R do"
    width, *widths = map(len, _records(sample, dialect) or [[]])
    if width > 1 and 2 * widths.count(width) > len(widths):
        return f"lines have {width} fields separated by {_spelled(dialect.separator)}"
    if width == 1 and is_common_name(sample.first):
        return f"the first line is the name of a column, {sample.first!r}"
    return None


def read(sample: Sample, spec: DataSpec) -> DelimitedReader:
    """Find the dialect of a file, and return its reader.

    Raises:
        DataError: If the file is empty, its quoting is broken, column names are blank or repeated, or
            `spec.column_names` names another number of columns than the file has.
    """
    if not sample.first:
        raise DataError(f"{sample.path} has no rows")
    dialect = _find_dialect(sample, spec)
    reader = _reader(sample, spec, dialect)
    faults = _faults(reader) if _holds(sample, b'"') else set()
    if faults and _holds(sample, b"\\"):
        escaped = _reader(sample, spec, replace(dialect, quoting=Quoting.BACKSLASH))
        if not _faults(escaped):
            return escaped
    # Without separators, each line would fit.
    if faults & {"broken", "swallows"} and dialect.separator and not _are_quotes_meant(sample, reader):
        plain = replace(reader, dialect=replace(dialect, quoting=Quoting.NONE))
        if not _faults(plain):
            return plain
        if dialect.separator == "\t":
            faults.add("broken")
    if "broken" in faults:
        reader.check_quotes()
    return reader


def _spelled(separator: str) -> str:
    return "a tab" if separator == "\t" else repr(separator)


def _only_escapes(line: str) -> str:
    r"""Double the backslashes that escape nothing: Spark writes \" for a quote, but C:\ for C:\ ."""
    return _BACKSLASH.sub(lambda found: found[1] or "\\\\", line) if "\\" in line else line


# The separator


def _find_dialect(sample: Sample, spec: DataSpec) -> Dialect:
    """Find the separator and the first line; the quoting is found later, over the whole file."""
    lines = sample.lines
    filled = [number for number, line in enumerate(lines) if line.strip()]
    if not filled:
        return Dialect("")
    if found := _SEPARATOR_LINE.fullmatch(lines[filled[0]]):
        return Dialect(found[1], start=[*filled, len(lines)][1])
    body = next((number for number in filled if not lines[number].startswith("#")), filled[0])
    separator = _find_separator(sample, spec, lines[body:])
    # A header may begin with #, too.
    fewest = lines[body].count(separator)
    start = next(
        number for number in filled if number == body or not separator or lines[number].count(separator) >= fewest
    )
    return Dialect(separator, start=start)


def _find_separator(sample: Sample, spec: DataSpec, lines: list[str]) -> str:
    """Return the separator that the extension promises, if the header has it, else the one that fits most records."""
    if _HEADER_OF_R.fullmatch(lines[0]):
        return " "
    promised = _BY_EXTENSION.get(sample.suffix)
    unquoted = _QUOTED.sub("", lines[0])
    found = sorted((separator for separator in SEPARATORS if separator in unquoted), key=lambda x: x != promised)
    if spec.column_names is not None:
        count = len(spec.column_names) - 1
        found = [separator for separator in found if unquoted.count(separator) == count] or found
    elif promised in found:
        return promised
    return max(found, key=partial(_share_that_fits, lines), default="")


def _share_that_fits(lines: list[str], separator: str) -> float:
    """Return the share of the records that have as many fields as the first one."""
    widths = [len(fields) for fields in Dialect(separator).records(lines, strict=False) if fields]
    return widths.count(widths[0]) / len(widths)


# The header


def _records(sample: Sample, dialect: Dialect) -> list[list[str]]:
    """Parse a sample, which may end within a quoted field; R writes no name above the numbers of rows."""
    records = [*filter(None, dialect.records(sample.lines, strict=False))]
    rows = records[1:-1] or records[1:]
    # Commas may also be in texts that should have been quoted.
    may_be_of_r = dialect.separator in ("\t", " ") or sample.first.startswith('"')
    if may_be_of_r and rows and all(len(row) == len(records[0]) + 1 and row[0].isdigit() for row in rows):
        records[0] = ["", *records[0]]
    return records


def _reader(sample: Sample, spec: DataSpec, dialect: Dialect) -> DelimitedReader:
    """Return the reader of a file in a dialect, with the names of its columns."""
    if not (records := _records(sample, dialect)):
        raise DataError(f"{sample.path} has no rows")
    first, *rows = records
    header = [*map(str.strip, first)]
    # The first line may hold just the names that are passed.
    has_header = spec.column_names in (None, header)
    names = header if spec.column_names is None else spec.column_names
    if has_header:  # perhaps with blank columns at its end
        cells = (cell for row in [names, *rows] for cell in enumerate(row[: len(names)], 1))
        names = names[: max((number for number, cell in cells if cell.strip()), default=1)]
    reader = DelimitedReader(
        path=sample.path,
        encoding=sample.encoding,
        dialect=dialect,
        names=kept_names(sample.path, names, spec.column_names or spec.named_columns),
        has_header=has_header,
    )
    if len(reader.row(first)) not in (0, len(names)) and not has_header:
        separated = f"separated by {_spelled(dialect.separator)}, " if dialect.separator else ""
        raise DataError(
            f"{sample.path}, line {dialect.start + 1}: {len(first)} fields, {separated}where {len(names)} columns "
            f"are named ({', '.join(names)}); name each column of the file in --column_names"
        )
    return reader


# Quoting


def _holds(sample: Sample, byte: bytes) -> bool:
    with open_bytes(sample.path) as file:
        return any(byte in part for part in iter(partial(file.read, 2**20), b""))


def _faults(reader: DelimitedReader) -> set[str]:
    """Read a whole file and return what is wrong with it.

    It is "broken" if the csv module cannot read it, "uneven" if rows have other numbers of fields than the header, and
    "swallows" rows if the lines in some quoted field look like rows.
    """
    faults, widths = set(), {len(reader.names), 0}
    try:
        records = reader.records()
        last_line = records.line_num
        while chunk := list(islice(records, _ROWS)):
            if not {*map(len, chunk)} <= widths and not {len(reader.row(fields)) for fields in chunk} <= widths:
                faults.add("uneven")
            if records.line_num - last_line > len(chunk) and any(map(reader.swallowed_lines, chunk)):
                faults.add("swallows")
            last_line = records.line_num
    except csv.Error:
        faults.add("broken")
    return faults


def _are_quotes_meant(sample: Sample, reader: DelimitedReader) -> bool:
    """Whether a program quoted the header, or some field in most rows: then it closed its quotes."""
    header, *rows = _records(sample, replace(reader.dialect, quoting=Quoting.NONE))
    quoted = sum(any(len(x) > 1 and x[0] == x[-1] == '"' for x in map(str.strip, fields)) for fields in rows)
    return reader.has_header and '"' in "".join(header) or 2 * quoted > len(rows)
