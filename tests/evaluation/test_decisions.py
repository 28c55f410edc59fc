from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logit
from transformers import EvalPrediction

from bert_multilabel import MultiLabelConfig, hamming_score
from bert_multilabel.evaluation import decisions as module
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import MIN_EXAMPLES, MIN_EXAMPLES_PER_LABEL, Decisions, TunedMetrics, tune
from bert_multilabel.metrics import decision_scores, evaluate
from tests.evaluation.test_thresholds import make_examples
from tests.model.test_decision import RULE

NAMES = ["a", "b", "c"]
CONFIG = MultiLabelConfig(label_names=NAMES)


def test_tuned_decisions_beat_one_half_on_rows_they_have_not_seen():
    logits, labels = make_examples(0, num_examples=800)
    tuned = tune(logits, labels, CONFIG, DecisionArguments())
    assert tuned.scores["hamming_score"] > tuned.scores["hamming_score_at_half"] + 0.05
    new_logits, new_labels = make_examples(10, num_examples=800)
    decided = tuned.decisions.decide(CONFIG, new_logits)[1]
    # What was reported holds on new rows: cross-fitting did not flatter.
    assert hamming_score(decided, new_labels) == pytest.approx(tuned.scores["hamming_score"], abs=0.04)
    assert hamming_score(new_logits >= 0, new_labels) < hamming_score(decided, new_labels) - 0.05


def test_the_reported_score_is_not_that_of_the_fitted_rows():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 3)).astype(np.float32)  # they say nothing about the labels
    labels = (rng.random((40, 3)) < 0.5).astype(float)
    arguments = DecisionArguments(thresholds="per_label", threshold_goal="micro_f1")
    tuned = tune(logits, labels, CONFIG, arguments)
    own = MultiLabelConfig(label_names=NAMES)
    tuned.decisions.store(own)
    assert tuned.scores["micro_f1"] < evaluate(EvalPrediction(logits, labels), own)["micro_f1"]


def test_the_model_keeps_what_it_has_where_nothing_else_holds_up():
    rng = np.random.default_rng(3)
    labels = (rng.random((60, 3)) < 0.5).astype(float)
    logits = (labels * 8 - 4 + rng.normal(size=labels.shape)).astype(np.float32)  # 0.5 is right already
    tuned = tune(logits, labels, CONFIG, DecisionArguments(calibration="keep"))
    assert tuned.decisions == Decisions(0.5, 1.0, 0)
    assert tuned.scores["hamming_score"] == tuned.scores["hamming_score_at_half"]
    assert "thresholds stay as they are: none fitted on 60 examples did better" in tuned.notes()[0]
    assert not tune(logits, labels, CONFIG, DecisionArguments(thresholds="keep")).notes()


@pytest.mark.parametrize("thresholds", ["keep", "global", "per_label"])
def test_no_more_is_fitted_than_was_asked_for(thresholds):
    logits, labels = make_examples(1, counts=(300, 200, 150))
    logits = logits + np.float32([2, 0, -2])
    decisions = tune(logits, labels, CONFIG, DecisionArguments(thresholds=thresholds, calibration="keep")).decisions
    assert {"keep": decisions.threshold == 0.5, "global": decisions.threshold != 0.5}.get(thresholds, True)
    assert isinstance(decisions.threshold, list) == (thresholds == "per_label")
    assert decisions.temperature == 1.0


def make_sets(seed, num_examples=800, num_labels=12):
    """Logits and labels, (N, L) each: in half of the examples one label is certain, and one has the probability 0.4.

    In the other half three labels have it, all of which are worth predicting.
    """
    rng = np.random.default_rng(seed)
    probabilities = np.full((num_examples, num_labels), 0.001)
    likely = np.argsort(rng.random((num_examples, num_labels)), axis=1)[:, :3]  # (N, 3)
    of_kind = np.where(np.arange(num_examples)[:, None] % 2, [0.98, 0.4, 0.001], [0.4, 0.4, 0.4])  # (N, 3)
    np.put_along_axis(probabilities, likely, of_kind, axis=1)
    labels = (rng.random(probabilities.shape) < probabilities).astype(float)
    return logit(probabilities).astype(np.float32), labels


