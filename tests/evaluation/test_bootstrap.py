import numpy as np
import pytest
from scipy.stats import norm

from bert_multilabel.evaluation.bootstrap import bootstrap_interval


def test_the_interval_is_that_of_theory():
    scores = np.random.default_rng(1).choice([0, 1 / 3, 0.5, 1], size=400)
    error = scores.std() / 400**0.5
    low, high = bootstrap_interval(scores)
    assert [low, high] == pytest.approx(list(norm.interval(0.95, scores.mean(), error)), abs=0.3 * error)


def test_it_is_the_same_each_time_in_any_order_and_without_rows_that_have_no_score():
    scores = np.random.default_rng(0).random(50)
    interval = bootstrap_interval(scores)
    assert bootstrap_interval(scores[::-1]) == interval
    assert bootstrap_interval([*scores, np.nan]) == interval


def test_examples_that_score_alike_leave_no_doubt():
    assert bootstrap_interval([0.5] * 30) == bootstrap_interval([0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("scores", "phrase"),
    [
        ([[0.5, 1.0]], "must be 1-D, one score per example, got the shape .1, 2."),
        ([np.nan, np.nan], "at least one score, got 2 examples without any"),
    ],
)
def test_what_is_no_scores_of_rows_is_refused(scores, phrase):
    with pytest.raises(ValueError, match=phrase):
        bootstrap_interval(scores)
