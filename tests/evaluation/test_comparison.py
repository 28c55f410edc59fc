import numpy as np
import pytest

from bert_multilabel.evaluation.comparison import _example_shares, _standard_error, simplest_of_the_best
from bert_multilabel.metrics import decision_scores

SCORES = ["hamming_score", "samples_f1", "micro_f1", "macro_f1"]


def make_decisions(seed, num_examples, wrong=0.2):
    """Labels, and decisions of which some are wrong, (N, 3) each."""
    rng = np.random.default_rng(seed)
    labels = rng.random((num_examples, 3)) < [0.5, 0.3, 0.2]
    return labels, labels ^ (rng.random(labels.shape) < wrong)


@pytest.mark.parametrize("score", SCORES)
def test_the_simpler_one_is_kept_unless_the_other_is_better_by_a_standard_error(score):
    labels, simple = make_decisions(0, 400)
    slightly, clearly = simple.copy(), simple.copy()
    labels[:3], slightly[:2], simple[:2] = [True, False, True], [True, False, True], [True, True, True]
    slightly[2], simple[2] = [True, True, True], [True, False, True]  # two examples are better, and one is worse
    clearly[:100] = labels[:100]
    assert simplest_of_the_best({"a": simple, "b": slightly}, labels, score) == "a"
    assert simplest_of_the_best({"a": simple, "b": slightly}, labels, score, cautious=False) == "b"
    assert simplest_of_the_best({"a": simple, "b": slightly, "c": clearly}, labels, score) == "c"
    assert simplest_of_the_best({"a": clearly, "b": simple}, labels, score) == "a"
    assert simplest_of_the_best({"a": simple, "b": simple}, labels, score, cautious=False) == "a"


@pytest.mark.parametrize("score", SCORES)
def test_the_standard_error_is_that_of_resampled_examples(score):
    labels, first = make_decisions(1, 500)
    rng = np.random.default_rng(2)
    second = first ^ (rng.random(first.shape) < 0.1)
    difference = _example_shares(first, labels, score) - _example_shares(second, labels, score)  # (N,)
    resampled = []
    for _ in range(400):
        rows = rng.integers(len(labels), size=len(labels))
        scores = [decision_scores(decisions[rows], labels[rows])[score] for decisions in (first, second)]
        resampled.append(scores[0] - scores[1])
    assert _standard_error(difference) == pytest.approx(np.std(resampled), rel=0.15)


@pytest.mark.parametrize("score", SCORES)
def test_what_is_not_annotated_does_not_count(score):
    labels, predicted = make_decisions(3, 50)
    shares = _example_shares(predicted, labels, score)
    more = np.concatenate([labels.astype(float), np.full((50, 3), np.nan)])
    doubled = _example_shares(np.concatenate([predicted, ~predicted]), more, score)
    if score in ("hamming_score", "samples_f1"):
        np.testing.assert_array_equal(doubled[:50], shares)
        assert np.isnan(doubled[50:]).all()
    else:
        # Of twice as many examples, each counts twice as much; the others change nothing.
        np.testing.assert_allclose(doubled[:50], 2 * shares)
        assert (doubled[50:] == 0).all()
