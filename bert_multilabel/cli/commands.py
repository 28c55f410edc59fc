"""How every command ends: with its exit code, or with the message of a refusal in place of a traceback."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from bert_multilabel.errors import TRACEBACK, MultiLabelError, OtherProcessError

INTERRUPTED = 130  # the exit code of a command that Ctrl-C has ended, as shells have it


def start(main: Callable[[], int | None]) -> NoReturn:
    """Run a command as the whole of this process.

    A refusal or Ctrl-C ends it with a message; any other exception is a fault of this package and keeps its traceback.

    Args:
        main: Returns the exit code, or None for 0. If it is interrupted, it may raise a KeyboardInterrupt that says
            how to go on.

    Raises:
        SystemExit: When the command ends: with the message, which is exit code 1, for a refusal, 130 for Ctrl-C.
    """
    try:
        sys.exit(main())
    except KeyboardInterrupt as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes one says it
            print(str(error) or "interrupted: start the same command again", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (MultiLabelError, OtherProcessError) as error:
        _show_traceback(error)
        sys.exit(str(error))
    except SystemExit as error:  # the parser has shown a message
        _show_traceback(error.__context__)
        raise


def _show_traceback(error: BaseException | None) -> None:
    if error is not None and TRACEBACK in os.environ:
        traceback.print_exception(error)
