"""Training examples that are read again in each epoch; they can be pickled, for spawned data loader workers."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from bert_multilabel.errors import DataError

from .label_frequencies import LabelFrequencies
from .spec import SHUFFLE_BUFFER

_BATCHES_GROUPED = 50  # the examples of this many batches are sorted by length together, as in Transformers

Example = dict[str, Any]


class UnchangedExamples:
    """Examples that are read several times, the first time to the end, and must be the same each time."""

    def __init__(self, source: str, read: Callable[[], Iterable[Example]]) -> None:
        self._source, self._read = source, read
        self._first_pass: tuple[int, bytes] | None = None

    def read(self) -> Iterator[Example]:
        """Read the examples; raise `DataError`, at the latest at the end, if they differ from the first pass."""
        number, digest = 0, hashlib.blake2b()
        for number, example in enumerate(self._read(), 1):
            if self._first_pass is not None and number > self._first_pass[0]:
                break
            digest.update(repr(example).encode())
            yield example
        if self._first_pass is None:
            self._first_pass = number, digest.digest()
        count, expected = self._first_pass
        if number != count:
            now = f"{'more than ' if number > count else ''}{min(number, count)} rows, but {count} were checked"
        elif digest.digest() != expected:
            now = f"other rows than the {count} that were checked"
        else:
            return
        raise DataError(f"{self._source} now has {now}: restore them, or start over with --overwrite_output_dir")


class ExampleStream(IterableDataset[Example]):
    """Clean examples (`text`, `labels`, perhaps `pair`, `id` and `weight`) that are read again in each epoch.

    Their order depends only on the seed and the epoch, so that training can resume at any step. The workers of a data
    loader share the examples; `read` begins a pass over them, and must be picklable.
    """

    def __init__(
        self, read: Callable[[], Iterable[Example]], frequencies: LabelFrequencies, mean_weight: float = 1.0
    ) -> None:
        self._read = read
        self.frequencies, self.mean_weight = frequencies, mean_weight
        self._label_order: list[int] | None = None
        self._is_shuffled, self._group_size, self._seed, self._epoch = False, 1, 0, 0

    def ordered(self, strategy: str, batch_size: int, seed: int) -> "ExampleStream":
        """Return the same examples in an order for training, as Trainer's `train_sampling_strategy` says.

        `"sequential"` keeps the order of the source, `"random"` draws from a buffer of `SHUFFLE_BUFFER` examples,
        seeded with the epoch too, and `"group_by_length"` also sorts the examples of some batches together by length.
        """
        stream = copy.copy(self)
        stream._is_shuffled = strategy != "sequential"
        stream._group_size = _BATCHES_GROUPED * batch_size if strategy == "group_by_length" else 1
        stream._seed = seed
        return stream

    def with_label_order(self, positions: list[int]) -> "ExampleStream":
        """Return the same examples with the labels at these positions, in this order."""
        stream = copy.copy(self)
        stream._label_order = positions if self._label_order is None else [self._label_order[i] for i in positions]
        count, positives, annotated = self.frequencies
        stream.frequencies = LabelFrequencies(count, positives[positions], annotated[positions])
        return stream

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that decides the order of the next pass."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self.frequencies.rows

    def __iter__(self) -> Iterator[Example]:
        examples = iter(self._read())
        if (order := self._label_order) is not None:
            examples = ({**example, "labels": [example["labels"][i] for i in order]} for example in examples)
        if self._is_shuffled:
            examples = _shuffled(examples, np.random.default_rng((self._seed, self._epoch)))
        if self._group_size > 1:
            examples = _grouped(examples, self._group_size)
        worker = get_worker_info()
        return examples if worker is None else islice(examples, worker.id, None, worker.num_workers)


def _shuffled(examples: Iterator[Example], generator: np.random.Generator) -> Iterator[Example]:
    buffer = list(islice(examples, SHUFFLE_BUFFER))
    for example in examples:
        position = int(generator.integers(SHUFFLE_BUFFER))
        yield buffer[position]
        buffer[position] = example
    generator.shuffle(buffer)
    yield from buffer


def _grouped(examples: Iterator[Example], size: int) -> Iterator[Example]:
    while group := list(islice(examples, size)):
        # By characters, since the examples are not tokenized yet; the longest first, as in Transformers.
        yield from sorted(group, key=lambda row: len(row["text"]) + len(row.get("pair", "")), reverse=True)
