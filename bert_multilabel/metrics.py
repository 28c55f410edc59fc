"""Scores of 0/1 decisions against the truth, first of all the hamming score, and what a Trainer asks for.

Legend: N samples, L labels, E annotated entries. Predictions are (N, L), of 0/1 or bool. Probabilities are (N, L),
from 0 to 1. References are (N, L), of 0/1 or bool, NaN or -100 where not annotated. An entry without annotation
counts in no score, nor does a sample or a label of such entries only.

The scores are computed here and not by scikit-learn, which takes a single column for a two-class problem and cannot
leave out single entries. The tests compare the two wherever both are defined.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import EvalPrediction

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.utils.labels import hard_labels

Flags = NDArray[np.bool_]

LEGEND = "hamming score: mean samples Jaccard, the overlap of true and predicted labels"  # shown with scores
CALIBRATION_BINS = 15
_CHUNK_ENTRIES = 200_000  # that are looked at together: what is computed of them stays in the cache


def hamming_score(predictions: ArrayLike, references: ArrayLike, zero_division: float = 1.0) -> float:
    """Mean over samples of |predicted AND true| / |predicted OR true|: the Jaccard score averaged over samples.

    It is not 1 minus the Hamming loss, which counts absent labels as successes. It is the accuracy of Godbole and
    Sarawagi (2004), "Discriminative Methods for Multi-labeled Classification", and equals scikit-learn's
    `jaccard_score(average="samples")` wherever that is defined.

    Args:
        predictions: (N, L).
        references: (N, L).
        zero_division: What a sample scores when both of its sets are empty; 1.0, for the prediction is exactly right.

    Raises:
        MultiLabelError: If the arrays are not 2-D, differ in shape, are empty, hold other values or no annotation.

    Examples:
        Two of three labels are shared, where plain accuracy would be 0.8:

        >>> round(hamming_score(predictions=[[1, 1, 1, 0, 0]], references=[[0, 1, 1, 0, 0]]), 3)
        0.667
    """
    scores = sample_hamming_scores(predictions, references, zero_division)  # (N,)
    return float(scores.mean(where=~np.isnan(scores)))


def sample_hamming_scores(
    predictions: ArrayLike, references: ArrayLike, zero_division: float = 1.0
) -> NDArray[np.float64]:
    """Score each sample, see `hamming_score`: (N,), NaN where no entry is annotated."""
    sets = _as_sets(predictions, references)
    hits, predicted, true = _count(sets, axis=1)  # (N,) each
    return np.where(sets.annotated.any(axis=1), _ratio(hits, predicted + true - hits, zero_division), np.nan)


def sample_f1_scores(predictions: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """Compute the F1 of each sample: (N,), 1 where both sets are empty, NaN where no entry is annotated."""
    sets = _as_sets(predictions, references)
    hits, predicted, true = _count(sets, axis=1)  # (N,) each
    return np.where(sets.annotated.any(axis=1), _ratio(2 * hits, predicted + true, 1.0), np.nan)


def multilabel_scores(predictions: ArrayLike, references: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """All scores of one evaluation, the hamming score first.

    - `hamming_score`: see `hamming_score`; 1.0 for a sample with no label true or predicted.
    - `subset_accuracy`: share of samples with every label right.
    - `micro_f1`: F1 over all entries; 0.0 if no label is ever true or predicted.
    - `micro_precision`, `micro_recall`: over all entries; 0.0 if no label is ever predicted, or true.
    - `macro_f1`: mean F1 of the labels; 0.0 for a label that is never true nor predicted.
    - `samples_f1`: mean F1 of the samples; 1.0 for a sample with no label true or predicted, like the hamming score.
    - `hamming_loss`: share of wrong entries.
    - `mean_average_precision`: mean over the labels with at least one positive; 0.0 if there is none.

    Args:
        predictions: (N, L).
        references: (N, L).
        probabilities: (N, L) in [0, 1]; only their order within a label matters, for the average precision.

    Raises:
        MultiLabelError: As `hamming_score`, and if the probabilities differ in shape or are not from 0 to 1.
    """
    likely = _as_probabilities(probabilities, np.shape(references))
    sets = _as_sets(predictions, references)
    return {**_decision_scores(sets), "mean_average_precision": _mean_average_precision(likely, sets)}


def decision_scores(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Those of `multilabel_scores` that need no probabilities. It raises as `hamming_score`."""
    return _decision_scores(_as_sets(predictions, references))


