"""Writing files that no reader ever sees half of."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes the place of `path` once all is written; if that fails, never.

    Args:
        path: The file to write or replace, UTF-8.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        yield file
    os.replace(unfinished, path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
