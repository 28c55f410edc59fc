"""Tunes how logits become labels, on examples that the model was not trained on, and measures what that gains.

`MultiLabelConfig.decide` turns logits into labels. Two of its fields are fitted here: `temperature`, by
`calibration.py`, and `threshold`, by `thresholds.py`. The scores of a fit, and whether it is kept at all, come from
cross-fitting: each example is decided by a fit on the folds without it.

Legend: N examples, L labels.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from transformers import EvalPrediction

from bert_multilabel.metrics import Flags, check_scorable, decision_scores, logits_and_references, score_decisions
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

from .arguments import THRESHOLDS, DecisionArguments
from .calibration import fit_temperature
from .thresholds import Goal, ThresholdFit

FOLDS = 5
# Fits nothing: scores what the model has stored.
AS_STORED = DecisionArguments(thresholds="keep", calibration="keep")
# With fewer examples a fit is noise: any fit, and one label by label.
MIN_EXAMPLES = 10
MIN_EXAMPLES_PER_LABEL = 50


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
        """Write them into a configuration. They must fit its labels."""
        config.threshold, config.temperature, config.min_labels = self.threshold, self.temperature, self.min_labels
        config.validate_multilabel()

    def decide(self, config: MultiLabelConfig, logits: NDArray[Any]) -> tuple[NDArray[Any], Flags]:
        """Decide as the configuration would with these: probabilities and decisions, (N, L) each."""
        own = copy.copy(config)
        own.threshold, own.temperature, own.min_labels = self.threshold, self.temperature, self.min_labels
        probabilities, decisions = own.decide(torch.as_tensor(logits))
        return probabilities.numpy(), decisions.numpy()


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The result of tuning on N examples.

    `probabilities` and `predicted` are by a fit on the other folds, or by `decisions` if nothing was fitted.
    """

    decisions: Decisions  # the fitted ones; the stored ones if there were too few examples
    scores: dict[str, float]  # of `predicted`, by the names of `metrics.evaluate`
    logits: NDArray[Any]  # (N, L)
    probabilities: NDArray[Any]  # (N, L)
    predicted: Flags  # (N, L)
    labels: NDArray[Any]  # (N, L), 0 or 1; NaN or -100 where not annotated
    scope: str | None  # the one of `THRESHOLDS` that was kept; None if there were too few examples
    arguments: DecisionArguments  # as requested

    @property
    def is_cross_fitted(self) -> bool:
        """Whether each example was decided by thresholds that were fitted without it."""
        return self.scope not in (None, "keep")

    def warnings(self) -> list[str]:
        """Say which request was not met."""
        if self.scope is None:
            found = f"there are {len(self.labels)} examples with {int((self.labels == 1).sum())} labels"
            needed = f"a fit needs at least {MIN_EXAMPLES} examples, some with labels and some without"
            return [f"the thresholds stay as they are: {needed}, but {found}"]
        goal = Goal.parse(self.arguments.threshold_goal)
        reached = self.scores.get(f"micro_{goal.score}", 0.0)
        if goal.floor is None or reached >= goal.floor:
            return []
        cause = ""
        if goal.score == "precision" and self.decisions.min_labels:
            cause = f"; min_labels {self.decisions.min_labels} predicts labels below their thresholds: lower it to 0"
        result = f"{goal.score} over all labels is {reached:.3f} on examples that the thresholds were not fitted on"
        return [f"the goal {self.arguments.threshold_goal} was not reached: {result}{cause}"]


@dataclass
class TunedMetrics:
    """A `compute_metrics` that tunes decisions to the examples that it scores.

    While training, it fits one threshold and one temperature for all labels, so `metric_for_best_model` and early
    stopping choose an epoch by its score at a common threshold. Fits per label are done once, in the evaluation after
    `is_final` was set.

    Args:
        config: The model's; it is not changed.
        arguments: What to tune, and for which goal.
    """

    config: MultiLabelConfig
    arguments: DecisionArguments
    is_final: bool = field(default=False, init=False)
    tuned: Tuned | None = field(default=None, init=False)  # by the latest evaluation

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Score (N, L) logits by the names of `metrics.evaluate`."""
        arguments = self.arguments
        if not self.is_final:
            common = {"per_label": "global"}
            arguments = replace(
                arguments,
                thresholds=common.get(arguments.thresholds, arguments.thresholds),
                calibration=common.get(arguments.calibration, arguments.calibration),
            )
        self.tuned = tune(*logits_and_references(prediction), self.config, arguments)
        return self.tuned.scores

    def decisions(self) -> Decisions:
        """Return those of the latest evaluation, or the model's if there was none."""
        return Decisions.of(self.config) if self.tuned is None else self.tuned.decisions


