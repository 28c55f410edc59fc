"""Opens what people pass as data: files, folders, patterns, data frames, and datasets of the datasets library."""

import hashlib
import pickle
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from glob import glob, has_magic
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, IterableDataset, load_dataset
from datasets.exceptions import DatasetsError

from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.utils.files import sha256

from .cache import dataset_digest
from .formats.columnar import columns_of
from .formats.registry import open_file
from .formats.sample import check_is_file, take_sample
from .spec import DataSpec
from .table import BATCH_SIZE, SPLITS, Batch, JoinedReader, Reader, WithoutLines, is_kept, kept_names
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


@dataclass(frozen=True)
class DatasetReader(WithoutLines):
    """Reads a dataset of the datasets library.

    Attributes:
        dataset: Stored or streamed.
        name: Of the dataset in messages.
        named: The columns that the user names.
        said: What it is.
    """

    dataset: Dataset | IterableDataset
    name: str = "the dataset"
    named: frozenset[str] = frozenset()
    said: str = "dataset"

    @property
    def features(self) -> Features:
        """The types of the columns; none of a stream that does not tell them."""
        return self.dataset.features or Features()

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        start = 1
        try:
            for columns in self._columns():
                size = max(map(len, columns.values()), default=0)
                yield Batch(range(start, start + size), columns)
                start += size
        # Streams read their files only now.
        except (pa.ArrowException, DatasetsError, OSError, ValueError) as error:
            raise DataError(f"{self.name} cannot be read: {error}") from error

    def _columns(self) -> Iterator[dict[str, list[Any]]]:
        if self.dataset.features is None:  # a list that is empty in the first rows would have another type later
            for columns in self.dataset.with_format(None).iter(batch_size=BATCH_SIZE):
                yield {name: list(cells) for name, cells in columns.items() if is_kept(name, self.named)}
            return
        # As Arrow tables: ids stay ids, and columns of images or sound are not decoded.
        for table in self.dataset.with_format("arrow").iter(batch_size=BATCH_SIZE):
            yield columns_of(table, self.named)


@dataclass(frozen=True, eq=False)  # data frames do not compare to true or false
class FrameReader(WithoutLines):
    """Reads a data frame of pandas.

    Attributes:
        frame: Its columns are named by different texts.
        named: The columns that the user names.
        said: What it is.
    """

    frame: pd.DataFrame
    named: frozenset[str] = frozenset()
    said: str = "data frame"
    features: Features = field(default_factory=Features)  # none: those of a frame say nothing about ids

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        kept = [name for name in self.frame.columns if is_kept(name, self.named)]
        kinds = {name: pd.api.types.infer_dtype(self.frame[name], skipna=True) for name in kept}
        for start in range(0, len(self.frame), BATCH_SIZE):
            part = self.frame.iloc[start : start + BATCH_SIZE]
            columns = {name: _cells(part[name], "" if kind == "string" else None) for name, kind in kinds.items()}
            yield Batch(range(start + 1, start + len(part) + 1), columns)


def open_source(data: Any, spec: DataSpec, split: str) -> Source:
    """Open whatever holds the rows of one split: a path, a data frame or a dataset.

    Raises:
        DataError: If it cannot be read.
        MultiLabelError: If it is something else.
    """
    name = f"the {split} data"
    if isinstance(data, str | Path):
        return _open_path(str(data), spec)
    if isinstance(data, pd.DataFrame):
        named = data.set_axis([*map(str, data.columns)], axis="columns")
        kept_names(name, [*named.columns], spec.named_columns)
        reader = FrameReader(named, spec.named_columns)
        return Source(name, reader, cache(partial(_frame_digest, reader)))
    if isinstance(data, Dataset | IterableDataset):
        return _of_dataset(name, data, spec)
    raise MultiLabelError(
        f"cannot read data of type {type(data).__name__}: pass a path, a DataFrame, a Dataset or a DatasetDict"
    )


def open_files(files: Mapping[str, str], spec: DataSpec) -> dict[str, Source]:
    """Open the file, or the folder or pattern of files, of each split: one or more of train, validation and test."""
    if not files or not set(files) <= set(SPLITS):
        raise MultiLabelError(f"files must be passed by split name ({', '.join(SPLITS)}), got {files!r}")
    return {split: _open_path(files[split], spec) for split in SPLITS if split in files}


