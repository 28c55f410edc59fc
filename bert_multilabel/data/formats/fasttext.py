"""Reads the files of fastText: lines of text, with a word such as `__label__price` for each label."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, KnownColumns, rows_in_batches
from bert_multilabel.data.values import shorten

from .sample import Sample, filled_lines, lines_of_rows

PREFIX = "__label__"

_LABEL = re.compile(rf"(?<!\S){PREFIX}(\S*)\s*")


@dataclass(frozen=True)
class FastTextReader:
    """Reads a file of fastText; see `Reader`. A row has no labels if its line has none.

    Attributes:
        path: Of the file.
        encoding: Of its text.
    """

    path: str
    encoding: str
    said: str = f"fastText: words that begin with {PREFIX} are the labels, the rest of a line is the text"
    known_columns: KnownColumns = field(default_factory=lambda: {"text": None, "labels": None})

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        return rows_in_batches(enumerate(map(_parse, filled_lines(self.path, self.encoding)), 1))

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines of the file on which rows start."""
        return lines_of_rows(self.path, self.encoding, numbers)


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Recognize a file by its labels: most lines begin or end with one, although a line may have none."""
    if sample.first.startswith(("{", "[")):
        return None
    lines = [words for line in sample.lines if (words := line.split())]
    count = sum(words[0].startswith(PREFIX) or words[-1].startswith(PREFIX) for words in lines)
    if 2 * count <= len(lines):
        return None
    where = "begins" if all(words[0].startswith(PREFIX) for words in lines) else "begins or ends"
    return f"{'each' if count == len(lines) else 'almost each'} line {where} with {PREFIX}"


def read(sample: Sample, spec: DataSpec) -> FastTextReader:
    """Return the reader of a file of fastText."""
    return FastTextReader(sample.path, sample.encoding)


def _parse(line: str) -> dict[str, Any] | str:
    labels = _LABEL.findall(line)
    if wrong := next((label for label in labels if not label or PREFIX in label), None):
        return f"{shorten(PREFIX + wrong)} holds several labels; separate them by blanks"
    if wrong is not None:
        return f"{PREFIX} without the name of a label; write the name directly behind it"
    return {"text": _LABEL.sub("", line).strip(), "labels": labels}
