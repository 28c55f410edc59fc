"""Starts a run from a command line: what it shows, and how it ends if it is interrupted or another process fails."""

import logging
from pathlib import Path

from bert_multilabel.errors import MultiLabelError, OtherProcessError
from bert_multilabel.output_dir.checkpoints import SEARCH_FILE, list_checkpoints
from bert_multilabel.utils.distributed import is_main, leave_process_group, wait_to_be_terminated
from bert_multilabel.utils.verbosity import hide_progress_bars

from .arguments import MultiLabelTrainingArguments, parse_arguments
from .run import run


def start_run(arguments: list[str], usage: str | None = None) -> None:
    """Read a command line, see `parse_arguments`, and do what it asks for.

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
        hide_progress_bars()
    try:
        run(parsed)
        leave_process_group()
    except OtherProcessError:
        wait_to_be_terminated()
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_continue(parsed.training)) from None


def _how_to_continue(args: MultiLabelTrainingArguments) -> str:
    if not args.do_train:
        return "interrupted: run the same command again to continue"
    output_dir = Path(str(args.output_dir))
    checkpoints = list_checkpoints(output_dir)
    without = " without --overwrite_output_dir" if args.overwrite_output_dir else ""
    if checkpoints:
        return f"interrupted: the same command{without} continues from {checkpoints[-1]}"
    if (output_dir / SEARCH_FILE).is_file():
        return f"interrupted: the same command{without} continues after the last finished trial of the search"
    return "interrupted: there is no checkpoint yet, the same command starts again"
