"""Training rows that are read anew in each epoch and stored nowhere."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from bert_multilabel.errors import DataError

from .label_frequencies import LabelFrequencies

# Among so many rows the next one is drawn: a file that is sorted by label should have been shuffled before.
SHUFFLED = 10_000
# Among the rows of so many batches, those of like length come together, as where Transformers groups by length.
_BATCHES_GROUPED = 50

Row = dict[str, Any]


class UnchangedRows:
    """Rows that are read from their source several times: first all of them to the end, and later the same.

    Args:
        source: Where they are, for messages.
        read: Begins to read the rows.
    """

    def __init__(self, source: str, read: Callable[[], Iterable[Row]]) -> None:
        self._source, self._read = source, read
        self._known: tuple[int, bytes] | None = None

    def read(self) -> Iterator[Row]:
        """Read the rows.

        Raises:
            DataError: On the way or in the end, if they are others than the first time.
        """
        number, digest = 0, hashlib.blake2b()
        for number, row in enumerate(self._read(), 1):
            if self._known is not None and number > self._known[0]:
                break
            digest.update(repr(row).encode())
            yield row
        if self._known is None:
            self._known = number, digest.digest()
        count, known = self._known
        if number != count:
            now = f"{'more than ' if number > count else ''}{min(number, count)} rows, where {count} were checked"
        elif digest.digest() != known:
            now = f"other rows than the {count} that were checked"
        else:
            return
        raise DataError(f"{self._source} now holds {now}: put them back, or begin anew with --overwrite_output_dir")


class RowStream(IterableDataset[Row]):
    """Clean rows (`text`, `labels`, perhaps `pair` and `id`) that are read anew in each epoch.

    Their order depends on the seed and the epoch alone, so that a training run can go on from any step.

    Args:
        read: Begins to read the rows, in the order of their source.
        frequencies: Of the labels in all rows, which tell how many rows there are.
    """

    def __init__(self, read: Callable[[], Iterable[Row]], frequencies: LabelFrequencies) -> None:
        self._read = read
        self.frequencies = frequencies
        self._is_shuffled, self._group, self._seed, self._epoch = False, 1, 0, 0

    def ordered(self, strategy: str, batch_size: int, seed: int) -> "RowStream":
        """Return the same rows in an order of training.

        Args:
            strategy: One of Trainer's `train_sampling_strategy`: `"sequential"` as they come, `"random"` as drawn from
                the next `SHUFFLED` ones, `"group_by_length"` like that, with rows of like length together.
            batch_size: Rows of one step.
            seed: Of the draws, together with the epoch.
        """
        stream = copy.copy(self)
        stream._is_shuffled = strategy != "sequential"
        stream._group = _BATCHES_GROUPED * batch_size if strategy == "group_by_length" else 1
        stream._seed = seed
        return stream

    def with_labels_at(self, places: list[int]) -> "RowStream":
        """Return the same rows with the labels in another order: at each place, that from one of the given places."""
        stream = copy.copy(self)
        stream._read = lambda: ({**row, "labels": [row["labels"][place] for place in places]} for row in self._read())
        rows, positives, annotated = self.frequencies
        stream.frequencies = LabelFrequencies(rows, positives[places], annotated[places])
        return stream

    def set_epoch(self, epoch: int) -> None:
        """Fix the order of the epoch that comes."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self.frequencies.rows

    def __iter__(self) -> Iterator[Row]:
        rows = iter(self._read())
        if self._is_shuffled:
            rows = _shuffled(rows, np.random.default_rng((self._seed, self._epoch)))
        if self._group > 1:
            rows = _grouped(rows, self._group)
        return rows


def _shuffled(rows: Iterator[Row], draws: np.random.Generator) -> Iterator[Row]:
    waiting = list(islice(rows, SHUFFLED))
    for row in rows:
        place = int(draws.integers(SHUFFLED))
        yield waiting[place]
        waiting[place] = row
    draws.shuffle(waiting)
    yield from waiting


def _grouped(rows: Iterator[Row], size: int) -> Iterator[Row]:
    while group := list(islice(rows, size)):
        # By characters, as tokens come later; the longest first, as Transformers does.
        yield from sorted(group, key=lambda row: len(row["text"]) + len(row.get("pair", "")), reverse=True)
