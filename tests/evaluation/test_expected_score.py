import numpy as np
import pytest
from scipy.special import logit

from bert_multilabel import MultiLabelConfig
from bert_multilabel.evaluation.expected_score import ExpectedScoreFit
from bert_multilabel.metrics import decision_scores
from tests.evaluation.test_thresholds import make_examples


@pytest.mark.parametrize("score", ["hamming_score", "samples_f1"])
def test_the_fitted_numbers_score_what_the_configuration_makes_of_them(score):
    logits, labels = make_examples(0, counts=(100, 60, 40, 30), num_examples=200)
    labels[5:9, 1] = np.nan
    thresholds = np.array([0.6, 0.3, 0.2, 0.4])
    own = np.broadcast_to(logit(thresholds).astype(np.float32), logits.shape)
    fit = ExpectedScoreFit(logits, own, labels, score, min_labels=1)
    decision = fit.best()
    best = max(scores.mean() for scores in fit._scores.values())
    config = MultiLabelConfig(label_names=list("abcd"), threshold=thresholds.tolist(), min_labels=1, decision=decision)
    assert decision_scores(config.decide(logits)[1].numpy(), labels)[score] == pytest.approx(best, abs=1e-12)
    # Numbers that nothing was fitted to score less.
    plain = config.with_decision()
    plain.decision = {**decision, "temperature": 1.0, "threshold_weight": 0.0, "shift": 0.0}
    assert decision_scores(plain.decide(logits)[1].numpy(), labels)[score] < best


def test_each_number_makes_up_for_what_it_is_for():
    logits, labels = make_examples(1, counts=(400, 300, 200, 100), num_examples=2000, spread=1)
    # By Bayes, the log odds of a label with these logits are 3 (logit + 1.5) and those of its frequency.
    right = (3 * (logits + 1.5) + logit(labels.mean(axis=0))).astype(np.float32)
    asked = {"labels": labels, "score": "hamming_score"}
    assert abs(ExpectedScoreFit(right, None, **asked).best()["shift"]) < 0.5
    moved = ExpectedScoreFit(right - 1, None, **asked).best()
    assert moved["shift"] > 0.5 and moved["threshold_weight"] == 0
    own = np.broadcast_to(np.float32([2, -2, 2, -2]), right.shape)
    weighted = ExpectedScoreFit(right + own, own, **asked).best()
    assert weighted["threshold_weight"] == 1


def test_the_rule_of_some_examples_depends_on_them_only():
    logits, labels = make_examples(2, counts=(80, 60, 40), num_examples=200)
    rows = np.arange(200) < 120
    fit = ExpectedScoreFit(logits, None, labels, "hamming_score")
    fit.best()  # of all of them, whose scores are known then
    other = labels.copy()
    other[~rows] = 1 - other[~rows]
    assert fit.best(rows) == ExpectedScoreFit(logits, None, other, "hamming_score").best(rows)
