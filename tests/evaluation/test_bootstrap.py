import numpy as np
import pytest
from scipy.stats import bootstrap

from bert_multilabel.evaluation.bootstrap import CONFIDENCE, bootstrap_interval


@pytest.mark.parametrize("kind", ["few values", "all different"])
def test_the_interval_is_that_of_scipy(kind):
    rng = np.random.default_rng(1)
    scores = rng.choice([0, 1 / 3, 0.5, 1], size=400) if kind == "few values" else rng.random(400) ** 3
    expected = bootstrap(
        (scores,), np.mean, method="percentile", confidence_level=CONFIDENCE, n_resamples=4000, rng=rng
    ).confidence_interval
    low, high = bootstrap_interval(scores)
    # Both draw at random: they differ by a small part of the width.
    assert [low, high] == pytest.approx(list(expected), abs=0.1 * (high - low))
    assert low < scores.mean() < high


def test_it_is_the_same_each_time_in_any_order_and_without_rows_that_have_no_score():
    scores = np.random.default_rng(0).random(50)
    interval = bootstrap_interval(scores)
    assert bootstrap_interval(scores[::-1]) == interval
    assert bootstrap_interval([*scores, np.nan]) == interval


def test_rows_that_score_alike_leave_no_doubt():
    assert bootstrap_interval([0.5] * 30) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("scores", "phrase"),
    [
        ([[0.5, 1.0]], "must be 1-D, one score per row, got the shape .1, 2."),
        ([np.nan, np.nan], "at least one score, got 2 rows without any"),
    ],
)
def test_what_is_no_scores_of_rows_is_refused(scores, phrase):
    with pytest.raises(ValueError, match=phrase):
        bootstrap_interval(scores)
