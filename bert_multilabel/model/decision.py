# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Turns logits into probabilities and labels, in PyTorch and in ONNX exports alike. It needs only numpy.

Decisions are made in three steps. A decision rule (thresholds, or the set of labels with the highest expected score)
gives each label a margin, which is positive if the rule predicts it. Label rules, if there are any, turn the margins
into the likeliest set of labels that breaks none of them. `min_labels` adds labels where too few are predicted.

Legend: N examples, L labels, Q nodes of the quadrature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32 or float64
Flags = NDArray[np.bool_]

RULES = ("expected_score",)
# Scores that are a mean over examples, each of which can be maximized by itself.
EXAMPLE_SCORES = ("hamming_score", "samples_f1")

# Nodes and weights of the Gauss-Legendre quadrature over 0..1: exact for up to 64 labels.
_NODES, _WEIGHTS = (values / 2 for values in np.polynomial.legendre.leggauss(32))
_NODES = _NODES + 0.5
_ENTRIES = 2_000_000  # of (N, L, Q) that are in memory together
_LARGEST_MARGIN = 1e6  # of labels with threshold 0 or 1


class SetRules(Protocol):
    """What label rules have to know."""

    def obey(
        self, margins: Floats, decisions: Flags, min_labels: int = 0, subset: NDArray[np.int64] | None = None
    ) -> Flags:
        """Return the sets of labels with the highest sums of margins that break no rule, of N examples: (N, L)."""


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Decides which labels are predicted.

    Args:
        temperature: () or (L,); logits are divided by it before the sigmoid.
        threshold: () or (L,); without a `decision`, a label is predicted if its probability is at least this.
        min_labels: At least this many labels are predicted, the most probable ones first, as far as label rules allow.
        decision: None, or `{"rule": "expected_score", "score": ..., "temperature": ..., "threshold_weight": ...,
            "shift": ...}`: the rule that predicts the set of labels with the highest expected score. See `_adjust`.
        label_rules: What the predicted set must obey.
        subset: (L,) indices of the labels among those of the rules; None: they are the same.
    """

    temperature: Floats
    threshold: Floats
    min_labels: int = 0
    decision: Mapping[str, Any] | None = None
    label_rules: SetRules | None = None
    subset: NDArray[np.int64] | None = None

    def decide(self, logits: Floats) -> tuple[NDArray[np.float32], Flags]:
        """Return probabilities, (N, L) float32, and decisions, (N, L) bool, of logits (N, L)."""
        scaled = self._scale(logits)
        probabilities = _sigmoid(scaled)
        margins: Floats
        if self.decision is None:
            decisions = probabilities >= self.threshold.astype(np.float32)  # (N, L)
            margins = scaled - _logit(self.threshold)  # (N, L)
        else:
            margins, sizes = self._maximize(scaled, self.decision)
            decisions = _likeliest(margins, sizes)
        if self.label_rules is not None:
            decisions = self.label_rules.obey(margins, decisions, self.min_labels, self.subset)
        elif self.decision is None and self.min_labels:
            # By logit, because saturated probabilities tie.
            lacking = decisions.sum(axis=1) < self.min_labels  # (N,)
            decisions |= _likeliest(scaled, np.where(lacking, self.min_labels, 0))
        return probabilities, decisions

    def cutoffs(self, logits: Floats) -> NDArray[np.float32]:
        """Return the probabilities from which the decision rule predicts the labels of each example: (N, L).

        These are the thresholds. The rule of the expected score has others for each example.
        """
        if self.decision is None:
            return np.broadcast_to(self.threshold.astype(np.float32), logits.shape)
        scaled = self._scale(logits)
        margins, _ = self._maximize(scaled, self.decision)
        return _sigmoid((scaled - self.decision["temperature"] * margins).astype(np.float32))

    def _scale(self, logits: Floats) -> Floats:
        scaled: Floats = logits.astype(np.float32) / self.temperature.astype(np.float32)
        return scaled

    def _maximize(self, scaled: Floats, decision: Mapping[str, Any]) -> tuple[Floats, NDArray[np.int64]]:
        """Return the margins (N, L) of the sets with the highest expected scores, and their sizes, (N,)."""
        log_odds = adjust(scaled, self.threshold, decision)  # (N, L)
        sizes = expected_score_sizes(log_odds, decision["score"], self.min_labels)  # (N,)
        return log_odds - _cuts(log_odds, sizes)[:, None], sizes


def adjust(scaled: Floats, threshold: Floats, decision: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the log odds, (N, L), by which the rule of the expected score reckons.

    Labels exclude and attract each other, but the rule takes them for independent. Three fitted numbers make up for
    that: a temperature, how much the labels' own thresholds count, and a shift.

    Args:
        scaled: (N, L) logits, divided by the temperature of the calibration.
        threshold: () or (L,).
        decision: The rule.
    """
    own = decision["threshold_weight"] * _logit(threshold)  # () or (L,)
    log_odds: NDArray[np.float64] = (scaled - own) / decision["temperature"] + decision["shift"]
    return log_odds