def open_dataset(
    name: str,
    config_name: str | None,
    spec: DataSpec,
    wanted: Collection[str] = SPLITS,
    train_too: bool = False,
    streaming: bool = False,
) -> dict[str, Source]:
    """Open the wanted splits that a dataset of the datasets library has, and perhaps its training split too.

    With `streaming`, rows are read from their source at each pass, instead of being stored here first.

    Raises:
        DataError: If there is no such dataset, or it has no wanted split.
        MultiLabelError: If `wanted` is empty, or has another name than train, validation and test.
    """
    if not wanted or not set(wanted) <= set(SPLITS):
        raise MultiLabelError(f"wanted splits must be among {', '.join(SPLITS)}, got {wanted!r}")
    try:
        dataset: DatasetDict = load_dataset(name, config_name, streaming=streaming)
    # No such dataset or configuration, the Hub cannot be reached, or a file is broken.
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(f"cannot load the dataset {name!r}: {error}") from error
    wanted = [split for split in SPLITS if split in wanted]
    if not set(wanted) & set(dataset):
        raise DataError(f"dataset {name!r} has none of the splits {', '.join(wanted)}; it has {', '.join(dataset)}")
    chosen = [split for split in SPLITS if split in wanted or train_too and split == "train"]
    return {
        split: _of_dataset(f"{name}, split {split!r}", dataset[split], spec) for split in chosen if split in dataset
    }


def content_digest(path: str) -> str:
    """Return the SHA-256 of a file, or a digest of the files that a folder or pattern names, in hexadecimal."""
    return sha256(Path(path)) if Path(path).is_file() else _digest_of_files(_files_of(path))


def _of_dataset(name: str, dataset: Dataset | IterableDataset, spec: DataSpec) -> Source:
    # The source of a stream may change at any time.
    digest = cache(partial(dataset_digest, dataset)) if isinstance(dataset, Dataset) else None
    return Source(name, DatasetReader(dataset, name, spec.named_columns), digest)


def check_exists(path: str) -> None:
    """Raise a DataError if there is no such file, no file in such a folder, or no file like such a pattern."""
    if _names_several(path):
        _files_of(path)
    else:
        check_is_file(path)


def is_dataset_folder(path: str) -> bool:
    """Whether this is a folder for `load_dataset`, with several splits or kinds of files, not training files alone."""
    if not Path(path).is_dir():
        return False
    entries = [entry for entry in Path(path).iterdir() if entry.name[0] not in "._"]
    return (
        any(entry.is_dir() or _OTHER_SPLIT.search(entry.name) for entry in entries)
        or len({entry.suffix for entry in entries}) > 1
    )


# Files


def _open_path(path: str, spec: DataSpec) -> Source:
    if (Path(path) / "state.json").is_file():  # written by Dataset.save_to_disk
        return _of_dataset(path, _load_saved(path), spec)
    if _names_several(path):
        return _open_several(path, _files_of(path), spec)
    return Source(path, open_file(path, spec), cache(partial(_file_digest, path)))


def _names_several(path: str) -> bool:
    return Path(path).is_dir() or has_magic(path) and not Path(path).exists()


def _load_saved(path: str) -> Dataset:
    try:
        return Dataset.load_from_disk(path)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"cannot load the dataset saved in {path}: {error}") from error


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


# Data frames


def _cells(column: "pd.Series[Any]", missing: str | None) -> list[Any]:
    """Return values of Python; as from files, a missing text is an empty one."""
    return [missing if is_na else _plain(cell) for cell, is_na in zip(column.tolist(), column.isna(), strict=True)]


def _plain(cell: Any) -> Any:
    """Return lists in place of arrays, which pandas reads from lists in parquet files."""
    if isinstance(cell, np.ndarray):
        return [_plain(item) for item in cell.tolist()]
    return cell.item() if isinstance(cell, np.generic) else cell


def _frame_digest(reader: FrameReader) -> str:
    """Return the SHA-256 of all values."""
    digest = hashlib.sha256()
    for batch in reader.batches():
        digest.update(pickle.dumps(batch.columns))
    return digest.hexdigest()