def tune(logits: ArrayLike, labels: ArrayLike, config: MultiLabelConfig, arguments: DecisionArguments) -> Tuned:
    """Fit decisions, and score them on examples that the fit has not seen.

    Where a score is the goal, thresholds per label are kept only if they beat a common one across the folds, and that
    one only if it beats the stored ones. (The best of these three is reported, which hardly flatters.) A new
    temperature alone changes no decision: stored thresholds are converted to it.

    Args:
        logits: (N, L), finite.
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated" and counts nowhere.
        config: The model's; it is not changed.
        arguments: What to tune, and for which goal.

    Raises:
        MultiLabelError: As `metrics.multilabel_scores`, and if there are fewer labels than `min_labels`.
    """
    values, truth = np.asarray(logits, dtype=np.float32), np.asarray(labels, dtype=np.float32)  # (N, L) each
    stored = Decisions.of(config)
    if arguments.min_labels is not None:
        stored = replace(stored, min_labels=arguments.min_labels)
    stored.store(copy.copy(config))  # refuses a wrong min_labels
    probabilities, predicted = stored.decide(config, values)  # (N, L) each
    check_scorable(probabilities, truth)
    decisions = stored
    scope: str | None = "keep"
    if arguments.thresholds != "keep" or arguments.calibration != "keep":
        if len(values) < MIN_EXAMPLES or not ((truth == 1).any() and (truth == 0).any()):
            scope = None
        else:
            best, probabilities, predicted = _choose_scope(values, truth, config, stored, arguments)
            decisions, scope = _fit(values, truth, stored, arguments, [best])[best], best
    scores = score_decisions(values, truth, probabilities, predicted)
    arrays = {"logits": values, "probabilities": probabilities, "predicted": predicted, "labels": truth}
    return Tuned(decisions=decisions, scores=scores, scope=scope, arguments=arguments, **arrays)


def fingerprint(labels: NDArray[Any]) -> str:
    """Return a digest of labels (N, L) that tells data sets apart, in whatever order their examples are."""
    rows = sorted(row.tobytes() for row in np.asarray(labels, dtype=np.float32))
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _choose_scope(
    logits: NDArray[Any],
    labels: NDArray[Any],
    config: MultiLabelConfig,
    stored: Decisions,
    arguments: DecisionArguments,
) -> tuple[str, NDArray[Any], Flags]:
    """Return the scope that scores best when cross-fitted, with its probabilities and decisions, (N, L) each."""
    goal, most = Goal.parse(arguments.threshold_goal), arguments.thresholds
    if most == "per_label" and len(logits) < MIN_EXAMPLES_PER_LABEL:
        most = "global"
    # A bound is fitted as asked: its cost in score is intended.
    scopes = THRESHOLDS[: THRESHOLDS.index(most) + 1] if goal.floor is None else (most,)
    probabilities = np.empty_like(logits)  # of all scopes, for they share the temperature
    predicted = {scope: np.empty(logits.shape, dtype=np.bool_) for scope in scopes}
    # At random: examples come sorted by length.
    fold_of = np.random.default_rng(0).permutation(len(logits)) % FOLDS  # (N,)
    for fold in range(FOLDS):
        held_out = fold_of == fold
        fitted = _fit(logits[~held_out], labels[~held_out], stored, arguments, scopes)
        unseen = logits[held_out]
        for scope in scopes:
            probabilities[held_out], predicted[scope][held_out] = fitted[scope].decide(config, unseen)
    # The first of equals: the simplest.
    best = max(scopes, key=lambda scope: decision_scores(predicted[scope], labels).get(goal.score, 0.0))
    return best, probabilities, predicted[best]


def _fit(
    logits: NDArray[Any], labels: NDArray[Any], stored: Decisions, arguments: DecisionArguments, scopes: Sequence[str]
) -> dict[str, Decisions]:
    """Fit the temperature, and the thresholds of each scope at it."""
    temperature = stored.temperature
    if arguments.calibration != "keep":
        temperature = fit_temperature(logits, labels, per_label=arguments.calibration == "per_label")
    thresholds: dict[str, float | list[float]] = {"keep": _convert(stored, temperature)}
    if "global" in scopes or "per_label" in scopes:
        scaled = logits / np.asarray(temperature, dtype=np.float32)  # (N, L)
        fit = ThresholdFit(scaled, labels, Goal.parse(arguments.threshold_goal), stored.min_labels)
        thresholds["global"] = fit.common()
        if "per_label" in scopes:
            thresholds["per_label"] = fit.per_label()
    return {scope: Decisions(thresholds[scope], temperature, stored.min_labels) for scope in scopes}


def _convert(stored: Decisions, temperature: float | list[float]) -> float | list[float]:
    """Return the thresholds that decide at another temperature as the stored ones do."""
    if stored.threshold == 0.5 or temperature == stored.temperature:
        return stored.threshold  # at 0.5, they are the same at any temperature
    stored_logits = logit(np.asarray(stored.threshold)) * np.asarray(stored.temperature)  # () or (L,)
    converted: float | list[float] = expit(stored_logits / np.asarray(temperature)).tolist()
    return converted
