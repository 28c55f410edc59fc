# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Hamming score for the `evaluate` library: the share of labels that the true and the predicted set share."""

# Each import on a line of its own, because evaluate reads this file line by line to find what it needs.
import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

_DESCRIPTION = """
Mean over samples of |predicted AND true| / |predicted OR true|, for multi-label classification. Unlike plain accuracy
it does not reward the many labels that are rightly absent. Also known as multi-label accuracy, and as the Jaccard
score averaged over samples. It is not 1 minus the Hamming loss.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions: One list of 0/1 per sample, with one entry per label. Decisions, not probabilities:
        0.7 is refused.
    references: The true labels in the same form.
    zero_division: What a sample scores that has neither a true nor a predicted label. Default 1.0.

Returns:
    hamming_score: A float between 0 and 1, higher is better.

Examples:
    >>> metric = evaluate.load("metrics/hamming_score")
    >>> metric.compute(predictions=[[1, 1, 1, 0, 0]], references=[[0, 1, 1, 0, 0]])
    {'hamming_score': 0.6666666666666666}
"""

_CITATION = """
@inproceedings{godbole2004discriminative,
  title     = {Discriminative Methods for Multi-labeled Classification},
  author    = {Godbole, Shantanu and Sarawagi, Sunita},
  booktitle = {Advances in Knowledge Discovery and Data Mining (PAKDD 2004)},
  series    = {Lecture Notes in Computer Science},
  volume    = {3056},
  pages     = {22--30},
  publisher = {Springer},
  year      = {2004}
}
"""


class HammingScore(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Mean over samples of |predicted AND true| / |predicted OR true|."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            # Not integers: evaluate would cut 0.7 down to 0 before it comes here to be refused.
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Sequence(datasets.Value("float32")),
                }
            ),
            reference_urls=["https://scikit-learn.org/stable/modules/generated/sklearn.metrics.jaccard_score.html"],
        )

    def _compute(
        self, predictions: list[list[float]], references: list[list[float]], zero_division: float = 1.0
    ) -> dict[str, float]:
        predicted, true = _as_sets("predictions", predictions), _as_sets("references", references)
        if predicted.shape != true.shape:
            raise ValueError(f"predictions have the shape {predicted.shape}, references {true.shape}: they must agree")
        shared = (predicted & true).sum(axis=1)
        united = (predicted | true).sum(axis=1)
        scores = np.where(united == 0, zero_division, shared / np.maximum(united, 1))
        return {"hamming_score": float(scores.mean())}


def _as_sets(name: str, samples: list[list[float]]) -> NDArray[np.bool_]:
    lengths = sorted({len(sample) for sample in samples})
    if len(lengths) != 1 or lengths == [0]:
        raise ValueError(f"{name} must have one entry per label in every sample, got lengths {lengths}")
    entries = np.asarray(samples, dtype=np.float32)
    others = entries[(entries != 0) & (entries != 1)]
    if others.size:
        # As str, since formatting shows 0.7 in float32 as 0.699999988079071.
        raise ValueError(f"{name} must be 0 or 1, got {others[0]!s}; apply a threshold to probabilities first")
    return entries.astype(np.bool_)
