"""Label forms in, multi-hot rows out: the one label parser.

Labels come as a list of names, a list of ids, a text (with or without a delimiter), or one 0/1 column per label.
Which form it is gets decided once per data set (`column_reader`, `cell_reader`); then every row is held to it.
This file knows cells and columns, not files: whoever calls it adds the row and the line to a message.
"""

import ast
import difflib
import json
import math
import re
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from bert_multilabel.errors import DataError

DELIMITERS = ("|", ";", ",")

_ZERO_ONE = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0} | dict.fromkeys(
    ("", "nan", "-100", "-100.0"), math.nan
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# More different labels are texts or ids, of a column that is none of labels: every row would become as long a vector.
_MOST_NAMES_FOUND = 10_000
_NUMBER = re.compile(r"[-+]?[$€£¥]?\d[\d.,' _]*(e[-+]?\d+)?[%$€£¥]?|nan|[-+]?inf", re.IGNORECASE)
_ADJACENT_STRINGS = re.compile(r"""['"]\s+['"]""")


class BadValue(DataError):
    """One bad value and its column; whoever reads the rows adds where it stands."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


class Form(StrEnum):
    """The forms that labels come in, in the words used by messages."""

    NAMES = "a list of names"
    IDS = "a list of ids"
    ONE_ID = "a single id"
    TEXT = "a text"
    COLUMNS = "one 0/1 column per label"


@dataclass(frozen=True)
class LabelReader:
    """Read the labels of one row after another, all in the same form.

    Attributes:
        form: The form every row must have.
        columns: The label columns: one, or with `Form.COLUMNS` one per label.
        label_names: All L names, in the order of the multi-hot vector.
        delimiter: What separates the labels of a text; None: each text is one label.
        repeated: How many rows name a label more than once, where labels stand in one column.
    """

    form: Form
    columns: list[str]
    label_names: list[str]
    delimiter: str | None = None
    repeated: int = 0

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.label_names)

    def read(self, cells: dict[str, Any], id_names: list[str] | None = None) -> list[float]:
        """Read the labels of one row.

        Args:
            cells: The row's cells by column; a column that is not there counts as null.
            id_names: What ids stand for, by position; default: the label names.

        Returns:
            L floats in the order of `label_names`: 1.0, 0.0, or NaN where a 0/1 column says "not annotated".

        Raises:
            BadValue: If a cell has another form than the data set, or names no known label.
        """
        if self.form is Form.COLUMNS:
            return [_need_zero_one(cells.get(name), name) for name in self.label_names]
        names = self.names_in(cells.get(self.columns[0]), id_names or self.label_names)
        present = set(names)
        for name in names:
            if name not in self._known:
                raise BadValue(unknown_label(name, self.label_names), self.columns[0])
        return [float(name in present) for name in self.label_names]

    def names_in(self, cell: Any, id_names: list[str]) -> list[str]:
        """Return the label names in the cell of a label column, known or not.

        Raises:
            BadValue: If the cell has another form than the data set, or holds an empty label or an id out of range.
        """
        column = self.columns[0]
        form, items = _look(cell, column, self._known)
        # An empty list looks like one of names, but serves among lists of ids as well.
        is_empty_list = form is Form.NAMES and not items
        if form is not self.form and not (is_empty_list and self.form is Form.IDS):
            none = "an empty text" if self.form is Form.TEXT else "[]"
            raise BadValue(
                f"{shorten(cell)} is {form}, but other rows hold {self.form}; write {none} for no labels", column
            )
        if self.form in (Form.IDS, Form.ONE_ID):
            return [_name_of_id(item, id_names, column) for item in items]
        if self.form is Form.TEXT and items and self.delimiter is not None and items[0] not in self._known:
            items = items[0].split(self.delimiter)
        return [_clean_name(item, cell, column) for item in items]

    def __str__(self) -> str:
        """Say the form in a few words, for the log."""
        if self.form is not Form.TEXT:
            return str(self.form)
        return "a text, one label each" if self.delimiter is None else f"a text, split at {self.delimiter!r}"


def column_reader(columns: list[str], label_names: list[str] | None = None) -> LabelReader:
    """Make the reader for one 0/1 column per label.

    Args:
        columns: All 0/1 columns; without label names, also the names in their order.
        label_names: The names in their order, where they are known already.

    Raises:
        DataError: If names and columns are not the same.
    """
    names = label_names or columns
    if set(names) != set(columns):
        raise DataError(
            f"the 0/1 columns must be the label names; without a column: {sorted(set(names) - set(columns))}, "
            f"not a label name: {sorted(set(columns) - set(names))}"
        )
    return LabelReader(Form.COLUMNS, columns, names)


def cell_reader(
    column: str,
    cells_by_split: Mapping[str, Iterable[Any]],
    label_names: list[str] | None = None,
    delimiter: str | None = None,
) -> LabelReader:
    """Decide the form, the delimiter and the label names of labels that stand in one column.

    Args:
        column: The label column.
        cells_by_split: All cells of the column, gone through twice; the first split that tells anything decides.
        label_names: The names in their order, where they are known; default: all in the training split, sorted.
        delimiter: What separates the labels of a text; default: the first of `DELIMITERS` that occurs in the column.

    Raises:
        DataError: If nothing tells the label names, there are more than anybody means, or the lists are multi-hot
            vectors.
    """
    known = label_names or []
    names_known = frozenset(known)
    facts = _LabelFacts(known)
    for split, cells in cells_by_split.items():
        for form, items in _readable(cells, column, names_known):
            facts.update(split, form, items)
    if facts.form in (Form.IDS, Form.ONE_ID) and not known:
        raise DataError(f"column {column!r} holds ids, but nothing says what they stand for; give the label names")
    if facts.form is Form.IDS and facts.is_multi_hot:
        raise DataError(
            f"column {column!r} holds lists of {len(known)} zeros and ones, which look like multi-hot vectors and not "
            "like ids; write the names or ids of the labels, or one 0/1 column per label"
        )
    if facts.form is not Form.TEXT:
        delimiter = None
    elif delimiter is None:
        delimiter = facts.delimiter
    reader = LabelReader(facts.form, [column], known, delimiter)
    names, repeated = _names_in_cells(reader, cells_by_split)
    if not known and len(names) > _MOST_NAMES_FOUND:
        raise DataError(
            f"column {column!r} holds {len(names)} different labels, such as {shorten(names[0])}: take another "
            "column, or give the label names, if these are meant"
        )
    return replace(reader, label_names=known or names, repeated=repeated)


def zero_one(value: object) -> float | None:
    """Read a cell of a 0/1 column: 0.0, 1.0, NaN for "not annotated" (empty, null, NaN, -100), None for all else."""
    return _ZERO_ONE.get(_as_text(value))


@dataclass
class ColumnFacts:
    """What the cells of a column have in common. Pass each cell to `update`.

    Attributes:
        is_zero_one: All cells are 0, 1 or "not annotated".
        is_annotated: At least one cell is 0 or 1.
        is_all_missing: All cells are empty, null, NaN, or the -1 and -100 that hide the labels of test sets.
        is_numeric: All cells that are not empty are numbers, or text that spells one.
        example: The first cell that is not empty; None if there is none.
    """

    is_zero_one: bool = True
    is_annotated: bool = False
    is_all_missing: bool = True
    is_numeric: bool = True
    example: Any = None

    @property
    def holds_zero_one(self) -> bool:
        """Whether this is a 0/1 column; one without a 0 or 1 in it may be anything."""
        return self.is_zero_one and self.is_annotated

    @property
    def holds_numbers(self) -> bool:
        """Whether this is a column of numbers; one without a number in it may be anything."""
        return self.is_numeric and self.example is not None

    def update(self, cell: object) -> None:
        """Take one more cell into account."""
        if not (self.is_zero_one or self.is_all_missing or self.is_numeric):
            return  # the usual case: nothing can change any more
        text = _as_text(cell)
        number = _ZERO_ONE.get(text)
        is_missing = number is not None and math.isnan(number)
        self.is_zero_one = self.is_zero_one and number is not None
        self.is_annotated = self.is_annotated or (number is not None and not is_missing)
        self.is_all_missing = self.is_all_missing and (is_missing or text == "-1")
        if text and cell != []:
            self.is_numeric = self.is_numeric and (number is not None or is_number(text))
            self.example = cell if self.example is None else self.example


def is_number(text: str) -> bool:
    """Whether a text spells a number and nothing else, such as "0.83", "1,200", "4 %" or "$5"."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _as_text(cell: object) -> str:
    """Write a cell in lower case, without blanks around it; a list or an object is not written out."""
    if cell is None:
        return ""
    return "[...]" if isinstance(cell, (list, dict)) else str(cell).strip().lower()


def shorten(value: object, width: int = 80) -> str:
    """Quote a value for a message, cut to about `width` characters."""
    try:
        text = repr(value)
    except RecursionError:
        return "a value that is nested too deeply"
    except ValueError:  # Python writes no number of more digits
        return f"a number of more than {sys.get_int_max_str_digits()} digits"
    return text if len(text) <= width else f"{text[: width - 4]}...{text[-1]}"


def unknown_label(name: str, label_names: list[str]) -> str:
    """Say that there is no such label, and which may be meant."""
    by_lower = {known.lower(): known for known in label_names}
    # What is far longer than every label is none of them misspelt, and a document would be compared for seconds.
    is_short = len(name) <= 3 * max(map(len, by_lower), default=0)
    close = difflib.get_close_matches(name.lower(), by_lower, n=1) if is_short else []
    hint = f"did you mean {shorten(by_lower[close[0]])}?" if close else f"the labels are {shorten(label_names)}"
    return f"unknown label {shorten(name)}; {hint}"


def has_lone_surrogate(text: str) -> bool:
    r"""Whether the text holds half of a UTF-16 pair (JSON's "\ud800"), which no UTF-8 file can store."""
    return _SURROGATE.search(text) is not None


def text_problem(value: object) -> str:
    r"""Say why a value cannot be used as text, in the words of a message; empty if it can.

    Example:
        >>> text_problem("good"), text_problem(7)
        ('', '7 is not text but of type int; write it as text')
    """
    if not isinstance(value, str):
        return f"{shorten(value)} is not text but of type {type(value).__name__}; write it as text"
    if has_lone_surrogate(value):
        return f"{shorten(value)} holds a lone surrogate, which is not valid text; remove it"
    return ""


def _need_zero_one(value: object, column: str) -> float:
    number = zero_one(value)
    if number is None:
        raise BadValue(f"{shorten(value)} is not 0 or 1 (leave it empty where nobody annotated it)", column)
    return number


def _look(cell: Any, column: str, known: Container[str]) -> tuple[Form, list[Any]]:
    """Return the form that a cell shows by itself, and its items; a text is one item, or none if it is blank."""
    if cell is None:
        raise BadValue("the labels are missing (null); write an empty list for a row without labels", column)
    if isinstance(cell, str):
        text = cell.strip()
        if text in known or not (text.startswith("[") and text.endswith("]")):
            return Form.TEXT, [text] if text else []
        cell = _parse_list(text, column)
    if _is_id(cell):
        return Form.ONE_ID, [cell]
    if isinstance(cell, list) and all(isinstance(item, str) for item in cell):
        return Form.NAMES, cell
    if isinstance(cell, list) and all(_is_id(item) for item in cell):
        return Form.IDS, cell
    raise BadValue(f"{shorten(cell)} is neither a list of names, nor a list of ids, nor a text", column)


def _parse_list(text: str, column: str) -> Any:
    """Parse a text in square brackets as a JSON list, else as a Python one."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    # Python glues neighbouring strings together: a printed array, ['a' 'b'], would become the one label 'ab'.
    if not _ADJACENT_STRINGS.search(text):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # the last two: nested too deeply
            pass
    raise BadValue(f'{shorten(text)} looks like a list but cannot be read; write it like ["a", "b"]', column)


def _is_id(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def _name_of_id(item: int, id_names: list[str], column: str) -> str:
    if not 0 <= item < len(id_names):
        raise BadValue(f"id {shorten(item)} is out of range; ids run from 0 to {len(id_names) - 1}", column)
    return id_names[item]


def _clean_name(item: str, cell: object, column: str) -> str:
    name = item.strip()
    if not name:
        raise BadValue(f"{shorten(cell)} holds an empty label; remove it", column)
    if problem := text_problem(name):
        raise BadValue(problem, column)
    return name


def _readable(cells: Iterable[Any], column: str, known: Container[str]) -> Iterator[tuple[Form, list[Any]]]:
    """Look at all cells that can be read; the others are reported later, when the rows are read."""
    for cell in cells:
        try:
            yield _look(cell, column, known)
        except BadValue:
            continue


class _LabelFacts:
    """What the cells of a label column show, split by split.

    Attributes:
        form: That of the first cell that holds a label; without one, that of the first cell.
        is_multi_hot: Whether all are vectors of zeros and ones: as ids, they would name a label again and again.
    """

    def __init__(self, known: list[str]) -> None:
        self._known = frozenset(known)
        self._first_form: Form | None = None
        self._first_label_form: Form | None = None
        self._are_vectors, self._repeats = True, False
        self._delimiters: dict[str, set[str]] = {}  # by split, in order

    def update(self, split: str, form: Form, items: list[Any]) -> None:
        """Take the form and the items of one more cell into account."""
        self._first_form = self._first_form or form
        if items:
            self._first_label_form = self._first_label_form or form
        self._are_vectors = self._are_vectors and len(items) == len(self._known) and set(items) <= {0, 1}
        self._repeats = self._repeats or len(set(items)) < len(self._known)
        found = self._delimiters.setdefault(split, set())
        if form is Form.TEXT and items and items[0] not in self._known:  # a label's name may hold one
            found.update(delimiter for delimiter in DELIMITERS if delimiter in items[0])

    @property
    def form(self) -> Form:
        return self._first_label_form or self._first_form or Form.NAMES

    @property
    def is_multi_hot(self) -> bool:
        return self._are_vectors and self._repeats

    @property
    def delimiter(self) -> str | None:
        """The first of `DELIMITERS` in the first split that has one."""
        found = next((found for found in self._delimiters.values() if found), set())
        return next((delimiter for delimiter in DELIMITERS if delimiter in found), None)


def _names_in_cells(reader: LabelReader, cells_by_split: Mapping[str, Iterable[Any]]) -> tuple[list[str], int]:
    """Return the sorted names in the training split, and how many rows of all splits name a label more than once.

    Bad cells are reported later, when the rows are read.
    """
    if not reader.label_names and "train" not in cells_by_split:
        raise DataError("nothing says the label names; give them, or a training split to take them from")
    found: set[str] = set()
    repeated = 0
    for split, cells in cells_by_split.items():
        for cell in cells:
            try:
                names = reader.names_in(cell, reader.label_names)
            except BadValue:
                continue
            repeated += len(set(names)) < len(names)
            if split == "train":
                found.update(names)
    return sorted(found), repeated