@pytest.mark.parametrize("goal", ["hamming_score", "samples_f1"])
def test_the_rule_of_the_expected_score_is_kept_where_it_is_better(goal):
    logits, labels = make_sets(0)
    names = [str(label) for label in range(labels.shape[1])]
    config = MultiLabelConfig(label_names=names)
    arguments = DecisionArguments(threshold_goal=goal)
    tuned = tune(logits, labels, config, arguments)
    assert (tuned.scope, tuned.decisions.decision["score"]) == ("expected_score", goal)
    assert tuned.is_cross_fitted
    by_thresholds = tune(logits, labels, config, replace(arguments, thresholds="per_label"))
    assert by_thresholds.decisions.decision is None
    unseen, truth = make_sets(1)
    scores = [
        decision_scores(fitted.decisions.decide(config, unseen)[1], truth)[goal] for fitted in (tuned, by_thresholds)
    ]
    assert scores[0] > scores[1] + 0.02
    assert scores[0] == pytest.approx(tuned.scores[goal], abs=0.04)


@pytest.mark.parametrize("decision", [None, {**RULE, "temperature": 0.8, "threshold_weight": 0.5, "shift": 0.3}])
def test_another_temperature_changes_no_decision(decision):
    logits, labels = make_examples(2)
    stored = MultiLabelConfig(label_names=NAMES, threshold=[0.3, 0.6, 0.2], temperature=1.5, decision=decision)
    kept = tune(logits * 2, labels, stored, DecisionArguments(thresholds="keep")).decisions
    assert kept.temperature != 1.5
    np.testing.assert_array_equal(kept.decide(stored, logits)[1], stored.decide(logits)[1].numpy())
    by_label = tune(
        logits * 2, labels, stored, DecisionArguments(thresholds="keep", calibration="per_label")
    ).decisions
    assert isinstance(by_label.temperature, list) == (decision is None)
    np.testing.assert_array_equal(by_label.decide(stored, logits)[1], stored.decide(logits)[1].numpy())


def test_few_examples_rarely_make_a_model_worse():
    differences = []
    for seed in range(12):
        few, truth = make_examples(40 + seed, num_examples=60, counts=(30, 12, 3), spread=2)
        fitted = tune(few + 1.5, truth, CONFIG, DecisionArguments()).decisions  # 0.5 is right
        logits, labels = make_examples(80 + seed, num_examples=1000, counts=(500, 200, 50), spread=2)
        decided = fitted.decide(CONFIG, logits + 1.5)[1]
        differences.append(hamming_score(decided, labels) - hamming_score(logits + 1.5 >= 0, labels))
    assert np.mean(differences) > -0.005 and min(differences) > -0.06


@pytest.mark.parametrize("calibration", ["global", "per_label"])
def test_calibration_brings_probabilities_nearer_to_the_truth(calibration):
    logits, labels = make_examples(2)
    tuned = tune(logits * 5, labels, CONFIG, DecisionArguments(calibration=calibration))
    assert isinstance(tuned.decisions.temperature, list) == (calibration == "per_label")
    for name in ("expected_calibration_error", "brier_score"):
        assert tuned.scores[name] < tuned.scores[f"{name}_uncalibrated"] - 0.01


def test_min_labels_is_stored_and_counted():
    logits, labels = make_examples(3)
    tuned = tune(logits, labels, CONFIG, DecisionArguments(min_labels=1))
    assert tuned.decisions.min_labels == 1
    decided = tuned.decisions.decide(CONFIG, logits)[1]
    assert decided.any(axis=1).all()
    stored = MultiLabelConfig(label_names=NAMES, min_labels=2)
    assert tune(logits, labels, stored, DecisionArguments()).decisions.min_labels == 2
    with pytest.raises(ValueError, match="min_labels must be a whole number from 0 to the number of labels, 3, got 4"):
        tune(logits, labels, CONFIG, DecisionArguments(min_labels=4))
    assert CONFIG.min_labels == 0  # never touched


