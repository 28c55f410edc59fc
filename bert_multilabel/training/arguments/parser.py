"""Reads the four groups of options from a command line or a JSON file."""

import json
import sys
from collections.abc import Mapping
from enum import Enum
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.errors import CommandLineError, MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.training.options.model import ModelArguments
from bert_multilabel.training.options.parser import make_parser
from bert_multilabel.utils.files import explain_read_errors
from bert_multilabel.utils.option_parser import OptionParser

from .training import MultiLabelTrainingArguments

_FLAGS = ("quiet", "verbose")  # options of the parser without a value


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
        CommandLineError: If an argument is unknown.
        MultiLabelError: If a value is refused.
        SystemExit: From argparse, for `--help`, missing arguments and wrong types.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        arguments = _read_json_arguments(Path(arguments[0]))
    parser = make_parser(MultiLabelTrainingArguments, usage)
    if "--help_all" in arguments or "--help-all" in arguments:
        parser.parse(["--help"])
    return _parse(parser, arguments)


def read_options(named: Mapping[str, Any]) -> RunArguments:
    """Read options by name, with values of Python; None is the default.

    Raises:
        MultiLabelError: If an option is unknown, or a value is refused or of a wrong type.
    """
    if "help" in named:  # the parser would show it and end the process
        raise MultiLabelError("'help' is no option here: `bert-multilabel train --help` lists them")
    parser = make_parser(MultiLabelTrainingArguments)
    parser.raises = True
    return _parse(parser, _words_of(named))


def _parse(parser: OptionParser, words: list[str]) -> RunArguments:
    parsed, unknown = parser.parse_known(words)
    if unknown:
        raise CommandLineError(parser.describe_unknown(unknown, "--help_all"))
    return RunArguments(*parsed)


def _read_json_arguments(path: Path) -> list[str]:
    """Turn a JSON file into a command line, which knows the type of each argument."""
    with explain_read_errors(path):
        content = path.read_bytes()
    try:
        named = json.loads(content, object_pairs_hook=partial(_object, path))
    except MultiLabelError:  # a ValueError, too
        raise
    except ValueError as error:
        raise MultiLabelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(named, dict):
        kind = type(named).__name__
        advice = "; to train on its rows, add --model_name_or_path and --output_dir" if kind == "list" else ""
        raise MultiLabelError(f'{path} must hold one object such as {{"do_train": true}}, got a {kind}{advice}')
    return _words_of(named)


def _object(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MultiLabelError(f"{path} has {twice!r} twice: leave one out")
    return content


def _words_of(named: Mapping[str, Any]) -> list[str]:
    """Turn options by name into a command line."""
    words = []
    for name, value in named.items():
        if name in _FLAGS and isinstance(value, bool):
            words += [f"--{name}"] if value else []
        elif value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            given = [_word_of(name, item) for item in values]
            # A value that begins as an option does is none.
            words += [f"--{name}={given[0]}"] if len(given) == 1 and given[0][:1] == "-" else [f"--{name}", *given]
    return words


def _word_of(name: str, value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | PathLike):
        return str(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise MultiLabelError(f"option {name}={value!r:.80} cannot be of type {type(value).__name__}") from error
