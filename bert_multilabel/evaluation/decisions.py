"""Tunes how logits become labels, on rows that the model was not trained on, and says what that is worth.

To decide is `MultiLabelConfig.decide`'s; here two of its fields are fitted, `temperature` by `calibration.py` and
`threshold` by `thresholds.py`. What is reported of a fit, and whether it is kept at all, is judged by cross-fitting:
each row is decided by a fit on the folds without it.

Legend: N rows, L labels.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from transformers import EvalPrediction
from transformers.utils import logging

from bert_multilabel.evaluation.arguments import THRESHOLDS, DecisionArguments
from bert_multilabel.metrics import Cells, decision_scores, logits_and_references, score_decisions
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

from .calibration import fit_temperature
from .thresholds import Goal, fit_thresholds

logger = logging.get_logger(__name__)

FOLDS = 5
# Fits nothing: what the model has is scored as it is.
AS_STORED = DecisionArguments(thresholds="keep", calibration="keep")
# On fewer rows what is fitted is noise: at all, and label by label.
FEWEST_ROWS = 10
FEWEST_ROWS_PER_LABEL = 50


@dataclass(frozen=True)
class Decisions:
    """The three fields of a `MultiLabelConfig` that turn logits into labels."""

    threshold: float | list[float]
    temperature: float | list[float]
    min_labels: int

    @classmethod
    def of(cls, config: MultiLabelConfig) -> "Decisions":
        """Read them from a configuration."""
        return cls(config.threshold, config.temperature, config.min_labels)

    def store(self, config: MultiLabelConfig) -> None:
        """Write them into a configuration.

        Raises:
            ValueError: If they do not fit its labels.
        """
        config.threshold, config.temperature, config.min_labels = self.threshold, self.temperature, self.min_labels
        config.validate_multilabel()

    def decide(self, config: MultiLabelConfig, logits: NDArray[Any]) -> tuple[NDArray[Any], Cells]:
        """Decide as the configuration would with these: probabilities and decisions, (N, L) each."""
        own = copy.copy(config)
        self.store(own)
        probabilities, decisions = own.decide(torch.tensor(logits))
        return probabilities.numpy(), decisions.numpy()


@dataclass(frozen=True)
class Tuned:
    """What tuning on N rows came to.

    Attributes:
        decisions: To be stored; where there was too little to fit by, those of before.
        scores: Those of `given`, by the names of `metrics.evaluate`.
        logits: What the model says of each row, (N, L).
        probabilities: What a fit on the other folds makes of that, (N, L); by `decisions` where nothing was fitted.
        given: What each row is given by the same fit, (N, L).
        labels: What it should be given, (N, L), 0 or 1; NaN or -100 where not annotated.
        scope: Which of `THRESHOLDS` held up, or was asked for; None if there was too little to fit by.
        arguments: What was asked for.
    """

    decisions: Decisions
    scores: dict[str, float]
    logits: NDArray[Any]
    probabilities: NDArray[Any]
    given: Cells
    labels: NDArray[Any]
    scope: str | None
    arguments: DecisionArguments

    @property
    def is_unseen(self) -> bool:
        """Whether the rows are new to the thresholds that decide them here: fitted now, on the other folds."""
        return self.scope not in (None, "keep")


@dataclass
class TunedMetrics:
    """A `compute_metrics` that tunes decisions to whatever it is given to score.

    Its scores are those of `tune`, so `metric_for_best_model` and early stopping choose an epoch by what tuning will
    make of it.

    Args:
        config: The model's; it is not changed.
        arguments: What to tune, and for which goal.
    """

    config: MultiLabelConfig
    arguments: DecisionArguments
    tuned: Tuned | None = field(default=None, init=False)  # by the latest evaluation

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Score (N, L) logits by the names of `metrics.evaluate`."""
        self.tuned = tune(*logits_and_references(prediction), self.config, self.arguments)
        return self.tuned.scores

    def decisions(self) -> Decisions:
        """Return those of the latest evaluation, or what the model has if there was none."""
        return Decisions.of(self.config) if self.tuned is None else self.tuned.decisions


