"""Fits thresholds for a goal: one for all labels, or one per label, near the others where there is little to learn.

Legend: N examples, L labels, G thresholds of the grid, B labels of a block, E special entries of the (N, L) matrix.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bert_multilabel.model.decision import EXAMPLE_SCORES

from .calibration import VIRTUAL_POSITIVES
from .goals import Goal

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# The thresholds to choose from, as logits: evenly spaced, because probabilities of rare labels differ by orders of
# magnitude. Unlike logits of 16 bits they are not round numbers, so that no logit equals a threshold. (G,)
_STEP = 0.05
_GRID = np.linspace(-9, 9, 361) + 0.0123
# The thresholds of a block of labels move together. A block has a 64th of the labels, so that an example rarely has
# two of them, and no more entries than fit the memory. Up to 64 labels move one by one.
_BLOCKS = 64
_BLOCK_ENTRIES = 4_000_000
# Gains change with the other labels' thresholds; two or three rounds settle them.
_ROUNDS = 3
_CHUNK = 512  # examples whose scores at all thresholds are in memory together
_CACHED_ENTRIES = 200_000  # entries at a time, to stay in the processor's cache


def fit_thresholds(
    logits: NDArray[Any], labels: NDArray[Any], goal: Goal, min_labels: int = 0, per_label: bool = False
) -> float | list[float]:
    """Find the threshold, on probabilities, that serves a goal best on these examples.

    Each label's own is fitted together with `VIRTUAL_POSITIVES`: so many positives, with their false positives, of a
    label that behaves like all labels taken together.

    - `hamming_score`, `samples_f1`, `micro_f1`, `macro_f1`: the highest score. The scores of examples, which are the
      first two, count what `min_labels` adds.
    - `precision` of at least x: the lowest threshold, thus the best recall, at which precision holds. Where none
      reaches it, the highest threshold, at which hardly anything is predicted.
    - `recall` of at least x: the highest threshold, thus the best precision, at which recall holds.

    Args:
        logits: (N, L), already divided by the temperature.
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated".
        goal: What the thresholds are for.
        min_labels: The least number of labels that is predicted for an example.
        per_label: One for each label instead of one for all.

    Returns:
        One probability, or one per label.

    Examples:
        >>> logits = np.array([[2.0, -3.0], [1.0, -2.0], [-1.0, -4.0]])
        >>> labels = np.array([[1, 0], [1, 1], [0, 0]])
        >>> round(fit_thresholds(logits, labels, Goal("micro_f1")), 3)
        0.073
    """
    fit = ThresholdFit(logits, labels, goal, min_labels)
    return fit.per_label() if per_label else fit.common()


class ThresholdFit:
    """The thresholds of a goal, the common one and those per label, from one look at the examples.

    See `fit_thresholds` for the arguments.
    """

    def __init__(self, logits: NDArray[Any], labels: NDArray[Any], goal: Goal, min_labels: int = 0) -> None:
        self._entries = _Entries(logits, labels, min_labels, goal.score)
        self._goal = goal

    def common(self) -> float:
        """Return the probability that serves the goal best as the threshold of all labels."""
        of_examples = self._goal.score in EXAMPLE_SCORES
        return float(_probabilities(self._common_example_index if of_examples else self._indices(per_label=False)))

    def per_label(self) -> list[float]:
        """Return a probability for each label: (L,)."""
        if self._goal.score in EXAMPLE_SCORES:
            indices = _example_indices(self._entries, int(self._common_example_index))
        else:
            indices = self._indices(per_label=True)
        values: list[float] = _probabilities(indices).tolist()
        return values

    def _indices(self, per_label: bool) -> Integers:
        """Threshold indices of a goal that is no score of examples: (L,), or () for one for all labels."""
        if self._goal.floor is None:
            return _f1_indices(self._entries, self._goal.score, per_label)
        return _bound_indices(self._entries, self._goal.score, self._goal.floor, per_label)

    @cached_property
    def _common_example_index(self) -> Integers:
        return _peaks(_example_curve(self._entries))


def _probabilities(indices: Integers) -> Floats:
    values: Floats = 1 / (1 + np.exp(-_GRID[indices]))
    return values


class _Entries:
    """The (N, L) entries: how many thresholds of the grid each reaches, and which of them are special.

    Most entries are plain: annotated, not true, and not among the `min_labels` likeliest of their example. The E
    others are listed, label by label.
    """

    def __init__(self, logits: NDArray[Any], labels: NDArray[Any], min_labels: int, score: str) -> None:
        self.num_examples, self.num_labels = logits.shape
        self.min_labels, self.score = min_labels, score
        # How many thresholds of the grid, counted from the lowest, each entry reaches: (L, N).
        self.reached = _count_reached(logits)
        likeliest = np.zeros(logits.shape, dtype=np.bool_)  # (N, L), predicted where too few others are
        if min_labels:
            top = torch.from_numpy(np.ascontiguousarray(logits)).topk(min_labels, dim=1).indices.numpy()
            np.put_along_axis(likeliest, top, True, axis=1)
        examples, of_labels = np.divmod(np.flatnonzero((labels != 0) | likeliest), self.num_labels)  # (E,) each
        by_label = np.argsort(of_labels, kind="stable")  # (E,)
        self.labels, self.examples = of_labels[by_label], examples[by_label]
        values = labels[self.examples, self.labels]  # (E,)
        self.true = values == 1  # (E,)
        self.num_true = int(self.true.sum())
        self.annotated = self.true | (values == 0)  # (E,)
        self.likeliest = likeliest[self.examples, self.labels]  # (E,)
        self.special_reached = self.reached[self.labels, self.examples]  # (E,)

    def blocks(self) -> list[slice]:
        """Divide the labels into blocks whose thresholds move at the same time."""
        size = min(-(-self.num_labels // _BLOCKS), max(_BLOCK_ENTRIES // self.num_examples, 1))
        return [slice(start, min(start + size, self.num_labels)) for start in range(0, self.num_labels, size)]


def _count_reached(logits: NDArray[Any]) -> NDArray[np.uint16]:
    """Count how many thresholds of the grid are not above each logit, as `np.searchsorted` would: (L, N)."""
    # The least numbers of the logits' type that reach each threshold; an edge below and one above them all: (G + 2,).
    edges = _GRID.astype(logits.dtype)
    edges = np.where(edges < _GRID, np.nextafter(edges, logits.dtype.type(np.inf)), edges)
    edges = np.concatenate([[-np.inf], edges, [np.inf]]).astype(logits.dtype)
    first, scale = logits.dtype.type(_GRID[0] - _STEP), logits.dtype.type(1 / _STEP)
    reached = np.empty(logits.shape[::-1], dtype=np.uint16)
    size = max(_CACHED_ENTRIES // logits.shape[1], 1)
    for start in range(0, len(logits), size):
        chunk = logits[start : start + size]
        guess = np.clip((chunk - first) * scale, 0, len(_GRID)).astype(np.int64)  # off by one at most
        guess += chunk >= edges[guess + 1]
        guess -= chunk < edges[guess]
        reached[:, start : start + size] = guess.T
    return reached


def _sums_at_thresholds(
    reached: NDArray[Any], groups: NDArray[Any], num_groups: int, weights: NDArray[Any] | None = None
) -> Floats:
    """Sum the weights, by default 1, of the entries of each group that reach each threshold: (groups, G)."""
    width = len(_GRID) + 1
    cells = (groups * width + reached).ravel()
    sums = np.bincount(cells, None if weights is None else weights.ravel(), num_groups * width)
    sums = sums.reshape(num_groups, width)  # by the number of thresholds that are reached
    reaching: Floats = sums[:, :0:-1].cumsum(axis=1)[:, ::-1]
    return reaching  # an entry that reaches k thresholds reaches those with the indices 0 to k - 1


def _peaks(curves: Floats) -> Integers:
    """The index of the highest value of each curve (..., G); in the middle of a plateau, far from both its edges."""
    first = curves.argmax(axis=-1)[..., None]  # (..., 1)
    lower = (curves < np.take_along_axis(curves, first, axis=-1)) & (np.arange(curves.shape[-1]) > first)  # (..., G)
    end = np.where(lower.any(axis=-1), lower.argmax(axis=-1), curves.shape[-1])  # one beyond the plateau
    middle: Integers = (first[..., 0] + end - 1) // 2
    return middle


def example_scores(score: str, hits: NDArray[Any], predicted: NDArray[Any], true: NDArray[Any]) -> Floats:
    """Score examples by one of `EXAMPLE_SCORES`, from how many labels are rightly predicted, predicted and true."""
    if score == "hamming_score":
        numerator, denominator = hits, predicted + true - hits
    else:
        numerator, denominator = 2 * hits, predicted + true
    return np.where(denominator == 0, 1.0, numerator / np.maximum(denominator, 1))


def _example_curve(entries: _Entries) -> Floats:
    """Sum of the examples' scores with each threshold for all labels: (G,)."""
    by_example = np.argsort(entries.examples, kind="stable")  # (E,)
    curve = np.zeros(len(_GRID))
    for start in range(0, entries.num_examples, _CHUNK):
        low, high = np.searchsorted(entries.examples, [start, start + _CHUNK], sorter=by_example)
        curve += _chunk_scores(entries, slice(start, start + _CHUNK), by_example[low:high]).sum(axis=0)
    return curve


