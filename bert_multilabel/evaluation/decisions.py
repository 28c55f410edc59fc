"""Tunes how logits become labels, on examples that the model was not trained on, and measures what that gains.

`MultiLabelConfig.decide` turns logits into labels. Three of its fields are fitted here: `temperature`, by
`calibration.py`, `threshold`, by `thresholds.py`, and `decision`, by `expected_score.py`. The scores of a fit, and
whether it is kept at all, come from cross-fitting: each example is decided by a fit on the folds without it.

Legend: N examples, L labels.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from transformers import EvalPrediction

from bert_multilabel.metrics import Flags, check_scorable, decision_scores, logits_and_references, score_decisions
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.decision import EXAMPLE_SCORES

from .arguments import DecisionArguments
from .calibration import fit_temperature
from .comparison import simplest_of_the_best
from .expected_score import ExpectedScoreFit, sample_size
from .goals import Goal
from .thresholds import ThresholdFit

FOLDS = 5
# Fits nothing: scores what the model has stored.
AS_STORED = DecisionArguments(thresholds="keep", calibration="keep")
# With fewer examples a fit is noise: any fit, and one label by label.
MIN_EXAMPLES = 10
MIN_EXAMPLES_PER_LABEL = 50
# With label rules, thresholds move by one of these logits, as judged on so many examples.
_MOVES = (0.0, -0.5, 0.5, -1.0, 1.0)
_ROWS_WITH_RULES = 5000
# What is compared, the simplest first, by what was asked for.
_SCOPES = {
    "keep": ("keep",),
    "global": ("keep", "global"),
    "expected_score": ("keep", "global", "expected_score"),
    "per_label": ("keep", "global", "per_label"),
    "auto": ("keep", "global", "expected_score", "per_label"),
}


@dataclass(frozen=True)
class Decisions:
    """The four fields of a `MultiLabelConfig` that turn logits into labels."""

    threshold: float | list[float]
    temperature: float | list[float]
    min_labels: int
    decision: dict[str, Any] | None = None

    @classmethod
    def of(cls, config: MultiLabelConfig) -> "Decisions":
        """Read them from a configuration."""
        return cls(config.threshold, config.temperature, config.min_labels, config.decision)

    def store(self, config: MultiLabelConfig) -> None:
        """Write them into a configuration. They must fit its labels."""
        self._write(config)
        config.validate_multilabel()

    def decide(self, config: MultiLabelConfig, logits: NDArray[Any]) -> tuple[NDArray[Any], Flags]:
        """Decide as the configuration would with these: probabilities and decisions, (N, L) each."""
        own = copy.copy(config)
        self._write(own)
        probabilities, decisions = own.decide(torch.as_tensor(logits))
        return probabilities.numpy(), decisions.numpy()

    def _write(self, config: MultiLabelConfig) -> None:
        for name, value in vars(self).items():
            setattr(config, name, value)


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
    scope: str | None  # "keep", "global", "expected_score" or "per_label"; None if there were too few examples
    arguments: DecisionArguments  # as requested

    @property
    def is_cross_fitted(self) -> bool:
        """Whether each example was decided by a fit without it."""
        return self.scope not in (None, "keep")

    @property
    def is_nothing_better(self) -> bool:
        """Whether others were fitted, and those to start from were kept."""
        return self.scope == "keep" and self.arguments.thresholds != "keep"

    def describe(self) -> str:
        """Say what decides, and how it scores."""
        threshold, decision = self.decisions.threshold, self.decisions.decision
        if decision is not None:
            rule = f"for the highest expected {decision['score'].replace('_', ' ')} of each text"
        elif isinstance(threshold, list):
            rule = f"at a threshold per label, from {min(threshold):.3g} to {max(threshold):.3g}"
        else:
            rule = f"at {threshold:.3g} for all labels"
        score, at_half = self.scores["hamming_score"], self.scores["hamming_score_at_half"]
        return f"decides {rule} (validation hamming score {score:.4f}, at 0.5 {at_half:.4f})"

    def notes(self) -> list[str]:
        """Say that fitted thresholds were compared, and none was kept."""
        if not self.is_nothing_better:
            return []
        kept = "thresholds stay as they are" if self.decisions.decision is None else "rule of the expected score stays"
        where = f"none fitted on {len(self.labels):,} examples did better on unseen ones by more than a standard error"
        return [f"the {kept}: {where}"]

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
            thresholds, calibration = (
                value if value == "keep" else "global" for value in (arguments.thresholds, arguments.calibration)
            )
            arguments = replace(arguments, thresholds=thresholds, calibration=calibration)
        scored = logits_and_references(prediction)
        self.tuned = tune(*scored, self.config, arguments, cautious=self.is_final)
        return self.tuned.scores

    def decisions(self) -> Decisions:
        """Return those of the latest evaluation, or the model's if there was none."""
        return Decisions.of(self.config) if self.tuned is None else self.tuned.decisions


