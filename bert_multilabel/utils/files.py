"""Writing files and folders that no reader ever sees half of, and telling whether a file is the same."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError, safe_open

from bert_multilabel.errors import FileError, MultiLabelError

# The SHA-256 of each file of a folder, by its path there.
CHECKSUMS_FILE = "checksums.json"
_READ_AS_JSON = ("config.json", "tokenizer_config.json", "tokenizer.json", "trainer_state.json")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let what writes a file or folder fail with a message, where the disk is full or does not let it.

    Args:
        path: What is written, for the message.

    Raises:
        FileError: In place of the error that says so.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        there = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(there).free / 1e6
        raise FileError(
            f"{path} could not be written: {error} ({free:,.1f} MB are free on its disk). Make room, or mend what "
            "else is in the way, and run the same command again"
        ) from error


def _is_of_the_disk(error: Exception) -> bool:
    # The last two are the tokenizers library and torch, which have no class of their own for it; torch only counts.
    is_typed = isinstance(error, OSError | SafetensorError)
    return is_typed or "(os error " in str(error) or "inline_container.cc" in str(error)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes the place of `path` once all is written; if that fails, never.

    Args:
        path: The file to write or replace, UTF-8.

    Raises:
        FileError: If it cannot be written.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with writing(path):
            with unfinished.open("w", encoding="utf-8") as file:
                yield file
            sync(unfinished)
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or of a folder the list of what is in it, is on the disk and outlasts a loss of power."""
    if os.name != "posix":
        return  # elsewhere what was opened for reading, and a folder, cannot be waited for
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def write_checksums(folder: Path, ignored: Collection[str] = ()) -> None:
    """Write down, in the folder itself, the SHA-256 of every file in it.

    Args:
        folder: With all that is to be in it.
        ignored: Names of files that may change or go.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored]
    write_json(folder / CHECKSUMS_FILE, {path.relative_to(folder).as_posix(): sha256(path) for path in files})


def find_change(folder: Path) -> str | None:
    """Say what is no longer as it was when the checksums of a folder were written, or None; also without checksums."""
    path = folder / CHECKSUMS_FILE
    if not path.is_file():
        return None
    try:
        checksums = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        return f"{path.name}: {error}"
    missing = [name for name in checksums if not (folder / name).is_file()]
    if missing:
        return f"without {', '.join(missing)}"
    changed = [name for name, expected in checksums.items() if sha256(folder / name) != expected]
    return f"not as it was saved: {', '.join(changed)}" if changed else None


def find_cut(folder: Path) -> str | None:
    """Say which file of a model or checkpoint shows by itself that it is cut short or damaged, or None."""
    for path in sorted(folder.iterdir()):
        try:
            if path.name in _READ_AS_JSON:
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass  # opening compares the header with the length of the file
            elif path.suffix in (".pt", ".pth") and not zipfile.is_zipfile(path):
                return f"{path.name}: cut short"  # torch writes zip files, whose table of contents stands at the end
        except (ValueError, SafetensorError) as error:
            return f"{path.name}: {error}"
    return None


@contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that comes to stand at `path` once all is in it; if that fails, never.

    Args:
        path: Where nothing is yet, or an empty folder.

    Yields:
        The folder to fill, which is moved to `path` in the end.

    Raises:
        MultiLabelError: If there is a file at `path`, or a folder with something in it.
    """
    path = path.resolve()
    if path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None):
        raise MultiLabelError(f"{path} is there already and is no empty folder: choose another, or remove it first")
    unfinished = path.with_name(path.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a run that was killed has left
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
