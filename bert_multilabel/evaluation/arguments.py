"""The options that say how the decisions of a model are fitted."""

from dataclasses import dataclass

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.decision import EXAMPLE_SCORES
from bert_multilabel.utils.option_parser import document_fields, option

from .goals import Goal

THRESHOLDS = ("auto", "expected_score", "per_label", "global", "keep")
CALIBRATIONS = ("keep", "global", "per_label")


@document_fields
@dataclass(kw_only=True)
class DecisionArguments:
    """How logits become labels: what is fitted on validation data after training, and stored with the model."""

    threshold_goal: str = option(
        "What decisions are fitted for: hamming_score, samples_f1, micro_f1 or macro_f1, or a bound such as "
        "precision=0.9 or recall=0.8.",
        "hamming_score",
    )
    thresholds: str = option(
        "How labels are decided: by one threshold for all (global), by one per label (per_label), by the set with the "
        "highest expected score for each example (expected_score, for the goals hamming_score and samples_f1), or by "
        "any of these (auto). What is fitted must beat what is simpler, by more than a standard error, on examples "
        "that it was not fitted on. keep: as the model does (at 0.5 if it is new).",
        "auto",
        choices=THRESHOLDS,
    )
    calibration: str = option(
        "Divide logits by a temperature under which the labels are likeliest: one for all (global), one per label "
        "(per_label), or that of the model (keep: 1 if it is new).",
        "global",
        choices=CALIBRATIONS,
    )
    min_labels: int | None = option(
        "Predict at least this many labels for each example, the most probable ones first. Default: that of the "
        "model, 0 if it is new."
    )
    label_rules: str | None = option(
        'Rules that no decision breaks: a JSON file such as {"implies": {"pug": ["dog"]}, "exclusive": [["dog", '
        '"cat"]]}; "" for none. Default: those of the model.'
    )

    def __post_init__(self) -> None:
        goal = Goal.parse(self.threshold_goal)
        if goal.floor is not None and self.thresholds == "keep":
            raise MultiLabelError(
                f"--threshold_goal {self.threshold_goal} is for a fit, but --thresholds is keep: drop one"
            )
        if self.thresholds == "expected_score" and goal.score not in EXAMPLE_SCORES:
            raise MultiLabelError(
                f"--thresholds expected_score is for the goals {' and '.join(EXAMPLE_SCORES)}, but --threshold_goal "
                f"is {self.threshold_goal}: drop one"
            )
        if self.min_labels is not None and self.min_labels < 0:
            raise MultiLabelError(f"--min_labels must be at least 0, got {self.min_labels}")
