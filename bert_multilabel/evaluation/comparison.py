"""Compares decisions by a score: which of several is the simplest that is as good as the best, as far as known.

Legend: N examples, L labels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bert_multilabel.metrics import Flags, decision_scores, sample_f1_scores, sample_hamming_scores


def simplest_of_the_best(predicted: Mapping[str, Flags], labels: ArrayLike, score: str, cautious: bool = True) -> str:
    """Choose the simplest decisions that are not worse than the best by more than a standard error.

    This is the one-standard-error rule of Breiman, Friedman, Olshen and Stone (1984), "Classification and Regression
    Trees", section 3.4.3, with the standard error of the difference of the two: both decide on the same examples.

    Args:
        predicted: Decisions by name, the simplest first, (N, L) each.
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated".
        score: One of `metrics.decision_scores`.
        cautious: If False, choose the best, and the simplest of equals.

    Returns:
        A name.

    Raises:
        MultiLabelError: As `metrics.hamming_score`.
    """
    scores = {name: decision_scores(decisions, labels)[score] for name, decisions in predicted.items()}
    best = max(scores, key=scores.__getitem__)  # the first of equals
    if not cautious or best == next(iter(predicted)):
        return best
    reference = _example_shares(predicted[best], labels, score)  # (N,)
    for name, decisions in predicted.items():
        gains = reference - _example_shares(decisions, labels, score)  # (N,)
        if scores[best] - scores[name] <= _standard_error(gains):
            return name
    return best


def _example_shares(predicted: Flags, labels: ArrayLike, score: str) -> NDArray[np.float64]:
    """Return how each example contributes to a score: (N,), NaN where nothing is annotated.

    The hamming score and the samples' F1 are means over examples. The micro and macro F1 are ratios of sums and means
    of such; for a small change of the examples' weights they change like the mean of these shares (the infinitesimal
    jackknife of Jaeckel, 1972).
    """
    if score == "hamming_score":
        return sample_hamming_scores(predicted, labels)
    if score == "samples_f1":
        return sample_f1_scores(predicted, labels)
    truth = np.asarray(labels)
    true, annotated = truth == 1, (truth == 0) | (truth == 1)  # (N, L) each
    decided = predicted & annotated  # (N, L)
    axis = None if score == "micro_f1" else 0
    sizes = decided.sum(axis=axis) + true.sum(axis=axis)  # () or (L,)
    f1 = 2 * (decided & true).sum(axis=axis) / np.maximum(sizes, 1)  # () or (L,)
    weights = len(truth) / np.maximum(sizes, 1)  # () or (L,)
    if score == "macro_f1":
        weights = weights * annotated.any(axis=0) / annotated.any(axis=0).sum()
    # An entry adds 2 if it is a hit, less the F1 for being predicted and for being true.
    shares: NDArray[np.float64] = ((2 * (decided & true) - f1 * decided - f1 * true) * weights).sum(axis=1)
    return shares


def _standard_error(values: NDArray[Any]) -> float:
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else np.inf
