"""Parses labels in all supported formats into multi-hot vectors.

The format is determined once per dataset (`LabelParser.of_columns`, `LabelParser.of_values`); then every row must have
it. This module knows values and columns, not files: the caller adds row and line to a message.
"""

import ast
import difflib
import json
import math
import re
import sys
from collections.abc import Collection, Container, Iterable, Mapping
from contextlib import suppress
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
# A column with more distinct labels holds texts or ids: each row would become a vector of this length.
_MOST_NAMES_FOUND = 10_000
_NUMBER = re.compile(r"[-+]?[$€£¥]?\d[\d.,' _]*(e[-+]?\d+)?[%$€£¥]?|nan|[-+]?inf", re.IGNORECASE)
_ADJACENT_STRINGS = re.compile(r"""['"]\s+['"]""")


class BadValue(DataError):
    """A bad value and its column; the caller adds row and line."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


class LabelFormat(StrEnum):
    """The formats of labels, as messages call them."""

    NAMES = "a list of names"
    IDS = "a list of ids"
    ONE_ID = "a single id"
    TEXT = "a text"
    COLUMNS = "one 0/1 column per label"


@dataclass(frozen=True)
class LabelParser:
    """Parses the labels of rows that all have the same format.

    Attributes:
        format: The format that every row must have.
        columns: The label columns: one, or with `LabelFormat.COLUMNS` one per label.
        label_names: All L names, in the order of the multi-hot vector.
        delimiter: Separates the labels in a text; None: each text is one label.
        repeated: Number of rows that name a label more than once.

    Example:
        >>> parser = LabelParser.of_values("labels", {"train": ["price|quality", "", "gift"]})
        >>> parser.label_names, str(parser)
        (['gift', 'price', 'quality'], "a text, split at '|'")
        >>> parser.parse({"labels": "quality|price"})
        [0.0, 1.0, 1.0]
    """

    format: LabelFormat
    columns: list[str]
    label_names: list[str]
    delimiter: str | None = None
    repeated: int = 0

    @classmethod
    def of_columns(cls, columns: list[str], label_names: list[str] | None = None) -> "LabelParser":
        """Make the parser for one 0/1 column per label, in the order of the label names, if they are known."""
        names = label_names or columns
        if set(names) != set(columns):
            lacking, unknown = sorted(set(names) - set(columns)), sorted(set(columns) - set(names))
            raise DataError(
                f"The 0/1 columns must be the label names. Without a column: {lacking}, not a label name: {unknown}"
            )
        return cls(LabelFormat.COLUMNS, columns, names)

    @classmethod
    def of_values(
        cls,
        column: str,
        values_by_split: Mapping[str, Iterable[Any]],
        label_names: list[str] | None = None,
        delimiter: str | None = None,
    ) -> "LabelParser":
        """Determine format, delimiter and label names of labels in one column.

        Args:
            column: The label column.
            values_by_split: All values of the column, iterated twice; the first split with information decides.
            label_names: The names in their order; default: all in the training split, sorted.
            delimiter: Separates the labels in a text; default: the first of `DELIMITERS` that occurs in the column.

        Raises:
            DataError: If the label names are unknown or too many, or the lists are multi-hot vectors.
        """
        known = label_names or []
        label_format, found, are_multi_hot = _find_format(column, values_by_split, frozenset(known))
        if label_format in (LabelFormat.IDS, LabelFormat.ONE_ID) and not known:
            raise DataError(f"column {column!r} holds ids without names: pass the label names")
        if label_format is LabelFormat.IDS and are_multi_hot:
            advice = "write the names of the labels, or one 0/1 column per label"
            raise DataError(f"column {column!r} holds lists of {len(known)} zeros and ones: {advice}")
        delimiter = (delimiter or found) if label_format is LabelFormat.TEXT else None
        parser = cls(label_format, [column], known, delimiter)
        names, repeated = _names_in_values(parser, values_by_split)
        if not known and len(names) > _MOST_NAMES_FOUND:
            number, advice = len(names), "pass another column, or the label names"
            raise DataError(
                f"column {column!r} holds {number} different labels, such as {shorten(names[0])}: {advice}"
            )
        return replace(parser, label_names=known or names, repeated=repeated)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.label_names)

    def parse(self, values: dict[str, Any], id_names: list[str] | None = None) -> list[float]:
        """Parse the labels in a row's values by column into L floats; NaN means "not annotated".

        Ids are positions in `id_names`, by default in the label names.

        Raises:
            BadValue: If a value has another format than the dataset, or an unknown label.
        """
        if self.format is LabelFormat.COLUMNS:
            return [_need_zero_one(values.get(name), name) for name in self.label_names]
        names = self.names_in(values.get(self.columns[0]), id_names or self.label_names)
        for name in names:
            if name not in self._known:
                raise BadValue(unknown_label(name, self.label_names), self.columns[0])
        present = set(names)
        return [float(name in present) for name in self.label_names]

    def names_in(self, value: Any, id_names: list[str]) -> list[str]:
        """Return the label names in a value of the label column, known or not; raises as `parse`."""
        column = self.columns[0]
        label_format, items = _format_of(value, column, self._known)
        # An empty list looks like one of names, but is also a valid list of ids.
        is_empty_list = label_format is LabelFormat.NAMES and not items
        if label_format is not self.format and not (is_empty_list and self.format is LabelFormat.IDS):
            empty = "an empty text" if self.format is LabelFormat.TEXT else "[]"
            problem = f"{shorten(value)} is {label_format}, but other rows hold {self.format}"
            raise BadValue(f"{problem}; write {empty} for no labels", column)
        if self.format in (LabelFormat.IDS, LabelFormat.ONE_ID):
            return [_name_of_id(item, id_names, column) for item in items]
        if self.format is LabelFormat.TEXT and items and self.delimiter is not None and items[0] not in self._known:
            items = items[0].split(self.delimiter)
        return [_clean_name(item, value, column) for item in items]

    def __str__(self) -> str:
        if self.format is not LabelFormat.TEXT:
            return str(self.format)
        return "a text, one label each" if self.delimiter is None else f"a text, split at {self.delimiter!r}"


def zero_one(value: object) -> float | None:
    """Parse a value of a 0/1 column: 0.0, 1.0, NaN for "not annotated" (empty, null, NaN, -100), else None."""
    return _ZERO_ONE.get(_as_text(value))


class ColumnFacts:
    """What the cells of a column have in common, and as `example` the first one that is not empty.

    Pass each cell to `update`.
    """

    def __init__(self) -> None:
        self.example: Any = None
        self._kinds: set[str] = set()

    @property
    def is_all_missing(self) -> bool:
        """Whether all cells are empty, null, NaN, or the -1 and -100 that hide the labels of test sets."""
        return self._kinds <= {"missing", "hidden"}

    @property
    def holds_zero_one(self) -> bool:
        """Whether this is a 0/1 column; some cells may be missing."""
        return "0/1" in self._kinds and self._kinds <= {"missing", "0/1"}

    @property
    def holds_numbers(self) -> bool:
        """Whether this is a column of numbers; some cells may be missing."""
        return self.example is not None and "other" not in self._kinds

    def update(self, cell: object) -> None:
        """Take one more cell into account."""
        if "other" in self._kinds:
            return  # nothing can change any more
        text = _as_text(cell)
        if (number := _ZERO_ONE.get(text)) is not None:
            self._kinds.add("missing" if math.isnan(number) else "0/1")
        elif text == "-1":
            self._kinds.add("hidden")
        else:
            self._kinds.add("number" if cell == [] or is_number(text) else "other")
        if self.example is None and text and cell != []:
            self.example = cell


def is_number(text: str) -> bool:
    """Whether a text is a number, such as "0.83", "1,200", "4 %" or "$5"."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _as_text(cell: object) -> str:
    return "[...]" if isinstance(cell, (list, dict)) else str("" if cell is None else cell).strip().lower()