def tune(
    logits: ArrayLike,
    labels: ArrayLike,
    config: MultiLabelConfig,
    arguments: DecisionArguments,
    cautious: bool = True,
    as_asked: bool = False,
) -> Tuned:
    """Fit decisions, and score them on examples that the fit has not seen.

    Where a score is the goal, the simplest decisions are kept that are not worse than the best by more than a standard
    error across the folds. The order is: the stored ones, one threshold for all labels, the rule of the expected score
    (three numbers), and thresholds per label. So few examples rarely make a model worse, and it hardly flatters that
    the score of the chosen decisions is reported. A new temperature alone changes no decision: stored thresholds are
    converted to it.

    Args:
        logits: (N, L), finite.
        labels: (N, L), 0 or 1; NaN or -100 means "not annotated" and counts nowhere.
        config: The model's; it is not changed.
        arguments: What to tune, and for which goal.
        cautious: Whether a standard error counts; if not, the best decisions are kept.
        as_asked: Whether the last of what is compared is kept, whatever it scores: thresholds per label for
            "per_label", if there are enough examples for them.

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
            crossed = _CrossFit(values, truth, config, stored, arguments)
            scope = crossed.choose(cautious, as_asked)
            probabilities, predicted = crossed.decide(scope)
            decisions = crossed.fit_all(scope)
    scores = score_decisions(values, truth, probabilities, predicted)
    arrays = {"logits": values, "probabilities": probabilities, "predicted": predicted, "labels": truth}
    return Tuned(decisions=decisions, scores=scores, scope=scope, arguments=arguments, **arrays)


def fingerprint(labels: NDArray[Any]) -> str:
    """Return a digest of labels (N, L) that tells data sets apart, in whatever order their examples are."""
    rows = sorted(row.tobytes() for row in np.asarray(labels, dtype=np.float32))
    return hashlib.sha256(b"".join(rows)).hexdigest()


class _CrossFit:
    """Fits on all folds but one, for each of them, and what these fits make of the examples that they have not seen.

    See `tune` for the arguments; `stored` are the decisions to start from.
    """

    def __init__(
        self,
        logits: NDArray[Any],
        labels: NDArray[Any],
        config: MultiLabelConfig,
        stored: Decisions,
        arguments: DecisionArguments,
    ) -> None:
        self._logits, self._labels, self._config, self._stored = logits, labels, config, stored
        self._arguments, self._goal = arguments, Goal.parse(arguments.threshold_goal)
        self._scopes = _scopes(arguments.thresholds, self._goal, len(logits))
        # At random: examples come sorted by length.
        self._place = np.random.default_rng(0).permutation(len(logits))  # (N,)
        self._fold_of = self._place % FOLDS  # (N,)
        self._fits = [self._fit(self._fold_of != fold) for fold in range(FOLDS)]

    def choose(self, cautious: bool, as_asked: bool) -> str:
        """Return the scope to keep."""
        if as_asked or len(self._scopes) == 1:
            return self._scopes[-1]
        predicted = {scope: self.decide(scope)[1] for scope in self._scopes}
        return simplest_of_the_best(predicted, self._labels, self._goal.score, cautious)

    def decide(self, scope: str) -> tuple[NDArray[Any], Flags]:
        """Decide on each example by a fit without it: probabilities and decisions, (N, L) each."""
        probabilities, predicted = np.empty_like(self._logits), np.empty(self._logits.shape, dtype=np.bool_)
        for fold, fit in enumerate(self._fits):
            unseen = self._fold_of == fold
            decisions = self._decisions(scope, fit, ~unseen)
            probabilities[unseen], predicted[unseen] = decisions.decide(self._config, self._logits[unseen])
        return probabilities, predicted

    def fit_all(self, scope: str) -> Decisions:
        """Return the decisions that are fitted to all examples."""
        every = np.ones(len(self._logits), dtype=np.bool_)
        return self._decisions(scope, self._fit(every), every)

    def _fit(self, rows: Flags) -> dict[str, Decisions]:
        """Fit the temperature, and the thresholds at it, to some rows, (N,): one for all labels, and one for each."""
        logits, labels, stored = self._logits[rows], self._labels[rows], self._stored
        temperature = stored.temperature
        if self._arguments.calibration != "keep":
            temperature = fit_temperature(logits, labels, per_label=self._arguments.calibration == "per_label")
        fits = {"keep": _keep(stored, temperature)}
        if self._scopes != ("keep",):
            scaled = logits / np.asarray(temperature, dtype=np.float32)  # (N, L)
            fit = ThresholdFit(scaled, labels, self._goal, stored.min_labels)
            fits["global"] = Decisions(fit.common(), temperature, stored.min_labels)
            if len(self._logits) >= MIN_EXAMPLES_PER_LABEL and self._scopes[-1] in ("expected_score", "per_label"):
                fits["per_label"] = Decisions(fit.per_label(), temperature, stored.min_labels)
        return fits

    def _decisions(self, scope: str, fit: Mapping[str, Decisions], seen: Flags) -> Decisions:
        """Return what a fit to some examples, (N,), decides by; with label rules, moved to where these act best."""
        if scope != "expected_score":
            found = fit[scope]
        else:
            sample, rule = self._rule
            decision = rule.best(seen[sample])
            found = replace(fit["per_label" if decision["threshold_weight"] else "global"], decision=decision)
        if self._config.label_rules is None or scope == "keep" or self._goal.floor is not None:
            return found
        rows = np.flatnonzero(seen & (self._place < _ROWS_WITH_RULES))  # (n,), at random
        return _move(found, self._config, self._logits[rows], self._labels[rows], self._goal.score)

    @cached_property
    def _rule(self) -> tuple[NDArray[np.int64], ExpectedScoreFit]:
        """The rule on a sample of the examples, whose indices come first, calibrated by the fits without them."""
        sample = np.flatnonzero(self._place < sample_size(self._logits.shape[1]))  # (n,)
        logits, own = self._logits[sample], np.empty((len(sample), self._logits.shape[1]), np.float32)  # (n, L) each
        for fold, fit in enumerate(self._fits):
            rows, decisions = self._fold_of[sample] == fold, fit.get("per_label", fit["global"])
            logits[rows] /= np.asarray(decisions.temperature, dtype=np.float32)
            own[rows] = logit(np.asarray(decisions.threshold))
        has_own = "per_label" in self._fits[0]
        return sample, ExpectedScoreFit(
            logits, own if has_own else None, self._labels[sample], self._goal.score, self._stored.min_labels
        )


def _move(
    decisions: Decisions, config: MultiLabelConfig, logits: NDArray[Any], labels: NDArray[Any], score: str
) -> Decisions:
    """Move the thresholds, or the shift of the rule, to where decisions that obey label rules score best: (N, L).

    They are fitted as if there were no rules. These take labels away and add others, all in the same direction for
    most labels, which one number makes up for.
    """

    def moved(by: float) -> Decisions:
        if decisions.decision is not None:
            return replace(decisions, decision={**decisions.decision, "shift": decisions.decision["shift"] - by})
        return replace(decisions, threshold=expit(logit(np.asarray(decisions.threshold)) + by).tolist())

    # The first of equals: unchanged.
    candidates = [decisions if by == 0 else moved(by) for by in _MOVES]
    return max(candidates, key=lambda one: decision_scores(one.decide(config, logits)[1], labels).get(score, 0.0))


def _scopes(thresholds: str, goal: Goal, num_examples: int) -> tuple[str, ...]:
    """Return what is compared, the simplest first, by the option and the goal."""
    if thresholds == "auto" and goal.score not in EXAMPLE_SCORES:
        thresholds = "per_label"
    scopes = tuple(
        scope for scope in _SCOPES[thresholds] if scope != "per_label" or num_examples >= MIN_EXAMPLES_PER_LABEL
    )
    # A bound is fitted as asked: its cost in score is intended.
    return scopes if goal.floor is None else scopes[-1:]


def _keep(stored: Decisions, temperature: float | list[float]) -> Decisions:
    """Return what decides at another temperature as the stored decisions do.

    If a rule is stored and there is a temperature per label, it keeps the stored temperature.
    """
    old, decision = stored.temperature, stored.decision
    if old == temperature:
        return stored
    if decision is not None:
        if isinstance(old, list) or isinstance(temperature, list):
            return stored
        decision = {**decision, "temperature": decision["temperature"] * old / temperature}
    return Decisions(_convert(stored, temperature), temperature, stored.min_labels, decision)


def _convert(stored: Decisions, temperature: float | list[float]) -> float | list[float]:
    """Return the thresholds that decide at another temperature as the stored ones do."""
    if stored.threshold == 0.5:
        return 0.5  # at any temperature
    stored_logits = logit(np.asarray(stored.threshold)) * np.asarray(stored.temperature)  # () or (L,)
    converted: float | list[float] = expit(stored_logits / np.asarray(temperature)).tolist()
    return converted
