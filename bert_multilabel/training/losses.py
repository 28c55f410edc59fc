"""What training minimizes: losses by name, each as one term per label of a row.

Terms are summed and divided by the number of annotated cells of all batches that make one step, on whatever process
they are: so a step does not depend on how its rows are dealt out. None of this is part of the model.

Shapes: B batch, L labels, N training rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.model.modeling_multilabel import split_targets

# From logits (B, L) of any floating dtype and labels (B, L) to terms (B, L), float32, 0 where not annotated.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# The values of the authors' published code.
ASYMMETRIC_GAMMA_NEGATIVE = 4.0
ASYMMETRIC_GAMMA_POSITIVE = 1.0
ASYMMETRIC_MARGIN = 0.05


def bce(
    scores: torch.Tensor, targets: torch.Tensor, annotated: torch.Tensor, pos_weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross entropy: -w y log p - (1 - y) log(1 - p).

    Args:
        scores: (B, L), float32 logits.
        targets: (B, L), float32 from 0 to 1.
        annotated: (B, L), bool; what is returned where it is False does not count.
        pos_weight: (L,), float32, on the device of the scores, the w of each label; by default 1.

    Returns:
        (B, L), float32.
    """
    return functional.binary_cross_entropy_with_logits(scores, targets, pos_weight=pos_weight, reduction="none")


def focal(scores: torch.Tensor, targets: torch.Tensor, annotated: torch.Tensor, gamma: float) -> torch.Tensor:
    """Focal loss, which turns away from what is already right: |y - p|^gamma BCE(p, y).

    For labels 0 and 1 that is Lin et al. 2017, "Focal Loss for Dense Object Detection", (1 - p_t)^gamma (-log p_t);
    for those between, the quality focal loss of Li et al. 2020, "Generalized Focal Loss".

    Args:
        scores: (B, L), float32 logits.
        targets: (B, L), float32 from 0 to 1.
        annotated: (B, L), bool; what is returned where it is False does not count.
        gamma: At least 0, where it is binary cross entropy.

    Returns:
        (B, L), float32.
    """
    # Below a gamma of 1 the power has no finite slope at 0.
    distance = (targets - scores.sigmoid()).abs().clamp(min=torch.finfo(torch.float32).tiny)  # (B, L)
    return distance**gamma * bce(scores, targets, annotated)


def asymmetric(scores: torch.Tensor, targets: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Asymmetric loss, which turns away from easy negatives most, and from the easiest altogether.

    Ridnik et al. 2021, "Asymmetric Loss for Multi-Label Classification": with q = max(p - m, 0),
    -y (1 - p)^g+ log p - (1 - y) q^g- log(1 - q).

    Args:
        scores: (B, L), float32 logits.
        targets: (B, L), float32 from 0 to 1, the weights of the two parts.
        annotated: (B, L), bool; what is returned where it is False does not count.

    Returns:
        (B, L), float32.
    """
    shifted = (scores.sigmoid() - ASYMMETRIC_MARGIN).clamp(min=0)  # (B, L)
    positive = (-scores).sigmoid() ** ASYMMETRIC_GAMMA_POSITIVE * functional.logsigmoid(scores)
    negative = shifted**ASYMMETRIC_GAMMA_NEGATIVE * torch.log1p(-shifted)
    return -(targets * positive + (1 - targets) * negative)


def zlpr(scores: torch.Tensor, targets: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Zero-bounded log-sum-exp and pairwise rank-based loss, which puts positives above 0 and above all negatives.

    Su et al. 2022, "ZLPR: A Novel Loss for Multi-label Classification", with soft labels:
    log(1 + sum y exp(-s)) + log(1 + sum (1 - y) exp(s)).

    Args:
        scores: (B, L), float32 logits.
        targets: (B, L), float32 from 0 to 1.
        annotated: (B, L), bool, what the sums are over.

    Returns:
        (B, 1), float32, the loss of the row.
    """
    rows = torch.zeros_like(scores[:, :1])  # (B, 1)
    for exponents, weights in ((-scores, targets), (scores, 1 - targets)):
        weighted = exponents + (weights * annotated).log()  # (B, L), minus infinity where the weight is 0
        rows = rows + functional.pad(weighted, (1, 0)).logsumexp(dim=1, keepdim=True)  # the 1 is the exp of a 0
    return rows


def correlation(scores: torch.Tensor, targets: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Label-correlation aware loss: the mean of exp(p_i - p_j) over pairs of a negative i and a positive j.

    Alhuzali and Ananiadou 2021, "SpanEmo: Casting Multi-label Emotion Classification as Span-prediction". A pair
    weighs (1 - y_i) y_j, so a label between 0 and 1 is also paired with itself: a constant.

    Args:
        scores: (B, L), float32 logits.
        targets: (B, L), float32 from 0 to 1.
        annotated: (B, L), bool, what the pairs are made of.

    Returns:
        (B, 1), float32, the loss of the row; 0 without pairs.
    """
    probabilities = scores.sigmoid()  # (B, L)
    # The mean over all pairs is that over the negatives times that over the positives.
    negative = _row_means(probabilities.exp(), (1 - targets) * annotated)  # (B, 1)
    positive = _row_means((-probabilities).exp(), targets * annotated)  # (B, 1)
    return negative * positive


def _row_means(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted means (B, 1) of rows (B, L); 0 where all weights are."""
    total = weights.sum(dim=1, keepdim=True)  # (B, 1)
    return (weights * values).sum(dim=1, keepdim=True) / total.clamp(min=torch.finfo(torch.float32).tiny)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "bce": bce,
    "weighted_bce": bce,
    "focal": focal,
    "asymmetric": asymmetric,
    "zlpr": zlpr,
}


def make_loss(name: str, label_correlation: float = 0.0, **settings: Any) -> Loss:
    """Make the loss of a training.

    Args:
        name: One of `LOSSES`.
        label_correlation: Weight w, from 0 to 1, of the label-correlation aware loss: (1 - w) loss + w correlation.
        **settings: For the loss of that name: `pos_weight` (weighted_bce), `gamma` (focal).

    Returns:
        A function from logits (B, L), any floating dtype, and labels (B, L), numbers from 0 to 1 of any dtype, NaN or
        -100 for "not annotated", to terms (B, L), float32, 0 where not annotated. It raises ValueError for labels
        that do not fit the logits or (on CPU) are no number from 0 to 1.
    """
    chosen = partial(LOSSES[name], **settings)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets, annotated = split_targets(labels, logits)
        scores = logits.float()
        terms = chosen(scores, targets, annotated)
        if label_correlation:
            terms = (1 - label_correlation) * terms + label_correlation * correlation(scores, targets, annotated)
        # What is of the row as a whole stands in each of its annotated cells: one count of cells then serves all
        # losses, and a row that is annotated in half counts half.
        return torch.where(annotated, terms, 0.0)  # (B, L) or (B, 1) -> (B, L)

    return loss


def positive_weights(frequencies: LabelFrequencies, limit: float) -> torch.Tensor:
    """Return how many negatives a label has for each positive, from 1 / `limit` to `limit`.

    Args:
        frequencies: Of the labels in the training rows.
        limit: At least 1. A label without positives has this weight, and one without negatives its inverse: with 0
            it would not be learnt at all.

    Returns:
        (L,), float32.
    """
    positives = frequencies.positives  # (L,)
    negatives = frequencies.annotated - positives  # (L,)
    ratios = np.divide(negatives, positives, out=np.full_like(positives, np.inf), where=positives > 0)
    return torch.from_numpy(ratios.clip(1 / limit, limit).astype(np.float32))
