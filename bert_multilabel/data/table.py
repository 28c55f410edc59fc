"""Tables of raw values: read in batches of columns, at each pass from their source, with positions for messages."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from bert_multilabel.errors import DataError

from .facts import ColumnFacts
from .label_form import Cells, count_cells
from .values import shorten

SPLITS = ("train", "validation", "test")
PROBLEMS_SHOWN = 20  # in the message, of each source
ROWS_NAMED = 3  # of many with the same problem
BATCH_SIZE = 1000
# What pandas calls the numbers of rows when it writes and reads them.
_INDEX_NAME = re.compile(r"|__index_level_\d+__|Unnamed: 0(\.\d+)*")


# Columns, each with the names of its ids if it is known to hold ids with names.
KnownColumns = dict[str, list[str] | None]


class Problem(str):
    """Why a row cannot be used, after its source, row number and line.

    Attributes:
        source: Name of the source.
        place: Row number and line.
        reason: Why.
    """

    source: str
    place: str
    reason: str

    def __new__(cls, source: str, place: str, reason: str) -> "Problem":
        """Join the parts."""
        problem = super().__new__(cls, f"{source}, {place}, {reason}")
        problem.source, problem.place, problem.reason = source, place, reason
        return problem


class BadRows(DataError):
    """Rows that cannot be used: all problems by source.

    The message shows `PROBLEMS_SHOWN` of each source, and the same reason of many rows once.
    """

    def __init__(self, problems: Mapping[str, Sequence[Problem]]) -> None:
        super().__init__("\n".join(_listed(source, listed) for source, listed in problems.items()))
        self.problems = problems


class Batch(NamedTuple):
    """Some rows, by column.

    Attributes:
        numbers: Positions of B rows among all rows of the source, from 1. Judgements of several annotators on one
            text are rows with the same number.
        columns: The B values of each column; None where a row lacks it.
        problems: Why other rows of this part of the source could not be read, by number.
        left_out: Number of rows that the source itself marks as not to be used.
    """

    numbers: Sequence[int]
    columns: dict[str, list[Any]]
    problems: Mapping[int, str] = {}
    left_out: int = 0


class Reader(Protocol):
    """Reads the rows of one source, as often as `batches` is called. It can be pickled."""

    @property
    def known_columns(self) -> KnownColumns:
        """The columns, as far as they are known."""

    @property
    def said(self) -> str:
        """What was recognized, for the user: "csv separated by ';'"."""

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines of the file on which rows start, from 1; none where there are no lines."""


class WithoutLines:
    """A reader of rows that start on no line."""

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return no lines."""
        return {}


@dataclass
class RowsReader(WithoutLines):
    """Reads rows that are held in memory.

    Attributes:
        rows: The values of each row by column.
    """

    rows: Sequence[Mapping[str, Any]]
    known_columns: KnownColumns = field(default_factory=dict)
    said: str = "rows"

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        yield from rows_in_batches(enumerate(self.rows, 1))


@dataclass(frozen=True)
class JoinedReader(WithoutLines):
    """Reads several sources one after another. Rows are numbered through, but messages name them by their source.

    Attributes:
        readers: The reader of each source.
        said: What was recognized.
    """

    readers: dict[str, Reader]
    said: str

    @property
    def known_columns(self) -> KnownColumns:
        """The columns of all sources; the first source that knows a column decides."""
        known: KnownColumns = {}
        for reader in self.readers.values():
            known = reader.known_columns | known
        return known

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        for _, offset, batch in self._parts():
            numbers = [offset + number for number in batch.numbers]
            problems = {offset + number: problem for number, problem in batch.problems.items()}
            yield batch._replace(numbers=numbers, problems=problems)

    def by_source(self, problems: Iterable[tuple[int, str]]) -> Iterator[tuple[str, Reader, list[tuple[int, str]]]]:
        """Yield problems by their source, with its reader; rows are numbered as there."""
        offsets = {source: offset for source, offset, _ in self._parts()}
        listed = list(problems)
        for (source, offset), end in zip(offsets.items(), [*offsets.values(), math.inf][1:], strict=True):
            its_problems = [(number - offset, problem) for number, problem in listed if offset < number <= end]
            yield source, self.readers[source], its_problems

    def _parts(self) -> Iterator[tuple[str, int, Batch]]:
        """Yield each batch with its source and the number of rows before the source."""
        offset = last = 0
        for source, reader in self.readers.items():
            for batch in reader.batches():
                yield source, offset, batch
                last = max(last, offset + max((*batch.numbers, *batch.problems), default=0))
            offset = last


def rows_in_batches(rows: Iterable[tuple[int, Mapping[str, Any] | str]], size: int = BATCH_SIZE) -> Iterator[Batch]:
    """Turn numbered rows into batches of columns; a text in place of a row is the problem of that row."""
    numbers: list[int] = []
    values: list[Mapping[str, Any]] = []
    problems: dict[int, str] = {}
    for number, row in rows:
        if isinstance(row, str):
            problems[number] = row
        else:
            numbers.append(number)
            values.append(row)
        if len(values) + len(problems) >= size:
            yield Batch(numbers, in_columns(values), problems)
            numbers, values, problems = [], [], {}
    if values or problems:
        yield Batch(numbers, in_columns(values), problems)


def in_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each column; None where a row lacks it."""
    if rows and {*map(len, rows)} == {len(rows[0])}:
        with suppress(KeyError):  # rows of the same size with other names
            return {name: list(map(itemgetter(name), rows)) for name in rows[0]}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def is_kept(name: str, named: Collection[str]) -> bool:
    """Whether a column is more than the index of pandas, or named by the user."""
    return name in named or not _INDEX_NAME.fullmatch(name)


