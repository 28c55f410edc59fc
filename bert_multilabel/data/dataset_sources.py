"""Opens data frames, datasets of the datasets library, and paths."""

import hashlib
import pickle
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from datasets.exceptions import DatasetsError

from bert_multilabel.errors import DataError, MultiLabelError

from .cache import dataset_digest
from .class_labels import columns_in_features
from .formats.columnar import columns_of
from .sources import Source, open_path
from .spec import DataSpec
from .table import BATCH_SIZE, SPLITS, Batch, KnownColumns, WithoutLines, is_kept, kept_names


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
    def known_columns(self) -> KnownColumns:
        """The columns; none of a stream that does not tell them."""
        return columns_in_features(self.dataset.features)

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
    known_columns: KnownColumns = field(default_factory=dict)  # none: those of a frame say nothing about ids

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
        return open_path(str(data), spec)
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


def open_saved(path: str, spec: DataSpec) -> Source:
    """Open a folder that `Dataset.save_to_disk` wrote.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        dataset = Dataset.load_from_disk(path)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"cannot load the dataset saved in {path}: {error}") from error
    return _of_dataset(path, dataset, spec)


def _of_dataset(name: str, dataset: Dataset | IterableDataset, spec: DataSpec) -> Source:
    # The source of a stream may change at any time.
    digest = cache(partial(dataset_digest, dataset)) if isinstance(dataset, Dataset) else None
    return Source(name, DatasetReader(dataset, name, spec.named_columns), digest)


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