def expected_score_sizes(log_odds: Floats, score: str, min_labels: int = 0) -> NDArray[np.int64]:
    """Find how many labels, the most probable ones, have the highest expected score for each example: (N,).

    Args:
        log_odds: (N, L), of labels that are taken for independent.
        score: One of `EXAMPLE_SCORES`.
        min_labels: The least number of labels.
    """
    num_examples, num_labels = log_odds.shape
    sizes = np.empty(num_examples, np.int64)
    rows = max(_ENTRIES // (max(num_labels, 1) * len(_NODES)), 1)
    for start in range(0, num_examples, rows):
        chunk = slice(start, start + rows)
        probabilities = np.sort(_sigmoid(log_odds[chunk].astype(np.float64)), axis=1)[:, ::-1]  # (n, L)
        expected = expected_scores(probabilities, score)  # (n, L + 1)
        sizes[chunk] = expected[:, min_labels:].argmax(axis=1) + min_labels
    return sizes


def expected_scores(probabilities: NDArray[np.float64], score: str) -> NDArray[np.float64]:
    """Compute the expected scores of the k most probable labels, for k from 0 to L: (N, L + 1).

    The hamming score of k labels is (the true ones among them) / (k + B), where B of the other labels are true. With
    independent labels both are independent, so that it is expected to be (p_1 + ... + p_k) E[1 / (k + B)], where
    E[1 / (k + B)] is the integral of t^(k-1) prod_{j>k} (1 - p_j + p_j t) over t from 0 to 1. The F1 of k labels is
    2 (the true ones among them) / (k + all true ones), which is expected to be the integral of
    2 t^k prod_j (1 - p_j + p_j t) sum_{i<=k} p_i / (1 - p_i + p_i t). No label scores prod_j (1 - p_j): 1 if none is
    true. No other set of k labels is expected to score higher than the most probable ones.

    The expected F1 as an integral and its quadrature are ours, as is that of the hamming score; that such sets can be
    found at all is shown by Waegeman et al. (2014), "On the Bayes-optimality of F-measure maximizers", JMLR 15.

    Args:
        probabilities: (N, L), the highest first.
        score: One of `EXAMPLE_SCORES`.
    """
    num_examples, num_labels = probabilities.shape
    factors = 1 - probabilities[:, :, None] * (1 - _NODES)  # (N, L, Q): 1 - p + p t
    powers = _NODES ** np.arange(num_labels)[:, None]  # (L, Q): t^(k-1)
    if score == "hamming_score":
        others = np.ones_like(factors)  # (N, L, Q), products over the labels after each
        np.multiply.accumulate(factors[:, :0:-1], axis=1, out=others[:, -2::-1])
        found = probabilities.cumsum(axis=1) * np.einsum("nlq,lq->nl", others, powers * _WEIGHTS)  # (N, L)
    else:
        every = factors.prod(axis=1, keepdims=True)  # (N, 1, Q)
        true = (probabilities[:, :, None] / factors).cumsum(axis=1)  # (N, L, Q)
        found = np.einsum("nlq,lq->nl", every * true, 2 * powers * _NODES * _WEIGHTS)  # (N, L)
    return np.concatenate([(1 - probabilities).prod(axis=1, keepdims=True), found], axis=1)


def _likeliest(values: Floats, sizes: NDArray[np.int64]) -> Flags:
    """Choose the highest values (N, L) of each example, as many as `sizes` (N,) says: (N, L). The first of equals."""
    order = np.argsort(-values, axis=1, kind="stable")  # (N, L)
    chosen = np.zeros(values.shape, np.bool_)
    np.put_along_axis(chosen, order, np.arange(values.shape[1]) < sizes[:, None], axis=1)
    return chosen


def _cuts(log_odds: Floats, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Find the middle between the last label that is chosen and the first that is not: (N,)."""
    highest = -np.sort(-log_odds, axis=1)  # (N, L)
    # There is always a label above and one below, far enough for one to be missing.
    edges = np.pad(highest, ((0, 0), (1, 1)))
    edges[:, 0], edges[:, -1] = highest[:, 0] + 2, highest[:, -1] - 2
    cuts: NDArray[np.float64] = np.take_along_axis(edges, sizes[:, None] + np.arange(2), axis=1).mean(axis=1)
    return cuts


def _sigmoid(values: Floats) -> Floats:
    with np.errstate(over="ignore"):  # then the probability is 0
        probabilities: Floats = 1 / (1 + np.exp(-values))
    return probabilities


def _logit(probabilities: Floats) -> NDArray[np.float64]:
    values = probabilities.astype(np.float32).astype(np.float64)  # whoever stored them in float32 decides alike
    with np.errstate(divide="ignore"):  # of 0 and 1
        log_odds: NDArray[np.float64] = np.log(values) - np.log1p(-values)
    return np.clip(log_odds, -_LARGEST_MARGIN, _LARGEST_MARGIN)
