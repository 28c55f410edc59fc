"""Writes command lines that can be pasted into the shell of this system."""

import os
import re
import shlex
from collections.abc import Iterable

_IS_WINDOWS = os.name == "nt"
# On Windows, where a path has backslashes. PowerShell reads a bare comma as a list, and @ as a variable.
_PLAIN = re.compile(r"[\w%+=:./\\-]+")
_BEFORE_QUOTE = re.compile(r'(\\*)("|\Z)')


def join_words(words: Iterable[str]) -> str:
    """Join words to a command line: in the shells of Windows only double quotes hold a word together."""
    words = [*words]
    if not _IS_WINDOWS:
        return shlex.join(words)
    return " ".join(word if _PLAIN.fullmatch(word) else _in_double_quotes(word) for word in words)


def _in_double_quotes(word: str) -> str:
    # Programs read backslashes as such unless a double quote follows.
    escaped = _BEFORE_QUOTE.sub(lambda match: 2 * match[1] + ('\\"' if match[2] else ""), word)
    return f'"{escaped}"'
