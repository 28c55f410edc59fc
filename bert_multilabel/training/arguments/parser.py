"""Reads the four groups of options from a command line or a JSON file."""

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from transformers import TrainingArguments

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.utils.files import explain_read_errors
from bert_multilabel.utils.option_parser import OptionParser, unknown_arguments

from .model import ModelArguments
from .training import MultiLabelTrainingArguments

# The options of these subjects come from several groups.
_RUN = "do_train do_eval do_predict output_dir overwrite_output_dir resume_from_checkpoint seed report"
_PREDICTION = "top_scores predict_precision stride pooling"
_SHARING = (
    "push_to_hub hub_model_id hub_private_repo hub_strategy hub_token hub_revision hub_always_push "
    "card_language card_license card_examples"
)


class RunArguments(NamedTuple):
    """The four groups of options of a run."""

    model: ModelArguments
    data: DataArguments
    training: MultiLabelTrainingArguments
    decisions: DecisionArguments


def parse_arguments(arguments: list[str] | None = None, usage: str | None = None) -> RunArguments:
    """Read the command line, or the JSON file that is its only argument.

    Args:
        arguments: The command line without the program's name; by default that of the process.
        usage: The usage line of `--help`; by default that of the script.

    Raises:
        MultiLabelError: If an argument is unknown or a value is refused.
        SystemExit: From argparse, for `--help`, missing arguments and wrong types.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        arguments = _read_json_arguments(Path(arguments[0]))
    parser = OptionParser(
        (ModelArguments, DataArguments, MultiLabelTrainingArguments, DecisionArguments),
        prog="run_multilabel.py" if usage is None else "bert-multilabel",
        usage=usage or "run_multilabel.py --model_name_or_path MODEL --output_dir DIR [options]",
        description="Fine-tune, evaluate and apply a multi-label BERT. One JSON file of options may replace them all.",
        subjects=_subjects(),
    )
    *parsed, unknown = parser.parse_args_into_dataclasses(
        arguments, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        raise MultiLabelError(unknown_arguments(unknown))
    return RunArguments(*parsed)


def _subjects() -> dict[str, list[str]]:
    """Return the names of the options by subject, in the order of `--help`."""
    elsewhere = {*f"{_RUN} {_PREDICTION} {_SHARING}".split()}
    own = MultiLabelTrainingArguments.__annotations__.keys()
    return {
        "what to do": _RUN.split(),
        "model": [field.name for field in fields(ModelArguments)],
        "data": [field.name for field in fields(DataArguments) if field.name not in elsewhere],
        "decisions": [field.name for field in fields(DecisionArguments)],
        "training": [name for name in own if name not in elsewhere],
        "prediction": _PREDICTION.split(),
        "sharing": _SHARING.split(),
        "TrainingArguments of Transformers": [
            field.name for field in fields(TrainingArguments) if field.name not in elsewhere | own
        ],
    }


def _read_json_arguments(path: Path) -> list[str]:
    """Turn a JSON file into a command line, which knows the type of each argument."""
    with explain_read_errors(path):
        content = path.read_bytes()
    try:
        named = json.loads(content)
    except ValueError as error:
        raise MultiLabelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(named, dict):
        kind = type(named).__name__
        advice = "; to train on its rows, add --model_name_or_path and --output_dir" if kind == "list" else ""
        raise MultiLabelError(f'{path} must hold one object such as {{"do_train": true}}, got a {kind}{advice}')
    words = []
    for name, value in named.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name}", *(item if isinstance(item, str) else json.dumps(item) for item in values)]
    return words
