"""Parses the labels of rows into multi-hot vectors.

The form of the labels is determined once per dataset, over all cells (`label_form.py`); then every row must have it.
This module knows values and columns, not files: the caller adds row and line to a message.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.errors import DataError

from .label_cells import Cell, Kind, is_null_word, read_cell
from .label_form import KINDS_OF_FORM, Cells, LabelForm, bits_in, delimiter_inside, delimiter_option, find_form, ids_in
from .label_suspicions import check_names
from .spec import DataSpec
from .values import BadValue, as_share, few, key_of, mark, shorten, text_problem, unknown_label

_VOTES = re.compile(r"votes\s*>=\s*(\d+(?:\.\d+)?)")
_MOST_REMEMBERED = 100_000  # parsed cells


_FORMS_OF_IDS = (LabelForm.IDS, LabelForm.ONE_ID, LabelForm.JOINED_IDS)


@dataclass(frozen=True, kw_only=True)
class LabelParser:
    """Parses the labels of rows that all have the same form.

    Attributes:
        form: The form that every row must have.
        columns: The label columns: one, or several with `LabelForm.COLUMNS` and `LabelForm.NAME_COLUMNS`.
        label_names: All L names, in the order of the multi-hot vector.
        label_ids: The id of each name, where ids are not the positions of the names.
        delimiter: Separates the labels in a text; None: each text is one label.
        votes: With `LabelForm.COLUMNS`, the number of votes from which on a label is positive.
        are_shares: With `LabelForm.COLUMNS`, whether the numbers are shares from 0 to 1.
        blank_is_zero: Columns without a single 0, where a blank cell cannot mean "not annotated".
        missing_is_zero: With `LabelForm.MAPPING`, whether names that a row lacks are negative.
        ignores_unknown: Whether names that are none of `label_names` are left out, and no error.
        notes: What was found out, for the user.

    Examples:
        >>> from bert_multilabel.data.label_form import count_cells
        >>> from bert_multilabel.data.spec import DataSpec
        >>> cells = {"train": count_cells(["price|quality", "", "gift"])}
        >>> parser = LabelParser.of_cells("labels", cells, DataSpec())
        >>> parser.label_names, str(parser)
        (['gift', 'price', 'quality'], "a text, split at '|'")
        >>> parser.parse({"labels": "quality|price"})
        [0.0, 1.0, 1.0]
    """

    form: LabelForm
    columns: list[str]
    label_names: list[str]
    label_ids: list[int] | None = None
    delimiter: str | None = None
    votes: float | None = None
    are_shares: bool = False
    blank_is_zero: list[str] = field(default_factory=list)
    missing_is_zero: bool = False
    ignores_unknown: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_columns(cls, columns: list[str], spec: DataSpec, blank_is_zero: Iterable[str] = ()) -> "LabelParser":
        """Make the parser for one 0/1 column per label, in the order of the label names, if they are known."""
        names = spec.label_names or columns
        if set(names) != set(columns):
            lacking, unknown = sorted(set(names) - set(columns)), sorted(set(columns) - set(names))
            raise DataError(
                f"The 0/1 columns must be the label names. Without a column: {lacking}, not a label name: {unknown}"
            )
        votes = _VOTES.fullmatch(spec.label_values or "")
        if spec.label_values not in (None, "shares") and votes is None:
            advice = "pass shares, or votes>=K such as 'votes>=2'"
            raise DataError(f"label_values {spec.label_values!r} is not known: {advice}")
        blank = sorted(blank_is_zero)
        return cls(
            form=LabelForm.COLUMNS,
            columns=columns,
            label_names=names,
            votes=float(votes[1]) if votes else None,
            are_shares=spec.label_values == "shares",
            blank_is_zero=blank,
            notes=[f"no 0 in {few(blank)}: blank cells are read as 0"] if blank else [],
        )

    @classmethod
    def of_name_columns(
        cls, columns: list[str], cells: Mapping[str, Mapping[str, Cells]], spec: DataSpec
    ) -> "LabelParser":
        """Make the parser for several columns that hold one name each, or nothing.

        Args:
            columns: The columns.
            cells: The cells of each split and column.
            spec: The known label names.
        """
        parser = cls(
            form=LabelForm.NAME_COLUMNS,
            columns=columns,
            label_names=spec.label_names or [],
            ignores_unknown=spec.ignore_unknown_labels,
        )
        if spec.label_names:
            return parser._noting_what_is_left_out(cells)
        counts: Counter[str] = Counter()
        is_filled = True  # each cell of each column
        for column in columns:
            for cell, count in cells["train"][column] if "train" in cells else ():
                names = parser._names_in({column: cell}, [column])
                is_filled = is_filled and bool(names)
                counts.update(dict.fromkeys(names, count))
        if not spec.labels_as_they_are:
            _check_no_marks(columns, counts, is_filled)
        check_names(counts, ", ".join(map(repr, columns)), sum(counts.values()), spec)
        return replace(parser, label_names=sorted(counts))._noting_what_is_left_out(cells)

    @classmethod
    def of_cells(
        cls, column: str, cells: Mapping[str, Cells], spec: DataSpec, id_names: list[str] | None = None
    ) -> "LabelParser":
        """Determine form, delimiter and label names of labels in one column.

        Args:
            column: The label column.
            cells: The different cells of each split; the first split with information decides.
            spec: Label names in their order, by default all in the training split, sorted; delimiter and the like.
            id_names: The names of the ids in the column, if the dataset tells them.

        Raises:
            DataError: If the label names are unknown or suspicious, or cells may mean two things.
        """
        known = spec.label_names or id_names or []
        read = {split: _read_cells(column, listed, frozenset(known)) for split, listed in cells.items()}
        form, delimiter = find_form(column, read, spec, known)
        if not known and form in _FORMS_OF_IDS:
            raise DataError(f"column {column!r} holds ids without names: pass --label_names_file with the label names")
        ids = spec.label_ids if spec.label_names else None
        parser = cls(
            form=form,
            columns=[column],
            label_names=known,
            label_ids=ids,
            delimiter=delimiter,
        )
        if form is LabelForm.MAPPING:
            mappings = (cell for listed in read.values() for cell, _ in listed if cell.kind is Kind.MAPPING)
            numbers = (number for cell in mappings for _, number in cell.items)
            parser = replace(parser, missing_is_zero=not any(number == 0 for number in numbers))
        counts, repeated = _count_names(parser, read)
        if not known:
            if "train" not in cells:
                raise DataError("The label names are unknown: pass them, or a training split to take them from")
            rows = sum(count for _, count in cells["train"])
            typed = None if parser.delimiter is None else delimiter_option(parser.delimiter)
            are_cells = form is LabelForm.TEXT and typed is None
            check_names(counts, f"column {column!r}", rows, spec, typed, are_cells)
        parser = replace(parser, label_names=known or sorted(counts), ignores_unknown=spec.ignore_unknown_labels)
        notes = [f"rows that name a label more than once: {repeated}; it counts once"] if repeated else []
        notes += _null_words(column, cells, known)
        if parser.ignores_unknown:
            notes += _left_out(parser, read)
        if not known:
            notes += _alike_but_for_case(column, counts)
        elif spec.label_names and ids is None and form in _FORMS_OF_IDS:
            notes += _without_id_0(column, counts, known)
        return replace(parser, notes=notes)

    def parse(self, values: Mapping[str, Any], id_names: Mapping[str, list[str]] = {}) -> list[float]:
        """Parse the labels in a row's values by column into L floats; NaN means "not annotated".

        Ids are positions in the `id_names` of their column, by default in the label names.

        Raises:
            BadValue: If a value has another form than the dataset, or an unknown label.
        """
        if self.form is LabelForm.COLUMNS:
            return [self._number(values.get(name), name, id_names.get(name)) for name in self.label_names]
        if self.form is LabelForm.NAME_COLUMNS:
            return self._multi_hot(self._names_in(values, self.columns))
        cell = self._read(values.get(self.columns[0]))
        if self.form is LabelForm.VECTOR:
            return self._vector(cell)
        if self.form is LabelForm.MAPPING:
            return self._mapping(cell)
        return self._multi_hot(self.names_in(cell, id_names.get(self.columns[0])))

    def parse_batch(
        self, columns: Mapping[str, list[Any]], size: int, id_names: Mapping[str, list[str]] = {}
    ) -> tuple[NDArray[np.float32], dict[int, BadValue]]:
        """Parse B rows, given by column.

        Returns:
            The labels (B, L), and why rows could not be parsed, by their index in the batch.
        """
        vectors = np.zeros((size, len(self.label_names)), np.float32)
        problems: dict[int, BadValue] = {}
        cells = [columns.get(name) or [None] * size for name in self.columns]
        # The ids of another split may have other names.
        known = self._parsed.setdefault(repr(id_names), {})
        for index, row in enumerate(zip(*cells, strict=True)):
            key = tuple(map(key_of, row))
            if (parsed := known.get(key)) is None:
                try:
                    parsed = np.array(self.parse(dict(zip(self.columns, row, strict=True)), id_names), np.float32)
                except BadValue as error:
                    problems[index] = error
                    continue
                if len(known) < _MOST_REMEMBERED:
                    known[key] = parsed
            vectors[index] = parsed
        return vectors, problems

    def names_in(self, cell: Cell, id_names: list[str] | None = None) -> list[str]:
        """Return the label names in a cell that was read, known or not; raises as `parse`."""
        column = self.columns[0]
        names = id_names or self.label_names
        if self.form in (LabelForm.IDS, LabelForm.ONE_ID):
            return [self._name_of_id(item, names, column) for item in cell.items]
        items = cell.items
        if self.form is LabelForm.JOINED_IDS:
            return [self._name_of_id(item, names, column) for item in _joined_ids(items, column)]
        if self.form is LabelForm.MAPPING:
            return [_clean_name(name, name, column) for name, _ in items]
        if cell.kind is Kind.TEXT and items and self.delimiter is not None and items[0] not in self._known:
            items = items[0].removesuffix(self.delimiter).split(self.delimiter)  # forms end each cell with it
        written = cell.items[0] if cell.kind is Kind.TEXT and cell.items else cell.items
        return [_clean_name(item, written, column) for item in items]

    def __str__(self) -> str:
        if self.form is LabelForm.COLUMNS and self.votes is not None:
            return f"votes per label, yes from {self.votes:g} on"
        if self.form is LabelForm.COLUMNS and self.are_shares:
            return "shares per label"
        if self.form is not LabelForm.TEXT:
            return str(self.form)
        return "a text, one label each" if self.delimiter is None else f"a text, split at {self.delimiter!r}"

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.label_names)

    @cached_property
    def _blank_is_zero(self) -> frozenset[str]:
        return frozenset(self.blank_is_zero)

    @cached_property
    def _parsed(self) -> dict[str, dict[Hashable, NDArray[np.float32]]]:
        return {}

    def _read(self, value: Any) -> Cell:
        """Read a cell and check its form; a cell without labels may have any."""
        column = self.columns[0]
        cell = read_cell(value, column, self._known)
        if cell.items and cell.kind not in KINDS_OF_FORM[self.form]:
            problem = f"{shorten(value)} is {cell.kind}, but other rows hold {self.form}"
            raise BadValue(f"{problem}; write all rows alike", column)
        return cell

    def _multi_hot(self, names: list[str]) -> list[float]:
        for name in names:
            if name not in self._known and not self.ignores_unknown:
                raise BadValue(self._unknown(name), self.columns[0])
        present = set(names)
        return [float(name in present) for name in self.label_names]

    def _unknown(self, name: str) -> str:
        """Return the message for an unknown label, which may be known labels that were not split."""
        delimiter = delimiter_inside(name, self._known)
        if delimiter is None:
            return f"{unknown_label(name, self.label_names)}; or leave such labels out by --ignore_unknown_labels"
        advice = "write them as separate labels"
        if self.form is LabelForm.TEXT:
            typed = delimiter_option(delimiter)
            advice = (
                f"pass --label_delimiter '{typed}'" if self.delimiter is None else f"join them by {self.delimiter!r}"
            )
        return f"unknown label {shorten(name)}; it may be several labels: {advice}"

    def _vector(self, cell: Cell) -> list[float]:
        items, column, expected = cell.items, self.columns[0], len(self.label_names)
        if cell.kind is Kind.TEXT and items:
            text = items[0]
            if not (items := [float(bit) for bit in bits_in(text)]):
                raise BadValue(f"{shorten(text)} is {cell.kind}, but other rows hold {self.form}", column)
        if items and len(items) != expected:
            raise BadValue(f"{shorten(items)} has {len(items)} numbers, but there are {expected} labels", column)
        if bad := [item for item in items if not (0 <= item <= 1 or math.isnan(item))]:
            raise BadValue(f"{shorten(bad[0])} is not a number from 0 to 1", column)
        return [float(item) for item in items] or [0.0] * expected

    def _mapping(self, cell: Cell) -> list[float]:
        numbers = {_clean_name(name, name, self.columns[0]): number for name, number in cell.items}
        self._multi_hot(list(numbers))  # all must be known
        missing = 0.0 if self.missing_is_zero or not numbers else math.nan
        found = (numbers.get(name, missing) for name in self.label_names)
        return [math.nan if number is None else float(number) for number in found]

    def _number(self, value: Any, column: str, id_names: list[str] | None) -> float:
        if id_names is not None and value is not None and value != -1:
            value = self._name_of_id(value, id_names, column)
        number = mark(value)
        if number is not None and math.isnan(number):
            return 0.0 if column in self._blank_is_zero else number
        if self.votes is None and not self.are_shares:
            if number is None:
                advice = "leave it empty if it is not annotated"
                if _may_be_share_or_votes(value):
                    advice += "; shares and votes need --label_values"
                raise BadValue(f"{shorten(value)} is not 0 or 1 ({advice})", column)
            return number
        try:
            found = as_share(value) if self.are_shares else float(value)
        except (ValueError, TypeError):
            raise BadValue(f"{shorten(value)} is not a number", column) from None
        if self.votes is not None and found >= 0:
            return float(found >= self.votes)
        if not 0 <= found <= 1:
            raise BadValue(f"{shorten(value)} is not a {'number of votes' if self.votes else 'share'}", column)
        return found

    def _name_of_id(self, item: int, names: list[str], column: str) -> str:
        if self.label_ids is not None and names is self.label_names:
            if item not in self.label_ids:
                raise BadValue(f"id {shorten(item)} is none of {shorten(self.label_ids)}", column)
            return names[self.label_ids.index(item)]
        if not 0 <= item < len(names):
            raise BadValue(f"id {shorten(item)} is out of range; ids run from 0 to {len(names) - 1}", column)
        return names[item]

    def _noting_what_is_left_out(self, cells: Mapping[str, Mapping[str, Cells]]) -> "LabelParser":
        if not self.ignores_unknown:
            return self
        found = []
        for by_column in cells.values():
            for column, listed in by_column.items():
                for cell, count in listed:
                    with suppress(BadValue):  # reported when the rows are parsed
                        found.append((self._names_in({column: cell}, [column]), count))
        return replace(self, notes=_count_unknown(found, self.label_names))

    def _names_in(self, values: Mapping[str, Any], columns: list[str]) -> list[str]:
        names = []
        for column in columns:
            value = values.get(column)
            if value is None or is_null_word(value, self._known):
                continue
            if not isinstance(value, str):
                raise BadValue(f"{shorten(value)} is not the name of a label but {type(value).__name__}", column)
            names += [name] if (name := value.strip()) else []
        return names


def _read_cells(column: str, cells: Cells, known: frozenset[str]) -> list[tuple[Cell, int]]:
    read = []
    for value, count in cells:
        try:
            read.append((read_cell(value, column, known), count))
        except BadValue:
            continue  # reported when the rows are parsed
    return read


def _check_no_marks(columns: list[str], counts: Mapping[str, int], is_filled: bool) -> None:
    """Refuse words that say whether a column applies in place of names: one, two in all cells, or one for no."""
    are_marks = len(counts) == 1 or is_filled and len(counts) == 2
    words = [*counts] if are_marks else [name for name in counts if mark(name) == 0]
    if words:
        raise DataError(
            f"columns {few(columns)} hold {' and '.join(map(shorten, words))}, which may be no names of labels: write "
            "1 or the name of a label where it applies, and leave other cells empty; if they are names, pass "
            "--labels_as_they_are"
        )


def _count_names(parser: LabelParser, read: Mapping[str, list[tuple[Cell, int]]]) -> tuple[Counter[str], int]:
    """Return how often each name occurs in training, and the number of rows of all splits that repeat a label."""
    counts: Counter[str] = Counter()
    repeated = 0
    if parser.form is LabelForm.VECTOR:
        return counts, repeated
    for split, listed in read.items():
        for cell, count in listed:
            if cell.items and cell.kind not in KINDS_OF_FORM[parser.form]:
                continue
            try:
                names = parser.names_in(cell)
            except BadValue:
                continue  # reported when the rows are parsed
            repeated += count * (len(set(names)) < len(names))
            if split == "train":
                counts.update(dict.fromkeys(names, count))
    return counts, repeated


def _left_out(parser: LabelParser, read: Mapping[str, list[tuple[Cell, int]]]) -> list[str]:
    """Return a note that counts the unknown labels in all splits, and the cells that have some."""
    found = []
    for cell, count in (item for listed in read.values() for item in listed):
        if cell.kind in KINDS_OF_FORM[parser.form] and parser.form is not LabelForm.VECTOR:
            with suppress(BadValue):  # reported when the rows are parsed
                found.append((parser.names_in(cell), count))
    return _count_unknown(found, parser.label_names)


def _count_unknown(found: Iterable[tuple[list[str], int]], label_names: list[str]) -> list[str]:
    counts: Counter[str] = Counter()
    cells = 0
    for names, count in found:
        unknown = {*names}.difference(label_names)
        counts.update(dict.fromkeys(unknown, count))
        cells += count * bool(unknown)
    if not cells:
        return []
    listed = [
        f"{shorten(name)} ({number})" for name, number in sorted(counts.items(), key=lambda item: (-item[1], item))
    ]
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    where = f"{cells} cell{'s' * (cells > 1)}"
    return [f"unknown labels are left out, as asked, in {where}: {', '.join(listed[:3])}{more}"]


def _null_words(column: str, cells: Mapping[str, Cells], known: list[str]) -> list[str]:
    words: Counter[str] = Counter()
    for listed in cells.values():
        words.update({value.strip(): count for value, count in listed if is_null_word(value, known)})
    found = ", ".join(f"{word!r} in {count} rows" for word, count in words.items())
    return [f"column {column!r}: read as no label: {found}; --label_names_file can make it one"] if words else []


def _alike_but_for_case(column: str, names: Iterable[str]) -> list[str]:
    by_lower: dict[str, list[str]] = {}
    for name in sorted(names):
        by_lower.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(map(shorten, listed)) for listed in by_lower.values() if len(listed) > 1]
    return [f"column {column!r}: labels that differ only in case: {'; '.join(alike[:3])}"] if alike else []


def _without_id_0(column: str, counts: Mapping[str, int], names: list[str]) -> list[str]:
    if not counts or names[0] in counts:
        return []
    return [
        f"column {column!r}: no row has the id 0, {shorten(names[0])}; ids are positions in the label names, from 0: "
        "if they start at 1, write the id of each name into the names file"
    ]


def _may_be_share_or_votes(value: Any) -> bool:
    try:
        return as_share(value) >= 0
    except (ValueError, TypeError):
        return False


def _joined_ids(items: list[str], column: str) -> list[int]:
    ids = [number for text in items for number in ids_in(text)]
    if items and not ids:
        problem = f"{shorten(items[0])} is a text, but other rows hold ids in a text; write all rows alike"
        raise BadValue(problem, column)
    return ids


def _clean_name(item: str, cell: object, column: str) -> str:
    name = item.strip()
    if problem := text_problem(name) if name else f"{shorten(cell)} holds an empty label; remove it":
        raise BadValue(problem, column)
    return name
