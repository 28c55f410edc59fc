"""Scores: numbers by hand, agreement with scikit-learn, cells nobody annotated, what a Trainer hands over."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
    jaccard_score,
    multilabel_confusion_matrix,
    precision_recall_fscore_support,
)
from transformers import EvalPrediction

from bert_multilabel import MultiLabelConfig
from bert_multilabel.metrics import (
    brier_score,
    compute_metrics,
    evaluate,
    expected_calibration_error,
    hamming_score,
    make_compute_metrics,
    multilabel_confusion,
    multilabel_scores,
    per_label_scores,
    sample_hamming_scores,
)

NAN = math.nan
TRUTH = [[0, 1, 1, 0, 0]]
PREDICTION = [[1, 1, 1, 0, 0]]

# Three samples, three labels: a hit and a false alarm, a miss, nothing at all.
REFERENCES = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
PREDICTIONS = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
PROBABILITIES = np.array([[0.9, 0.8, 0.1], [0.6, 0.3, 0.2], [0.2, 0.1, 0.3]])

few = settings(max_examples=60, deadline=None)


@st.composite
def decided(draw: st.DrawFn, min_labels: int = 1, values: tuple[int, ...] = (0, 1)) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of 0/1 and references of the given values, of one random shape."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(min_labels, 5)))
    predictions = draw(arrays(np.int64, shape, elements=st.sampled_from((0, 1))))
    return predictions, draw(arrays(np.int64, shape, elements=st.sampled_from(values)))


class TestHammingScore:
    def test_worked_example(self) -> None:
        assert hamming_score(PREDICTION, TRUTH) == pytest.approx(2 / 3)
        assert (np.array(PREDICTION) == np.array(TRUTH)).mean() == pytest.approx(0.8)

    def test_mean_over_samples(self) -> None:
        assert hamming_score(PREDICTIONS, REFERENCES) == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)

    @pytest.mark.parametrize(("zero_division", "expected"), [(1.0, 1.0), (0.0, 2 / 3), (0.5, 5 / 6)])
    def test_zero_division_is_what_an_empty_sample_scores(self, zero_division: float, expected: float) -> None:
        both = np.array([[1, 0], [0, 1], [0, 0]])
        assert hamming_score(both, both, zero_division=zero_division) == pytest.approx(expected)

    @pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float16, np.float64])
    def test_takes_any_dtype_that_holds_0_and_1(self, dtype: type) -> None:
        assert hamming_score(np.array(PREDICTION, dtype), np.array(TRUTH, dtype)) == pytest.approx(2 / 3)

    def test_takes_tensors(self) -> None:
        assert hamming_score(torch.tensor(PREDICTION).bool(), torch.tensor(TRUTH).float()) == pytest.approx(2 / 3)

    @given(decided(min_labels=2), st.sampled_from([0.0, 1.0]))
    @few
    def test_equals_jaccard_of_scikit_learn(self, arrays: tuple[np.ndarray, np.ndarray], zero_division: float) -> None:
        predictions, references = arrays
        jaccard = jaccard_score(references, predictions, average="samples", zero_division=zero_division)
        assert hamming_score(predictions, references, zero_division) == pytest.approx(jaccard)

    @given(decided())
    @few
    def test_symmetric_bounded_and_1_for_the_truth(self, arrays: tuple[np.ndarray, np.ndarray]) -> None:
        predictions, references = arrays
        score = hamming_score(predictions, references)
        assert 0 <= score <= 1
        assert score == hamming_score(references, predictions)
        assert hamming_score(references, references) == 1.0


class TestRefusals:
    @pytest.mark.parametrize(
        ("predictions", "references", "message"),
        [
            ([1, 0], [1, 0], r"predictions must be 2-D \(samples, labels\), got the shape \(2,\)"),
            ([[1, 0]], [[[1, 0]]], r"references must be 2-D .* got the shape \(1, 1, 2\)"),
            (np.zeros((0, 3)), np.zeros((0, 3)), r"predictions must not be empty, got the shape \(0, 3\)"),
            ([[1, 0]], [[1, 0, 1]], r"predictions have the shape \(1, 2\), references \(1, 3\): they must agree"),
            ([["a", "b"]], [[1, 0]], r"predictions must be numbers or booleans, got <U1 such as .*'a'"),
            ([[1, 0]], [[None, 0]], r"references must be numbers or booleans, got object such as None"),
            ([[1, 0], [1, 0.7]], [[1, 0], [1, 0]], r"predictions must be 0 or 1 .*; got 0.7 in row 1, column 1"),
            ([[1, NAN]], [[1, 0]], r"predictions must be 0 or 1 .*; got nan in row 0, column 1"),
            ([[1, -100]], [[1, 0]], r"predictions must be 0 or 1 .*; got -100 in row 0, column 1"),
            ([[1, 0], [1, 0]], [[1, 0], [2, 0]], r"references must be 0 or 1, or NaN .*; got 2 in row 1, column 0"),
            ([[1, 0]], [[NAN, -100]], r"hold no annotated entry"),
        ],
    )
    def test_bad_decisions(self, predictions: object, references: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            hamming_score(predictions, references)

    @pytest.mark.parametrize(
        ("probabilities", "message"),
        [
            ([[0.5, 0.5]], r"probabilities have the shape \(1, 2\), references \(1, 5\)"),
            ([[0.5, 3.25, 0.5, 0.5, 0.5]], r"logits need a sigmoid.* got 3.25 in row 0, column 1"),
            ([[0.5, 0.5, 0.5, NAN, 0.5]], r"model diverged.* got nan in row 0, column 3"),
        ],
    )
    def test_bad_probabilities(self, probabilities: list[list[float]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            multilabel_scores(PREDICTION, TRUTH, probabilities)

    @pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"]])
    def test_bad_names(self, names: list[str]) -> None:
        with pytest.raises(ValueError, match=r"label_names must be 3 different names, got \['a', 'b'"):
            per_label_scores(PREDICTIONS, REFERENCES, names)


class TestMultilabelScores:
    def test_by_hand(self) -> None:
        scores = multilabel_scores(PREDICTIONS, REFERENCES, PROBABILITIES)
        assert scores == pytest.approx(
            {
                "hamming_score": 2 / 3,
                "subset_accuracy": 1 / 3,
                "micro_f1": 2 / 3,  # 2 hits, 1 false alarm, 1 miss
                "micro_precision": 2 / 3,
                "micro_recall": 2 / 3,
                "macro_f1": 1 / 3,  # 1, 0 and 0 for the label never true nor predicted
                "samples_f1": (2 / 3 + 2 / 3 + 1) / 3,
                "hamming_loss": 2 / 9,
                "mean_average_precision": 3
                / 4,  # 1 for the first label, 1/2 for the second, the third has no positive
            }
        )
        assert all(type(value) is float for value in scores.values())

    def test_order(self) -> None:
        assert list(multilabel_scores(PREDICTIONS, REFERENCES, PROBABILITIES)) == [
            "hamming_score",
            "subset_accuracy",
            "micro_f1",
            "micro_precision",
            "micro_recall",
            "macro_f1",
            "samples_f1",
            "hamming_loss",
            "mean_average_precision",
        ]

    def test_nothing_true_and_nothing_predicted(self) -> None:
        nothing = np.zeros((2, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scores = multilabel_scores(nothing, nothing, nothing)
        assert scores == {
            "hamming_score": 1.0,
            "subset_accuracy": 1.0,
            "micro_f1": 0.0,
            "micro_precision": 0.0,
            "micro_recall": 0.0,
            "macro_f1": 0.0,
            "samples_f1": 1.0,
            "hamming_loss": 0.0,
            "mean_average_precision": 0.0,
        }

    def test_one_label_is_not_taken_for_two_classes(self) -> None:
        scores = multilabel_scores([[1], [1], [0]], [[1], [0], [0]], [[0.9], [0.8], [0.1]])
        assert scores["micro_f1"] == scores["macro_f1"] == pytest.approx(2 / 3)
        assert scores["hamming_score"] == scores["samples_f1"] == pytest.approx(2 / 3)
        assert multilabel_confusion([[1], [1], [0]], [[1], [0], [0]]).tolist() == [[[1, 1], [0, 1]]]

    @given(decided(min_labels=2))
    @few
    def test_equals_scikit_learn(self, arrays: tuple[np.ndarray, np.ndarray]) -> None:
        predictions, references = arrays
        probabilities = np.random.default_rng(0).random(references.shape)
        scores = multilabel_scores(predictions, references, probabilities)
        assert scores["subset_accuracy"] == pytest.approx(accuracy_score(references, predictions))
        assert scores["hamming_loss"] == pytest.approx(hamming_loss(references, predictions))
        for average, empty in [("micro", 0.0), ("macro", 0.0), ("samples", 1.0)]:
            f1 = f1_score(references, predictions, average=average, zero_division=empty)
            assert scores[f"{average}_f1"] == pytest.approx(f1)
        positive = references.any(axis=0)
        if positive.any():
            precision = average_precision_score(references[:, positive], probabilities[:, positive])
            assert scores["mean_average_precision"] == pytest.approx(precision)


class TestPerLabel:
    def test_by_hand(self) -> None:
        assert per_label_scores(PREDICTIONS, REFERENCES, ["price", "quality", "design"]) == {
            "price": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2.0},
            "quality": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1.0},
            "design": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0.0},
        }

    def test_confusion_by_hand(self) -> None:
        counts = multilabel_confusion(PREDICTIONS, REFERENCES)
        assert counts.tolist() == [[[1, 0], [0, 2]], [[1, 1], [1, 0]], [[3, 0], [0, 0]]]

    def test_what_is_not_defined_is_what_was_asked_for(self) -> None:
        scores = per_label_scores([[0, 1], [0, 0]], [[0, 0], [0, 0]], ["never", "false alarm"], zero_division=NAN)
        never, false_alarm = scores.values()
        assert all(math.isnan(never[name]) for name in ("precision", "recall", "f1"))
        assert math.isnan(false_alarm["recall"]) and false_alarm["precision"] == false_alarm["f1"] == 0.0

    @given(decided(min_labels=2))
    @few
    def test_equals_scikit_learn(self, arrays: tuple[np.ndarray, np.ndarray]) -> None:
        predictions, references = arrays
        names = [f"label {index}" for index in range(references.shape[1])]
        ours = [list(scores.values()) for scores in per_label_scores(predictions, references, names).values()]
        theirs = precision_recall_fscore_support(references, predictions, average=None, zero_division=0.0)
        np.testing.assert_allclose(np.array(ours).T, np.array(theirs))
        counts = multilabel_confusion(predictions, references)
        np.testing.assert_array_equal(counts, multilabel_confusion_matrix(references, predictions))


class TestNotAnnotated:
    # As above, but nobody looked at the false alarm (row 0, label 1) and at label 2 of the last row.
    references = np.array([[1, NAN, 0], [1, 1, 0], [0, 0, -100]])

    def test_scores_by_hand(self) -> None:
        scores = multilabel_scores(PREDICTIONS, self.references, PROBABILITIES)
        assert scores == pytest.approx(
            {
                "hamming_score": (1 + 1 / 2 + 1) / 3,
                "subset_accuracy": 2 / 3,
                "micro_f1": 4 / 5,  # 2 hits, 1 miss
                "micro_precision": 1.0,
                "micro_recall": 2 / 3,
                "macro_f1": 1 / 3,
                "samples_f1": (1 + 2 / 3 + 1) / 3,
                "hamming_loss": 1 / 7,
                "mean_average_precision": 1.0,  # label 1 is judged on the last two rows, whose order is right
            }
        )

    def test_rows_by_hand(self) -> None:
        references = [*self.references, [NAN, -100, NAN]]
        assert sample_hamming_scores([*PREDICTIONS, [1, 0, 1]], references)[:3].tolist() == [1, 1 / 2, 1]
        assert math.isnan(sample_hamming_scores([*PREDICTIONS, [1, 0, 1]], references)[3])

    def test_per_label_by_hand(self) -> None:
        scores = per_label_scores([[1], [1], [0], [0]], [[1], [NAN], [1], [-100]], ["price"])
        assert scores == {"price": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2.0}}

    def test_confusion_by_hand(self) -> None:
        counts = multilabel_confusion(PREDICTIONS, self.references)
        assert counts.tolist() == [[[1, 0], [0, 2]], [[1, 0], [1, 0]], [[2, 0], [0, 0]]]

    def test_integers_mark_with_minus_100(self) -> None:
        marked = np.where(np.isnan(self.references), -100, self.references).astype(np.int64)
        theirs = multilabel_scores(PREDICTIONS, self.references, PROBABILITIES)
        assert multilabel_scores(PREDICTIONS, marked, PROBABILITIES) == theirs

    @given(decided(values=(0, 1, -100)), st.integers(0, 2**32 - 1))
    @few
    def test_what_is_said_about_such_a_cell_is_ignored(self, arrays: tuple[np.ndarray, np.ndarray], seed: int) -> None:
        predictions, references = arrays
        references[0, 0] = 1  # something has to be annotated
        probabilities = np.random.default_rng(seed).random(references.shape)
        others = np.where(references == -100, 1 - predictions, predictions)
        other_probabilities = np.where(references == -100, 1 - probabilities, probabilities)
        scores = multilabel_scores(predictions, references, probabilities)
        assert multilabel_scores(others, references, other_probabilities) == scores
        names = [str(index) for index in range(references.shape[1])]
        assert per_label_scores(others, references, names) == per_label_scores(predictions, references, names)

    @given(decided())
    @few
    def test_a_row_or_label_that_nobody_annotated_changes_no_score(
        self, arrays: tuple[np.ndarray, np.ndarray]
    ) -> None:
        predictions, references = arrays
        probabilities = np.random.default_rng(0).random(references.shape)
        grown = np.pad(references, ((0, 1), (0, 1)), constant_values=-100)
        scores = multilabel_scores(
            np.pad(predictions, ((0, 1), (0, 1))), grown, np.pad(probabilities, ((0, 1), (0, 1)))
        )
        assert scores == pytest.approx(multilabel_scores(predictions, references, probabilities))


class TestComputeMetrics:
    # Probabilities 0.5 (decided as 1), 0.88, 0.12 and 0.27, 0.12, 0.88.
    logits = np.array([[0.0, 2.0, -2.0], [-1.0, -2.0, 2.0]], dtype=np.float32)
    labels = np.array([[1, 0, 0], [1, 0, 1]], dtype=np.float32)

    def test_decides_at_probability_half(self) -> None:
        metrics = compute_metrics(EvalPrediction(self.logits, self.labels))
        decisions = [[1, 1, 0], [0, 0, 1]]
        assert metrics == multilabel_scores(decisions, self.labels, torch.tensor(self.logits).sigmoid())
        assert next(iter(metrics.items())) == ("hamming_score", 0.5)

    def test_logits_come_first_in_a_tuple(self) -> None:
        hidden_states = np.zeros((2, 7, 4))
        metrics = compute_metrics(EvalPrediction((self.logits, hidden_states), self.labels))
        assert metrics == compute_metrics(EvalPrediction(self.logits, self.labels))

    def test_labels_come_last_in_a_tuple(self) -> None:
        label_mask = np.ones((2, 7), dtype=np.int64)
        metrics = compute_metrics(EvalPrediction(self.logits, (label_mask, self.labels)))
        assert metrics == compute_metrics(EvalPrediction(self.logits, self.labels))

    def test_labels_of_another_shape_name_the_setting_to_change(self) -> None:
        label_mask = np.ones((2, 7), dtype=np.int64)
        with pytest.raises(
            ValueError, match=r'shape \(2, 3\), the labels \(2, 7\): set label_names=\["labels"\] in TrainingArguments'
        ):
            compute_metrics(EvalPrediction(self.logits, (self.labels, label_mask)))

    def test_a_diverged_model_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"model diverged.* got nan in row 0, column 0"):
            compute_metrics(EvalPrediction(np.full((2, 3), NAN, dtype=np.float32), self.labels))

    def test_large_and_half_precision_logits_are_safe(self) -> None:
        logits = np.array([[60000.0, -60000.0, -60000.0], [60000.0, -60000.0, 60000.0]], dtype=np.float16)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metrics = compute_metrics(EvalPrediction(logits, self.labels))
        assert metrics["hamming_score"] == 1.0

    def test_cells_that_nobody_annotated_pass_through(self) -> None:
        labels = np.array([[1, NAN, 0], [-100, 0, 1]], dtype=np.float32)
        assert compute_metrics(EvalPrediction(self.logits, labels))["subset_accuracy"] == 1.0


class TestMakeComputeMetrics:
    names = ["price", "quality", "design"]
    prediction = EvalPrediction(TestComputeMetrics.logits, TestComputeMetrics.labels)

    def test_a_plain_configuration_decides_at_half(self) -> None:
        config = MultiLabelConfig(label_names=self.names)
        assert make_compute_metrics(config)(self.prediction) == compute_metrics(self.prediction)

    def test_thresholds_of_the_configuration(self) -> None:
        config = MultiLabelConfig(label_names=self.names, threshold=[0.2, 0.9, 0.5])
        metrics = make_compute_metrics(config)(self.prediction)
        assert metrics["hamming_score"] == metrics["subset_accuracy"] == 1.0

    def test_temperature_and_min_labels_of_the_configuration(self) -> None:
        # At temperature 4 the probabilities are 0.5, 0.62, 0.38 and 0.44, 0.38, 0.62.
        config = MultiLabelConfig(label_names=self.names, threshold=0.8, temperature=4.0)
        assert make_compute_metrics(config)(self.prediction)["hamming_score"] == 0.0
        config.min_labels = 1  # now row 0 gets label 1, which is wrong, and row 1 label 2, one of its two
        assert make_compute_metrics(config)(self.prediction)["hamming_score"] == 0.25

    def test_a_later_threshold_counts(self) -> None:
        config = MultiLabelConfig(label_names=self.names)
        metrics_of = make_compute_metrics(config)
        before = metrics_of(self.prediction)["hamming_score"]
        config.threshold = [0.2, 0.9, 0.5]
        assert (before, metrics_of(self.prediction)["hamming_score"]) == (0.5, 1.0)

    def test_takes_the_tuple_of_a_plain_trainer(self) -> None:
        tuples = EvalPrediction(
            (self.prediction.predictions, np.zeros((2, 7, 4))), (np.ones((2, 7)), self.prediction.label_ids)
        )
        metrics_of = make_compute_metrics(MultiLabelConfig(label_names=self.names, threshold=0.3))
        assert metrics_of(tuples) == metrics_of(self.prediction)


def test_calibration_error_by_hand():
    # Two bins of 15: 0.1 (one of four true) and 0.9 (one of two true), and a cell that nobody annotated.
    probabilities = [[0.1, 0.1, 0.9], [0.1, 0.1, 0.9], [0.9, 0.5, 0.5]]
    references = [[1, 0, 1], [0, 0, 0], [np.nan, -100, np.nan]]
    expected = (abs(4 * 0.1 - 1) + abs(2 * 0.9 - 1)) / 6
    assert expected_calibration_error(probabilities, references) == pytest.approx(expected)
    assert expected_calibration_error(probabilities, references, bins=1) == pytest.approx(abs(2.2 - 2) / 6)
    assert brier_score(probabilities, references) == pytest.approx((0.81 + 3 * 0.01 + 0.01 + 0.81) / 6)


def test_certain_and_right_is_perfectly_calibrated():
    references = np.array([[1, 0], [0, 1]])
    assert expected_calibration_error(references.astype(float), references) == 0.0
    assert brier_score(references.astype(float), references) == 0.0
    assert brier_score(1.0 - references, references) == 1.0


@pytest.mark.parametrize("score", [expected_calibration_error, brier_score])
def test_calibration_wants_probabilities(score):
    with pytest.raises(ValueError, match="logits need a sigmoid.*got 2.5 in row 0, column 1"):
        score([[0.5, 2.5]], [[1, 0]])


def test_an_evaluation_holds_every_score_of_decisions_twice():
    logits = np.array([[1.0, -1.0], [-2.0, 0.5]], dtype=np.float32)
    labels = np.array([[1, 1], [0, 1]])
    config = MultiLabelConfig(label_names=["a", "b"], threshold=[0.5, 0.2], temperature=2.0)
    scores = evaluate(EvalPrediction(logits, labels), config)
    assert (scores["hamming_score"], scores["hamming_score_at_half"]) == (1.0, 0.75)
    twice = {name.removesuffix("_at_half") for name in scores if name.endswith("_at_half")}
    f1 = {"micro_f1", "micro_precision", "micro_recall", "macro_f1", "samples_f1"}
    assert twice == {"hamming_score", "subset_accuracy", "hamming_loss", *f1}
    raw, calibrated = expit(logits), expit(logits / 2)
    assert scores["brier_score"] == pytest.approx(brier_score(calibrated, labels))
    assert scores["brier_score_uncalibrated"] == pytest.approx(brier_score(raw, labels))
    assert scores["expected_calibration_error_uncalibrated"] == pytest.approx(expected_calibration_error(raw, labels))
