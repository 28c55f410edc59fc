import itertools

import numpy as np
import pytest

from bert_multilabel.model.decision import EXAMPLE_SCORES, Decider, adjust, expected_score_sizes, expected_scores
from bert_multilabel.model.label_rules import LabelRules
from bert_multilabel.model.likeliest_sets import LikeliestSets

RULE = {
    "rule": "expected_score",
    "score": "hamming_score",
    "temperature": 1.0,
    "threshold_weight": 0.0,
    "shift": 0.0,
}
ONE, HALF = np.array(1.0), np.array(0.5)


def all_sets(num_labels):
    """Every set of labels: (2^L, L)."""
    return np.array(list(itertools.product([0, 1], repeat=num_labels)))


def expected_by_force(probabilities, sets, score):
    """The expected score of each set, (2^L,), from all sets that may be true."""
    likely = np.where(sets == 1, probabilities, 1 - probabilities).prod(axis=1)  # (2^L,)
    hits, sizes = sets @ sets.T, sets.sum(axis=1)
    both = sizes[:, None] + sizes
    numerator, denominator = {"hamming_score": (hits, both - hits), "samples_f1": (2 * hits, both)}[score]
    return np.where(both == 0, 1.0, numerator / np.maximum(denominator, 1)) @ likely


@pytest.mark.parametrize("score", EXAMPLE_SCORES)
@pytest.mark.parametrize("num_labels", [1, 2, 5, 10])
def test_no_set_of_labels_is_expected_to_score_higher(score, num_labels):
    rng, sets = np.random.default_rng(num_labels), all_sets(num_labels)
    for min_labels in range(min(num_labels, 3)):
        log_odds = rng.normal(-1, 2, size=(4, num_labels)).astype(np.float32)
        decider = Decider(temperature=ONE, threshold=HALF, min_labels=min_labels, decision={**RULE, "score": score})
        probabilities, decisions = decider.decide(log_odds)
        for likely, decided in zip(probabilities.astype(np.float64), decisions, strict=True):
            expected = expected_by_force(likely, sets, score)
            expected[sets.sum(axis=1) < min_labels] = -1
            assert sets[expected.argmax()].tolist() == decided.tolist()


def test_expected_scores_of_two_labels_by_hand():
    probabilities = np.array([[0.8, 0.3]])
    # None of them is true with 0.2 * 0.7. The first alone scores 1 if it alone is true (0.56), 1/2 if both are (0.24).
    # Both score 1 if both are true, and 1/2 if one is (0.56 + 0.06).
    np.testing.assert_allclose(expected_scores(probabilities, "hamming_score"), [[0.14, 0.68, 0.55]])
    # F1: 1 and 2/3; 1 and 2/3.
    np.testing.assert_allclose(expected_scores(probabilities, "samples_f1"), [[0.14, 0.72, 0.24 + 0.62 * 2 / 3]])


@pytest.mark.parametrize("score", EXAMPLE_SCORES)
def test_most_labels_need_not_be_looked_at_one_by_one(score):
    rng = np.random.default_rng(0)
    log_odds = rng.normal(-6, 1.5, size=(60, 200))
    log_odds[np.arange(60)[:, None], rng.integers(0, 200, (60, 4))] += 7
    log_odds[:3] += 5  # many labels are likely: all are looked at
    log_odds = np.sort(log_odds, axis=1)[:, ::-1]
    expected = expected_scores(1 / (1 + np.exp(-log_odds)), score)  # of all sizes
    for min_labels in (0, 2, 20):
        sizes = expected_score_sizes(log_odds, score, min_labels)
        assert sizes.tolist() == (expected[:, min_labels:].argmax(axis=1) + min_labels).tolist()
    assert expected_score_sizes(log_odds, score)[:3].min() > 16 > expected_score_sizes(log_odds, score)[3:].max()


def test_the_three_numbers_change_the_log_odds_as_they_say():
    decision = {**RULE, "temperature": 2.0, "threshold_weight": 0.5, "shift": 0.25}
    thresholds = np.array([0.5, 1 / (1 + np.exp(-4)), 0.5])  # the second has log odds of 4
    found = adjust(np.array([[1.0, 1.0, -3.0]]), thresholds, decision)
    np.testing.assert_allclose(found, [[0.75, (1 - 2) / 2 + 0.25, -1.25]], atol=1e-6)


def test_cutoffs_are_those_of_each_example():
    logits = np.random.default_rng(1).normal(-1, 2, size=(50, 6)).astype(np.float32)
    thresholds = np.array([0.2, 0.3, 0.5, 0.6, 0.7, 0.4])
    for decision in (None, {**RULE, "temperature": 1.3, "threshold_weight": 0.5, "shift": 0.2}):
        decider = Decider(temperature=np.array(0.8), threshold=thresholds, decision=decision)
        probabilities, decisions = decider.decide(logits)
        np.testing.assert_array_equal(probabilities >= decider.cutoffs(logits), decisions)
    assert np.ptp(decider.cutoffs(logits), axis=0).min() > 0.05


def test_equal_labels_do_not_change_the_size_of_the_set():
    decider = Decider(temperature=ONE, threshold=HALF, decision=RULE, min_labels=1)
    logits = np.full((1, 4), -4.0, np.float32)
    assert decider.decide(logits)[1].sum() == expected_score_sizes(logits, "hamming_score", 1)[0]
    both = np.array([[-1.0, 3.0, 3.0, -9.0]], np.float32)
    assert decider.decide(both)[1].tolist() == [[False, True, True, False]]


def test_min_labels_is_the_least_size_of_the_set():
    log_odds = np.array([[-5.0, -6.0, -7.0], [5.0, 5.0, -6.0]])
    assert expected_score_sizes(log_odds, "hamming_score").tolist() == [0, 2]
    assert expected_score_sizes(log_odds, "hamming_score", min_labels=1).tolist() == [1, 2]
    assert expected_score_sizes(log_odds, "hamming_score", min_labels=3).tolist() == [3, 3]


ONE_AT_MOST = LikeliestSets(**LabelRules({"exclusive": [["a", "b", "c"]]}, ["a", "b", "c"]).structure())


@pytest.mark.parametrize("decision", [None, {**RULE, "shift": 1.0}])
def test_label_rules_turn_margins_into_the_set(decision):
    logits = np.array([[2.0, 1.0, -9.0], [-9.0, -8.0, -9.0]], np.float32)
    fields = {"temperature": ONE, "threshold": np.array([0.8, 0.1, 0.5]), "decision": decision}
    _, free = Decider(**fields).decide(logits)
    _, obeying = Decider(**fields, label_rules=ONE_AT_MOST).decide(logits)
    assert free.tolist() == [[True, True, False], [False, False, False]]
    # By its threshold, the second label is the likelier one; the rule of the expected score has no thresholds here.
    assert obeying.tolist() == [[decision is not None, decision is None, False], [False, False, False]]
    _, filled = Decider(**fields, min_labels=1, label_rules=ONE_AT_MOST).decide(logits)
    assert filled[1].tolist() == [False, True, False]
    # Rules go before `min_labels`.
    _, filled = Decider(**fields, min_labels=2, label_rules=ONE_AT_MOST).decide(logits)
    assert filled.sum(axis=1).tolist() == [1, 1]