def expected_calibration_error(probabilities: ArrayLike, references: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """How far predicted probabilities differ from observed frequencies, over all annotated entries.

    Entries are put into bins of equal width by their probability. In each bin, the mean probability is compared with
    the share of true entries; the differences are averaged, weighted by the number of entries. Guo, Pleiss, Sun and
    Weinberger (2017), "On Calibration of Modern Neural Networks", equation 3, for the probability of a label.

    Raises:
        MultiLabelError: As `multilabel_scores`.
    """
    predicted, true, entries = calibration_bins(probabilities, references, bins)  # (bins,) each
    return float(np.abs(predicted - true).sum() / entries.sum())


def calibration_bins(
    probabilities: ArrayLike, references: ArrayLike, bins: int = CALIBRATION_BINS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Put annotated entries into bins of equal width by their probability.

    Returns:
        Of each bin the sum of its probabilities, the number of its true entries, and of all its entries: (bins,) each.
    """
    totals = np.zeros((3, bins))
    for likely, true in _annotated_entries(probabilities, references):  # (E,), (E,)
        bin_of = np.minimum((likely * bins).astype(np.int64), bins - 1)  # (E,)
        counts = (np.bincount(chosen, minlength=bins) for chosen in (bin_of[true], bin_of))
        totals += [np.bincount(bin_of, likely, bins), *counts]
    predicted, truth, entries = totals
    return predicted, truth, entries


def brier_score(probabilities: ArrayLike, references: ArrayLike) -> float:
    """Mean squared difference of probability and truth over all annotated entries (Brier, 1950, halved for 2 classes).

    Raises:
        MultiLabelError: As `multilabel_scores`.
    """
    squares, entries = 0.0, 0
    for likely, true in _annotated_entries(probabilities, references):  # (E,), (E,)
        squares += float(np.square(likely - true).sum())
        entries += len(true)
    return squares / entries


def _annotated_entries(probabilities: ArrayLike, references: ArrayLike) -> Iterator[tuple[NDArray[np.float64], Flags]]:
    """Give probability and truth of the annotated entries, a chunk of samples at a time: (E,) each."""
    likely = _as_probabilities(probabilities, np.shape(references))
    true, annotated = _as_truth(references)
    size = max(_CHUNK_ENTRIES // likely.shape[1], 1)
    for start in range(0, len(likely), size):
        chunk = slice(start, start + size)
        yield likely[chunk][annotated[chunk]].astype(np.float64), true[chunk][annotated[chunk]]


def per_label_scores(
    predictions: ArrayLike, references: ArrayLike, label_names: Sequence[str], zero_division: float = 0.0
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support (annotated positives) of each label, by name.

    Args:
        predictions: (N, L).
        references: (N, L).
        label_names: Names of the L columns.
        zero_division: What a score of 0/0 becomes.

    Raises:
        MultiLabelError: As `hamming_score`, and if the names are not L different ones.
    """
    sets = _as_sets(predictions, references)
    num_labels = sets.true.shape[1]
    if not len(label_names) == len(set(label_names)) == num_labels:
        raise MultiLabelError(f"label_names must be {num_labels} different names, got {list(label_names)}")
    hits, predicted, true = _count(sets, axis=0)  # (L,) each
    columns = {
        "precision": _ratio(hits, predicted, zero_division),
        "recall": _ratio(hits, true, zero_division),
        "f1": _ratio(2 * hits, predicted + true, zero_division),
        "support": true,
    }
    scores = zip(*columns.values(), strict=True)
    return {
        name: dict(zip(columns, map(float, row), strict=True)) for name, row in zip(label_names, scores, strict=True)
    }


def multilabel_confusion(predictions: ArrayLike, references: ArrayLike) -> NDArray[np.int64]:
    """Confusion matrix of each label over its annotated entries, laid out as scikit-learn does it.

    Returns:
        (L, 2, 2), per label [[true negatives, false positives], [false negatives, true positives]].

    Raises:
        MultiLabelError: As `hamming_score`.

    Examples:
        >>> multilabel_confusion(predictions=[[1, 0], [1, 1]], references=[[1, 0], [0, 1]]).tolist()
        [[[0, 1], [0, 1]], [[1, 0], [0, 1]]]
    """
    predicted, true, annotated = _as_sets(predictions, references)
    kinds = [annotated & ~predicted & ~true, predicted & ~true, ~predicted & true, predicted & true]
    counts = np.stack([kind.sum(axis=0) for kind in kinds], axis=1)  # (L, 4)
    return counts.reshape(-1, 2, 2)  # (L, 2, 2)


def compute_metrics(eval_prediction: EvalPrediction) -> dict[str, float]:
    """Score what a `Trainer` evaluated, deciding at probability 0.5.

    Args:
        eval_prediction: `predictions` are the logits (N, L), or a tuple that begins with them; `label_ids` are the
            references (N, L), or the tuple (label_mask, labels) that a `Trainer` collects if not told its label names.

    Raises:
        MultiLabelError: As `multilabel_scores`, and if logits and references differ in shape.
    """
    return _score_logits(eval_prediction, _decide_at_half)


def make_compute_metrics(config: MultiLabelConfig) -> Callable[[EvalPrediction], dict[str, float]]:
    """Make a `compute_metrics` that decides as the configuration says, by temperature, thresholds and `min_labels`.

    Args:
        config: Read at every evaluation, so that thresholds which change later count from then on.
    """

    def compute_metrics_as_configured(eval_prediction: EvalPrediction) -> dict[str, float]:
        return _score_logits(eval_prediction, config.decide)

    return compute_metrics_as_configured


def evaluate(prediction: EvalPrediction, config: MultiLabelConfig) -> dict[str, float]:
    """Score what a configuration makes of logits (N, L), against labels (N, L): see `score_decisions`."""
    logits, references = logits_and_references(prediction)
    probabilities, decisions = config.decide(torch.tensor(logits))  # (N, L), (N, L)
    return score_decisions(logits, references, probabilities.numpy(), decisions.numpy())


def score_decisions(
    logits: NDArray[Any], references: NDArray[Any], probabilities: NDArray[Any], decisions: NDArray[Any]
) -> dict[str, float]:
    """Score decisions (N, L) and calibrated probabilities (N, L), and the same without tuning, from the logits (N, L).

    Returns:
        `multilabel_scores`, each score of decisions once more as `..._at_half`; and `expected_calibration_error` and
        `brier_score`, once more as `..._uncalibrated`.

    Raises:
        MultiLabelError: As `multilabel_scores`.
    """
    raw, at_half = (values.numpy() for values in _decide_at_half(torch.tensor(logits)))  # (N, L), (N, L)
    # Ranked by raw probabilities: calibration never changes the order within a label, but that of two folds.
    scores = multilabel_scores(decisions, references, raw)
    scores |= {f"{name}_at_half": value for name, value in decision_scores(at_half, references).items()}
    for name, score in (("expected_calibration_error", expected_calibration_error), ("brier_score", brier_score)):
        scores[name] = score(probabilities, references)
        scores[f"{name}_uncalibrated"] = score(raw, references)
    return scores


def _score_logits(
    eval_prediction: EvalPrediction, decide: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, float]:
    logits, references = logits_and_references(eval_prediction)
    probabilities, decisions = decide(torch.tensor(logits))  # (N, L), (N, L)
    return multilabel_scores(decisions.numpy(), references, probabilities.numpy())


def _decide_at_half(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    probabilities = logits.float().sigmoid()
    return probabilities, probabilities >= 0.5


def check_scorable(probabilities: ArrayLike, references: ArrayLike) -> None:
    """Refuse probabilities and references that cannot be scored."""
    _as_probabilities(probabilities, np.shape(references))
    _as_truth(references)


def logits_and_references(eval_prediction: EvalPrediction) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the logits (N, L) and the references (N, L) that a `Trainer` evaluated. They must agree in shape."""
    predictions, label_ids = eval_prediction.predictions, eval_prediction.label_ids
    logits = np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)
    references = np.asarray(label_ids[-1] if isinstance(label_ids, tuple) else label_ids)
    if logits.shape != references.shape:
        shapes = f"the logits have the shape {logits.shape}, the labels {references.shape}"
        raise MultiLabelError(f'{shapes}: set label_names=["labels"] in TrainingArguments')
    return logits, hard_labels(references)


class _Sets(NamedTuple):
    """Predicted, true and annotated entries, (N, L) each."""

    # An entry in neither set is in no intersection or union and is no error: emptying what is not annotated takes it
    # out of them all. Only averages over samples, labels or entries have to look at `annotated` as well.
    predicted: Flags
    true: Flags
    annotated: Flags


def _as_sets(predictions: ArrayLike, references: ArrayLike) -> _Sets:
    decided, truth = _as_matrix("predictions", predictions), _as_matrix("references", references)
    if decided.shape != truth.shape:
        raise MultiLabelError(f"predictions have the shape {decided.shape}, references {truth.shape}: they must agree")
    predicted = decided == 1
    _check_entries("predictions", decided, predicted | (decided == 0), "0 or 1 (decide on probabilities first)")
    true, annotated = _as_truth(truth)
    return _Sets(predicted & annotated, true, annotated)


def _as_truth(references: ArrayLike) -> tuple[Flags, Flags]:
    """True and annotated entries, (N, L) each."""
    truth = _as_matrix("references", references)
    true = truth == 1
    annotated = true | (truth == 0)
    if not annotated.all():
        good = annotated | (truth == -100) | np.isnan(truth)
        _check_entries("references", truth, good, "0 or 1, or NaN or -100 if not annotated")
    if not annotated.any():
        raise MultiLabelError(f"references of shape {truth.shape} hold no annotated entry: nothing to score against")
    return true, annotated


def _as_probabilities(probabilities: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    likely = _as_matrix("probabilities", probabilities)
    if likely.shape != shape:
        raise MultiLabelError(f"probabilities have the shape {likely.shape}, references {shape}: they must agree")
    hint = "from 0 to 1 (logits need a sigmoid; NaN means that the model diverged)"
    _check_entries("probabilities", likely, (likely >= 0) & (likely <= 1), hint)
    return likely


def _as_matrix(name: str, values: ArrayLike) -> NDArray[Any]:
    matrix = np.asarray(values)
    if matrix.ndim != 2:
        raise MultiLabelError(f"{name} must be 2-D (samples, labels), got the shape {matrix.shape}")
    if matrix.size == 0:
        raise MultiLabelError(f"{name} must not be empty, got the shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        raise MultiLabelError(f"{name} must be numbers or booleans, got {matrix.dtype} such as {matrix[0, 0]!r}")
    return matrix


def _check_entries(name: str, matrix: NDArray[Any], good: Flags, expected: str) -> None:
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise MultiLabelError(f"{name} must be {expected}; got {matrix[row, column]} in row {row}, column {column}")


def _decision_scores(sets: _Sets) -> dict[str, float]:
    samples, labels = sets.annotated.any(axis=1), sets.annotated.any(axis=0)  # (N,), (L,)
    hits, predicted, true = _count(sets, axis=0)  # (L,) each
    sample_hits, sample_predicted, sample_true = _count(sets, axis=1)  # (N,) each
    sizes = sample_predicted + sample_true  # (N,)
    wrong = sizes - 2 * sample_hits  # (N,)
    return {
        "hamming_score": float(_ratio(sample_hits, sizes - sample_hits, 1.0)[samples].mean()),
        "subset_accuracy": float(1 - (wrong > 0).mean(where=samples)),
        "micro_f1": float(_ratio(2 * hits.sum(), predicted.sum() + true.sum(), 0.0)),
        "micro_precision": float(_ratio(hits.sum(), predicted.sum(), 0.0)),
        "micro_recall": float(_ratio(hits.sum(), true.sum(), 0.0)),
        "macro_f1": float(_ratio(2 * hits, predicted + true, 0.0).mean(where=labels)),
        "samples_f1": float(_ratio(2 * sample_hits, sizes, 1.0).mean(where=samples)),
        "hamming_loss": float(wrong.sum() / sets.annotated.sum()),
    }


def _count(sets: _Sets, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the entries that are both predicted and true, those that are predicted, and those that are true."""
    return (sets.predicted & sets.true).sum(axis=axis), sets.predicted.sum(axis=axis), sets.true.sum(axis=axis)


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64], zero_division: float) -> NDArray[np.float64]:
    return np.where(denominator == 0, zero_division, numerator / np.maximum(denominator, 1))


def _mean_average_precision(probabilities: NDArray[Any], sets: _Sets) -> float:
    precisions = []
    size = max(_CHUNK_ENTRIES // len(probabilities), 1)
    for start in range(0, probabilities.shape[1], size):
        block = slice(start, start + size)
        # What is not annotated is below everything, and so counts nowhere.
        likely = np.where(sets.annotated[:, block], probabilities[:, block], -1.0).T  # (labels, N)
        ordered = np.sort(likely, axis=1)
        precisions += [
            _average_precision(values, np.sort(values_by_sample[true]))
            for values, values_by_sample, true in zip(ordered, likely, sets.true[:, block].T, strict=True)
            if true.any()
        ]
    return float(np.mean(precisions)) if precisions else 0.0


def _average_precision(all_values: NDArray[Any], positives: NDArray[Any]) -> float:
    """Mean of the precisions at the positives of a label, scores in ascending order: (N,), (positives,)."""
    reaching, hits = (len(values) - np.searchsorted(values, positives) for values in (all_values, positives))
    return float((hits / reaching).mean())
