"""Writing files and directories atomically, and checking that files are unchanged."""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

from safetensors import SafetensorError, safe_open

from bert_multilabel.errors import FileError, MultiLabelError

_Item = TypeVar("_Item")
CHECKSUMS_FILE = "checksums.json"  # the SHA-256 of each file of a directory, by its path there
_READ_AS_JSON = ("config.json", "tokenizer_config.json", "tokenizer.json", "trainer_state.json")
# Attribute of an error in what is written, as opposed to one of the file that it is written to.
_OF_THE_SOURCE = "_is_of_the_source"


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an error of writing a file or directory into a FileError that names it and the free space.

    All other errors pass: those that name a file elsewhere, and those of an iterable in `from_source`.
    """
    try:
        yield
    except Exception as error:
        if not _is_write_error(error, path):
            raise
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(existing).free / 1e6
        reason = f"{error} ({free:,.1f} MB are free on its disk)"
        raise FileError(f"{path} could not be written: {reason}. Fix the cause and run the command again") from error


def check_can_be_made(folder: Path) -> None:
    """Raise a FileError if there is no such folder and none can be made, before any work is done for it."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise FileError(f"{folder} cannot be a folder, since {existing} is a file: choose another folder")
    try:
        os.rmdir(tempfile.mkdtemp(dir=existing))  # permissions alone do not tell, as for the superuser
    except OSError as error:
        reason = f"nothing can be added to {existing} ({error.strerror})"
        raise FileError(f"{folder} cannot be written, since {reason}: choose another folder") from error


@contextmanager
def explain_read_errors(path: Path) -> Iterator[None]:
    """Turn an error of reading a file or directory into a FileError that names it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"{path} could not be read: {reason}. Check the path and its permissions") from error


def _is_write_error(error: Exception, path: Path) -> bool:
    if getattr(error, _OF_THE_SOURCE, False):
        return False
    if isinstance(error, OSError):
        names = (error.filename, error.filename2)
        named, target = [Path(name).absolute() for name in names if isinstance(name, str)], path.absolute()
        is_here = not named or any(name.is_relative_to(target.parent) or target.is_relative_to(name) for name in named)
        return is_here and error.errno is not None  # without a number it is not of the operating system
    # The tokenizers library and torch have no class of their own for it; torch only counts bytes.
    return isinstance(error, SafetensorError) or "(os error " in str(error) or "inline_container.cc" in str(error)


def from_source(items: Iterable[_Item]) -> Iterator[_Item]:
    """Iterate over what is to be written, so that `explain_write_errors` lets its errors pass."""
    try:
        yield from items
    except Exception as error:
        setattr(error, _OF_THE_SOURCE, True)
        raise


@contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that replaces `path` after the block; if the block fails, `path` stays as it is.

    Raises:
        FileError: If it cannot be written.
    """
    if not path.name:
        raise FileError(f"{str(path)!r} is not the name of a file to write: name one")
    unfinished = _unfinished(path)
    try:
        with explain_write_errors(path):
            with unfinished.open("w", encoding="utf-8") as file:
                yield file
            fsync(unfinished)
            os.replace(unfinished, path)
    finally:
        with suppress(OSError):  # of a path that cannot exist
            unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a directory to fill, which is moved to `path` after the block; if the block fails, there is none.

    Raises:
        FileError: If it cannot be written.
        MultiLabelError: If `path` is a file, or a directory that is not empty.
    """
    path = path.resolve()
    if path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None):
        raise MultiLabelError(f"{path} exists and is not an empty directory: choose another, or remove it")
    unfinished = _unfinished(path)
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
    try:
        with explain_write_errors(path):
            unfinished.mkdir(parents=True)
            yield unfinished
            give_usual_modes(unfinished)
            os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(path: Path) -> Path:
    """Return where a file or folder is written before it is moved: a name that only this package uses."""
    return path.with_name(f".{path.name}.bert-multilabel.unfinished")


def give_usual_modes(folder: Path) -> None:
    """Let all files of a directory be read and written by whom the umask allows; safetensors makes private ones.

    The mode of the directory tells the umask, which a process with threads cannot read safely.
    """
    if os.name != "posix":
        return
    usual = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode | usual)


def fsync(path: Path) -> None:
    """Wait until a file, or the list of files in a directory, is on the disk and survives a loss of power."""
    if os.name != "posix":
        return  # elsewhere a file opened for reading, or a directory, cannot be synchronized
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    """Write records as JSON lines; if one fails, the file stays as it is."""
    with atomic_write(path) as file:
        for record in from_source(records):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path, ignored: Collection[str] = ()) -> None:
    """Write the SHA-256 of every file of a directory to `CHECKSUMS_FILE`, except of files with these names."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored]
    write_json(folder / CHECKSUMS_FILE, {path.relative_to(folder).as_posix(): sha256(path) for path in files})


def verify_checksums(folder: Path) -> str | None:
    """Return a message on files that differ from their stored checksums; None if there are no such files."""
    path = folder / CHECKSUMS_FILE
    if not path.is_file():
        return None
    try:
        checksums = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        return f"{path.name}: {error}"
    if missing := [name for name in checksums if not (folder / name).is_file()]:
        return f"missing {', '.join(missing)}"
    changed = [name for name, expected in checksums.items() if sha256(folder / name) != expected]
    return f"changed since it was saved: {', '.join(changed)}" if changed else None


def find_truncated_file(folder: Path) -> str | None:
    """Return a message on a file of a model or checkpoint that is visibly truncated or damaged, or None."""
    for path in sorted(folder.iterdir()):
        try:
            if path.name in _READ_AS_JSON:
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass  # opening compares the header with the length of the file
            elif path.suffix in (".pt", ".pth") and not zipfile.is_zipfile(path):
                return f"{path.name}: truncated"  # torch writes zip files, whose table of contents comes last
        except (ValueError, SafetensorError) as error:
            return f"{path.name}: {error}"
    return None
