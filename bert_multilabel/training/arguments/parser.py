"""Reads the four groups of options from a command line or a JSON file."""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments

from .model import ModelArguments
from .training import MultiLabelTrainingArguments


def parse_arguments(
    arguments: list[str] | None = None,
) -> tuple[ModelArguments, DataArguments, MultiLabelTrainingArguments, DecisionArguments]:
    """Read the command line, or the JSON file that is its only argument.

    Args:
        arguments: The command line without the program's name; by default that of the process.

    Returns:
        The four groups of arguments.

    Raises:
        MultiLabelError: If an argument is unknown or a value is refused.
        SystemExit: From argparse, for `--help`, missing arguments and wrong types.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        arguments = _read_json_arguments(Path(arguments[0]))
    groups: Any = (ModelArguments, DataArguments, MultiLabelTrainingArguments, DecisionArguments)
    # Abbreviations would let a misspelt flag mean another one.
    parser = HfArgumentParser(groups, allow_abbrev=False)
    *parsed, unknown = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
    if unknown:
        raise MultiLabelError(unknown_arguments(unknown))
    model, data, training, decision = parsed
    return model, data, training, decision


def unknown_arguments(words: list[str]) -> str:
    """Say of words on the command line that nothing reads them."""
    return f"unknown arguments: {' '.join(words)}; check the spelling, --help lists them all"


def _read_json_arguments(path: Path) -> list[str]:
    """Turn a JSON file into a command line, which knows the type of each argument."""
    if not path.is_file():
        raise MultiLabelError(f"there is no file {str(path)!r} to read the arguments from")
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MultiLabelError(f"{path} is no JSON file that can be read: {error}") from error
    if not isinstance(named, dict):
        raise MultiLabelError(
            f'{path} must hold one object such as {{"do_train": true}}, got a {type(named).__name__}'
        )
    words = []
    for name, value in named.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name}", *(item if isinstance(item, str) else json.dumps(item) for item in values)]
    return words
