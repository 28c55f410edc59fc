# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Turns logits into probabilities and labels, in PyTorch and in ONNX exports alike. It needs only numpy.

Decisions are made in three steps. A decision rule (thresholds, or the set of labels with the highest expected score)
gives each label a margin, which is positive if the rule predicts it. Label rules, if there are any, turn the margins
into the likeliest set of labels that breaks none of them. `min_labels` adds labels where too few are predicted.

Legend: N examples, L labels, Q nodes of the quadrature.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32 or float64
Flags = NDArray[np.bool_]
Sizes = NDArray[np.int64]

RULES = ("expected_score",)
# Scores that are a mean over examples, each of which can be maximized by itself.
EXAMPLE_SCORES = ("hamming_score", "samples_f1")

# Nodes and weights of the Gauss-Legendre quadrature over 0..1: exact for up to 48 labels. With more, of which 60 are
# true, expected scores are wrong by less than 1e-6.
_NODES, _WEIGHTS = (values / 2 for values in np.polynomial.legendre.leggauss(24))
_NODES = _NODES + 0.5
# So many of the most probable labels are looked at one by one, the first number for which it is certain that no others
# are chosen; else all labels.
_TOPS = (16, 64)
_RARE = 0.1  # the others are not more probable than this
_ENTRIES = 200_000  # of (N, L, Q) that are looked at together, to stay in the processor's cache
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
            "shift": ...}`: the rule that predicts the set of labels with the highest expected score. See `adjust`.
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
        if self.decision is not None:
            margins, decisions = self._maximize(scaled, self.decision)
        else:
            decisions = probabilities >= self.threshold.astype(np.float32)  # (N, L)
            if self.label_rules is None:
                return probabilities, self._fill(decisions, scaled)
            margins = scaled - _logit(self.threshold)  # (N, L)
        if self.label_rules is not None:
            decisions = self.label_rules.obey(margins, decisions, self.min_labels, self.subset)
        return probabilities, decisions

    def cutoffs(self, logits: Floats) -> NDArray[np.float32]:
        """Return the probabilities from which the decision rule predicts the labels of each example: (N, L).

        These are the thresholds. The rule of the expected score has others for each example.
        """
        if self.decision is None:
            return np.broadcast_to(self.threshold.astype(np.float32), logits.shape).copy()
        scaled = self._scale(logits)
        margins, _ = self._maximize(scaled, self.decision)
        return _sigmoid((scaled - self.decision["temperature"] * margins).astype(np.float32))

    def _scale(self, logits: Floats) -> Floats:
        scaled: Floats = logits.astype(np.float32) / self.temperature.astype(np.float32)
        return scaled

    def _fill(self, decisions: Flags, scaled: Floats) -> Flags:
        """Predict the most probable labels where too few are predicted."""
        lacking = np.flatnonzero(decisions.sum(axis=1) < self.min_labels)  # (n,)
        # By logit, because saturated probabilities tie.
        decisions[lacking] |= _likeliest(scaled[lacking], np.full(len(lacking), self.min_labels))
        return decisions

    def _maximize(self, scaled: Floats, decision: Mapping[str, Any]) -> tuple[Floats, Flags]:
        """Return the sets with the highest expected scores, (N, L), and margins (N, L) that agree with them."""
        log_odds = adjust(scaled, self.threshold, decision)  # (N, L)
        sizes, cuts = _choose_sizes(np.sort(log_odds, axis=1)[:, ::-1], decision["score"], self.min_labels)
        margins = log_odds - cuts[:, None]  # (N, L)
        decisions = margins > 0  # (N, L)
        # Where equal labels are on both sides of the cut, the first ones are chosen.
        ties = np.flatnonzero(decisions.sum(axis=1) != sizes)  # (n,)
        decisions[ties] = _likeliest(log_odds[ties], sizes[ties])
        return margins, decisions


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


def expected_score_sizes(log_odds: Floats, score: str, min_labels: int = 0) -> Sizes:
    """Find how many labels, the most probable ones, have the highest expected score for each example: (N,).

    Args:
        log_odds: (N, L), the highest first, of labels that are taken for independent.
        score: One of `EXAMPLE_SCORES`.
        min_labels: The least number of labels.
    """
    num_examples, num_labels = log_odds.shape
    sizes = np.full(num_examples, -1, np.int64)  # -1: not known yet
    for top in _TOPS:
        if min_labels <= top < num_labels:
            for rows in _chunks(np.flatnonzero(sizes < 0), top):
                sizes[rows] = _sizes_at_the_top(_sigmoid(log_odds[rows]), top, score, min_labels)
    for rows in _chunks(np.flatnonzero(sizes < 0), num_labels):
        expected = expected_scores(_sigmoid(log_odds[rows]), score)  # (n, L + 1)
        sizes[rows] = expected[:, min_labels:].argmax(axis=1) + min_labels
    return sizes


def _chunks(rows: Sizes, num_labels: int) -> Iterator[Sizes]:
    size = max(_ENTRIES // (num_labels * len(_NODES)), 1)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _sizes_at_the_top(probabilities: Floats, top: int, score: str, min_labels: int) -> Sizes:
    """Find the best sizes (N,) among those up to `top`; -1 where a larger one may be better, or others are likely."""
    highest, others = probabilities[:, :top], probabilities[:, top:]  # (N, top), (N, L - top)
    # The log of prod_j (1 - p_j (1 - t)) over the others, by its power series.
    logs, power = np.zeros((len(others), len(_NODES) + 1)), others
    for exponent in range(1, 7):
        logs -= power.sum(axis=1)[:, None] * np.append(1 - _NODES, 1) ** exponent / exponent  # (N, Q + 1): at t, and 0
        power = power * others
    expected = expected_scores(highest, score, np.exp(logs))[:, min_labels:]  # (N, top + 1 - min_labels)
    sizes: Sizes = expected.argmax(axis=1) + min_labels
    # k labels are expected to score at most their mean probability (hamming score), or twice that (F1).
    most = probabilities[:, : top + 1].mean(axis=1) * (1 if score == "hamming_score" else 2)  # (N,)
    return np.where((expected.max(axis=1) >= most) & (others[:, 0] <= _RARE), sizes, -1)


def expected_scores(probabilities: Floats, score: str, others: Floats | None = None) -> Floats:
    """Compute the expected scores of the k most probable labels, for k from 0 to L: (N, L + 1).

    The hamming score of k labels is (the true ones among them) / (k + B), where B of the other labels are true. With
    independent labels both are independent, so that it is expected to be (p_1 + ... + p_k) E[1 / (k + B)], where
    E[1 / (k + B)] is the integral of t^(k-1) prod_{j>k} (1 - p_j + p_j t) over t from 0 to 1. The F1 of k labels is
    2 (the true ones among them) / (k + all true ones), which is expected to be the integral of
    2 t^k prod_j (1 - p_j + p_j t) sum_{i<=k} p_i / (1 - p_i + p_i t). No label scores prod_j (1 - p_j): 1 if none is
    true. No other set of k labels is expected to score higher than the most probable ones.

    The integrals and their quadrature are ours. That the best set can be found among these, and by other means, is
    shown by Waegeman et al. (2014), "On the Bayes-optimality of F-measure maximizers", JMLR 15.

    Args:
        probabilities: (N, L), the highest first.
        score: One of `EXAMPLE_SCORES`.
        others: (N, Q + 1), of labels that are not chosen: prod_j (1 - p_j + p_j t) at each node, and at t = 0.
    """
    unchosen = np.ones((len(probabilities), len(_NODES) + 1)) if others is None else others
    factors = 1 - probabilities[:, :, None] * (1 - _NODES)  # (N, L, Q): 1 - p + p t
    powers = _NODES ** np.arange(probabilities.shape[1])[:, None]  # (L, Q): t^(k-1)
    if score == "hamming_score":
        after = np.ones_like(factors)  # (N, L, Q), products over the labels after each
        np.multiply.accumulate(factors[:, :0:-1], axis=1, out=after[:, -2::-1])
        found = probabilities.cumsum(axis=1) * np.einsum("nlq,lq,nq->nl", after, powers * _WEIGHTS, unchosen[:, :-1])
    else:
        every = factors.prod(axis=1) * unchosen[:, :-1]  # (N, Q)
        true = (probabilities[:, :, None] / factors).cumsum(axis=1)  # (N, L, Q)
        found = np.einsum("nlq,lq,nq->nl", true, 2 * powers * _NODES * _WEIGHTS, every)  # (N, L)
    none = (1 - probabilities).prod(axis=1) * unchosen[:, -1]  # (N,)
    return np.concatenate([none[:, None], found], axis=1)


def _choose_sizes(log_odds: Floats, score: str, min_labels: int) -> tuple[Sizes, Floats]:
    """Return the best sizes, (N,), and the middle between the last label that is chosen and the next, (N,)."""
    sizes = expected_score_sizes(log_odds, score, min_labels)
    # There is always a label above and one below, far enough for one to be missing.
    edges = np.pad(log_odds, ((0, 0), (1, 1)))  # (N, L + 2)
    edges[:, 0], edges[:, -1] = log_odds[:, 0] + 2, log_odds[:, -1] - 2
    return sizes, np.take_along_axis(edges, sizes[:, None] + np.arange(2), axis=1).mean(axis=1)


def _likeliest(values: Floats, sizes: Sizes) -> Flags:
    """Choose the highest values (N, L) of each example, as many as `sizes` (N,) says: (N, L). The first of equals."""
    order = np.argsort(-values, axis=1, kind="stable")  # (N, L)
    chosen = np.zeros(values.shape, np.bool_)
    np.put_along_axis(chosen, order, np.arange(values.shape[1]) < sizes[:, None], axis=1)
    return chosen


def _sigmoid(values: Floats) -> Floats:
    with np.errstate(over="ignore"):  # then the probability is 0
        probabilities: Floats = 1 / (1 + np.exp(-values))
    return probabilities


def _logit(probabilities: Floats) -> NDArray[np.float64]:
    values = probabilities.astype(np.float32).astype(np.float64)  # whoever stored them in float32 decides alike
    with np.errstate(divide="ignore"):  # of 0 and 1
        log_odds: NDArray[np.float64] = np.log(values) - np.log1p(-values)
    return np.clip(log_odds, -_LARGEST_MARGIN, _LARGEST_MARGIN)
