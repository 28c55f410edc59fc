"""Writes command lines that can be pasted into the shell of this system."""

import os
import re
import shlex
from collections.abc import Iterable

_IS_WINDOWS = os.name == "nt"
_PLAIN = re.compile(r"[\w@%+=:,./\\-]+")  # on Windows, where a path has backslashes


def join_words(words: Iterable[str]) -> str:
    """Join words to a command line: in the shells of Windows only double quotes hold a word together."""
    words = [*words]
    if not _IS_WINDOWS:
        return shlex.join(words)
    return " ".join(word if _PLAIN.fullmatch(word) else '"' + word.replace('"', '\\"') + '"' for word in words)
