"""How sure a score is: within what bounds it would stay on other rows of the same kind.

Legend: N rows, K different scores among them, S sums over rows, R redraws.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from bert_multilabel.errors import MultiLabelError

CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 0


def bootstrap_interval(row_scores: ArrayLike) -> tuple[float, float]:
    """Find the interval in which the mean over rows lies in 95 of 100 redraws of the rows.

    The percentile interval of Efron (1979), "Bootstrap Methods: Another Look at the Jackknife". The seed is fixed: the
    same scores have the same interval.

    Args:
        row_scores: (N,), NaN for rows that have none, which are left out.

    Returns:
        The lower and the upper bound.

    Raises:
        MultiLabelError: If the scores are not 1-D, or if there are none.
    """
    given = np.asarray(row_scores, dtype=np.float64)
    if given.ndim != 1:
        raise MultiLabelError(f"row_scores must be 1-D, one score per row, got the shape {given.shape}")
    scores = given[~np.isnan(given)]
    if not len(scores):
        raise MultiLabelError(f"row_scores must hold at least one score, got {len(given)} rows without any")
    # Rows of the same score are the same to the mean: drawing how many there are of each score spares drawing rows.
    values, counts = np.unique(scores, return_counts=True)  # (K,), (K,)
    rng = np.random.default_rng(_SEED)
    draws = (rng.multinomial(len(scores), counts / len(scores)) for _ in range(RESAMPLES))  # (K,) each
    means = [float(draw @ values) / len(scores) for draw in draws]
    return percentile_interval(np.asarray(means))


def redrawn_sums(row_values: ArrayLike) -> NDArray[np.float64]:
    """Sum over the rows what each adds, once for each redraw of the rows: for scores that are no mean over rows.

    Args:
        row_values: (N, S), mostly 0.

    Returns:
        (R, S).
    """
    values = csr_array(row_values)
    num_rows, num_sums = values.shape
    rng, sums = np.random.default_rng(_SEED), np.empty((RESAMPLES, num_sums))
    for redraw in sums:
        redraw[:] = values.T @ np.bincount(rng.integers(num_rows, size=num_rows), minlength=num_rows)
    return sums


def percentile_interval(redrawn: NDArray[np.float64]) -> tuple[float, float]:
    """Find the interval in which 95 of 100 of a score's R redraws, (R,), lie."""
    low, high = np.quantile(redrawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
