"""Fits the decisions of a trained model to labelled examples, and stores them in its folder."""

import copy
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import EvalPrediction

from bert_multilabel.cli.labelled_file import LabelledFile
from bert_multilabel.cli.scored_file import ScoredFile, score_labelled_file
from bert_multilabel.data.label_rules import parse_rules, read_rules_file, warn_of_broken
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import MIN_EXAMPLES, Decisions, Tuned, fingerprint, tune
from bert_multilabel.evaluation.goals import Goal
from bert_multilabel.hub.model_card import write_model_card
from bert_multilabel.hub.run_facts import read_facts
from bert_multilabel.metrics import LEGEND, evaluate
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.output_dir.checkpoints import TUNED_ON, add_to_run, read_results, read_run, write_results
from bert_multilabel.utils.files import write_json

logger = logging.getLogger(__name__)

_ROUNDING = 1e-6  # of scores


@dataclass(frozen=True, kw_only=True)
class TunedFolder:
    """The result of tuning a folder.

    Attributes:
        before: Scores of the decisions before, by the names of `metrics.evaluate`.
        after: Scores of the decisions after, to compare with those before.
        is_in_sample: Whether the decisions before were fitted on the same examples. Then both are scored on the
            examples that they were fitted on, else both on examples that they were not fitted on.
        tuned: The decisions after and their cross-fitted scores.
        floor: Scores of the decisions before with the `min_labels` and label rules that were asked for, whatever these
            cost.
        changed: Names of the fields of the configuration that changed.
        is_stored: Whether they are stored in the folder.
    """

    before: dict[str, float]
    after: dict[str, float]
    is_in_sample: bool
    tuned: Tuned
    floor: dict[str, float]
    changed: frozenset[str]
    is_stored: bool = False

    @property
    def is_worse(self) -> bool:
        """Whether the decisions after serve the goal less than those before: its score, or a bound that they miss."""
        goal = Goal.parse(self.tuned.arguments.threshold_goal)
        score = goal.score if goal.floor is None else f"micro_{goal.score}"
        is_reached = goal.floor is not None and self.after[score] >= goal.floor
        return self.after[score] < self.floor[score] - _ROUNDING and not is_reached

    def columns(self) -> dict[str, dict[str, float]]:
        """Return the scores to show, by the name of their column."""
        cross_fitted = {"cross-fitted": self.tuned.scores} if self.is_in_sample else {}
        return {"before": self.before, "after": self.after, **cross_fitted}

    def describe_columns(self) -> str:
        """Say what the first score is, and which examples each column of scores is about."""
        return f"{LEGEND}\n{self._describe_examples()}"

    def _describe_examples(self) -> str:
        if self.is_in_sample:
            return (
                "before and after: scored on the examples that each was fitted on, which flatters both alike;\n"
                "cross-fitted: each example decided by a fit on the others, as stored in all_results.json"
            )
        how = "each example decided by a fit on the others" if self.tuned.is_cross_fitted else "the same decisions"
        return f"before: the old decisions, fitted on other examples as far as known; after: {how}"

    def describe_outcome(self, path: Path) -> str:
        """Say what was stored in the folder's `config.json`, and why the old decisions were kept if they were."""
        if not self.is_stored:
            cause = "it would serve the goal less than the old decisions do"
            return f"nothing was stored, since {cause}: --force stores it"
        # Where the old decisions are kept at another temperature, their thresholds are converted to it.
        is_same = self.tuned.scope == "keep" and self.changed <= (
            {"temperature"} if self._starts_at_half else {"temperature", "threshold", "decision"}
        )
        if not self.changed:
            outcome = f"nothing was changed in {path}"
        elif is_same:
            outcome = f"only the temperature was changed in {path}: other probabilities, the same decisions"
        else:
            outcome = f"stored in {path}"
        return "\n".join([outcome, *self._why_kept()])

    @property
    def _starts_at_half(self) -> bool:
        """Whether the fit started from the decisions of a new model."""
        return self.is_in_sample and self.tuned.arguments.thresholds != "keep"

    def _why_kept(self) -> list[str]:
        if not self.tuned.is_nothing_better:
            return []
        start = "the fit started from 0.5, and " if self._starts_at_half else ""
        cure = "to store fitted ones nevertheless: --force, with --thresholds per_label, global or expected_score"
        return [*(f"{start}{note}" for note in self.tuned.notes()), cure]

    def warnings(self) -> list[str]:
        """Say what was asked for and not reached, and what became worse."""
        goal = self.tuned.arguments.threshold_goal
        score = "hamming_score" if "=" in goal else goal
        found = self.tuned.warnings()
        if self.after[score] < self.before[score]:
            cost = f"from {self.before[score]:.4f} to {self.after[score]:.4f}"
            bound, reached = Goal.parse(goal), ""
            if bound.floor is not None:
                reached = f" ({bound.score} reached: {self.after[f'micro_{bound.score}']:.4f})"
            found.append(f"the new decisions lower the {title(score)} {cost}, with the goal {goal}{reached}")
        return found


