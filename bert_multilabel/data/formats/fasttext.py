"""Reads the files of fastText: lines of text, with a word such as `__label__price` for each label."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from datasets import Features, List, Value

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, rows_in_batches
from bert_multilabel.data.values import shorten

from .sample import Sample, read_lines

PREFIX = "__label__"

_LABEL = re.compile(rf"(?<!\S){PREFIX}(\S*)\s*")
_FEATURES = Features({"text": Value("string"), "labels": List(Value("string"))})


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

    @property
    def features(self) -> Features:
        """A text and a list of names."""
        return _FEATURES

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        return rows_in_batches((number, _parse(line)) for number, _, line in self._numbered())

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines of the file on which rows start."""
        last = max(numbers, default=0)
        until_last = takewhile(lambda place: place[0] <= last, self._numbered())
        return {number: position for number, position, _ in until_last if number in numbers}

    def _numbered(self) -> Iterator[tuple[int, int, str]]:
        """Yield the number of each row, its line and its content; blank lines are skipped."""
        number = 0
        for position, line in enumerate(read_lines(self.path, self.encoding), 1):
            if line.strip():
                number += 1
                yield number, position, line


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