def tune(logits: ArrayLike, labels: ArrayLike, config: MultiLabelConfig, arguments: DecisionArguments) -> Tuned:
    """Fit decisions, and score them on rows that the fit has not seen.

    Where a score is the goal, thresholds per label are kept only if they beat a common one across the folds, and that
    one only if it beats the stored ones. (The best of these three is reported, so very little flattery remains.) A new
    temperature by itself decides nothing anew: stored thresholds are carried over to it.

    Args:
        logits: (N, L), finite.
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated" and counts nowhere.
        config: The model's; it is not changed.
        arguments: What to tune, and for which goal.

    Returns:
        The decisions, fitted on all rows, and what they come to when cross-fitted.

    Raises:
        ValueError: As `metrics.multilabel_scores`, and if there are fewer labels than `min_labels`.
    """
    rows, truth = np.asarray(logits, dtype=np.float32), np.asarray(labels, dtype=np.float32)  # (N, L) each
    stored = Decisions.of(config)
    if arguments.min_labels is not None:
        stored = Decisions(stored.threshold, stored.temperature, arguments.min_labels)
    probabilities, given = stored.decide(config, rows)  # (N, L) each
    scores = score_decisions(rows, truth, probabilities, given)  # what cannot be scored is refused here
    as_stored = partial(Tuned, stored, scores, rows, probabilities, given, truth)
    if arguments.thresholds == arguments.calibration == "keep":
        return as_stored("keep", arguments)
    if len(rows) < FEWEST_ROWS or not ((truth == 1).any() and (truth == 0).any()):
        logger.warning(
            f"thresholds stay as they are: to fit them takes at least {FEWEST_ROWS} rows, some with labels and some "
            f"without, but there are {len(rows)} rows with {int((truth == 1).sum())} labels"
        )
        return as_stored(None, arguments)
    goal = Goal.parse(arguments.threshold_goal)
    most = (
        "global" if len(rows) < FEWEST_ROWS_PER_LABEL and arguments.thresholds == "per_label" else arguments.thresholds
    )
    # A bound is fitted as asked: what it costs in score is meant.
    scopes = THRESHOLDS[: THRESHOLDS.index(most) + 1] if goal.floor is None else (most,)
    trials = []
    for scope in scopes:
        fit = partial(_fit, scope=scope, goal=goal, stored=stored, calibration=arguments.calibration)
        probabilities, given = _cross_fit(fit, rows, truth, config)
        trials.append((scope, fit, probabilities, given, decision_scores(given, truth).get(goal.score, 0.0)))
    # The first of equals: the simplest.
    scope, fit, probabilities, given, _ = max(trials, key=lambda trial: trial[-1])
    scores = score_decisions(rows, truth, probabilities, given)
    if goal.floor is not None and scores[f"micro_{goal.score}"] < goal.floor:
        logger.warning(
            f"{goal.score} over all labels is {scores[f'micro_{goal.score}']:.3f} on rows that the fit has not seen, "
            f"less than the {goal.floor:g} asked for"
        )
    return Tuned(fit(rows, truth), scores, rows, probabilities, given, truth, scope, arguments)


def fingerprint(labels: NDArray[Any]) -> str:
    """Return what tells rows from others, in whatever order: a digest of their labels (N, L)."""
    rows = sorted(row.tobytes() for row in np.asarray(labels, dtype=np.float32))
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _cross_fit(
    fit: Callable[..., Decisions], logits: NDArray[Any], labels: NDArray[Any], config: MultiLabelConfig
) -> tuple[NDArray[Any], Cells]:
    """Decide each row by a fit on the folds without it: probabilities and decisions, (N, L) each."""
    probabilities, decisions = np.empty_like(logits), np.empty(logits.shape, dtype=np.bool_)
    fold_of = np.random.default_rng(0).permutation(len(logits)) % FOLDS  # (N,)
    for fold in range(FOLDS):
        held_out = fold_of == fold
        fitted = fit(logits[~held_out], labels[~held_out])
        probabilities[held_out], decisions[held_out] = fitted.decide(config, logits[held_out])
    return probabilities, decisions


def _fit(
    logits: NDArray[Any], labels: NDArray[Any], scope: str, goal: Goal, stored: Decisions, calibration: str
) -> Decisions:
    temperature = stored.temperature
    if calibration != "keep":
        temperature = fit_temperature(logits, labels, per_label=calibration == "per_label")
    threshold = stored.threshold
    if scope == "keep" and threshold != 0.5 and temperature != stored.temperature:
        # The same decisions at another temperature; at 0.5 they are the same at any.
        stored_logits = logit(np.asarray(threshold)) * np.asarray(stored.temperature)  # () or (L,)
        threshold = expit(stored_logits / np.asarray(temperature)).tolist()
    if scope != "keep":
        scaled = logits / np.asarray(temperature, dtype=np.float32)  # (N, L)
        threshold = fit_thresholds(scaled, labels, goal, stored.min_labels, per_label=scope == "per_label")
    return Decisions(threshold, temperature, stored.min_labels)
