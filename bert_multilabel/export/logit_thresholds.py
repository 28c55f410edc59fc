"""Thresholds of logits that decide exactly as thresholds of probabilities do.

Legend: L labels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.model.decision import Decider

# A label with threshold 0 is predicted for every logit above the negative of this.
_LARGEST = 128.0
_SIGN = np.int64(2**31)


def logit_thresholds(thresholds: NDArray[Any]) -> NDArray[np.float32]:
    """Return the smallest logits whose probability reaches the thresholds, as `Decider` compares them in float32.

    Args:
        thresholds: (L,), from 0 to 1.

    Returns:
        (L,) float32. A threshold of 1 has one as well, as probabilities are rounded to 1. One of 0 has -128, below
        which no logit of a trained model is.
    """
    low, high = (np.full(len(thresholds), _rank(np.float32(end))) for end in (-_LARGEST, _LARGEST))  # (L,) each
    decider = Decider(temperature=np.ones(1), threshold=thresholds)
    while (high - low > 1).any():  # no logit up to `low` is known to suffice, and all from `high` do
        middle = (low + high) // 2  # (L,)
        _, suffices = decider.decide(_value(middle)[None])  # (1, L)
        low, high = np.where(suffices[0], low, middle), np.where(suffices[0], middle, high)
    always = np.asarray(thresholds, np.float32) == 0
    return np.where(always, np.float32(-_LARGEST), _value(high))


def _rank(value: np.float32) -> np.int64:
    """Number the floats in their order."""
    bits = np.int64(value.view(np.uint32))
    return -(bits - _SIGN) if bits & _SIGN else bits


def _value(ranks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the floats of these numbers, (L,)."""
    return np.where(ranks < 0, -ranks + _SIGN, ranks).astype(np.uint32).view(np.float32)
