"""The options that say how the decisions of a model are fitted."""

from dataclasses import dataclass

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.option_parser import document_fields, option

from .thresholds import Goal

# From the least that is fitted to the most.
THRESHOLDS = ("keep", "global", "per_label")
CALIBRATIONS = ("keep", "global", "per_label")


@document_fields
@dataclass(kw_only=True)
class DecisionArguments:
    """How logits become labels: what is fitted on validation data after training, and stored with the model."""

    threshold_goal: str = option(
        "What thresholds are fitted for: hamming_score, micro_f1 or macro_f1, or a bound such as precision=0.9 or "
        "recall=0.8.",
        "hamming_score",
    )
    thresholds: str = option(
        "One threshold for all labels (global), or one per label if that scores better on examples it was not fitted "
        "on (per_label), or those of the model (keep: 0.5 if it is new).",
        "per_label",
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
        if Goal.parse(self.threshold_goal).floor is not None and self.thresholds == "keep":
            raise MultiLabelError(
                f"--threshold_goal {self.threshold_goal} is for a fit, but --thresholds is keep: drop one"
            )
        if self.min_labels is not None and self.min_labels < 0:
            raise MultiLabelError(f"--min_labels must be at least 0, got {self.min_labels}")
