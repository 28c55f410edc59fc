"""Reads csv, tsv and their dialects. All values stay text, also numbers and words such as "null"."""

import csv
import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import chain, islice, takewhile
from typing import Any, NamedTuple

from datasets import Features, Value

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import BATCH_SIZE, Batch
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .sample import Sample, open_bytes, read_lines

SEPARATORS = (",", ";", "\t", "|")
# Names that tell a header line from a row of data.
HEADER_NAMES = frozenset(
    "text texts sentence sentences content comment body document description title abstract review message question "
    "label labels category categories tag tags class classes topic topics id idx uid guid".split()
)

_BY_EXTENSION = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
_NO_SEPARATOR = "\udfff"  # for files of a single column: no decoded text holds half of a surrogate pair
_LONGEST_FIELD = 2**25  # so that a quote that is never closed does not take the rest of a large file into memory
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\\ ])"?', re.IGNORECASE)
_INDEX_NAME = re.compile(r"|Unnamed: 0(\.\d+)*|__index_level_\d+__")
_BACKSLASH = re.compile(r'(\\["\\])|\\')
_PART_SIZE = 200  # records: of many more lists, the garbage collector would look at each several times
_ADVICE = "close each quote at the end of its field and double the quotes inside"
_QUOTED = re.compile('"[^"]*"')
_LINE_END = re.compile("\r\n|\r|\n")


