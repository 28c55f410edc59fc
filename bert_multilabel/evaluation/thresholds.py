"""Fits thresholds for a goal: one for all labels, or one per label, near the others where there is little to learn.

Legend: N rows, L labels, G places of a threshold.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.errors import MultiLabelError

from .calibration import VIRTUAL_POSITIVES

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Where a threshold may stand, as logits: evenly, for probabilities of rare labels differ by orders of magnitude. (G,)
# Off the round numbers that logits of 16 bits are: they would fall on either side of a threshold by rounding.
_PLACES = np.linspace(-9, 9, 361) + 0.0123
# Gains change with the other labels' thresholds; two or three rounds settle them.
_SWEEPS = 3

SCORES = ("hamming_score", "micro_f1", "macro_f1")
BOUNDS = ("precision", "recall")


@dataclass(frozen=True)
class Goal:
    """What thresholds are fitted for: the highest `score`, or all that keeps precision or recall at a `floor`."""

    score: str
    floor: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Goal":
        """Read "hamming_score", "micro_f1", "macro_f1", "precision=0.9" or "recall=0.8".

        Raises:
            MultiLabelError: If it is none of these.
        """
        name, is_bound, number = text.partition("=")
        try:
            floor = float(number) if is_bound else None
        except ValueError:
            floor = np.nan
        if name in SCORES and floor is None:
            return cls(name)
        if name in BOUNDS and floor is not None and 0 < floor <= 1:
            return cls(name, floor)
        raise MultiLabelError(
            f"the goal of thresholds must be {', '.join(SCORES)}, or a bound such as precision=0.9 or recall=0.8 "
            f"(above 0, at most 1), got {text!r}"
        )


def fit_thresholds(
    logits: NDArray[Any], labels: NDArray[Any], goal: Goal, min_labels: int = 0, per_label: bool = False
) -> float | list[float]:
    """Find the threshold, on probabilities, that serves a goal best on these rows.

    Each label's own is fitted together with `VIRTUAL_POSITIVES`: so many positives, with their false alarms, of a
    label that behaves like all labels taken together.

    - `hamming_score`, `micro_f1`, `macro_f1`: the highest score. The hamming score counts what `min_labels` adds.
    - `precision` of at least x: the lowest threshold, thus the best recall, at which precision holds. One that gives
      nothing is never wrong: out of reach, a label is hardly ever given.
    - `recall` of at least x: the highest threshold, thus the best precision, at which recall holds.

    Args:
        logits: (N, L), already divided by the temperature.
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated".
        goal: What the thresholds are for.
        min_labels: As many labels as each row is given at least.
        per_label: One for each label in place of one for all.

    Returns:
        One probability, or one per label.
    """
    cells = _Cells(logits, labels, min_labels)
    if goal.score == "hamming_score":
        places = _peaks(_hamming_curve(cells))
        if per_label:
            places = _hamming_places(cells, start=int(places))
    elif goal.floor is None:
        places = _f1_places(cells, goal.score, per_label)
    else:
        places = _bound_places(cells, goal.score, goal.floor, per_label)
    values = 1 / (1 + np.exp(-_PLACES[places]))
    return [float(value) for value in values] if per_label else float(values)


class _Cells:
    """What thresholds see of the rows: where each cell stands, and what it should be.

    Args:
        logits: (N, L).
        labels: (N, L), NaN or -100 where not annotated.
        min_labels: As many labels as each row is given at least.
    """

    def __init__(self, logits: NDArray[Any], labels: NDArray[Any], min_labels: int) -> None:
        self.annotated: Flags = ~(np.isnan(labels) | (labels == -100))  # (N, L)
        self.true: Flags = labels == 1  # (N, L)
        # At how many places, counted from the lowest, each cell passes: (N, L).
        self.passed = np.searchsorted(_PLACES, logits, side="right")
        self.min_labels = min_labels
        # What a row is given that would have too little: (N, L).
        self.likeliest = np.zeros(logits.shape, dtype=np.bool_)
        if min_labels:
            np.put_along_axis(self.likeliest, np.argsort(-logits, axis=1)[:, :min_labels], True, axis=1)

    def slice(self, rows: slice) -> "_Cells":
        """The same of some rows."""
        part = copy.copy(self)
        for name in ("annotated", "true", "passed", "likeliest"):
            setattr(part, name, getattr(self, name)[rows])
        return part


def _sums_at_places(passed: NDArray[np.int64], groups: NDArray[np.int64], weights: NDArray[Any]) -> Floats:
    """Sum the weights of the cells of each group that pass at each place: (groups, G)."""
    width = len(_PLACES) + 1
    sums = np.bincount(
        (groups * width + passed).ravel(), weights.ravel(), minlength=(int(groups.max()) + 1) * width
    ).reshape(-1, width)  # by the number of places at which cells pass
    passing: Floats = sums[:, :0:-1].cumsum(axis=1)[:, ::-1]
    return passing  # a cell that passes at k places passes at places 0 to k - 1


def _peaks(curves: Floats) -> Places:
    """The place of the highest value of each curve (..., G); in the middle of a plateau, far from both its edges."""
    first = curves.argmax(axis=-1)[..., None]  # (..., 1)
    lower = (curves < np.take_along_axis(curves, first, axis=-1)) & (np.arange(curves.shape[-1]) > first)  # (..., G)
    end = np.where(lower.any(axis=-1), lower.argmax(axis=-1), curves.shape[-1])  # one beyond the plateau
    middle: Places = (first[..., 0] + end - 1) // 2
    return middle


def _row_scores(hits: Floats, given: Floats, true: Floats) -> Floats:
    """Hamming score of each row, from how many labels are hit, given and true."""
    united = given + true - hits
    return np.where(united == 0, 1.0, hits / np.maximum(united, 1))


def _hamming_curve(cells: _Cells) -> Floats:
    """Hamming score of one threshold for all labels, at each place: (G,), not yet divided by the number of rows."""
    curve = np.zeros(len(_PLACES))
    for start in range(0, len(cells.true), 4096):  # a table of all rows and places could outgrow memory
        some = cells.slice(slice(start, start + 4096))
        rows = np.broadcast_to(np.arange(len(some.true))[:, None], some.true.shape)  # (N, L)
        hits = _sums_at_places(some.passed, rows, some.true)  # (N, G)
        given = _sums_at_places(some.passed, rows, some.annotated)  # (N, G)
        lacking = _sums_at_places(some.passed, rows, np.ones(rows.shape)) < some.min_labels  # (N, G)
        # The likeliest include whatever passes.
        hits = np.where(lacking, (some.likeliest & some.true).sum(axis=1)[:, None], hits)
        given = np.where(lacking, (some.likeliest & some.annotated).sum(axis=1)[:, None], given)
        curve += _row_scores(hits, given, some.true.sum(axis=1)[:, None]).sum(axis=0)
    return curve


class _GivenLabels:
    """What each row is given at some thresholds, to see what one label more or less does to its hamming score.

    Args:
        cells: The rows.
        places: (L,), where the threshold of each label stands.
    """

    def __init__(self, cells: _Cells, places: NDArray[np.int64]) -> None:
        self.cells = cells
        self.num_true = cells.true.sum(axis=1)  # (N,)
        self.passes = cells.passed > places  # (N, L)
        self.num_passes = self.passes.sum(axis=1)  # (N,)
        # How many labels count as given and how many of them are true: where enough labels pass, and where the
        # likeliest are added. (N,) each.
        self.counts = [
            [(flags & cells.annotated).sum(axis=1), (flags & cells.true).sum(axis=1)]
            for flags in (self.passes, self.passes | cells.likeliest)
        ]

    def gains(self, label: int) -> Floats:
        """How much higher each row scores if a label passes than if it does not: (N,)."""
        passing, failing = (self._scores(label, np.full(len(self.passes), passes)) for passes in (True, False))
        difference: Floats = passing - failing
        return difference

    def move(self, label: int, place: int) -> None:
        """Put the threshold of a label elsewhere."""
        passes = self.cells.passed[:, label] > place  # (N,)
        self.num_passes, self.counts = self._with(label, passes)
        self.passes[:, label] = passes

    def _scores(self, label: int, passes: Flags) -> Floats:
        num_passes, ((given, hits), (filled_given, filled_hits)) = self._with(label, passes)
        lacking = num_passes < self.cells.min_labels  # (N,)
        return _row_scores(np.where(lacking, filled_hits, hits), np.where(lacking, filled_given, given), self.num_true)

    def _with(self, label: int, passes: Flags) -> tuple[NDArray[np.int64], list[list[NDArray[np.int64]]]]:
        """Count again as if a label passed in these rows (N,) and in no others."""
        cells, before, likely = self.cells, self.passes[:, label], self.cells.likeliest[:, label]
        counts = []
        for (given, hits), now, was in zip(
            self.counts, (passes, passes | likely), (before, before | likely), strict=True
        ):
            change = now.astype(np.int64) - was  # (N,)
            counts.append([given + change * cells.annotated[:, label], hits + change * cells.true[:, label]])
        return self.num_passes + passes - before, counts


def _hamming_places(cells: _Cells, start: int) -> Places:
    """Climb from one place for all labels to one for each, label by label: (L,)."""
    num_labels = cells.true.shape[1]
    state = _GivenLabels(cells, np.full(num_labels, start))
    one_group = np.zeros(len(cells.true), dtype=np.int64)

    def curve(label: int) -> Any:  # of the summed gains with the label's threshold at each place, (G,)
        return _sums_at_places(cells.passed[:, label], one_group, state.gains(label))[0]

    curves = np.stack([curve(label) for label in range(num_labels)])  # (L, G)
    average = curves.sum(axis=0) / max(int(cells.true.sum()), 1)  # (G,), per positive
    places = np.full(num_labels, start)
    for _ in range(_SWEEPS):
        before = places.copy()
        for label in range(num_labels):
            places[label] = _peaks(curve(label) + VIRTUAL_POSITIVES * average)
            state.move(label, places[label])
        if (places == before).all():
            break
    return places


def _f1_places(cells: _Cells, score: str, per_label: bool) -> Places:
    """Places of the highest micro or macro F1: (L,), or () for one for all labels."""
    if score == "macro_f1":
        hits, given, true = _counts(cells)
        f1: Floats = 2 * hits / np.maximum(given + true, 1)  # (L, G)
        average = f1.mean(axis=0)  # (G,)
        return _peaks(true * f1 + VIRTUAL_POSITIVES * average if per_label else average)
    hits, given, true = _counts(cells, shrunk=per_label)
    if per_label:
        return _micro_f1_places(hits, given, true)
    together: Floats = hits.sum(axis=0) / np.maximum(given.sum(axis=0) + true.sum(), 1)  # (G,)
    return _peaks(together)


def _bound_places(cells: _Cells, score: str, floor: float, per_label: bool) -> Places:
    """Places that just keep precision or recall at a floor: (L,), or () for one for all labels."""
    hits, given, true = _counts(cells, shrunk=per_label)
    if not per_label:
        hits, given, true = hits.sum(axis=0), given.sum(axis=0), true.sum(axis=0)  # (G,), (G,), (1,)
    if score == "recall":
        highest: Places = np.maximum(np.sum(hits >= floor * true - 1e-9, axis=-1) - 1, 0)
        return highest
    holds = hits >= floor * given - 1e-9  # (L, G) or (G,)
    lowest: Places = np.where(holds.any(axis=-1), holds.argmax(axis=-1), len(_PLACES) - 1)
    return lowest


def _counts(cells: _Cells, shrunk: bool = False) -> tuple[Floats, Floats, Floats]:
    """How often each label is given rightly, given, and true: (L, G), (L, G), (L, 1)."""
    label_of = np.broadcast_to(np.arange(cells.true.shape[1]), cells.true.shape)  # (N, L)
    counts = (
        _sums_at_places(cells.passed, label_of, cells.true),
        _sums_at_places(cells.passed, label_of, cells.annotated),
        cells.true.sum(axis=0, dtype=np.float64)[:, None],
    )
    share = VIRTUAL_POSITIVES / max(float(cells.true.sum()), 1.0) if shrunk else 0.0
    hits, given, true = (count + share * count.sum(axis=0) for count in counts)
    return hits, given, true


def _micro_f1_places(hits: Floats, given: Floats, true: Floats) -> Places:
    """Places (L,) of the highest F1 over all labels, by the method of Dinkelbach (1967) for ratios.

    At the highest score, no label can add to twice its hits minus the score times what it gives.
    """
    score = 0.0
    while True:
        places = _peaks(2 * hits - score * given)
        chosen = [np.take_along_axis(counts, places[:, None], axis=1).sum() for counts in (hits, given)]
        better = 2 * chosen[0] / max(chosen[1] + true.sum(), 1e-9)
        if better <= score:
            return places
        score = better
