"""Counts how often each label occurs."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class LabelFrequencies(NamedTuple):
    """How often each of L labels occurs.

    Attributes:
        rows: Number of examples.
        positives: Number of positive examples of each label, (L,), float64.
        annotated: Number of annotated examples of each label, (L,), int64.
    """

    rows: int
    positives: NDArray[np.float64]
    annotated: NDArray[np.int64]

    @classmethod
    def of(cls, batches: Iterable[Any]) -> "LabelFrequencies":
        """Count the labels of one or more batches (B, L) from 0 to 1; None, NaN or -100 means "not annotated"."""
        rows, positives, annotated = 0, np.zeros(()), np.zeros((), np.int64)
        for batch in batches:
            labels = np.array(batch, dtype=np.float64)  # (B, L), None becomes NaN
            is_annotated = ~np.isnan(labels) & (labels != -100)  # (B, L)
            rows += len(labels)
            positives = positives + labels.sum(axis=0, where=is_annotated)  # (L,)
            annotated = annotated + is_annotated.sum(axis=0)  # (L,)
        return cls(rows, positives, annotated)