def test_a_bound_is_fitted_as_asked_even_where_it_costs_score():
    logits, labels = make_examples(4, counts=(300, 300, 300))
    decisions = tune(
        logits, labels, CONFIG, DecisionArguments(threshold_goal="recall=0.95", thresholds="global")
    ).decisions
    decided = decisions.decide(CONFIG, logits)[1]
    assert (decided & (labels == 1)).sum() / labels.sum() >= 0.94


def test_tuning_again_on_other_rows_keeps_what_it_cannot_beat():
    logits, labels = make_examples(8, num_examples=2000, counts=(900, 200, 40))
    stored = MultiLabelConfig(label_names=NAMES)
    tune(logits, labels, stored, DecisionArguments()).decisions.store(stored)
    before = stored.decide(torch.tensor(logits))[1]
    for seed in range(6):
        few, truth = make_examples(20 + seed, num_examples=30, counts=(14, 3, 1))
        tuned = tune(few, truth, stored, DecisionArguments())
        stored_score = hamming_score(stored.decide(torch.tensor(few))[1].numpy(), truth)
        assert tuned.scores["hamming_score"] >= stored_score
    kept = tune(few, truth, stored, DecisionArguments(thresholds="keep")).decisions
    assert kept.temperature != stored.temperature and kept.threshold != stored.threshold
    # Another temperature, other probabilities, the same decisions.
    assert (kept.decide(stored, logits)[1] != before.numpy()).mean() < 1e-3


def test_few_rows_are_not_fitted_label_by_label():
    few, truth = make_examples(9, num_examples=MIN_EXAMPLES_PER_LABEL - 1, counts=(24, 10, 2))
    bound = DecisionArguments(threshold_goal="recall=0.9")  # fitted as asked, if there is enough to fit on
    assert isinstance(tune(few, truth, CONFIG, bound).decisions.threshold, float)
    assert isinstance(tune(*make_examples(9), CONFIG, bound).decisions.threshold, list)


def test_examples_that_are_all_alike_fit_nothing():
    logits, labels = make_examples(5)
    tuned = tune(logits, np.zeros_like(labels), CONFIG, DecisionArguments())
    assert tuned.decisions == Decisions(0.5, 1.0, 0)
    assert "there are 600 examples with 0 labels" in tuned.warnings()[0]


def test_a_bound_that_does_not_hold_on_new_examples_is_said():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)).astype(np.float32), (rng.random((60, 3)) < 0.3).astype(float)
    arguments = DecisionArguments(threshold_goal="precision=0.95")
    tuned = tune(logits, labels, CONFIG, arguments)
    (warning,) = tuned.warnings()
    assert f"precision over all labels is {tuned.scores['micro_precision']:.3f}" in warning
    assert "min_labels" not in warning
    filled = tune(logits, labels, CONFIG, replace(arguments, min_labels=1))
    assert "min_labels 1 predicts labels below their thresholds" in filled.warnings()[0]
    assert not tune(logits, labels, CONFIG, DecisionArguments()).warnings()
    reached = tune(*make_examples(4), CONFIG, DecisionArguments(threshold_goal="recall=0.5"))
    assert not reached.warnings()


def test_too_few_examples_change_nothing():
    logits, labels = make_examples(5, counts=(3, 2, 1), num_examples=MIN_EXAMPLES - 1)
    tuned = tune(logits, labels, CONFIG, DecisionArguments())
    assert tuned.decisions == Decisions(0.5, 1.0, 0)
    assert tuned.scores["hamming_score"] == tuned.scores["hamming_score_at_half"]
    assert "needs at least 10 examples, some with labels and some without, but there are 9" in tuned.warnings()[0]


