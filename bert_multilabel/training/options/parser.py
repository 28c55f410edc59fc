"""The parser of training, with its options by subject."""

from dataclasses import fields
from typing import Any

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.utils.option_parser import OptionParser

from .model import ModelArguments
from .training import TrainingOptions

# Which options a subject has; those of a dataclass that are in no list are in that of the class.
_SUBJECTS: dict[str, Any] = {
    "what to do": "do_train do_eval do_predict output_dir overwrite_output_dir resume_from_checkpoint seed report",
    "model": ModelArguments,
    "files": "train_file validation_file test_file dataset_name dataset_config_name unlabelled_file label_names_file "
    "validation_fraction max_train_samples",
    "columns and labels": DataArguments,
    "decisions": DecisionArguments,
    "training": TrainingOptions,
    "loss": "loss focal_gamma max_pos_weight label_weights label_correlation weight_averaging teacher teacher_weight",
    "evaluations and checkpoints": "eval_strategy eval_steps save_strategy save_steps save_total_limit "
    "load_best_model_at_end metric_for_best_model early_stopping_patience restore_callback_states_from_checkpoint "
    "logging_steps",
    "prediction": "top_scores engine predict_precision stride pooling max_seq_length",
    "sharing": "card_language card_license card_examples push_to_hub hub_model_id hub_private_repo",
}
_OTHERS = "other options of Transformers' TrainingArguments"
_SCRIPT = "run_multilabel.py"
_EPILOG = (
    "--help_all also lists the other options of Transformers' TrainingArguments, which may be set as well. Exit code: "
    "0 when all was done, 1 if something was refused or has failed, 2 for a wrong command line, 130 after Ctrl-C."
)


def make_parser(training: type[TrainingOptions] = TrainingOptions, usage: str | None = None) -> OptionParser:
    """Make the parser of a run, which reads models, data, training and decisions, in this order.

    Args:
        training: The options of training: those of ours, or with all of Trainer.
        usage: The usage line of `--help`; by default that of the script.
    """
    parser = OptionParser(
        (ModelArguments, DataArguments, training, DecisionArguments),
        prog=_SCRIPT if usage is None else "bert-multilabel",
        usage=usage or f"{_SCRIPT} --model_name_or_path MODEL --output_dir DIR [options]",
        description="Fine-tune, evaluate and apply a multi-label BERT. One JSON file of options may replace them all.",
        epilog=_EPILOG,
        subjects=_by_subject(training),
    )
    return parser


def _by_subject(training: type[TrainingOptions]) -> dict[str, list[str]]:
    """Return the names of the options by subject, in the order of `--help`."""
    listed = {name for names in _SUBJECTS.values() if isinstance(names, str) for name in names.split()}
    subjects = {}
    for subject, names in _SUBJECTS.items():
        if isinstance(names, str):
            subjects[subject] = names.split()
        else:
            subjects[subject] = [field.name for field in fields(names) if field.name not in listed]
    known = {field.name for field in fields(TrainingOptions)}
    if others := [field.name for field in fields(training) if field.name not in known]:
        subjects[_OTHERS] = others
    return subjects