def shorten(value: object, width: int = 80) -> str:
    """Quote a value for a message, shortened to about `width` characters."""
    try:
        text = repr(value)
    except RecursionError:
        return "a value that is nested too deeply"
    except ValueError:  # Python's limit on digits
        return f"a number of more than {sys.get_int_max_str_digits()} digits"
    return text if len(text) <= width else f"{text[: width - 4]}...{text[-1]}"


def unknown_label(name: str, label_names: list[str]) -> str:
    """Return the message for an unknown label, with a suggestion."""
    by_lower = {known.lower(): known for known in label_names}
    # A text much longer than every label is not a misspelling, and comparing a document takes seconds.
    is_short = len(name) <= 3 * max(map(len, by_lower), default=0)
    close = difflib.get_close_matches(name.lower(), by_lower, n=1) if is_short else []
    hint = f"did you mean {shorten(by_lower[close[0]])}?" if close else f"the labels are {shorten(label_names)}"
    return f"unknown label {shorten(name)}; {hint}"


def has_lone_surrogate(text: str) -> bool:
    r"""Whether a text holds half of a UTF-16 pair (JSON's "\ud800"), which UTF-8 cannot store."""
    return _SURROGATE.search(text) is not None


def text_problem(value: object) -> str:
    """Say why a value cannot be used as text; "" if it can.

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
        raise BadValue(f"{shorten(value)} is not 0 or 1 (leave it empty if it is not annotated)", column)
    return number


def _format_of(cell: Any, column: str, known: Container[str]) -> tuple[LabelFormat, list[Any]]:
    """Return the format and the items of a value; a text is one item, or none if it is blank."""
    if cell is None:
        raise BadValue("the labels are missing (null); write an empty list for a row without labels", column)
    if isinstance(cell, str):
        text = cell.strip()
        if text in known or not (text.startswith("[") and text.endswith("]")):
            return LabelFormat.TEXT, [text] if text else []
        cell = _parse_list(text, column)
    if _is_id(cell):
        return LabelFormat.ONE_ID, [cell]
    if isinstance(cell, list) and all(isinstance(item, str) for item in cell):
        return LabelFormat.NAMES, cell
    if isinstance(cell, list) and all(_is_id(item) for item in cell):
        return LabelFormat.IDS, cell
    raise BadValue(f"{shorten(cell)} is neither a list of names, nor a list of ids, nor a text", column)


def _parse_list(text: str, column: str) -> Any:
    """Parse a text in square brackets as a JSON list, else as a Python one."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    # Python concatenates adjacent strings: a printed array, ['a' 'b'], would become the one label 'ab'.
    if not _ADJACENT_STRINGS.search(text):
        # The last two: nested too deeply.
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return ast.literal_eval(text)
    raise BadValue(f'{shorten(text)} looks like a list but cannot be read; write it like ["a", "b"]', column)


