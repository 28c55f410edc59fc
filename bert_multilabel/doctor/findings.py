"""The splits that the data doctor examines, and what it reports about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from bert_multilabel.data.examples import multi_hot
from bert_multilabel.data.labels import shorten
from bert_multilabel.data.splitting import text_key

EXAMPLES = 20  # kept with a finding
QUOTED = 100  # characters of a text
ROWS_LISTED = 10_000  # row numbers kept with a finding


class Severity(StrEnum):
    """How serious a finding is, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem, or one thing worth a look.

    Attributes:
        severity: An error stops training or makes its scores meaningless; a warning should be looked at; a note is for
            information.
        kind: A hyphenated identifier, for programs.
        message: What was found.
        advice: What to do about it.
        source: The file; empty if it is about several.
        rows: Row numbers, from 1, as in error messages; the first `ROWS_LISTED`.
        rows_total: Number of rows concerned.
        labels: Names of the labels concerned.
        examples: Some of what was found.
    """

    severity: Severity
    kind: str
    message: str
    advice: str
    source: str = ""
    rows: list[int] = field(default_factory=list)
    rows_total: int = 0
    labels: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Split:
    """The N examples of one file, or of a part of it.

    Attributes:
        name: train, validation or test.
        source: The file.
        numbers: Row number in the file of each example, from 1, (N,).
        texts: The texts.
        pairs: The second texts, "" where there is none.
        labels: (N, L), 1, 0 or NaN for "not annotated"; None if the file has no labels.
        keys: Keys that are equal for texts that differ only in case and spaces.
    """

    name: str
    source: str
    numbers: NDArray[np.int64]
    texts: list[str]
    pairs: list[str]
    labels: NDArray[np.float32] | None
    keys: list[tuple[str, str]]

    @classmethod
    def of(cls, name: str, source: str, dataset: Dataset) -> "Split":
        """Take the clean examples of a split.

        Args:
            name: train, validation or test.
            source: The file.
            dataset: N examples with the columns `row` (row number) and `text`, and perhaps `pair` and `labels`.
        """
        texts = dataset["text"][:]
        pairs = dataset["pair"][:] if "pair" in dataset.features else [""] * len(texts)
        return cls(
            name=name,
            source=source,
            numbers=np.asarray(dataset["row"][:], np.int64),
            texts=texts,
            pairs=pairs,
            labels=multi_hot(dataset) if "labels" in dataset.features else None,
            keys=list(map(text_key, texts, pairs)),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def about_rows(
        self,
        severity: Severity,
        kind: str,
        positions: Iterable[int],
        message: str,
        advice: str,
        examples: list[str] | None = None,
    ) -> list[Finding]:
        """Return a finding about examples, or none if there are no such examples.

        Args:
            severity: How serious it is.
            kind: Its identifier.
            positions: Positions of the examples in this split, from 0.
            message: Subject and predicate after the number of rows: "row is|rows are empty".
            advice: What to do.
            examples: Default: quotes of the texts.
        """
        where = np.asarray(list(positions), np.int64)
        if not len(where):
            return []
        finding = Finding(
            severity=severity,
            kind=kind,
            message=counted(len(where), message),
            advice=advice,
            source=self.source,
            rows=self.numbers[where[:ROWS_LISTED]].tolist(),
            rows_total=len(where),
            examples=[self.quote(position) for position in where[:EXAMPLES]] if examples is None else examples,
        )
        return [finding]

    def about_labels(
        self, severity: Severity, kind: str, names: list[str], message: str, advice: str, examples: Sequence[str] = ()
    ) -> list[Finding]:
        """Return a finding about labels, or none if there are no such labels; the message as in `about_rows`."""
        if not names:
            return []
        few = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        finding = Finding(
            severity=severity,
            kind=kind,
            message=f"{counted(len(names), message)}: {few}",
            advice=advice,
            source=self.source,
            labels=names,
            examples=list(examples[:EXAMPLES]),
        )
        return [finding]

    def quote(self, position: int) -> str:
        """Quote the beginning of an example, with its row number."""
        text = " | ".join(part for part in (self.texts[position], self.pairs[position]) if part)
        return f"row {self.numbers[position]}: {shorten(text, QUOTED)}"


def counted(number: int, message: str) -> str:
    """Put a number before a message whose first words are given as "singular|plural".

    Example:
        >>> counted(1, "row is|rows are empty"), counted(2000, "row|rows")
        ('1 row is empty', '2,000 rows')
    """
    singular, _, rest = message.partition("|")
    words = rest.split(" ")[: len(singular.split(" "))]
    remainder = rest.split(" ")[len(words) :]
    return " ".join([f"{number:,}", singular if number == 1 else " ".join(words), *remainder])


def rows_text(numbers: Sequence[int] | NDArray[np.int64], shown: int = 10) -> str:
    """List row numbers, such as "row 3" and "rows 3, 7, ..."."""
    more = ", ..." if len(numbers) > shown else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:shown]))}{more}"