def _chunk_scores(entries: _Entries, chunk: slice, special: Integers) -> Floats:
    """Scores of n examples, whose special entries are at the given indices, at each threshold: (n, G)."""
    reached = entries.reached[:, chunk]  # (L, n)
    size = reached.shape[1]

    def count(flags: Flags) -> Floats:  # special entries by example and threshold: (n, G)
        chosen = special[flags[special]]
        return _sums_at_thresholds(entries.special_reached[chosen], entries.examples[chosen] - chunk.start, size)

    def total(flags: Flags) -> Integers:  # special entries by example: (n, 1)
        chosen = special[flags[special]]
        counts: Integers = np.bincount(entries.examples[chosen] - chunk.start, minlength=size)[:, None]
        return counts

    passing = _sums_at_thresholds(reached, np.arange(size), size)  # (n, G)
    is_lacking = passing < entries.min_labels  # (n, G)
    # The likeliest include all that pass.
    hits = np.where(is_lacking, total(entries.likeliest & entries.true), count(entries.true))
    likeliest = total(entries.likeliest & entries.annotated)
    predicted = np.where(is_lacking, likeliest, passing - count(~entries.annotated))
    return example_scores(entries.score, hits, predicted, total(entries.true))


class _Predicted:
    """Predictions at thresholds that change, first `start` for all labels, and how each changes the scores."""

    def __init__(self, entries: _Entries, start: int) -> None:
        self.entries = entries
        self.indices = np.full(entries.num_labels, len(_GRID))  # (L,), of the thresholds: at first none is reached
        self.num_true = self._count(slice(None), entries.true)  # (N,)
        self.num_passing = np.zeros(entries.num_examples, dtype=np.int64)  # (N,)
        # How many labels count as predicted and how many of them are true: where enough labels pass, and where the
        # likeliest are added. (2, 2, N)
        self.counts = np.zeros((2, 2, entries.num_examples), dtype=np.int64)
        for part, flags in enumerate((entries.annotated, entries.true)):
            self.counts[1, part] = self._count(slice(None), entries.likeliest & flags)
        for block in entries.blocks():
            self.move(block, np.full(block.stop - block.start, start))

    def move(self, block: slice, indices: Integers) -> None:
        """Choose other thresholds, (B,), for a block of labels."""
        if (indices == self.indices[block]).all():
            return
        entries, special = self.entries, self._special(block)
        reached = entries.reached[block]  # (B, N)
        before, after = (reached > chosen[:, None] for chosen in (self.indices[block], indices))  # (B, N) each
        num_passing = (after.view(np.int8) - before.view(np.int8)).sum(axis=0, dtype=np.int32)  # (N,)
        self.num_passing += num_passing
        self.counts[:, 0] += num_passing
        labels, examples = entries.labels[special] - block.start, entries.examples[special]
        true, annotated, likeliest = entries.true[special], entries.annotated[special], entries.likeliest[special]
        for passes, sign in ((before[labels, examples], -1), (after[labels, examples], 1)):
            self.counts[:, 0] -= sign * self._count(special, passes & ~annotated)
            self.counts[:, 1] += sign * self._count(special, passes & true)
            # Where the likeliest are added, those that pass are not counted twice.
            for part, flags in enumerate((annotated, true)):
                self.counts[1, part] -= sign * self._count(special, passes & likeliest & flags)
        self.indices[block] = indices

    def curves(self, block: slice) -> Floats:
        """Sum how much higher all examples score if a label of a block passes, at each of its thresholds: (B, G)."""
        entries, special = self.entries, self._special(block)
        passes = entries.reached[block] > self.indices[block, None]  # (B, N)
        no, yes = np.zeros(1, dtype=np.bool_), np.ones(1, dtype=np.bool_)
        # Of plain entries, those that pass now and those that do not: (N,) each.
        plain = [self._gains(slice(None), now, true=no, annotated=yes, likeliest=no) for now in (yes, no)]
        gains = np.where(passes, *plain)  # (B, N)
        labels, examples = entries.labels[special] - block.start, entries.examples[special]
        flags = entries.true[special], entries.annotated[special], entries.likeliest[special]
        gains[labels, examples] = self._gains(examples, passes[labels, examples], *flags)
        return _sums_at_thresholds(entries.reached[block], np.arange(len(passes))[:, None], len(passes), gains)

    def _gains(self, examples: Any, passes: Flags, true: Flags, annotated: Flags, likeliest: Flags) -> Floats:
        """How much higher the example of an entry scores if the entry passes than if it does not: (E,)."""
        others = self.num_passing[examples] - passes
        (predicted, hits), (filled_predicted, filled_hits) = self.counts[:, :, examples]

        def score(would_pass: int) -> Floats:
            # What the entry would add to each count, less what it adds now.
            change, filled_change = would_pass - 1 * passes, (would_pass | likeliest) - 1 * (passes | likeliest)
            is_lacking = others + would_pass < self.entries.min_labels
            return example_scores(
                self.entries.score,
                np.where(is_lacking, filled_hits + filled_change * true, hits + change * true),
                np.where(is_lacking, filled_predicted + filled_change * annotated, predicted + change * annotated),
                self.num_true[examples],
            )

        difference: Floats = score(1) - score(0)
        return difference

    def _special(self, block: slice) -> slice:
        """The special entries of a block."""
        return slice(*np.searchsorted(self.entries.labels, [block.start, block.stop]).tolist())

    def _count(self, special: slice, flags: Flags) -> Integers:
        """Count special entries by example: (N,)."""
        counts: Integers = np.bincount(self.entries.examples[special][flags], minlength=self.entries.num_examples)
        return counts