def kept_names(source: str, names: Sequence[str], named: Collection[str] = ()) -> list[str | None]:
    """Return the names of columns; None for the index of pandas, unless the user names it.

    Raises:
        DataError: If another column has no name, or that of another one.
    """
    kept = [name if is_kept(name, named) else None for name in names]
    times = Counter(kept)
    for position, name in enumerate(names, 1):
        if not name.strip() and (any(kept[:position]) or not any(kept)):
            raise DataError(f"{source}: column {position} has no name; give it one or remove it")
        if name in times and times[name] > 1:
            raise DataError(f"{source}: column name {shorten(name)} occurs twice; rename one")
    return kept


def located(source: str, reader: Reader, problems: Iterable[tuple[int, str]]) -> list[Problem]:
    """Return the problems of rows with their places, in the order of the rows."""
    if isinstance(reader, JoinedReader):
        return [problem for part in reader.by_source(problems) for problem in located(*part)]
    numbered = sorted(problems, key=lambda problem: problem[0])
    lines = reader.lines({number for number, _ in numbered})
    places = {number: f" (line {line})" for number, line in lines.items()}
    return [Problem(source, f"row {number}{places.get(number, '')}", reason) for number, reason in numbered]


def raise_problems(source: str, problems: Sequence[Problem]) -> None:
    """Raise `BadRows` if a source has problems."""
    if problems:
        raise BadRows({source: problems})


def _listed(source: str, problems: Sequence[Problem]) -> str:
    heading = f"{len(problems)} problem{'s' * (len(problems) > 1)} in {source}:"
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.source, problem.reason), []).append(problem)
    lines: list[str] = []
    for problem in problems:
        rows = alike[problem.source, problem.reason]
        if len(rows) <= ROWS_NAMED:
            lines.append(problem)
        elif problem is rows[0]:
            named = ", ".join(row.place for row in rows[:ROWS_NAMED])
            lines.append(f"{problem.source}, {named} and {len(rows) - ROWS_NAMED} more rows, {problem.reason}")
    rest = [f"... and {len(lines) - PROBLEMS_SHOWN} more"] if len(lines) > PROBLEMS_SHOWN else []
    return "\n".join([heading, *lines[:PROBLEMS_SHOWN], *rest])


def _all_left_out(count: int) -> str:
    if not count:
        return ""
    advice = "if a model suggested labels, --use_suggestions takes them; to predict texts, write them to a csv file"
    return f" with labels: all {count} are left out, as their tool marks them, or since nobody has answered; {advice}"


class Table:
    """The raw rows of one split. They are read once when it is made, to find the columns and what they have in common.

    Args:
        source: The name in messages: a path, or a dataset and its split.
        reader: Reads the rows.

    Raises:
        DataError: If there is no readable row.
    """

    def __init__(self, source: str, reader: Reader) -> None:
        self.source, self.reader = source, reader
        self.rows, self.left_out = 0, 0
        self._known = reader.known_columns  # once, since it may be made at each call
        self._facts: dict[str, ColumnFacts] = {}
        problems: list[tuple[int, str]] = []
        for batch in reader.batches():
            problems += batch.problems.items()
            # Judgements of several annotators on one text have the same number.
            self.rows += len(batch.numbers if isinstance(batch.numbers, range) else set(batch.numbers))
            self.left_out += batch.left_out
            for column, cells in batch.columns.items():
                if column not in self._facts:
                    self._facts[column] = ColumnFacts()
                self._facts[column].update(cells)
        if not self.rows:
            raise_problems(source, located(source, reader, problems))
            raise DataError(f"{source} has no rows{_all_left_out(self.left_out)}")
        self.columns = list(self._facts)

    def __contains__(self, column: str) -> bool:
        return column in self._facts

    def facts(self, column: str) -> ColumnFacts:
        """Return what the values of a column have in common; a missing column has only missing values."""
        return self._facts.get(column, ColumnFacts())

    def cells(self, column: str) -> Cells:
        """Return the different values of a column with their number of rows."""
        if (counted := self.facts(column).cells) is not None:
            return counted
        return count_cells(cell for batch in self.reader.batches() for cell in batch.columns.get(column) or ())

    def id_names(self, column: str) -> list[str] | None:
        """Return the names of the ids in a column, if it is a ClassLabel or a list of them."""
        return self._known.get(column)
