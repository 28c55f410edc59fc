"""Fits the temperature that makes probabilities mean what they say: of all cells given 0.3, three in ten are true.

Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural Networks", section 4.2: divide the logits by
the one number under which held-out labels are likeliest.

Legend: N rows, L labels, C bins of logits, K temperatures that are tried.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Positives of an average label that each label is fitted together with: one that has few of its own stays near the
# others, one that has thousands goes its own way. From 3 to 30 it makes little difference.
VIRTUAL_POSITIVES = 10.0

# Logits are counted in bins around these, for a likelihood needs no row by itself: (C,).
_CENTRES = np.linspace(-30, 30, 1201)
# (K,), from 0.1 to 10.
_TEMPERATURES = np.exp(np.linspace(-np.log(10), np.log(10), 231))


def fit_temperature(logits: NDArray[Any], labels: NDArray[Any], per_label: bool = False) -> float | list[float]:
    """Find the temperature under which the labels are likeliest.

    Args:
        logits: (N, L).
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated".
        per_label: One for each label, fitted together with `VIRTUAL_POSITIVES`, in place of one for all.

    Returns:
        One number from 0.1 to 10, or one per label.
    """
    bins = np.rint((np.clip(logits, _CENTRES[0], _CENTRES[-1]) - _CENTRES[0]) / (_CENTRES[1] - _CENTRES[0]))  # (N, L)
    label_bins = bins.astype(np.int64) + len(_CENTRES) * np.arange(logits.shape[1])  # (N, L)
    costs, positives = np.zeros((logits.shape[1], len(_TEMPERATURES))), labels == 1  # (L, K), (N, L)
    for cells, sign in ((positives, -1), (labels == 0, 1)):
        counts = np.bincount(label_bins[cells], minlength=logits.shape[1] * len(_CENTRES))
        counts = counts.reshape(-1, len(_CENTRES))  # (L, C)
        # Minus the log of the probability of a positive, or of a negative, at each logit: (C, K).
        costs += counts @ np.logaddexp(0, sign * _CENTRES[:, None] / _TEMPERATURES)
    everything = costs.sum(axis=0)  # (K,)
    if not per_label:
        return float(_TEMPERATURES[everything.argmin()])
    shrunk = costs + VIRTUAL_POSITIVES / max(int(positives.sum()), 1) * everything  # (L, K)
    return [float(value) for value in _TEMPERATURES[shrunk.argmin(axis=1)]]
