"""What the cells of a column have in common, found in one pass over a table."""

import math
from collections import Counter
from collections.abc import Hashable
from itertools import islice
from statistics import fmean
from typing import Any

from .label_form import Cells
from .values import is_number, key_of, mark, zero_one

# With more different cells, a column holds neither labels nor categories, and they are no longer counted.
_MOST_DIFFERENT = 20_000
_LOOKED_AT = 1000  # different cells, to see whether they are numbers or sentences
_SENTENCE = 20  # characters, on average
_MARKS = {"zero", "one", "no", "yes"}


class ColumnFacts:
    """What the cells of a column have in common; pass them to `update`, in batches.

    Attributes:
        rows: Number of cells.
        example: The first cell that is not empty.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.example: Any = None
        self._counts: Counter[Hashable] | None = Counter()
        self._values: dict[Hashable, Any] = {}  # of cells that are no texts
        self._kinds: set[str] | None = None
        self._some: list[Any] = []

    def update(self, cells: list[Any]) -> None:
        """Take more cells into account."""
        self.rows += len(cells)
        if self._counts is None:
            return
        self._kinds = None
        if set(map(type, cells)) == {str}:
            self._counts.update(cells)
        else:
            keys = list(map(key_of, cells))
            self._counts.update(keys)
            self._values |= {key: cell for key, cell in zip(keys, cells, strict=True) if type(cell) is not str}
        if self.example is None:
            self.example = next((cell for cell in cells if _kind(cell) != "missing" and cell != []), None)
        if len(self._counts) > _MOST_DIFFERENT:
            self._some = self._different(_LOOKED_AT)
            self._kinds = set(map(_kind, self._different(_MOST_DIFFERENT)))
            self._counts, self._values = None, {}

    @property
    def cells(self) -> Cells | None:
        """Each different cell and its number of rows; None if there are too many."""
        if self._counts is None:
            return None
        return list(zip(self._different(len(self._counts)), self._counts.values(), strict=True))

    @property
    def examples(self) -> list[Any]:
        """Some different cells, the first ones."""
        return self._some or self._different(_LOOKED_AT)

    @property
    def is_all_missing(self) -> bool:
        """Whether all cells are empty, null, NaN, or the -1 and -100 that hide the labels of test sets."""
        return self._all_kinds <= {"missing", "hidden"}

    @property
    def holds_zero_one(self) -> bool:
        """Whether this is a 0/1 column of numbers or truth values; some cells may be missing."""
        kinds = self._all_kinds
        return bool(kinds & {"zero", "one"}) and kinds <= {"missing", "hidden", "zero", "one"}

    @property
    def holds_marks(self) -> bool:
        """Whether this is a 0/1 column, perhaps with words such as yes, no and x."""
        kinds = self._all_kinds
        return bool(kinds & _MARKS) and kinds <= {"missing", "hidden", *_MARKS}

    @property
    def holds_numbers(self) -> bool:
        """Whether this is a column of numbers; some cells may be missing."""
        kinds = self._all_kinds
        return not kinds <= {"missing", "hidden"} and kinds.isdisjoint({"other", "yes", "no"})

    @property
    def holds_shares(self) -> bool:
        """Whether this is a column of numbers from 0 up, not all 0 or 1: votes or shares."""
        return self.holds_numbers and not self.holds_zero_one and not any(map(_is_negative, self.examples))

    @property
    def has_zero(self) -> bool:
        """Whether a cell is a 0 or a word for it."""
        return not self._all_kinds.isdisjoint({"zero", "no"})

    @property
    def style(self) -> str:
        """How a 0/1 column is written: as numbers, or as words."""
        words = (str(cell).strip() for cell in self.examples if _kind(cell) in _MARKS)
        return "numbers" if all(map(is_number, words)) else "words"

    @property
    def is_all_one(self) -> bool:
        """Whether each cell is a 1 or a word for it."""
        return bool(self._all_kinds) and self._all_kinds <= {"one", "yes"}

    @property
    def has_hidden(self) -> bool:
        """Whether a cell is -1 or -100."""
        return "hidden" in self._all_kinds

    @property
    def holds_sentences(self) -> bool:
        """Whether the cells are long texts, most of them different."""
        texts = [cell for cell in self.examples if isinstance(cell, str) and cell.strip()]
        different = _MOST_DIFFERENT if self._counts is None else len(self._counts)
        is_varied = 2 * different > min(self.rows, _MOST_DIFFERENT)
        return len(texts) > 0 and is_varied and fmean(map(len, texts)) >= _SENTENCE

    @property
    def holds_lists_of_texts(self) -> bool:
        """Whether the cells are lists of texts."""
        lists = [cell for cell in self.examples if cell is not None]
        return any(lists) and all(isinstance(cell, list) and set(map(type, cell)) <= {str} for cell in lists)

    @property
    def holds_lists_of_names(self) -> bool:
        """Whether the cells are lists of texts, many of which repeat."""
        if not self.holds_lists_of_texts:
            return False
        names = Counter(item for cell in self.examples if cell is not None for item in cell)
        return bool(names) and 2 * len(names) < sum(names.values()) + 2

    @property
    def _all_kinds(self) -> set[str]:
        if self._kinds is None:
            self._kinds = set(map(_kind, self._different(_MOST_DIFFERENT)))
        return self._kinds

    def _different(self, count: int) -> list[Any]:
        return [self._values.get(key, key) for key in islice(self._counts or (), count)]


def _kind(cell: Any) -> str:
    if cell == []:
        return "number"
    if isinstance(cell, (list, dict)):
        return "other"
    number = zero_one(cell)
    if number is not None:
        if math.isnan(number):
            return "hidden" if str(cell).strip().startswith("-") else "missing"
        return "one" if number else "zero"
    if (number := mark(cell)) is not None:
        return "yes" if number else "no"
    return "number" if is_number(str(cell)) else "other"


def _is_negative(cell: Any) -> bool:
    return str(cell).strip().startswith("-")
