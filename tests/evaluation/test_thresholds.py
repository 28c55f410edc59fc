import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from bert_multilabel import MultiLabelConfig, hamming_score
from bert_multilabel.evaluation import thresholds
from bert_multilabel.evaluation.goals import SCORES, Goal
from bert_multilabel.evaluation.thresholds import _GRID, _Entries, _peaks, _Predicted, fit_thresholds
from bert_multilabel.metrics import multilabel_scores


def make_examples(seed, counts=(300, 60, 12), num_examples=600, spread=1.5):
    """Logits that separate each label's positives from the rest by some, (N, L), and the labels, (N, L)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((num_examples, len(counts)))
    for label, count in enumerate(counts):
        labels[rng.permutation(num_examples)[:count], label] = 1
    return (rng.normal(size=labels.shape) * spread + 3 * labels - 3).astype(np.float32), labels


def decide(logits, threshold, min_labels=0):
    names = [str(label) for label in range(logits.shape[1])]
    config = MultiLabelConfig(label_names=names, threshold=threshold, min_labels=min_labels)
    return config.decide(torch.tensor(logits))[1].numpy()


def score(logits, labels, threshold, goal, min_labels=0):
    return multilabel_scores(decide(logits, threshold, min_labels), labels, np.zeros(labels.shape))[goal]


# Only the scores of examples count what min_labels adds.
@pytest.mark.parametrize(
    ("goal", "min_labels"),
    [
        *[("hamming_score", 0), ("hamming_score", 1), ("hamming_score", 2), ("samples_f1", 0), ("samples_f1", 2)],
        *[("micro_f1", 0), ("macro_f1", 0)],
    ],
)
def test_no_common_threshold_beats_the_fitted_one(goal, min_labels):
    logits, labels = make_examples(0, counts=(80, 30, 10), num_examples=160)
    fitted = score(logits, labels, fit_thresholds(logits, labels, Goal(goal), min_labels), goal, min_labels)
    others = [score(logits, labels, float(expit(logit)), goal, min_labels) for logit in _GRID]
    assert fitted == pytest.approx(max(others), abs=1e-9)
    assert fitted > min(others)


@pytest.mark.parametrize("min_labels", [0, 1])
@pytest.mark.parametrize("goal", SCORES)
def test_thresholds_of_their_own_serve_labels_that_differ(goal, min_labels):
    logits, labels = make_examples(1, counts=(300, 200, 150))
    logits = logits + np.float32([2, 0, -2])  # each wants another threshold
    common = fit_thresholds(logits, labels, Goal(goal), min_labels)
    own = fit_thresholds(logits, labels, Goal(goal), min_labels, per_label=True)
    assert own[0] > own[1] > own[2]
    assert score(logits, labels, own, goal, min_labels) > score(logits, labels, common, goal, min_labels) + 0.01


@pytest.mark.parametrize("goal", SCORES)
def test_three_positives_do_not_pull_a_threshold_far(goal):
    logits, labels = make_examples(2, counts=(300, 200, 3))
    logits[labels[:, 2] == 1, 2] = 8.0  # by themselves they would allow any threshold up to 0.9997
    logits[labels[:, 2] == 0, 2] -= 3
    common = fit_thresholds(logits, labels, Goal(goal))
    rare = fit_thresholds(logits, labels, Goal(goal), per_label=True)[2]
    assert abs(np.log(rare / (1 - rare)) - np.log(common / (1 - common))) < 1.5


@pytest.mark.parametrize("per_label", [False, True])
@pytest.mark.parametrize("floor", [0.5, 0.8, 0.95])
def test_bounds_hold_and_ask_for_no_more_than_they_need(floor, per_label):
    logits, labels = make_examples(3, counts=(400, 400, 400), num_examples=2000)
    for name in ("precision", "recall"):
        threshold = fit_thresholds(logits, labels, Goal(name, floor), per_label=per_label)
        predicted = decide(logits, threshold)
        reached = (predicted & (labels == 1)).sum() / (predicted.sum() if name == "precision" else labels.sum())
        assert floor - 0.015 <= reached <= floor + 0.03


def test_a_precision_out_of_reach_gives_next_to_nothing():
    logits, labels = make_examples(4)
    logits[0] = 20.0
    assert fit_thresholds(logits, np.zeros_like(labels), Goal("precision", 0.9)) > 0.9998


def test_cells_that_nobody_annotated_change_nothing():
    logits, labels = make_examples(5)
    extra = np.concatenate([logits, np.full((200, 3), 2.0, dtype=np.float32)])
    for missing in (np.nan, -100):
        partly = np.concatenate([labels, np.full((200, 3), missing)])
        for goal in (Goal("hamming_score"), Goal("micro_f1"), Goal("macro_f1"), Goal("recall", 0.7)):
            for per_label in (False, True):
                assert fit_thresholds(extra, partly, goal, per_label=per_label) == fit_thresholds(
                    logits, labels, goal, per_label=per_label
                )


def naive_gains(logits, labels, indices, label, min_labels):
    scores = []
    for logit in (-100.0, 100.0):
        threshold = [float(expit(logit if other == label else _GRID[indices[other]])) for other in range(3)]
        decisions = decide(np.float32(logits), threshold, min_labels)
        scores.append([hamming_score(decisions[[row]], labels[[row]]) for row in range(len(labels))])
    return np.subtract(*scores)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_the_gain_of_a_label_is_the_difference_it_makes_to_the_score(seed, min_labels):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(12, 3)).astype(np.float32) * 2
    labels = (rng.random((12, 3)) < 0.4).astype(float)
    predicted = _Predicted(_Entries(logits, labels, min_labels, "hamming_score"), start=180)
    indices = np.full(3, 180)
    for index in (None, 150, 230):
        if index is not None:
            indices[1] = index
            predicted.move(slice(1, 2), indices[[1]])  # counts follow
        for label in range(3):
            gains = naive_gains(logits, labels, indices, label, min_labels)
            expected = [gains[logits[:, label] >= threshold].sum() for threshold in _GRID]
            np.testing.assert_allclose(predicted.curves(slice(label, label + 1))[0], expected, atol=1e-9)


def test_no_threshold_gains_by_a_last_move():
    logits, labels = make_examples(11, counts=(250,) * 8, num_examples=1000, spread=3)

    def score_at(cuts):
        return hamming_score(logits >= cuts, labels)

    fitted = np.array(fit_thresholds(logits, labels, Goal("hamming_score"), per_label=True))
    cuts = np.log(fitted / (1 - fitted))
    best = score_at(cuts)
    for label in range(8):
        for cut in _GRID[::6]:
            assert score_at(np.where(np.arange(8) == label, cut, cuts)) <= best + 1e-4


def test_labels_that_move_together_reach_what_they_reach_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    labels = (rng.random((800, 200)) < np.linspace(0.002, 0.03, 200)).astype(float)
    logits = (rng.normal(size=labels.shape) * 1.5 + rng.normal(size=200) + 4 * labels - 4).astype(np.float32)
    in_blocks = fit_thresholds(logits, labels, Goal("hamming_score"), per_label=True)
    monkeypatch.setattr(thresholds, "_BLOCKS", 200)
    one_by_one = fit_thresholds(logits, labels, Goal("hamming_score"), per_label=True)
    scores = [score(logits, labels, fitted, "hamming_score") for fitted in (in_blocks, one_by_one)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_logits_of_16_bits_are_decided_as_the_fit_counted():
    logits = np.arange(-9, 9, 0.125, dtype=np.float32)[:, None]  # all fall on even steps of 0.05, or between
    for index, threshold in enumerate(_GRID):
        counted = _Entries(logits, np.zeros(logits.shape), 0, "hamming_score").reached[0] > index
        assert (decide(logits, float(1 / (1 + np.exp(-threshold))))[:, 0] == counted).all()


def test_goals_are_read_or_refused():
    assert Goal.parse("macro_f1") == Goal("macro_f1")
    assert Goal.parse("precision=0.9") == Goal("precision", 0.9)
    for text in ("f1", "precision", "precision=high", "precision=nan", "recall=0", "recall=1.5", "macro_f1=0.5", ""):
        with pytest.raises(ValueError, match=f"above 0, at most 1.*got {text!r}"):
            Goal.parse(text)


def test_the_peak_of_two_plateaus_is_the_middle_of_the_first():
    curve = np.zeros(361)
    curve[100:141] = curve[300:] = 1.0
    assert _peaks(np.stack([curve, curve[::-1], np.zeros(361)])).tolist() == [120, 30, 180]
