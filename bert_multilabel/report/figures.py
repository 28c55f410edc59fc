"""The figures of a report: what an evaluation says of scores, labels and rows, as JSON values.

Legend: N rows, L labels, S labels that are shown where all would be too many, R redraws of the rows.
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

from .label_issues import find_suspects

# How much is shown: labels in a matrix of labels by labels, pairs of labels, rows of each kind, and of a row's text.
LABELS_SHOWN = 25
PAIRS_SHOWN = 20
ROWS_SHOWN = 20
CHARACTERS_SHOWN = 1000
# Beside the labels of a row, true or given, it is shown with this many of the likeliest.
_SCORES_SHOWN = 3
HISTOGRAM_BINS = 20
_CURVE_POINTS = 60

_SCORES = (
    *("hamming_score", "micro_f1", "macro_f1", "samples_f1", "micro_precision", "micro_recall", "subset_accuracy"),
    *("hamming_loss", "mean_average_precision", "expected_calibration_error", "brier_score"),
)


@dataclass(frozen=True)
class Evaluation:
    """What a report is about.

    Attributes:
        config: Names the labels.
        tuned: What the model says of N rows, and what they are given.
        rows: The rows, in the order of `tuned`: columns `text`, and `pair` and `id` if there are any.
        numbers: Numbers of the rows in their source, N, from 1.
        source: Name of the file or data set that they are from.
        history: What Trainer logged in training; nothing if that is not known.
    """

    config: MultiLabelConfig
    tuned: Tuned
    rows: Dataset
    numbers: Sequence[int]
    source: str
    history: list[dict[str, float]]


def gather_figures(evaluation: Evaluation) -> dict[str, Any]:
    """Gather all figures of a report, JSON values; None where something is not defined.

    Curves, histograms and suspects are those of the stored decisions, scores those of `Tuned.given`.
    """
    tuned, names = evaluation.tuned, evaluation.config.label_names
    true, annotated = tuned.labels == 1, (tuned.labels == 0) | (tuned.labels == 1)  # (N, L) each
    given = tuned.predicted & annotated  # (N, L)
    likely, _ = tuned.decisions.decide(evaluation.config, tuned.logits)  # (N, L)
    return {
        "source": evaluation.source,
        "rows": len(true),
        "labels": len(names),
        "annotated": float(annotated.mean()),
        "cross_fitted": tuned.is_cross_fitted,
        "min_labels": tuned.decisions.min_labels,
        "scores": _headline(tuned, given, true, annotated),
        "label_scores": _label_scores(evaluation, likely, annotated),
        "confusion": _confusion(given, true, annotated, names),
        "cooccurrence": _cooccurrence(given, true, names),
        "calibration": _calibration(tuned),
        "learning": _learning(evaluation.history),
        **_notable_rows(evaluation, likely, annotated),
    }


def _headline(tuned: Tuned, given: Flags, true: Flags, annotated: Flags) -> list[dict[str, Any]]:
    """List the scores, with the bounds within which they stay on other rows, and as they would be at 0.5."""
    intervals = _intervals(given, true, annotated)
    intervals["hamming_score"] = bootstrap_interval(sample_hamming_scores(tuned.predicted, tuned.labels))
    scores = []
    for name in _SCORES:
        low, high = intervals.get(name, (None, None))
        before = tuned.scores.get(f"{name}_at_half", tuned.scores.get(f"{name}_uncalibrated"))
        scores.append({"score": name, "value": tuned.scores[name], "low": low, "high": high, "before": before})
    return scores


def _intervals(given: Flags, true: Flags, annotated: Flags) -> dict[str, tuple[float, float]]:
    """Find the intervals of those scores that are made of sums over rows, or of row scores."""
    wrong, rows = given != true, annotated.any(axis=1)  # (N, L), (N,)
    cell_counts = np.stack([wrong.sum(axis=1), annotated.sum(axis=1)], axis=1)  # (N, 2)
    sums = resampled_sums(np.hstack([given & true, given, true, cell_counts]))  # (R, 3L + 2)
    hits, givens, trues = np.split(sums[:, :-2], 3, axis=1)  # (R, L) each
    f1 = 2 * hits / np.maximum(givens + trues, 1)  # (R, L)
    redrawn = {
        "micro_f1": 2 * hits.sum(axis=1) / np.maximum((givens + trues).sum(axis=1), 1),
        "micro_precision": hits.sum(axis=1) / np.maximum(givens.sum(axis=1), 1),
        "micro_recall": hits.sum(axis=1) / np.maximum(trues.sum(axis=1), 1),
        "macro_f1": f1[:, annotated.any(axis=0)].mean(axis=1),
        "hamming_loss": sums[:, -2] / np.maximum(sums[:, -1], 1),
    }  # (R,) each
    sizes = (given.sum(axis=1) + true.sum(axis=1))[rows]  # the annotated rows
    row_scores = {
        "subset_accuracy": ~wrong.any(axis=1)[rows],
        "samples_f1": np.where(sizes == 0, 1.0, 2 * (given & true).sum(axis=1)[rows] / np.maximum(sizes, 1)),
    }
    return {name: percentile_interval(values) for name, values in redrawn.items()} | {
        name: bootstrap_interval(values) for name, values in row_scores.items()
    }


def _label_scores(evaluation: Evaluation, likely: NDArray[Any], annotated: Flags) -> list[dict[str, Any]]:
    """Say of each label, the most frequent first, what it scores, and draw its curve and histograms."""
    tuned, names = evaluation.tuned, evaluation.config.label_names
    scores = per_label_scores(tuned.predicted, tuned.labels, names, zero_division=np.nan)
    thresholds = np.broadcast_to(tuned.decisions.threshold, len(names))  # (L,)
    labels = []
    for label, name in enumerate(names):
        rows = annotated[:, label]
        probabilities, true = likely[rows, label], tuned.labels[rows, label] == 1
        labels.append(
            {
                "label": name,
                **{score: _number(value) for score, value in scores[name].items()},
                "support": int(scores[name]["support"]),
                "given": int((tuned.predicted[:, label] & rows).sum()),
                "threshold": float(thresholds[label]),
                # By the logits, as in the mean: saturated probabilities would tie.
                "average_precision": float(average_precision_score(true, tuned.logits[rows, label]))
                if true.any()
                else None,
                "curve": _curve(probabilities, true, float(thresholds[label])),
                "histogram": {
                    "with": _histogram(probabilities[true]),
                    "without": _histogram(probabilities[~true]),
                },
            }
        )
    return sorted(labels, key=lambda label: -label["support"])


def _curve(likely: NDArray[Any], true: Flags, threshold: float) -> dict[str, Any] | None:
    """Thin out the precision-recall curve of a label; and say where on it the threshold stands."""
    if not true.any():
        return None
    precision, recall, cuts = precision_recall_curve(true, likely)
    # The highest precision that has at least so much recall; without the library's own last point, of no row.
    places = np.searchsorted(-recall, -np.linspace(0, 1, _CURVE_POINTS), side="right") - 1
    kept = np.unique([0, *places.clip(max=len(cuts) - 1)])
    here = int(np.searchsorted(cuts, np.float32(threshold)))  # the first cut that passes the same rows
    return {
        "recall": np.round(recall[kept], 4).tolist(),
        "precision": np.round(precision[kept], 4).tolist(),
        "at_threshold": [float(recall[here]), float(precision[here])] if here < len(cuts) else None,
    }


def _histogram(likely: NDArray[Any]) -> list[int]:
    counts: list[int] = np.histogram(likely, HISTOGRAM_BINS, range=(0, 1))[0].tolist()
    return counts


def stand_ins(given: Flags, true: Flags, annotated: Flags) -> NDArray[np.int64]:
    """Count which labels stand in for which: (L, L).

    Args:
        given: (N, L), within `annotated`.
        true: (N, L), within `annotated`.
        annotated: (N, L).

    Returns:
        In row i and column j the number of rows that have label i, are not given it, and are wrongly given label j.
    """
    missed, wrong = true & ~given, given & ~true & annotated  # (N, L) each
    return pairs_of(missed, wrong)


def pairs_of(one: Flags, other: Flags) -> NDArray[np.int64]:
    """Count rows with label i of one and label j of the other, (N, L) each: (L, L)."""
    # In floating point, for only that is multiplied fast; counts are exact in it.
    counts: NDArray[np.int64] = np.rint(one.T.astype(np.float64) @ other.astype(np.float64)).astype(np.int64)
    return counts


def _confusion(given: Flags, true: Flags, annotated: Flags, names: list[str]) -> dict[str, Any]:
    counts = stand_ins(given, true, annotated)  # (L, L)
    support = true.sum(axis=0)  # (L,)
    pairs = [
        {"missed": names[i], "given": names[j], "rows": int(counts[i, j]), "of": int(support[i])}
        for i, j in _largest(counts)
    ]
    shown = _most(counts.sum(axis=0) + counts.sum(axis=1))  # (S,)
    return {
        "labels": [names[label] for label in shown],
        "support": support[shown].tolist(),
        "rows": counts[np.ix_(shown, shown)].tolist(),
        "pairs": pairs,
    }


def _cooccurrence(given: Flags, true: Flags, names: list[str]) -> dict[str, Any]:
    """Count which labels come together in the truth and in what is given."""
    together = {"true": pairs_of(true, true), "given": pairs_of(given, given)}  # (L, L) each
    apart = np.triu(np.abs(together["given"] - together["true"]), k=1)  # (L, L)
    pairs = [
        {"labels": [names[i], names[j]], **{kind: int(counts[i, j]) for kind, counts in together.items()}}
        for i, j in _largest(apart)
    ]
    either = np.triu(together["true"] + together["given"], k=1)  # (L, L)
    shown = _most(either.sum(axis=0) + either.sum(axis=1))  # (S,)
    return {
        "labels": [names[label] for label in shown],
        **{kind: counts[np.ix_(shown, shown)].tolist() for kind, counts in together.items()},
        "pairs": pairs,
    }


def _largest(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the places of the largest counts above 0, the largest first."""
    order = np.argsort(-counts, axis=None, kind="stable")[:PAIRS_SHOWN]
    places = zip(*(axis.tolist() for axis in np.unravel_index(order, counts.shape)), strict=True)
    return [(i, j) for i, j in places if counts[i, j] > 0]


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
    """Show the rows that are decided worst, and those whose annotation looks wrong."""
    tuned = evaluation.tuned
    scores = sample_hamming_scores(tuned.predicted, tuned.labels)  # (N,), NaN where nothing is annotated
    # The binary cross entropy of the calibrated probabilities, in a form that does not overflow.
    scaled = tuned.logits / np.asarray(tuned.decisions.temperature, dtype=np.float32)  # (N, L)
    losses = np.logaddexp(0, np.where(tuned.labels == 1, -scaled, scaled))  # (N, L)
    loss = losses.sum(axis=1, where=annotated)  # (N,)
    worst = [int(row) for row in np.lexsort((-loss, scores))[:ROWS_SHOWN] if scores[row] < 1]
    suspects = find_suspects(likely, tuned.labels)
    shown = []
    for suspect in suspects[:ROWS_SHOWN]:
        doubts = [
            {
                "label": evaluation.config.label_names[label],
                "has": bool(tuned.labels[suspect.row, label] == 1),
                "probability": float(likely[suspect.row, label]),
            }
            for label in suspect.labels
        ]
        shown.append({**_row(evaluation, likely, suspect.row), "doubts": doubts})
    return {
        "worst_rows": [
            {**_row(evaluation, likely, row), "hamming_score": float(scores[row]), "loss": float(loss[row])}
            for row in worst
        ],
        "suspects": len(suspects),
        "suspect_rows": shown,
    }


def _row(evaluation: Evaluation, likely: NDArray[Any], place: int) -> dict[str, Any]:
    """Show a row: its text, what it has and is given, and the scores of these labels and the likeliest."""
    names, tuned, row = evaluation.config.label_names, evaluation.tuned, evaluation.rows[place]
    true, given = tuned.labels[place] == 1, tuned.predicted[place]  # (L,) each
    likeliest = np.argsort(-tuned.logits[place], kind="stable")[:_SCORES_SHOWN]
    scored = set(likeliest.tolist()) | set(np.flatnonzero(true | given).tolist())
    return {
        "number": int(evaluation.numbers[place]),
        **({"id": row["id"]} if row.get("id") is not None else {}),
        **{name: _cut(row[name]) for name in ("text", "pair") if name in row},
        "true": [names[label] for label in np.flatnonzero(true)],
        "given": [names[label] for label in np.flatnonzero(given)],
        "scores": {
            names[label]: float(likely[place, label]) for label in sorted(scored, key=lambda i: -likely[place, i])
        },
    }


def _cut(text: str) -> str:
    more = len(text) - CHARACTERS_SHOWN
    return text if more <= 0 else f"{text[:CHARACTERS_SHOWN]} … ({more:,} characters more)"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