def test_folds_are_alike_though_examples_come_sorted():
    logits, labels = make_examples(11, counts=(150, 150, 150), num_examples=600)
    logits += np.float32([2, 0, -2])  # each label wants another threshold
    order = np.argsort(labels @ [4, 2, 1], kind="stable")
    arguments = DecisionArguments(threshold_goal="macro_f1", calibration="keep")
    scores = [tune(logits[rows], labels[rows], CONFIG, arguments).scores for rows in (order, np.arange(600))]
    # A fold that holds most examples of a label would be decided by thresholds that know next to nothing of it.
    assert scores[0]["macro_f1"] == pytest.approx(scores[1]["macro_f1"], abs=0.015)


def test_while_training_one_threshold_is_fitted_for_all_labels():
    logits, labels = make_examples(1, counts=(300, 200, 150))
    logits = logits + np.float32([2, 0, -2])
    metrics = TunedMetrics(CONFIG, DecisionArguments(calibration="per_label"))
    at_common = metrics(EvalPrediction(logits, labels))
    assert isinstance(metrics.decisions().threshold, float) and isinstance(metrics.decisions().temperature, float)
    metrics.is_final = True
    per_label = metrics(EvalPrediction(logits, labels))
    assert len(metrics.decisions().threshold) == len(metrics.decisions().temperature) == 3
    assert per_label["hamming_score"] > at_common["hamming_score"]
    kept = TunedMetrics(CONFIG, DecisionArguments(thresholds="keep"))
    kept(EvalPrediction(logits, labels))
    assert kept.decisions().threshold == 0.5


def test_metrics_of_a_trainer_are_tuned_and_remember_the_fit():
    logits, labels = make_examples(6)
    metrics = TunedMetrics(CONFIG, DecisionArguments())
    metrics.is_final = True
    scores = metrics(EvalPrediction(logits, labels))
    expected = tune(logits, labels, CONFIG, DecisionArguments())
    assert (metrics.tuned.decisions, scores) == (expected.decisions, expected.scores)
    assert set(scores) == set(evaluate(EvalPrediction(logits, labels), CONFIG))


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        (Decisions(0.2431, 1.0, 0), "decides at 0.243 for all labels"),
        (Decisions([0.2431, 0.5, 0.1], 1.0, 0), "decides at a threshold per label, from 0.1 to 0.5"),
        (Decisions(0.5, 1.0, 0, RULE), "decides for the highest expected hamming score of each text"),
    ],
)
def test_what_decides_is_said_with_its_score(decisions, said):
    tuned = tune(*make_examples(0), CONFIG, DecisionArguments(thresholds="keep", calibration="keep"))
    scores = {"hamming_score": 0.38106, "hamming_score_at_half": 0.238}
    tuned = replace(tuned, decisions=decisions, scores=scores)
    assert tuned.describe() == f"{said} (validation hamming score 0.3811, at 0.5 0.2380)"


def test_bad_logits_are_refused_before_anything_is_fitted():
    logits, labels = make_examples(7)
    logits[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN means that the model diverged"):
        tune(logits, labels, CONFIG, DecisionArguments())


@pytest.mark.parametrize("thresholds", ["global", "per_label"])
def test_thresholds_are_moved_to_where_label_rules_act_best(monkeypatch, thresholds):
    generator = np.random.default_rng(0)
    labels = np.eye(5)[generator.integers(5, size=400)]  # one label each
    logits = (2 * labels - 2 + generator.normal(scale=1.2, size=labels.shape)).astype(np.float32)
    names = [*"abcde"]
    config = MultiLabelConfig(label_names=names, label_rules={"exclusive": [names]})
    arguments = DecisionArguments(thresholds=thresholds)
    moved = tune(logits, labels, config, arguments)
    assert moved.predicted.sum(axis=1).max() == 1
    monkeypatch.setattr(module, "_MOVES", (0.0,))
    unmoved = tune(logits, labels, config, arguments)
    # With one label at most, the likeliest is worth predicting at a lower threshold than several would be.
    assert np.mean(moved.decisions.threshold) < np.mean(unmoved.decisions.threshold) - 0.05
    assert moved.scores["hamming_score"] > unmoved.scores["hamming_score"] + 0.02
