"""What all commands owe the one who calls them: nothing said in vain, and a message in place of a traceback."""

import sys
from collections.abc import Callable
from typing import Any

from transformers import HfArgumentParser

from bert_multilabel.training.arguments import unknown_arguments


def parse(parser: HfArgumentParser, arguments: list[str] | None) -> tuple[Any, ...]:
    """Read a command line, and end with exit code 2 if it holds what nothing reads.

    Args:
        parser: Knows the arguments.
        arguments: The command line without the program's name; None: that of the process.

    Returns:
        The parser's dataclasses, and behind them, if it has any, a namespace of its other arguments.
    """
    *parsed, unknown = parser.parse_args_into_dataclasses(
        arguments, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        parser.error(unknown_arguments(unknown))
    return tuple(parsed)


def start(main: Callable[[], int | None]) -> None:
    """Run a command as the whole of this process.

    Args:
        main: Returns the exit code, or None for 0.

    Raises:
        SystemExit: When it ends. What is wrong with the input, or not installed, is said by a message alone: a
            traceback would only show where in our code.
    """
    try:
        sys.exit(main())
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
