"""The figures of a report, on scores, labels and examples, as JSON values.

Legend: N examples, L labels, S labels that are shown where all would be too many, R resamples of the examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from bert_multilabel.evaluation.bootstrap import bootstrap_interval, percentile_interval, resampled_sums
from bert_multilabel.evaluation.decisions import Tuned
from bert_multilabel.metrics import Flags, calibration_bins, per_label_scores, sample_hamming_scores
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

from .label_issues import find_label_issues

# How much is shown: labels in a matrix, pairs of labels, examples of each kind, and characters of an example's text.
LABELS_SHOWN = 25
PAIRS_SHOWN = 20
ROWS_SHOWN = 20
CHARACTERS_SHOWN = 1000
# An example is shown with its true and predicted labels and this many of the likeliest.
_SCORES_SHOWN = 3
HISTOGRAM_BINS = 20
_CURVE_POINTS = 60

_SCORES = (
    *("hamming_score", "micro_f1", "macro_f1", "samples_f1", "micro_precision", "micro_recall", "subset_accuracy"),
    *("hamming_loss", "mean_average_precision", "expected_calibration_error", "brier_score"),
)


@dataclass(frozen=True)
class Evaluation:
    """The content of a report."""

    config: MultiLabelConfig
    tuned: Tuned  # with logits, predictions and true labels of N examples
    rows: Dataset  # the N examples, in that order: columns `text`, and `pair` and `id` if there are any
    numbers: Sequence[int]  # of the N examples in their source, from 1
    source: str  # name of the file or data set
    history: list[dict[str, float]]  # what Trainer logged in training; empty if unknown


def gather_figures(evaluation: Evaluation) -> dict[str, Any]:
    """Gather all figures of a report, JSON values; None where something is not defined.

    Curves, histograms and label issues are those of the stored decisions, scores those of `Tuned.predicted`.
    """
    tuned, names = evaluation.tuned, evaluation.config.label_names
    true, annotated = tuned.labels == 1, (tuned.labels == 0) | (tuned.labels == 1)  # (N, L) each
    predicted = tuned.predicted & annotated  # (N, L)
    likely, _ = tuned.decisions.decide(evaluation.config, tuned.logits)  # (N, L)
    return {
        "source": evaluation.source,
        "rows": len(true),
        "labels": len(names),
        "annotated": float(annotated.mean()),
        "cross_fitted": tuned.is_cross_fitted,
        "min_labels": tuned.decisions.min_labels,
        "decision": tuned.decisions.decision,
        "label_rules": None if (rules := evaluation.config.checked_rules) is None else str(rules),
        "scores": _headline(tuned, predicted, true, annotated),
        "label_scores": _label_scores(evaluation, likely, annotated),
        "confusion": _confusion(predicted, true, annotated, names),
        "cooccurrence": _cooccurrence(predicted, true, names),
        "calibration": _calibration(tuned),
        "learning": _learning(evaluation.history),
        **_notable_rows(evaluation, likely, annotated),
    }


def _headline(tuned: Tuned, predicted: Flags, true: Flags, annotated: Flags) -> list[dict[str, Any]]:
    """List the scores, with their confidence intervals, and as they would be at threshold 0.5."""
    intervals = _intervals(predicted, true, annotated)
    intervals["hamming_score"] = bootstrap_interval(sample_hamming_scores(tuned.predicted, tuned.labels))
    scores = []
    for name in _SCORES:
        low, high = intervals.get(name, (None, None))
        before = tuned.scores.get(f"{name}_at_half", tuned.scores.get(f"{name}_uncalibrated"))
        scores.append({"score": name, "value": tuned.scores[name], "low": low, "high": high, "before": before})
    return scores


def _intervals(predicted: Flags, true: Flags, annotated: Flags) -> dict[str, tuple[float, float]]:
    """Find the intervals of those scores that are computed from sums over examples, or are means of their scores."""
    wrong, rows = predicted != true, annotated.any(axis=1)  # (N, L), (N,)
    cell_counts = np.stack([wrong.sum(axis=1), annotated.sum(axis=1)], axis=1)  # (N, 2)
    sums = resampled_sums(np.hstack([predicted & true, predicted, true, cell_counts]))  # (R, 3L + 2)
    hits, predictions, trues = np.split(sums[:, :-2], 3, axis=1)  # (R, L) each
    f1 = 2 * hits / np.maximum(predictions + trues, 1)  # (R, L)
    resampled = {
        "micro_f1": 2 * hits.sum(axis=1) / np.maximum((predictions + trues).sum(axis=1), 1),
        "micro_precision": hits.sum(axis=1) / np.maximum(predictions.sum(axis=1), 1),
        "micro_recall": hits.sum(axis=1) / np.maximum(trues.sum(axis=1), 1),
        "macro_f1": f1[:, annotated.any(axis=0)].mean(axis=1),
        "hamming_loss": sums[:, -2] / np.maximum(sums[:, -1], 1),
    }  # (R,) each
    sizes = (predicted.sum(axis=1) + true.sum(axis=1))[rows]  # the annotated rows
    row_scores = {
        "subset_accuracy": ~wrong.any(axis=1)[rows],
        "samples_f1": np.where(sizes == 0, 1.0, 2 * (predicted & true).sum(axis=1)[rows] / np.maximum(sizes, 1)),
    }
    return {name: percentile_interval(values) for name, values in resampled.items()} | {
        name: bootstrap_interval(values) for name, values in row_scores.items()
    }


def _label_scores(evaluation: Evaluation, likely: NDArray[Any], annotated: Flags) -> list[dict[str, Any]]:
    """List the scores, curve and histograms of each label, the most frequent first."""
    tuned, names = evaluation.tuned, evaluation.config.label_names
    scores = per_label_scores(tuned.predicted, tuned.labels, names, zero_division=np.nan)
    thresholds: list[float | None] = [float(value) for value in np.broadcast_to(tuned.decisions.threshold, len(names))]
    if tuned.decisions.decision is not None:
        thresholds = [None] * len(names)  # there are others for each example
    labels = []
    for label, name in enumerate(names):
        rows = annotated[:, label]
        probabilities, true = likely[rows, label], tuned.labels[rows, label] == 1
        labels.append(
            {
                "label": name,
                **{score: None if np.isnan(value) else value for score, value in scores[name].items()},
                "support": int(scores[name]["support"]),
                "predicted": int((tuned.predicted[:, label] & rows).sum()),
                "threshold": thresholds[label],
                # By the logits, as in the mean: saturated probabilities would tie.
                "average_precision": float(average_precision_score(true, tuned.logits[rows, label]))
                if true.any()
                else None,
                "curve": _curve(probabilities, true, thresholds[label]),
                "histogram": {
                    kind: np.histogram(probabilities[rows_of], HISTOGRAM_BINS, range=(0, 1))[0].tolist()
                    for kind, rows_of in (("with", true), ("without", ~true))
                },
            }
        )
    return sorted(labels, key=lambda label: -label["support"])


def _curve(likely: NDArray[Any], true: Flags, threshold: float | None) -> dict[str, Any] | None:
    """Thin out the precision-recall curve of a label; and say where on it the threshold is, if there is one."""
    if not true.any():
        return None
    precision, recall, cuts = precision_recall_curve(true, likely)
    # The highest precision that has at least so much recall; without the library's own last point, of no row.
    indices = np.searchsorted(-recall, -np.linspace(0, 1, _CURVE_POINTS), side="right") - 1
    kept = np.unique([0, *indices.clip(max=len(cuts) - 1)])
    # The first cut that passes the same rows.
    here = len(cuts) if threshold is None else int(np.searchsorted(cuts, np.float32(threshold)))
    return {
        "recall": np.round(recall[kept], 4).tolist(),
        "precision": np.round(precision[kept], 4).tolist(),
        "at_threshold": [float(recall[here]), float(precision[here])] if here < len(cuts) else None,
    }


def count_substitutions(predicted: Flags, true: Flags, annotated: Flags) -> NDArray[np.int64]:
    """Count the examples, (N, L) each, that have label i, where label j is predicted instead: [i, j] of (L, L)."""
    return _count_pairs(true & ~predicted, predicted & ~true & annotated)


def _count_pairs(one: Flags, other: Flags) -> NDArray[np.int64]:
    """Count the examples with label i in one and label j in the other, (N, L) each: (L, L)."""
    # Only floating point is multiplied fast. It is exact for counts.
    counts: NDArray[np.int64] = np.rint(one.T.astype(np.float64) @ other.astype(np.float64)).astype(np.int64)
    return counts


def _confusion(predicted: Flags, true: Flags, annotated: Flags, names: list[str]) -> dict[str, Any]:
    counts = count_substitutions(predicted, true, annotated)  # (L, L)
    support = true.sum(axis=0)  # (L,)
    pairs = [
        {"missed": names[i], "predicted": names[j], "rows": int(counts[i, j]), "of": int(support[i])}
        for i, j in _largest(counts)
    ]
    shown = _most(counts.sum(axis=0) + counts.sum(axis=1))  # (S,)
    return {
        "labels": [names[label] for label in shown],
        "support": support[shown].tolist(),
        "rows": counts[np.ix_(shown, shown)].tolist(),
        "pairs": pairs,
    }


def _cooccurrence(predicted: Flags, true: Flags, names: list[str]) -> dict[str, Any]:
    """Count which labels come together in the truth and in the predictions."""
    together = {"true": _count_pairs(true, true), "predicted": _count_pairs(predicted, predicted)}  # (L, L) each
    apart = np.triu(np.abs(together["predicted"] - together["true"]), k=1)  # (L, L)
    pairs = [
        {"labels": [names[i], names[j]], **{kind: int(counts[i, j]) for kind, counts in together.items()}}
        for i, j in _largest(apart)
    ]
    either = np.triu(together["true"] + together["predicted"], k=1)  # (L, L)
    shown = _most(either.sum(axis=0) + either.sum(axis=1))  # (S,)
    return {
        "labels": [names[label] for label in shown],
        **{kind: counts[np.ix_(shown, shown)].tolist() for kind, counts in together.items()},
        "pairs": pairs,
    }


def _largest(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return row and column of the largest counts above 0, the largest first."""
    order = np.argsort(-counts, axis=None, kind="stable")[:PAIRS_SHOWN]
    indices = zip(*(axis.tolist() for axis in np.unravel_index(order, counts.shape)), strict=True)
    return [(i, j) for i, j in indices if counts[i, j] > 0]


