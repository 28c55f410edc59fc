"""Confidence intervals of scores, by the bootstrap.

Legend: N examples, S sums over examples, R resamples.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from bert_multilabel.errors import MultiLabelError

CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 0
_BATCH_ENTRIES = 1_000_000  # that are drawn at a time, to bound the memory


def bootstrap_interval(example_scores: ArrayLike) -> tuple[float, float]:
    """Find the 95% confidence interval of the mean score of examples.

    The percentile interval of Efron (1979), "Bootstrap Methods: Another Look at the Jackknife". The seed is fixed: the
    same scores have the same interval, in any order.

    Args:
        example_scores: (N,), NaN for examples that have none, which are left out.

    Returns:
        The lower and the upper bound.

    Raises:
        MultiLabelError: If the scores are not 1-D, or if there are none.

    Examples:
        >>> low, high = bootstrap_interval([0.0, 0.5, 1.0] * 100)
        >>> round(low, 2), round(high, 2)
        (0.46, 0.55)
    """
    from scipy.stats import bootstrap  # takes half a second to import, and few commands need it

    scores = np.asarray(example_scores, dtype=np.float64)
    if scores.ndim != 1:
        raise MultiLabelError(f"example_scores must be 1-D, one score per example, got the shape {scores.shape}")
    known = np.sort(scores[~np.isnan(scores)])
    if not len(known):
        raise MultiLabelError(f"example_scores must hold at least one score, got {len(scores)} examples without any")
    if known[0] == known[-1]:
        return float(known[0]), float(known[0])  # also of a single example, which scipy refuses
    found = bootstrap(
        (known,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(_BATCH_ENTRIES // len(known), 1),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=_SEED,
    ).confidence_interval
    return float(found.low), float(found.high)


def resampled_sums(values: ArrayLike) -> NDArray[np.float64]:
    """Sum values (N, S), mostly 0, over the examples of each resample, for scores that are no means: (R, S)."""
    sparse = csr_array(values)
    num_examples, num_sums = sparse.shape
    rng, sums = np.random.default_rng(_SEED), np.empty((RESAMPLES, num_sums))
    for total in sums:
        total[:] = sparse.T @ np.bincount(rng.integers(num_examples, size=num_examples), minlength=num_examples)
    return sums


def percentile_interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """Find the interval that holds 95% of the resampled values of a score, (R,)."""
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