def _example_indices(entries: _Entries, start: int) -> Integers:
    """Climb from one threshold for all labels to one for each, block by block: (L,)."""
    predicted, blocks = _Predicted(entries, start), entries.blocks()
    average = sum(predicted.curves(block).sum(axis=0) for block in blocks) / max(entries.num_true, 1)  # per positive
    for _ in range(_ROUNDS):
        before = predicted.indices.copy()
        for block in blocks:
            predicted.move(block, _peaks(predicted.curves(block) + VIRTUAL_POSITIVES * average))
        if (predicted.indices == before).all():
            break
    return predicted.indices


def _f1_indices(entries: _Entries, score: str, per_label: bool) -> Integers:
    """Thresholds of the highest micro or macro F1: (L,), or () for one for all labels."""
    if score == "macro_f1":
        hits, predicted, true = _counts(entries)
        f1: Floats = 2 * hits / np.maximum(predicted + true, 1)  # (L, G)
        average = f1.mean(axis=0)  # (G,)
        return _peaks(true * f1 + VIRTUAL_POSITIVES * average if per_label else average)
    hits, predicted, true = _counts(entries, shrunk=per_label)
    if per_label:
        return _micro_f1_indices(hits, predicted, true)
    together: Floats = hits.sum(axis=0) / np.maximum(predicted.sum(axis=0) + true.sum(), 1)  # (G,)
    return _peaks(together)


