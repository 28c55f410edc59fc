"""What all targets expect of error messages, and a temporary file for those that read one."""

import tempfile
from pathlib import Path

LONGEST_MESSAGE = 10_000  # characters: 20 rows with what is wrong in each

_FOLDER = Path(tempfile.mkdtemp())


def check_message(error: Exception) -> None:
    """Refuse a message that is too long to read."""
    message = str(error)
    assert 0 < len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} characters"


def write(name: str, data: bytes) -> str:
    """Write a file that the next call of the same name replaces, and return its path."""
    path = _FOLDER / name
    path.write_bytes(data)
    return str(path)
