"""Training losses by name, each as one term per label of an example.

The trainer sums the terms of all batches of a step, in all processes, and divides by the number of annotated labels.
Weights of labels and of examples have the mean 1 over the training examples. So the same divisor makes the loss of all
examples a weighted mean, like scikit-learn's with `sample_weight`: weights of 1 change nothing, nor does doubling all.

Each loss takes `scores` (B, L), float32 logits; `targets` (B, L), float32 from 0 to 1; `weights` (B, L), float32, of
the labels, 0 where not annotated. It returns a weighted term per label, (B, L), float32; or the loss of each example,
(B, 1). B is the batch, L the number of labels.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.modeling_multilabel import split_targets

# From logits (B, L) of any floating dtype and labels (B, L) to terms (B, L), float32, 0 where not annotated.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# As in the authors' published code.
ASYMMETRIC_GAMMA_NEGATIVE = 4.0
ASYMMETRIC_GAMMA_POSITIVE = 1.0
ASYMMETRIC_MARGIN = 0.05


def bce(
    scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, pos_weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross entropy: -w y log p - (1 - y) log(1 - p); `pos_weight` (L,), float32, is w, by default 1."""
    return functional.binary_cross_entropy_with_logits(
        scores, targets, weight=weights, pos_weight=pos_weight, reduction="none"
    )


def focal(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, gamma: float) -> torch.Tensor:
    """Focal loss, which gives little weight to predictions that are already right: |y - p|^gamma BCE(p, y).

    For labels 0 and 1 this is Lin et al. 2017, "Focal Loss for Dense Object Detection", (1 - p_t)^gamma (-log p_t);
    for labels in between, the quality focal loss of Li et al. 2020, "Generalized Focal Loss".
    """
    # Below a gamma of 1 the power has no finite slope at 0.
    distance = (targets - scores.sigmoid()).abs().clamp(min=torch.finfo(torch.float32).tiny)  # (B, L)
    return distance**gamma * bce(scores, targets, weights)


def asymmetric(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Asymmetric loss, which gives little weight to easy negatives and ignores the easiest.

    Ridnik et al. 2021, "Asymmetric Loss for Multi-Label Classification": with q = max(p - m, 0),
    -y (1 - p)^g+ log p - (1 - y) q^g- log(1 - q).
    """
    shifted = (scores.sigmoid() - ASYMMETRIC_MARGIN).clamp(min=0)  # (B, L)
    positive = (-scores).sigmoid() ** ASYMMETRIC_GAMMA_POSITIVE * functional.logsigmoid(scores)
    negative = shifted**ASYMMETRIC_GAMMA_NEGATIVE * torch.log1p(-shifted)
    return -(targets * positive + (1 - targets) * negative) * weights


def zlpr(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Zero-bounded log-sum-exp and pairwise rank-based loss, which ranks positives above 0 and above all negatives.

    Su et al. 2022, "ZLPR: A Novel Loss for Multi-label Classification", with soft labels:
    log(1 + sum w y exp(-s)) + log(1 + sum w (1 - y) exp(s)), where w are the weights of the labels.
    """
    losses = torch.zeros_like(scores[:, :1])  # (B, 1)
    for exponents, shares in ((-scores, targets), (scores, 1 - targets)):
        weighted = exponents + (shares * weights).log()  # (B, L), minus infinity where the weight is 0
        losses = losses + functional.pad(weighted, (1, 0)).logsumexp(dim=1, keepdim=True)  # the 1 is the exp of a 0
    return losses


def correlation(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Label-correlation aware loss: the mean of exp(p_i - p_j) over pairs of a negative i and a positive j.

    Alhuzali and Ananiadou 2021, "SpanEmo: Casting Multi-label Emotion Classification as Span-prediction". A pair
    weighs (1 - y_i) y_j w_i w_j, so a label between 0 and 1 is also paired with itself, which adds a constant.
    """
    probabilities = scores.sigmoid()  # (B, L)
    # The mean over all pairs is the mean over the negatives times the mean over the positives.
    negative = _weighted_means(probabilities.exp(), (1 - targets) * weights)  # (B, 1)
    positive = _weighted_means((-probabilities).exp(), targets * weights)  # (B, 1)
    return negative * positive


def _weighted_means(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return weighted means over the labels, (B, L) to (B, 1); 0 where all weights are 0."""
    total = weights.sum(dim=1, keepdim=True)  # (B, 1)
    return (weights * values).sum(dim=1, keepdim=True) / total.clamp(min=torch.finfo(torch.float32).tiny)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "bce": bce,
    "weighted_bce": bce,
    "focal": focal,
    "asymmetric": asymmetric,
    "zlpr": zlpr,
}


def make_loss(
    name: str, label_correlation: float = 0.0, label_weights: torch.Tensor | None = None, **settings: Any
) -> Loss:
    """Return the loss of a training by its name.

    Args:
        name: One of `LOSSES`.
        label_correlation: Weight w, from 0 to 1, of the label-correlation aware loss: (1 - w) loss + w correlation.
        label_weights: (L,), float32; None: all are 1.
        **settings: Of the named loss: `pos_weight` (weighted_bce), `gamma` (focal).

    Returns:
        A function from logits (B, L) and labels (B, L), from 0 to 1, NaN or -100 where not annotated, to terms (B, L),
        float32, 0 where not annotated. It raises a MultiLabelError if the labels do not match the logits or, on a CPU,
        are not from 0 to 1.

    Examples:
        >>> loss = make_loss("bce")
        >>> loss(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, float("nan")]]))
        tensor([[0.6931, 0.6931, 0.0000]])
    """
    chosen = partial(LOSSES[name], **settings)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets, annotated = split_targets(labels, logits)
        scores = logits.float()
        weights = annotated.float() if label_weights is None else annotated * label_weights  # (B, L)
        terms = chosen(scores, targets, weights)
        if label_correlation:
            terms = (1 - label_correlation) * terms + label_correlation * correlation(scores, targets, weights)
        # The loss of a whole example is repeated for each annotated label. So all losses are divided by the same
        # count, and an example with half of its labels annotated counts half.
        return torch.where(annotated, terms, 0.0)  # (B, L) or (B, 1) -> (B, L)

    return loss


def normalized_weights(weights: Sequence[float], frequencies: LabelFrequencies) -> torch.Tensor:
    """Return weights of labels with the mean 1 over the annotated labels of all training examples: (L,), float32.

    Raises:
        MultiLabelError: If only labels that are nowhere annotated weigh more than 0.
    """
    annotated = frequencies.annotated  # (L,)
    total = float(np.dot(weights, annotated))
    if not total:
        raise MultiLabelError("--label_weights gives the weight 0 to all labels: nothing could be learned")
    return torch.tensor(np.asarray(weights) * (annotated.sum() / total), dtype=torch.float32)


def positive_weights(frequencies: LabelFrequencies, limit: float) -> torch.Tensor:
    """Return the negatives per positive of each label in training, from 1 / `limit` to `limit`: (L,), float32.

    With a weight of 0, a label without negatives would not be learned.
    """
    positives = frequencies.positives  # (L,)
    negatives = frequencies.annotated - positives  # (L,)
    ratios = np.divide(negatives, positives, out=np.full_like(positives, np.inf), where=positives > 0)
    return torch.from_numpy(ratios.clip(1 / limit, limit).astype(np.float32))
