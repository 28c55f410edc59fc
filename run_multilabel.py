"""Fine-tune, evaluate and apply a multi-label BERT; `--help` lists the arguments, which may also be one JSON file."""

import logging
import sys

from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from bert_multilabel.errors import DataError, DivergedError, FileError, OtherProcessError, PushError
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.prepare import prepare
from bert_multilabel.training.run import carry_out
from bert_multilabel.utils.distributed import is_main, leave_process_group, wait_to_be_terminated

if __name__ == "__main__":
    # Shows what was found out about the data: columns, label form, rare labels.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("bert_multilabel").setLevel(logging.INFO if is_main() else logging.ERROR)
    # A message says what is wrong with arguments, data, files or the Hub; a traceback would only show where in our
    # code.
    try:
        model_args, data_args, training_args, decision_args = parse_arguments()
    except (ValueError, ImportError) as error:
        if not is_main():
            wait_to_be_terminated()
        sys.exit(str(error))
    if training_args.disable_tqdm or not is_main():
        disable_progress_bar()
        disable_progress_bars()
    try:
        try:
            prepared = prepare(model_args, data_args, training_args, decision_args)
        except (ValueError, OSError, ImportError) as error:
            sys.exit(str(error))
        carry_out(*prepared)
        del prepared  # the model, which holds on to the group
        leave_process_group()
    except (DataError, DivergedError, FileError, PushError) as error:
        sys.exit(str(error))
    except OtherProcessError as error:
        wait_to_be_terminated()
        sys.exit(str(error))
