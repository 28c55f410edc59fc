"""Writing files and folders that no reader ever sees half of, and telling whether a file is the same."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
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


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    """Write records as JSON lines, all of them or none."""
    with replacing(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that comes to stand at `path` once all is in it; if that fails, never.

    Args:
        path: Where nothing is yet, or an empty folder.

    Yields:
        The folder to fill, which is moved to `path` in the end.

    Raises:
        ValueError: If there is a file at `path`, or a folder with something in it.
    """
    path = path.resolve()
    if path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None):
        raise ValueError(f"{path} is there already and is no empty folder: choose another, or remove it first")
    unfinished = path.with_name(path.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a run that was killed has left
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
