"""Opens files, folders and patterns as data; `dataset_sources.py` opens data frames and datasets."""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.utils.files import sha256

from .formats.registry import open_file
from .formats.sample import check_is_file, take_sample
from .spec import DataSpec
from .table import SPLITS, JoinedReader, Reader
from .values import shorten

# In the name of a file of a dataset with splits.
_OTHER_SPLIT = re.compile(r"(?<![a-z])(test|testing|val|valid|validation|dev|eval|evaluation)(?![a-z])", re.IGNORECASE)


class Source(NamedTuple):
    """The rows of one split.

    Attributes:
        name: Of the rows in messages: a path, or a dataset and its split.
        reader: Reads the rows.
        digest: Returns a digest of the rows, computed once; None if they may change.
    """

    name: str
    reader: Reader
    digest: Callable[[], str] | None


def open_files(files: Mapping[str, str], spec: DataSpec) -> dict[str, Source]:
    """Open the file, or the folder or pattern of files, of each split: one or more of train, validation and test."""
    if not files or not set(files) <= set(SPLITS):
        raise MultiLabelError(f"files must be passed by split name ({', '.join(SPLITS)}), got {files!r}")
    return {split: open_path(files[split], spec) for split in SPLITS if split in files}


def content_digest(path: str) -> str:
    """Return the SHA-256 of a file, or a digest of the files that a folder or pattern names, in hexadecimal."""
    return sha256(Path(path)) if Path(path).is_file() else _digest_of_files(_files_of(path))


def check_exists(path: str) -> None:
    """Raise a DataError if there is no such file, no file in such a folder, or no file like such a pattern."""
    if _names_several(path):
        _files_of(path)
    else:
        check_is_file(path)


def is_dataset_folder(path: str) -> bool:
    """Whether this is a folder for `load_dataset`, with several splits or kinds of files, not training files alone."""
    if not path or not Path(path).is_dir():
        return False
    entries = [entry for entry in Path(path).iterdir() if entry.name[0] not in "._"]
    return (
        any(entry.is_dir() or _OTHER_SPLIT.search(entry.name) for entry in entries)
        or len({entry.suffix for entry in entries}) > 1
    )


def open_path(path: str, spec: DataSpec) -> Source:
    """Open a file, or the folder or pattern of files.

    Raises:
        DataError: If there is none, or it cannot be read.
    """
    if not path:  # of the shell, it is a variable that is not set
        raise DataError("the name of the data file is empty: name a file, folder or pattern")
    if (Path(path) / "state.json").is_file():  # written by Dataset.save_to_disk
        from .dataset_sources import open_saved

        return open_saved(path, spec)
    if _names_several(path):
        return _open_several(path, _files_of(path), spec)
    return Source(path, open_file(path, spec), cache(partial(_file_digest, path)))


def _names_several(path: str) -> bool:
    return Path(path).is_dir() or has_magic(path) and not Path(path).exists()


def _files_of(path: str) -> list[str]:
    """Return the files of a pattern, or of a folder: without hidden ones, and Spark's notes of its progress."""
    folder = Path(path)
    if (folder / "dataset_dict.json").is_file():
        advice = "pass the folder of one split, or the dataset by its name"
        raise DataError(f"{folder} holds the splits of a dataset: {advice}")
    if folder.is_dir():
        files = [str(file) for file in folder.iterdir() if file.is_file() and file.name[0] not in "._"]
    else:
        files = [found for found in glob(path, recursive=True) if Path(found).is_file()]
    if not files:
        raise DataError(f"there is no file {'in' if folder.is_dir() else 'like'} {path!r}")
    return sorted(files)


def _open_several(path: str, files: list[str], spec: DataSpec) -> Source:
    """Open files of one form as one source."""
    forms: dict[str, str] = {}
    for file in files:
        forms.setdefault(take_sample(file, spec).suffix or "no extension", Path(file).name)
    if len(forms) > 1:
        listed = ", ".join(f"{form} ({shorten(name)})" for form, name in forms.items())
        advice = "pass those of one form, as by 'folder/*.csv'"
        raise DataError(f"{path} holds files of several forms: {listed}; {advice}")
    readers = {file: open_file(file, spec) for file in files}
    said = f"{len(files)} file{'s' * (len(files) > 1)}, the first: {readers[files[0]].said}"
    return Source(path, JoinedReader(readers, said), cache(partial(_digest_of_files, files)))


def _file_digest(path: str) -> str:
    return f"{''.join(Path(path).suffixes).lower()} {sha256(Path(path))}"  # the extension may decide the format


def _digest_of_files(paths: list[str]) -> str:
    return hashlib.sha256("\n".join(map(_file_digest, paths)).encode()).hexdigest()