def _bound_indices(entries: _Entries, score: str, floor: float, per_label: bool) -> Integers:
    """Thresholds that just keep precision or recall at a floor: (L,), or () for one for all labels."""
    hits, predicted, true = _counts(entries, shrunk=per_label)
    if not per_label:
        hits, predicted, true = hits.sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)  # (G,), (G,), (1,)
    if score == "recall":
        highest: Integers = np.maximum(np.sum(hits >= floor * true - 1e-9, axis=-1) - 1, 0)
        return highest
    holds = hits >= floor * predicted - 1e-9  # (L, G) or (G,)
    lowest: Integers = np.where(holds.any(axis=-1), holds.argmax(axis=-1), len(_GRID) - 1)
    return lowest


def _counts(entries: _Entries, shrunk: bool = False) -> tuple[Floats, Floats, Floats]:
    """True positives and predictions of each label at each threshold, (L, G) each, and its positives, (L, 1)."""

    def count(flags: Flags) -> Floats:
        return _sums_at_thresholds(entries.special_reached[flags], entries.labels[flags], entries.num_labels)

    counts = (
        count(entries.true),
        _sums_at_thresholds(entries.reached, np.arange(entries.num_labels)[:, None], entries.num_labels)
        - count(~entries.annotated),
        np.bincount(entries.labels[entries.true], minlength=entries.num_labels)[:, None],
    )
    share = VIRTUAL_POSITIVES / max(entries.num_true, 1) if shrunk else 0.0
    hits, predicted, true = (count + share * count.sum(axis=0) for count in counts)
    return hits, predicted, true


def _micro_f1_indices(hits: Floats, predicted: Floats, true: Floats) -> Integers:
    """Thresholds (L,) of the highest F1 over all labels, by the method of Dinkelbach (1967) for ratios.

    At the highest score, no label can add to twice its hits minus the score times its predictions.
    """
    score = 0.0
    while True:
        indices = _peaks(2 * hits - score * predicted)
        chosen = [np.take_along_axis(counts, indices[:, None], axis=1).sum() for counts in (hits, predicted)]
        better = 2 * chosen[0] / max(chosen[1] + true.sum(), 1e-9)
        if better <= score:
            return indices
        score = better
