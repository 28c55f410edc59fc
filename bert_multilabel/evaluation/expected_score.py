"""Fits the rule that predicts the set of labels with the highest expected score: three numbers.

The rule takes labels for independent, which they are not, and their probabilities for right. A temperature, a weight
of the labels' own thresholds and a shift of all log odds make up for that: see `model/decision.py`.

Legend: N examples, L labels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.model.decision import expected_score_sizes

from .thresholds import Flags, Floats, example_scores

# The values to choose from: (8,), (5,), (17,).
_TEMPERATURES = np.exp(0.2 * np.arange(-3, 5))
_THRESHOLD_WEIGHTS = np.arange(5) / 4
_SHIFTS = 0.2 * np.arange(-8, 9)
# Indices of temperature 1, weight 0.5 and shift 0. Weight, shift and temperature are chosen in turn, a few times.
_START = (3, 2, 8)
_ORDER = (1, 2, 0)
_ROUNDS = 2
_ENTRIES = 400_000  # of a sample that is enough to choose three numbers
_LEAST_SAMPLE = 300

_Step = tuple[int, ...]


def sample_size(num_labels: int) -> int:
    """Return how many examples are enough to choose three numbers."""
    return max(_ENTRIES // num_labels, _LEAST_SAMPLE)


class ExpectedScoreFit:
    """Finds the numbers of the rule on examples that calibration and labels' own thresholds were not fitted on.

    Args:
        logits: (N, L), divided by the temperature of the calibration.
        own: (N, L), the log odds of the labels' own thresholds, of those fits; None if there are none.
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated".
        score: One of `EXAMPLE_SCORES`.
        min_labels: The least number of labels that is predicted for an example.
    """

    def __init__(
        self,
        logits: NDArray[Any],
        own: NDArray[Any] | None,
        labels: NDArray[Any],
        score: str,
        min_labels: int = 0,
    ) -> None:
        self._logits, self._own, self._score, self._min_labels = logits, own, score, min_labels
        self._true, self._annotated = labels == 1, (labels == 0) | (labels == 1)  # (N, L) each
        self._counts = (len(_TEMPERATURES), 1 if own is None else len(_THRESHOLD_WEIGHTS), len(_SHIFTS))
        self._sorted: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
        self._scores: dict[_Step, Floats] = {}

    def best(self, examples: Flags | slice = slice(None)) -> dict[str, Any]:
        """Return the rule that scores best on some of the examples, as `MultiLabelConfig.decision`."""
        step: _Step = _START if self._own is not None else (_START[0], 0, _START[2])
        for _ in range(_ROUNDS):
            before = step
            for axis in _ORDER:
                step = self._climb(step, axis, examples)
            if step == before:
                break
        return {
            "rule": "expected_score",
            "score": self._score,
            "temperature": float(_TEMPERATURES[step[0]]),
            "threshold_weight": float(_THRESHOLD_WEIGHTS[step[1]]),
            "shift": float(_SHIFTS[step[2]]),
        }

    def _climb(self, step: _Step, axis: int, examples: Flags | slice) -> _Step:
        """Move along one axis: to the best of every second value, and from there to the best that is near."""
        start = step[axis] % 2

        def score_at(index: int) -> float:
            return float(self._scores_at((*step[:axis], index, *step[axis + 1 :]))[examples].mean())

        coarse = max(range(start, self._counts[axis], 2), key=lambda index: (score_at(index), index == step[axis]))
        near = [index for index in (coarse, coarse - 1, coarse + 1) if 0 <= index < self._counts[axis]]
        return (*step[:axis], max(near, key=score_at), *step[axis + 1 :])

    def _scores_at(self, step: _Step) -> Floats:
        """Score the examples with some numbers: (N,)."""
        if step not in self._scores:
            logits, true, annotated = self._sort(step[1])
            log_odds = logits / _TEMPERATURES[step[0]] + _SHIFTS[step[2]]  # (N, L)
            sizes = expected_score_sizes(log_odds, self._score, self._min_labels)[:, None]  # (N, 1)
            hits, predicted = (np.take_along_axis(counts, sizes, axis=1)[:, 0] for counts in (true, annotated))
            self._scores[step] = example_scores(self._score, hits, predicted, true[:, -1])
        return self._scores[step]

    def _sort(self, weight: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Sort the labels of each example, the highest first, (N, L), and count the true and the annotated ones.

        The counts are those among the first 0 to L labels, (N, L + 1) each.
        """
        if weight not in self._sorted:
            logits = self._logits
            if self._own is not None:
                logits = logits - np.float32(_THRESHOLD_WEIGHTS[weight]) * self._own
            order = np.argsort(-logits, axis=1)  # (N, L)
            true, annotated = (
                np.pad(np.take_along_axis(flags, order, axis=1), ((0, 0), (1, 0))).cumsum(axis=1, dtype=np.int32)
                for flags in (self._true, self._annotated)
            )
            self._sorted[weight] = np.take_along_axis(logits, order, axis=1), true, annotated
        return self._sorted[weight]
