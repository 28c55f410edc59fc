"""Runs a command and ends it with its exit code, or with an error message instead of a traceback."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from bert_multilabel.errors import TRACEBACK, CommandLineError, MultiLabelError, OtherProcessError
from bert_multilabel.utils.verbosity import hide_progress_bars, shows_progress_bars

WRONG_COMMAND_LINE = 2  # the exit code, as of argparse
INTERRUPTED = 130  # the exit code after Ctrl-C, as in shells


def start(main: Callable[[], int | None]) -> NoReturn:
    """Run a command and exit: with a message and 1 for our own errors, 2 for unknown options; with 130 for Ctrl-C.

    Progress bars are only shown on a terminal.

    Any other exception is a fault of this package and keeps its traceback.

    Args:
        main: Returns the exit code, or None for 0. It may raise a KeyboardInterrupt that says how to continue.

    Raises:
        SystemExit: Always.
    """
    if not shows_progress_bars():
        hide_progress_bars()
    try:
        sys.exit(main())
    except KeyboardInterrupt as error:
        if os.environ.get("RANK", "0") == "0":  # one of several processes is enough
            print(str(error) or "interrupted: start the same command again", file=sys.stderr)
        _exit(INTERRUPTED)
    except CommandLineError as error:
        _show_traceback(error)
        print(error, file=sys.stderr)
        _exit(WRONG_COMMAND_LINE)
    except (MultiLabelError, OtherProcessError) as error:
        _show_traceback(error)
        _exit(str(error))
    except SystemExit as error:  # the parser has shown a message
        _show_traceback(error.__context__)
        raise


def _exit(status: int | str) -> NoReturn:
    """Exit as `sys.exit` does, but at once if a process group is left: gloo's threads could abort a slow exit."""
    distributed = sys.modules.get("torch.distributed")  # it is slow to import, and most commands need no group
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        if isinstance(status, str):
            print(status, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if isinstance(status, str) else status)
    sys.exit(status)


def _show_traceback(error: BaseException | None) -> None:
    if error is not None and TRACEBACK in os.environ:
        traceback.print_exception(error)