def tune_folder(model_dir: Path, source: LabelledFile, wanted: DecisionArguments, force: bool = False) -> TunedFolder:
    """Tune a trained model and store the result in its folder.

    Stored decisions that were fitted on the same examples would beat any that are fitted on a part of them. The fit
    then starts from those of a new model.

    Args:
        model_dir: A folder that the script trained, or that `save_pretrained` wrote.
        source: The labeled examples.
        wanted: What to tune, and for which goal.
        force: Whether to store decisions that serve the goal less than those of the folder, too, and what
            `thresholds` names even if it is not better.

    Raises:
        MultiLabelError: If the folder holds no model of ours, or if the examples are bad or have no labels.
    """
    read_results(model_dir)  # to which the scores are added in the end
    scored = score_labelled_file(model_dir, source)
    if len(scored.rows) < MIN_EXAMPLES:
        raise MultiLabelError(f"{source.file} has {len(scored.rows)} examples: tuning needs at least {MIN_EXAMPLES}")
    config, examples = scored.config, fingerprint(scored.labels)
    run = read_run(model_dir)
    old = _fields(Decisions.of(config), config)
    as_asked = force and wanted.thresholds != "auto"
    wanted = _within_version(wanted, config, model_dir)
    _settle_rules(config, wanted.label_rules, scored, source.file)
    scored_examples = EvalPrediction(scored.logits, scored.labels)
    start = copy.copy(config)
    if wanted.min_labels is not None:
        replace(Decisions.of(start), min_labels=wanted.min_labels).store(start)
    floor = evaluate(scored_examples, start)
    is_in_sample = run is not None and run.get(TUNED_ON) == examples
    if wanted.thresholds != "keep" and is_in_sample:
        logger.warning(f"the old decisions were fitted on the examples of {source.file}: the fit starts from 0.5")
        replace(Decisions.of(MultiLabelConfig()), min_labels=start.min_labels).store(start)
    tuned = tune(scored.logits, scored.labels, start, wanted, as_asked=as_asked)
    tuned.decisions.store(config)
    new = _fields(tuned.decisions, config)
    result = TunedFolder(
        before=scored.metrics,
        after=evaluate(scored_examples, config) if is_in_sample else tuned.scores,
        is_in_sample=is_in_sample,
        tuned=tuned,
        floor=floor,
        changed=frozenset(name for name in new if new[name] != old[name]),
    )
    if result.is_worse and not force:
        return result
    if run is not None and tuned.is_cross_fitted:
        add_to_run(model_dir, **{TUNED_ON: examples})
    _store(model_dir, scored, tuned, Path(source.file).name)
    return replace(result, is_stored=True)


def _store(model_dir: Path, scored: ScoredFile, tuned: Tuned, source: str) -> None:
    """Write the decisions, their scores, and the card."""
    config = scored.config
    path = model_dir / "config.json"
    fields = _fields(tuned.decisions, config)
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **fields})
    scores = {"loss": scored.metrics["loss"], **tuned.scores, "samples": len(scored.rows)}
    write_results(model_dir, "eval", {f"eval_{name}": value for name, value in scores.items()})
    _write_card(model_dir / "README.md", config, tuned, source)


def _fields(decisions: Decisions, config: MultiLabelConfig) -> dict[str, Any]:
    """Return what tuning stores, by the names of the configuration."""
    return {**asdict(decisions), "label_rules": config.label_rules}


def _within_version(wanted: DecisionArguments, config: MultiLabelConfig, folder: Path) -> DecisionArguments:
    """Leave out what the code in a folder of version 0.1 would ignore."""
    if not str(config.bert_multilabel_version).startswith("0.1."):
        return wanted
    cause = (
        f"{folder} was written by bert-multilabel {config.bert_multilabel_version}, whose code decides by thresholds"
    )
    cure = "load the model and its tokenizer and save both again"
    if wanted.thresholds == "expected_score" or wanted.label_rules:
        asked = "--label_rules" if wanted.label_rules else "--thresholds expected_score"
        raise MultiLabelError(f"{cause} only: for {asked}, {cure}")
    if wanted.thresholds == "auto":
        logger.warning(f"{cause} only, so no others are fitted: to try them, {cure}")
        return replace(wanted, thresholds="per_label")
    return wanted


def _settle_rules(config: MultiLabelConfig, path: str | None, scored: ScoredFile, file: str) -> None:
    """Put the rules of a file into the configuration, or drop those that it has, and name examples that break any."""
    if path is not None:
        config.label_rules = read_rules_file(path) if path else None
    if config.label_rules is not None:
        rules = parse_rules(config.label_rules, config.label_names, path or "config.json")
        warn_of_broken(rules, file, [scored.labels], len(scored.labels))
        logger.info(f"label rules: {config.describe_rules()}")


def _write_card(path: Path, config: MultiLabelConfig, tuned: Tuned, source: str) -> None:
    facts = read_facts(path.parent)
    if facts is not None:
        write_model_card(path, config, facts, tuned, source)
    elif path.is_file():
        logger.warning(f"{path} keeps its old thresholds and scores: the folder has no record of the training")


def title(score: str) -> str:
    """Return the name of a score for people."""
    return score.replace("_", " ")