def _is_id(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def _name_of_id(item: int, id_names: list[str], column: str) -> str:
    if not 0 <= item < len(id_names):
        raise BadValue(f"id {shorten(item)} is out of range; ids run from 0 to {len(id_names) - 1}", column)
    return id_names[item]


def _clean_name(item: str, cell: object, column: str) -> str:
    name = item.strip()
    if problem := text_problem(name) if name else f"{shorten(cell)} holds an empty label; remove it":
        raise BadValue(problem, column)
    return name


def _find_format(
    column: str, values_by_split: Mapping[str, Iterable[Any]], known: Collection[str]
) -> tuple[LabelFormat, str | None, bool]:
    """Return format and delimiter of the labels, and whether they are multi-hot vectors: as ids they repeat."""
    first: LabelFormat | None = None
    first_with_labels: LabelFormat | None = None
    are_vectors, repeats = True, False
    delimiters: dict[str, set[str]] = {split: set() for split in values_by_split}
    for split, values in values_by_split.items():
        for value in values:
            try:
                label_format, items = _format_of(value, column, known)
            except BadValue:
                continue  # reported when the rows are parsed
            first = first or label_format
            first_with_labels = first_with_labels or (label_format if items else None)
            are_vectors = are_vectors and len(items) == len(known) and set(items) <= {0, 1}
            repeats = repeats or len(set(items)) < len(known)
            if label_format is LabelFormat.TEXT and items and items[0] not in known:  # a name may hold a delimiter
                delimiters[split].update(delimiter for delimiter in DELIMITERS if delimiter in items[0])
    delimiter = next((min(found, key=DELIMITERS.index) for found in delimiters.values() if found), None)
    return first_with_labels or first or LabelFormat.NAMES, delimiter, are_vectors and repeats


def _names_in_values(parser: LabelParser, values_by_split: Mapping[str, Iterable[Any]]) -> tuple[list[str], int]:
    """Return the sorted names in the training split, and the number of rows of all splits that repeat a label."""
    if not parser.label_names and "train" not in values_by_split:
        raise DataError("The label names are unknown: pass them, or a training split to take them from")
    found: set[str] = set()
    repeated = 0
    for split, values in values_by_split.items():
        for value in values:
            try:
                names = parser.names_in(value, parser.label_names)
            except BadValue:
                continue  # reported when the rows are parsed
            repeated += len(set(names)) < len(names)
            if split == "train":
                found.update(names)
    return sorted(found), repeated
