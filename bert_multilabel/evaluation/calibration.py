"""Fits the temperature that makes probabilities agree with frequencies: of all entries at 0.3, three in ten are true.

Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural Networks", section 4.2: divide the logits by
the one number under which held-out labels are likeliest.

Legend: N examples, L labels, B labels of a block, C bins of logits, K temperatures that are tried.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Positives of an average label that each label is fitted together with: a label with few of its own stays near the
# others, a label with thousands does not. From 3 to 30 it makes little difference.
VIRTUAL_POSITIVES = 10.0

# A likelihood needs no example by itself: logits are counted in bins around these. (C,)
_CENTRES = np.linspace(-30, 30, 1201)
# (K,), from 0.1 to 10.
_TEMPERATURES = np.exp(np.linspace(-np.log(10), np.log(10), 231))
_BLOCK_ENTRIES = 200_000  # that are looked at together: what is computed of them stays in the cache


def fit_temperature(logits: NDArray[Any], labels: NDArray[Any], per_label: bool = False) -> float | list[float]:
    """Find the temperature under which the labels are likeliest.

    Args:
        logits: (N, L).
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated".
        per_label: One for each label, fitted together with `VIRTUAL_POSITIVES`, instead of one for all.

    Returns:
        One number from 0.1 to 10, or one per label.

    Examples:
        Logits of 3 promise 95%, but half of these labels are false:

        >>> logits, labels = np.full((4, 1), 3.0), np.array([[1], [0], [1], [0]])
        >>> round(fit_temperature(logits, labels), 1)
        10.0
    """
    # Minus the log of the probability of a positive, and of a negative, at each logit: (C, K) each.
    losses = [np.logaddexp(0, sign * _CENTRES[:, None] / _TEMPERATURES) for sign in (-1, 1)]
    size = max(_BLOCK_ENTRIES // len(logits), 1)
    blocks = [slice(start, start + size) for start in range(0, logits.shape[1], size)]
    counts = (_count_logits(logits[:, block], labels[:, block], per_label) for block in blocks)
    if not per_label:
        positives, negatives = np.sum(list(counts), axis=0)  # (1, C) each
        return float(_TEMPERATURES[(positives @ losses[0] + negatives @ losses[1]).argmin()])
    costs = np.concatenate(
        [positives @ losses[0] + negatives @ losses[1] for positives, negatives in counts]
    )  # (L, K)
    shrunk = costs + VIRTUAL_POSITIVES / max(int((labels == 1).sum()), 1) * costs.sum(axis=0)  # (L, K)
    return [float(value) for value in _TEMPERATURES[shrunk.argmin(axis=1)]]


def _count_logits(logits: NDArray[Any], labels: NDArray[Any], per_label: bool) -> NDArray[np.int64]:
    """Count the positives and the negatives of a block of labels (N, B) by logit: (2, B, C), or (2, 1, C) together."""
    step = _CENTRES[1] - _CENTRES[0]
    bins = np.rint((np.clip(logits, _CENTRES[0], _CENTRES[-1]) - _CENTRES[0]) / step).astype(np.int64)  # (N, B)
    groups = logits.shape[1] if per_label else 1
    bins += len(_CENTRES) * np.arange(groups)
    size = groups * len(_CENTRES)
    count = partial(np.bincount, minlength=size)
    # Few are not 0: it is faster to count these than all zeros.
    positives, negatives = count(bins[labels == 1]), count(bins.ravel()) - count(bins[labels != 0])
    return np.stack([positives, negatives]).reshape(2, groups, -1)