class Quoting(StrEnum):
    """How a field may hold quotes, as `Reader.said` puts it."""

    DOUBLED = ""
    BACKSLASH = ' with \\" escaped by a backslash'
    NONE = " without quoting"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How the lines of a file become fields.

    Attributes:
        separator: One character; "" in files of a single column.
        quoting: How a field may hold quotes.
        skips_blanks: Whether blanks behind separators are left out.
        start: Number of lines before the header.
        skipped: The lines among them that are not blank.
    """

    separator: str
    quoting: Quoting = Quoting.DOUBLED
    skips_blanks: bool = False
    start: int = 0
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        separated = f"csv separated by {_spelled(self.separator)}" if self.separator else "csv of a single column"
        blanks = ", blanks behind separators left out" if self.skips_blanks else ""
        skipped = "".join(f", first line {shorten(line)} skipped" for line in self.skipped)
        return f"{separated}{self.quoting}{blanks}{skipped}"

    def records(self, lines: Iterable[str], strict: bool = True) -> Any:
        """Parse lines into lists of fields, [] for a blank line, by a reader of the csv module."""
        csv.field_size_limit(_LONGEST_FIELD)  # the default, 131,072 characters, is too low for documents
        lines = islice(lines, self.start, None)
        if self.quoting is Quoting.BACKSLASH:
            lines = map(_only_escapes, lines)
        # If not strict, the csv module guesses at bad quoting and loses rows.
        return csv.reader(
            lines,
            delimiter=self.separator or _NO_SEPARATOR,
            escapechar="\\" if self.quoting is Quoting.BACKSLASH else None,
            quoting=csv.QUOTE_NONE if self.quoting is Quoting.NONE else csv.QUOTE_MINIMAL,
            skipinitialspace=self.skips_blanks,
            strict=strict,
        )


@dataclass(frozen=True, kw_only=True)
class DelimitedReader:
    """Reads a delimited file; see `Reader`.

    Attributes:
        path: Of the file.
        encoding: Of its text.
        dialect: How its lines become fields.
        names: The names of all columns; None for those that are left out: the index of pandas, and columns behind
            the last name, which are blank.
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
        return str(self.dialect) + ", index column left out" * (self.names[0] is None)

    @property
    def features(self) -> Features:
        """All columns hold texts."""
        return Features({name: Value("string") for name in self.names if name is not None})

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        parts = self._parts()
        while group := list(islice(parts, BATCH_SIZE // _PART_SIZE)):
            yield _joined(group)

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines of the file on which rows start."""
        last = max(numbers, default=0)
        until_last = takewhile(lambda place: place[0] <= last, self.located())
        return {number: line for number, line, _ in until_last if number in numbers}

    def records(self) -> Any:
        """Begin a pass over the records with the header, by a reader of the csv module."""
        return self.dialect.records(read_lines(self.path, self.encoding))

    def located(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield the number of each row, 0 for the header, with its line and fields.

        Raises:
            DataError: If the quoting is broken.
        """
        number, line = 0 if self.has_header else 1, self.dialect.start + 1
        records = self.records()
        try:
            for fields in records:
                if not _is_blank(fields, len(self.names)):
                    yield number, line, fields
                    number += 1
                line = self.dialect.start + records.line_num + 1
        except csv.Error as error:
            place = f"{self.path}, {f'row {number}' if number else 'header'} (line {line})"
            raise DataError(f"{place}: broken quoting ({error}); {_ADVICE}") from error

    def _parts(self) -> Iterator[Batch]:
        records = filter(None, self.records())
        first = 1
        try:
            if self.has_header:
                next(records, None)
            while chunk := list(islice(records, _PART_SIZE)):
                part = self._part(chunk, first)
                yield part
                first += len(part.numbers) + len(part.problems)
        except csv.Error:  # `read` finds it, unless the file has no quotes or has changed since
            deque(self.located(), maxlen=0)
            raise

    def _part(self, records: list[list[str]], first: int) -> Batch:
        numbers: Sequence[int] = range(first, first + len(records))
        problems = {}
        if {*map(len, records)} != {len(self.names)} or self.names[-1] is None or self._may_repeat_header(records):
            width = len(self.names)
            filled = (_trimmed(fields, width) for fields in records if not _is_blank(fields, width))
            numbered = dict(enumerate(filled, first))
            problems = {number: problem for number, fields in numbered.items() if (problem := self._problem(fields))}
            numbers = [number for number in numbered if number not in problems]
            records = [numbered[number] for number in numbers]
        values = map(list, zip(*records, strict=True)) if records else ([] for _ in self.names)
        columns = {name: column for name, column in zip(self.names, values, strict=True) if name is not None}
        return Batch(numbers, columns, problems)

    def _may_repeat_header(self, records: list[list[str]]) -> bool:
        """Whether a record begins as the header does, perhaps behind a byte order mark: two files were joined."""
        firsts = {self.names[0] or "", f"\ufeff{self.names[0]}"}
        return not firsts.isdisjoint(fields[0] for fields in records)

    def _problem(self, fields: list[str]) -> str:
        """Say why a row cannot be read; "" if it can."""
        width = len(self.names)
        if width > 1 and [fields[0].removeprefix("\ufeff"), *fields[1:]] == [name or "" for name in self.names]:
            return "it repeats the header; remove it"
        if len(fields) != width:
            expected = f"the header has {width}" if self.has_header else f"other rows have {width}"
            return (
                f"{len(fields)} fields where {expected}; quote a field that holds {_spelled(self.dialect.separator)}"
            )
        # From the end, those without a name.
        for name, field in zip(reversed(self.names), reversed(fields), strict=True):
            if name is not None:
                break
            if field.strip():
                return f"{shorten(field)} in a column without a name; name it in the header"
        return ""


def _joined(parts: list[Batch]) -> Batch:
    columns = {name: list(chain.from_iterable(part.columns[name] for part in parts)) for name in parts[0].columns}
    numbers = list(chain.from_iterable(part.numbers for part in parts))
    problems = {number: problem for part in parts for number, problem in part.problems.items()}
    return Batch(numbers, columns, problems)


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Recognize a delimited file by its extension, or by lines with the same number of fields."""
    if not sample.lines and sample.magic:
        return None
    if sample.suffix in _BY_EXTENSION:
        return f"the extension is {sample.suffix}"
    if sample.first.startswith(("{", "[", "<")):
        return None
    dialect = _find_dialect(sample, spec)
    width, *widths = [len(fields) for fields in _sampled(sample, dialect)] or [0]
    if width > 1 and 2 * widths.count(width) > len(widths):
        return f"lines have {width} fields separated by {_spelled(dialect.separator)}"
    if width == 1 and sample.first.lower() in HEADER_NAMES:
        return f"the first line is the name of a column, {sample.first!r}"
    return None


def read(sample: Sample, spec: DataSpec) -> DelimitedReader:
    """Find the dialect of a file, and return its reader.

    Raises:
        DataError: If the file is empty, its quoting is broken, column names are blank or repeated, or
            `spec.column_names` names another number of columns than the file has.
    """
    dialect = _find_dialect(sample, spec)
    header = next(_sampled(sample, dialect), [])
    if not header:
        raise DataError(f"{sample.path} has no rows")
    # The first line may hold just the names that are passed.
    named = None if spec.column_names == [*map(str.strip, header)] else spec.column_names
    if named is not None:
        _check_number(sample, dialect, header, named)
    reader = DelimitedReader(
        path=sample.path,
        encoding=sample.encoding,
        dialect=dialect,
        names=[*(named or header)],
        has_header=named is None,
    )
    reader = replace(reader, dialect=_checked_quoting(reader, sample))
    if named is None:
        reader = replace(reader, names=_names_in(sample, reader.dialect, spec))
    _check_names(sample.path, reader.names)
    return reader


def holds_header_name(fields: Iterable[str]) -> bool:
    """Whether some field of a first line is a usual name of a column, so that this is no row of data."""
    return not HEADER_NAMES.isdisjoint(field.strip().lower() for field in fields)


def _spelled(separator: str) -> str:
    return "a tab" if separator == "\t" else repr(separator)


def _only_escapes(line: str) -> str:
    r"""Double the backslashes that escape nothing: Spark writes \" for a quote, but C:\ for C:\ ."""
    return _BACKSLASH.sub(lambda found: found[1] or "\\\\", line) if "\\" in line else line


def _is_blank(fields: list[str], width: int) -> bool:
    return not fields or len(fields) == 1 < width and not fields[0].strip()


def _trimmed(fields: list[str], width: int) -> list[str]:
    """Leave out blank fields behind the columns."""
    return fields if any(map(str.strip, fields[width:])) else fields[:width]


def _sampled(sample: Sample, dialect: Dialect) -> Iterator[list[str]]:
    """Yield the records of a sample, which may end within a quoted field."""
    return filter(None, dialect.records(sample.lines, strict=False))


# The header


def _check_number(sample: Sample, dialect: Dialect, fields: list[str], names: list[str]) -> None:
    if len(_trimmed(fields, len(names))) != len(names):
        separated = f"separated by {_spelled(dialect.separator)}, " if dialect.separator else ""
        raise DataError(
            f"{sample.path}, line {dialect.start + 1}: {len(fields)} fields, {separated}where {len(names)} columns "
            f"are named ({', '.join(names)}); name each column of the file in --column_names"
        )


def _names_in(sample: Sample, dialect: Dialect, spec: DataSpec) -> list[str | None]:
    """Return the names of the columns; None for those in which pandas wrote its index, and blank ones at the end."""
    header, *rows = [list(map(str.strip, fields)) for fields in _sampled(sample, dialect)]
    wanted = {*spec.text_columns, *spec.label_columns, spec.id_column, spec.text_pair_column}
    start, end = 0, len(header)
    while end > 1 and not header[end - 1] and not any(any(fields[end - 1 :]) for fields in rows):
        end -= 1
    while start + 1 < end and _INDEX_NAME.fullmatch(header[start]) and header[start] not in wanted:
        start += 1
    return [None] * start + header[start:end] + [None] * (len(header) - end)


def _check_names(path: str, names: list[str | None]) -> None:
    for position, name in enumerate(names, 1):
        if name is not None and not name.strip():
            raise DataError(f"{path}: column {position} has no name; give it one or remove it")
    for name, times in Counter(filter(None, names)).items():
        if times > 1:
            raise DataError(f"{path}: column name {shorten(name)} occurs twice; rename one")


# The dialect


def _find_dialect(sample: Sample, spec: DataSpec) -> Dialect:
    """Find separator, first line and blanks; the quoting is checked later, over the whole file."""
    lines = sample.lines
    filled = [number for number, line in enumerate(lines) if line.strip()]
    first, second = [*filled[:2], *[len(lines)] * 2][:2]
    if filled and (found := _SEPARATOR_LINE.fullmatch(lines[first].rstrip("\r\n"))):
        dialect = Dialect(separator=found[1], start=second)
    else:
        body = next((number for number in filled if not lines[number].startswith("#")), first)
        separator = _find_separator(sample, spec, body)
        width = _width(lines[body:], separator)
        # A header may begin with #, too.
        start = next((number for number in filled if _width([lines[number]], separator) >= width), body)
        start = min(start, body)
        skipped = tuple(lines[number].strip() for number in filled if number < start)
        dialect = Dialect(separator=separator, start=start, skipped=skipped)
    return replace(dialect, skips_blanks=_has_blanks(sample, dialect))


def _find_separator(sample: Sample, spec: DataSpec, start: int) -> str:
    """Return the separator that the extension promises, if the header has it, else the one that fits most records."""
    lines = sample.lines[start:]
    promised = _BY_EXTENSION.get(sample.suffix)
    order = sorted(SEPARATORS, key=lambda separator: separator != promised)
    unquoted = _QUOTED.sub("", lines[0]) if lines else ""
    widths = {separator: _width(lines, separator) for separator in order if separator in unquoted}
    if spec.column_names is not None:
        widths = {key: width for key, width in widths.items() if width == len(spec.column_names)} or widths
    elif promised and widths.get(promised, 0) > 1:
        return promised
    found = [separator for separator, width in widths.items() if width > 1]
    return max(found, key=partial(_share_that_fits, lines), default="")


def _width(lines: list[str], separator: str) -> int:
    records = Dialect(separator=separator).records(lines, strict=False)
    return len(next(filter(None, records), []))


def _share_that_fits(lines: list[str], separator: str) -> float:
    """Return the share of the records that have as many fields as the first one."""
    widths = [len(fields) for fields in Dialect(separator=separator).records(lines, strict=False) if fields]
    return widths.count(widths[0]) / len(widths)


def _has_blanks(sample: Sample, dialect: Dialect) -> bool:
    """Whether the header has a blank behind each separator."""
    behind = next(_sampled(sample, dialect), [])[1:]
    return bool(behind) and all(name.startswith(" ") for name in behind)


# Quoting


def _checked_quoting(reader: DelimitedReader, sample: Sample) -> Dialect:
    """Return the dialect with the quoting that fits the whole file.

    Raises:
        DataError: If none does.
    """
    dialect = reader.dialect
    trial = _try_quotes(reader) if _has_quotes(reader.path) else _Trial()
    if (trial.is_broken or trial.is_uneven) and (changed := _with_more_rules(reader)):
        return changed
    # Without separators, each line would fit.
    if (trial.is_broken or trial.swallows) and dialect.separator and not _are_quotes_meant(reader, sample):
        plain = replace(dialect, quoting=Quoting.NONE)
        if _fits(replace(reader, dialect=plain)):
            return plain
        if dialect.separator == "\t":
            _refuse_swallowed(reader)
    if trial.is_broken:
        deque(reader.located(), maxlen=0)
    return dialect


class _Trial(NamedTuple):
    """What reading a file with quotes has shown.

    Attributes:
        is_broken: Whether it fails.
        is_uneven: Whether some record has another number of fields than the header.
        swallows: Whether the lines of some quoted field look like records.
    """

    is_broken: bool = False
    is_uneven: bool = False
    swallows: bool = False


def _has_quotes(path: str) -> bool:
    with open_bytes(path) as file:
        return any(b'"' in part for part in iter(partial(file.read, 2**20), b""))


def _try_quotes(reader: DelimitedReader) -> _Trial:
    records, widths = reader.records(), {len(reader.names), 0}
    is_uneven = swallows = False
    last_line = 0
    try:
        while chunk := list(islice(records, _PART_SIZE)):
            is_uneven = is_uneven or not {*map(len, chunk)} <= widths
            if records.line_num - last_line > len(chunk):
                swallows = swallows or any(_swallowed_lines(reader, fields) for fields in chunk)
            last_line = records.line_num
    except csv.Error:
        return _Trial(True, is_uneven, swallows)
    return _Trial(False, is_uneven, swallows)


def _swallowed_lines(reader: DelimitedReader, fields: list[str]) -> int:
    """Return the number of lines of a record over several lines, if each has the header's number of fields."""
    if not any("\n" in field or "\r" in field for field in fields):
        return 0
    separator, width = reader.dialect.separator, len(reader.names)
    lines = _LINE_END.split(separator.join(fields))
    # A text over two lines may well have a comma in each, but hardly a tab.
    fewest = 2 if separator == "\t" else 3
    return len(lines) if len(lines) >= fewest and all(line.count(separator) == width - 1 for line in lines) else 0


def _with_more_rules(reader: DelimitedReader) -> Dialect | None:
    """Return the dialect with another rule for quotes, if there are signs of it and the whole file has it."""
    rules: dict[str, dict[str, Any]] = {
        '\\"': {"quoting": Quoting.BACKSLASH},
        f'{reader.dialect.separator} "': {"skips_blanks": True},
    }
    for sign, rule in rules.items():
        if any(sign in line for line in read_lines(reader.path, reader.encoding)):
            dialect = replace(reader.dialect, **rule)
            if _fits(replace(reader, dialect=dialect)):
                return dialect
    return None


def _are_quotes_meant(reader: DelimitedReader, sample: Sample) -> bool:
    """Whether a program quoted the header, or some field in most rows: then it closed its quotes."""
    header, *rows = _sampled(sample, replace(reader.dialect, quoting=Quoting.NONE))
    quoted = sum(any(len(x) > 1 and x[0] == x[-1] == '"' for x in map(str.strip, fields)) for fields in rows)
    return reader.has_header and '"' in "".join(header) or 2 * quoted > len(rows)


def _fits(reader: DelimitedReader) -> bool:
    """Whether each record has the header's number of fields."""
    records, width = reader.records(), len(reader.names)
    try:
        while chunk := list(islice(records, _PART_SIZE)):
            if not {*map(len, chunk)} <= {width, 0}:
                return False
    except csv.Error:
        return False
    return True


def _refuse_swallowed(reader: DelimitedReader) -> None:
    for number, line, fields in reader.located():
        if count := _swallowed_lines(reader, fields):
            raise DataError(
                f"{reader.path}, row {number} (line {line}): a quoted field goes over {count} lines, which have "
                f"{len(reader.names)} fields each: it swallows rows; {_ADVICE}"
            )
