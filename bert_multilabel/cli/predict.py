"""`bert-multilabel predict MODEL FILE`: label every example of a file with a trained model."""

import sys

from bert_multilabel.utils.completion import is_asked

from .train import run_script

_USAGE = "bert-multilabel predict MODEL FILE --output_dir DIR [options]"


def main(arguments: list[str]) -> int | None:
    """Write `predictions.jsonl` into the output folder.

    Args:
        arguments: The folder of the model, the file, and the options of the script. Returns 2 without the first two.
    """
    if is_asked():
        run_script([], _USAGE)
    if helps := {"-h", "--help", "--help_all", "--help-all"} & {*arguments}:
        run_script([helps.pop()], _USAGE)
    if len(arguments) < 2 or any(word.startswith("-") for word in arguments[:2]):
        print(f"usage: {_USAGE}\nthe folder of the model and the file come first", file=sys.stderr)
        return 2
    model, file, *options = arguments
    run_script(["--model_name_or_path", model, "--test_file", file, "--do_predict", *options], _USAGE)
    return None
