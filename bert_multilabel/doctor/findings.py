"""What the data doctor reads and what it says: the rows of one file, and a finding about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
    """How bad it is, worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: An error stops training or voids its scores; a warning is worth a look; a note is good to know.
        kind: What sort of thing it is, in one hyphenated word for programs.
        message: What was found.
        advice: What to do about it.
        source: The file; empty where it is about several.
        rows: Where, by the row numbers that the reader uses, the first `ROWS_LISTED`.
        rows_total: How many rows it is about.
        labels: The labels that it is about.
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


@dataclass(frozen=True)
class Rows:
    """The clean rows of one file, or of one side of it.

    Attributes:
        split: train, validation or test.
        source: The file.
        numbers: The row number of each row (N,), as the reader counts.
        texts: N texts.
        pairs: N second texts, "" where there is none.
        labels: (N, L), 1, 0 or NaN for "not annotated"; None if the file has none.
        keys: What equal texts have in common, N of them.
    """

    split: str
    source: str
    numbers: NDArray[np.int64]
    texts: list[str]
    pairs: list[str]
    labels: NDArray[np.float32] | None
    keys: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.texts)

    def found(
        self,
        severity: Severity,
        kind: str,
        positions: Iterable[int],
        message: str,
        advice: str,
        examples: list[str] | None = None,
    ) -> Finding:
        """Make a finding about the rows at these positions; by default their texts are its examples."""
        where = np.asarray(list(positions), np.int64)
        return Finding(
            severity,
            kind,
            message,
            advice,
            source=self.source,
            rows=self.numbers[where[:ROWS_LISTED]].tolist(),
            rows_total=len(where),
            examples=[self.quote(position) for position in where[:EXAMPLES]] if examples is None else examples,
        )

    def quote(self, position: int) -> str:
        """Quote the beginning of a row for a message, with its number."""
        text = " | ".join(part for part in (self.texts[position], self.pairs[position]) if part)
        return f"row {self.numbers[position]}: {shorten(text, QUOTED)}"


def rows_of(split: str, source: str, dataset: Dataset) -> Rows:
    """Take the clean rows of a split, with the column `row` of their numbers.

    Args:
        split: train, validation or test.
        source: The file.
        dataset: N rows with the columns `row` and `text`, and perhaps `pair` and `labels`.
    """
    columns: dict[str, Any] = {name: dataset[name][:] for name in ("row", "text", "pair") if name in dataset.features}
    texts = columns["text"]
    pairs = columns.get("pair", [""] * len(texts))
    return Rows(
        split=split,
        source=source,
        numbers=np.asarray(columns["row"], np.int64),
        texts=texts,
        pairs=pairs,
        labels=multi_hot(dataset) if "labels" in dataset.features else None,
        keys=list(map(text_key, texts, pairs)),
    )


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Say how many, such as "1 row" and "2,000 rows"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def number_rows(numbers: Sequence[int] | NDArray[np.int64], shown: int = 10) -> str:
    """Name rows by their numbers, such as "row 3" and "rows 3, 7, ..."."""
    more = ", ..." if len(numbers) > shown else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:shown]))}{more}"
