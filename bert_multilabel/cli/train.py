"""`bert-multilabel train [FILE]`, and the script `run_multilabel.py`: train, evaluate and predict."""

import sys

from bert_multilabel.data.sources import is_dataset_folder
from bert_multilabel.training.options.parser import make_parser
from bert_multilabel.utils.completion import is_asked

_USAGE = """bert-multilabel train [FILE] --model_name_or_path MODEL --output_dir DIR [options]
       bert-multilabel train OPTIONS.json"""
_TASKS = ("do_train", "do_eval", "do_predict")


def main(arguments: list[str]) -> None:
    """Train and evaluate, or do those of `--do_train`, `--do_eval` and `--do_predict` that are among the arguments.

    Args:
        arguments: The training file, or the folder of training files or of a dataset, if it comes first, and the
            options of the script.
    """
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        run_script(arguments, _USAGE)
        return
    words = [] if any(_names_task(word) for word in arguments) else ["--do_train", "--do_eval"]
    if arguments and not arguments[0].startswith("-"):
        source, *arguments = arguments
        words += ["--dataset_name" if is_dataset_folder(source) else "--train_file", source]
    run_script([*words, *arguments], _USAGE)


def _names_task(word: str) -> bool:
    return word.partition("=")[0].lstrip("-").replace("-", "_") in _TASKS


def run_script(arguments: list[str] | None = None, usage: str | None = None) -> None:
    """Do what `run_multilabel.py` does.

    Args:
        arguments: The command line without the program's name; by default that of the process.
        usage: The usage line of `--help`; by default that of the script.

    Raises:
        MultiLabelError, OtherProcessError: See `run`.
        KeyboardInterrupt: After Ctrl-C, with what to do.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if is_asked() or {"-h", "--help"} & {*words}:
        make_parser(usage=usage).parse(["--help"])
    from bert_multilabel.training.start import start_run  # torch and Transformers, which the help does not need

    start_run(words, usage)
