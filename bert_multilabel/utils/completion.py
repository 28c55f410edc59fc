"""Completes commands and options in shells, by argcomplete of the extra `completion`."""

import os
import re
from argparse import ArgumentParser
from collections.abc import Collection

_PLACE = "_ARGCOMPLETE"  # set by a shell that asks: the place of the program among the words, from 1


def is_asked() -> bool:
    """Whether a shell has started this process to complete a command line."""
    return _PLACE in os.environ


def command_to_complete(commands: Collection[str]) -> str:
    """Return the command that has options to complete; end the process if it is the command's name."""
    words = re.split(" +", os.environ["COMP_LINE"])  # the last one, which may be empty, is to be completed
    if len(words) < 3 or words[1] not in commands:
        parser = ArgumentParser()
        parser.add_argument("command", choices=commands)
        complete(parser)
    os.environ[_PLACE] = "2"
    return words[1]


def complete(parser: ArgumentParser) -> None:
    """Write what may come next, for the shell, and end the process."""
    from argcomplete import autocomplete

    autocomplete(parser)
