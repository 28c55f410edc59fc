"""`bert-multilabel train [FILE]`, and the script `run_multilabel.py`: train, evaluate and predict."""

import logging

from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from bert_multilabel.data.sources import is_dataset_folder
from bert_multilabel.errors import MultiLabelError, OtherProcessError
from bert_multilabel.training.arguments import MultiLabelTrainingArguments, parse_arguments
from bert_multilabel.training.run import run
from bert_multilabel.utils.distributed import is_main, leave_process_group, wait_to_be_terminated

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
    # Shows what was found out about the data: columns, label form, rare labels.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("bert_multilabel").setLevel(logging.INFO if is_main() else logging.ERROR)
    try:
        parsed = parse_arguments(arguments, usage)
    except MultiLabelError:
        if not is_main():
            wait_to_be_terminated()  # all processes refuse the same: the main one says so
        raise
    if parsed.training.disable_tqdm or not is_main():
        disable_progress_bar()
        disable_progress_bars()
    try:
        run(parsed)
        leave_process_group()
    except OtherProcessError:
        wait_to_be_terminated()
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(parsed.training)) from None


def _how_to_go_on(args: MultiLabelTrainingArguments) -> str:
    if not args.do_train:
        return "interrupted: run the same command again to continue"
    without = " without --overwrite_output_dir" if args.overwrite_output_dir else ""
    return f"interrupted: the same command{without} resumes the last checkpoint in {args.output_dir}, if there is one"