def _most(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of the largest weights above 0, in the order of the labels: (S,)."""
    heaviest = np.argsort(-weights, kind="stable")[:LABELS_SHOWN]
    shown: NDArray[np.int64] = np.sort(heaviest[weights[heaviest] > 0])
    return shown


def _calibration(tuned: Tuned) -> dict[str, Any]:
    promised, true, cells = calibration_bins(tuned.probabilities, tuned.labels)
    filled = cells > 0
    return {
        "expected_calibration_error": tuned.scores["expected_calibration_error"],
        "probability": (promised[filled] / cells[filled]).tolist(),
        "true": (true[filled] / cells[filled]).tolist(),
        "cells": cells[filled].astype(np.int64).tolist(),
    }


def _learning(history: list[dict[str, float]]) -> dict[str, Any] | None:
    """Sort what Trainer logged into what came of training steps and what of evaluations."""
    steps = [entry for entry in history if "loss" in entry]
    evaluations: dict[float, dict[str, float]] = {}
    for entry in history:
        if "eval_loss" in entry:
            # The first of a step: after training, the best model is evaluated once more.
            evaluations.setdefault(entry["step"], entry)
    if not steps and not evaluations:
        return None
    scores = ("loss", "hamming_score", "micro_f1", "macro_f1")
    return {
        "training": {"epoch": [entry["epoch"] for entry in steps], "loss": [entry["loss"] for entry in steps]},
        "evaluation": {
            "epoch": [entry["epoch"] for entry in evaluations.values()],
            **{score: [entry.get(f"eval_{score}") for entry in evaluations.values()] for score in scores},
        },
    }


def _notable_rows(evaluation: Evaluation, likely: NDArray[Any], annotated: Flags) -> dict[str, Any]:
    """Show the examples that are predicted worst, and those whose annotation looks wrong."""
    tuned = evaluation.tuned
    scores = sample_hamming_scores(tuned.predicted, tuned.labels)  # (N,), NaN where nothing is annotated
    # The binary cross entropy of the calibrated probabilities, in a form that does not overflow.
    scaled = tuned.logits / np.asarray(tuned.decisions.temperature, dtype=np.float32)  # (N, L)
    losses = np.logaddexp(0, np.where(tuned.labels == 1, -scaled, scaled))  # (N, L)
    loss = losses.sum(axis=1, where=annotated)  # (N,)
    worst = [int(row) for row in np.lexsort((-loss, scores))[:ROWS_SHOWN] if scores[row] < 1]
    issues = find_label_issues(likely, tuned.labels)
    shown, names = [], evaluation.config.label_names
    for index, labels in ((issue.example, issue.labels) for issue in issues[:ROWS_SHOWN]):
        doubts = [
            {"label": names[i], "has": bool(tuned.labels[index, i] == 1), "probability": float(likely[index, i])}
            for i in labels
        ]
        shown.append({**_row(evaluation, likely, index), "doubts": doubts})
    return {
        "worst_rows": [
            {**_row(evaluation, likely, row), "hamming_score": float(scores[row]), "loss": float(loss[row])}
            for row in worst
        ],
        "suspects": len(issues),
        "suspect_rows": shown,
    }


def _row(evaluation: Evaluation, likely: NDArray[Any], index: int) -> dict[str, Any]:
    """Show an example: its text, its true and predicted labels, and the scores of these and of the likeliest."""
    names, tuned, row = evaluation.config.label_names, evaluation.tuned, evaluation.rows[index]
    true, predicted = tuned.labels[index] == 1, tuned.predicted[index]  # (L,) each
    likeliest = np.argsort(-tuned.logits[index], kind="stable")[:_SCORES_SHOWN]
    scored = set(likeliest.tolist()) | set(np.flatnonzero(true | predicted).tolist())
    return {
        "number": int(evaluation.numbers[index]),
        **({"id": row["id"]} if row.get("id") is not None else {}),
        **{name: _cut(row[name]) for name in ("text", "pair") if name in row},
        "true": [names[label] for label in np.flatnonzero(true)],
        "predicted": [names[label] for label in np.flatnonzero(predicted)],
        "scores": {
            names[label]: float(likely[index, label]) for label in sorted(scored, key=lambda i: -likely[index, i])
        },
    }


def _cut(text: str) -> str:
    more = len(text) - CHARACTERS_SHOWN
    return text if more <= 0 else f"{text[:CHARACTERS_SHOWN]} … ({more:,} characters more)"
