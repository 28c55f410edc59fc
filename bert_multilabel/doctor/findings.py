"""The splits that the data doctor examines, and what it reports about them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bert_multilabel.data.arrow import as_numbers
from bert_multilabel.data.splitting import text_key
from bert_multilabel.data.values import shorten
from bert_multilabel.utils.labels import hard_labels

EXAMPLES = 20  # kept with a finding
QUOTED = 100  # characters of a text
ROWS_LISTED = 10_000  # row numbers kept with a finding


class Severity(StrEnum):
    """How serious a finding is, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One problem, or one thing worth a look.

    Attributes:
        severity: An error stops training or makes its scores meaningless.
        kind: A hyphenated identifier, for programs.
        source: The file.
        rows: Row numbers from 1, as in error messages; the first `ROWS_LISTED`.
        rows_total: Number of rows concerned.
        labels: Names of the labels concerned.
        examples: Some of what was found.
    """

    severity: Severity
    kind: str
    message: str
    advice: str
    _: KW_ONLY
    source: str = ""
    rows: list[int] = field(default_factory=list)
    rows_total: int = 0
    labels: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Split:
    """The N examples of one file, or of a part of it.

    Attributes:
        numbers: Row number in the file of each example, from 1, (N,).
        pairs: The second texts, "" for none.
        labels: (N, L), 1, 0 or NaN for "not annotated"; None if the file has no labels.
        keys: Equal for texts that differ only in case and spaces.
    """

    name: str
    source: str
    numbers: NDArray[np.int64]
    texts: list[str]
    pairs: list[str]
    labels: NDArray[np.float32] | None
    keys: list[tuple[str, str]]

    @classmethod
    def of(cls, name: str, source: str, table: pa.Table) -> "Split":
        """Take N clean examples with the column `text`, and perhaps `pair` and `labels`."""
        texts = table["text"].to_pylist()
        pairs = table["pair"].to_pylist() if "pair" in table.column_names else [""] * len(texts)
        return cls(
            name=name,
            source=source,
            numbers=np.arange(len(texts)) + 1,
            texts=texts,
            pairs=pairs,
            labels=hard_labels(as_numbers(table["labels"])) if "labels" in table.column_names else None,
            keys=list(map(text_key, texts, pairs)),
        )

    def part(self, name: str, positions: NDArray[np.int64]) -> "Split":
        """Return the examples at these positions, in their order."""
        return Split(
            name=name,
            source=self.source,
            numbers=self.numbers[positions],
            texts=[self.texts[position] for position in positions],
            pairs=[self.pairs[position] for position in positions],
            labels=None if self.labels is None else self.labels[positions],
            keys=[self.keys[position] for position in positions],
        )

    def __len__(self) -> int:
        return len(self.texts)

    def report(
        self, severity: Severity, kind: str, count: int, message: str, advice: str, **details: Any
    ) -> Iterator[Finding]:
        """Yield one finding, or none if the count is 0; the message begins as in `counted`."""
        if count:
            yield Finding(severity, kind, counted(count, message), advice, source=self.source, **details)

    def about_rows(
        self,
        severity: Severity,
        kind: str,
        positions: Iterable[int],
        message: str,
        advice: str,
        examples: list[str] | None = None,
    ) -> Iterator[Finding]:
        """Report examples by their positions in this split, from 0; by default, quote their texts."""
        where = np.asarray(list(positions), np.int64)
        rows = self.numbers[where[:ROWS_LISTED]].tolist()
        examples = [self.quote(position) for position in where[:EXAMPLES]] if examples is None else examples
        total = len(where)
        return self.report(severity, kind, total, message, advice, rows=rows, rows_total=total, examples=examples)

    def about_labels(
        self, severity: Severity, kind: str, names: list[str], message: str, advice: str, examples: Sequence[str] = ()
    ) -> Iterator[Finding]:
        """Report labels."""
        few = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return self.report(
            severity, kind, len(names), f"{message}: {few}", advice, labels=names, examples=list(examples)
        )

    def quote(self, position: int) -> str:
        """Quote the beginning of an example, with its row number."""
        text = " | ".join(part for part in (self.texts[position], self.pairs[position]) if part)
        return f"row {self.numbers[position]}: {shorten(text, QUOTED)}"


def counted(number: int, message: str) -> str:
    """Put a number before a message that begins with "singular|plural".

    Examples:
        >>> counted(1, "row is|rows are empty"), counted(2000, "row|rows")
        ('1 row is empty', '2,000 rows')
    """
    singular, _, rest = message.partition("|")
    words, length = rest.split(" "), len(singular.split(" "))
    return " ".join([f"{number:,}", *([singular] if number == 1 else words[:length]), *words[length:]])
