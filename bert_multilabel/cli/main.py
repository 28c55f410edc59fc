"""The console command `bert-multilabel`, also as `python -m bert_multilabel`: one command for each task."""

import sys
from importlib import import_module
from importlib.metadata import version

from bert_multilabel.utils.completion import command_to_complete, is_asked
from bert_multilabel.utils.spelling import closest

from .commands import start

# By name: the module whose `main` runs it, imported when needed, and what it does.
COMMANDS = {
    "train": ("bert_multilabel.cli.train", "fine-tune a model on labelled examples and evaluate it"),
    "predict": ("bert_multilabel.cli.predict", "write the labels of every example of a file"),
    "tune": ("bert_multilabel.tune.cli", "fit the thresholds of a trained model to other examples or another goal"),
    "doctor": ("bert_multilabel.doctor.cli", "examine data before training"),
    "convert": ("bert_multilabel.convert.cli", "write examples of any form as clean JSON lines"),
    "export": ("bert_multilabel.export.cli", "write a trained model for other tools"),
    "serve": ("bert_multilabel.serve.cli", "serve a trained model over HTTP"),
    "report": ("bert_multilabel.report.cli", "show how a model does on labelled examples, as a page of HTML"),
    "explain": ("bert_multilabel.explain.cli", "show which words of a text support or oppose a label"),
    "page": ("bert_multilabel.page.cli", "open a page on which to try a trained model"),
}


def main() -> None:
    """Run the command that the first argument names."""
    start(lambda: run([command_to_complete(COMMANDS)] if is_asked() else sys.argv[1:]))


def run(arguments: list[str]) -> int | None:
    """Run a command by its name and its own arguments, and return its exit code; None is 0."""
    if arguments and arguments[0] in COMMANDS:
        code: int | None = import_module(COMMANDS[arguments[0]][0]).main(arguments[1:])
        return code
    if arguments and arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments and arguments[0] == "--version":
        print(f"bert-multilabel {version('bert-multilabel')}")  # as installed: `__version__` takes seconds to import
        return 0
    wrong = _describe_unknown(arguments[0]) if arguments else "a command is missing"
    print(f"{wrong}\n\n{_help()}", file=sys.stderr)
    return 2


def _describe_unknown(command: str) -> str:
    meant = closest(command, COMMANDS)
    return f"unknown command: {command}" + ("" if meant is None else f"; did you mean {meant}?")


def _help() -> str:
    commands = "\n".join(f"  {name:<9}{what}" for name, (_, what) in COMMANDS.items())
    return (
        f"usage: bert-multilabel COMMAND ...\n\nMulti-label text classification with BERT.\n\n{commands}\n\n"
        "bert-multilabel COMMAND --help lists the options of a command, bert-multilabel --version shows the version."
    )
