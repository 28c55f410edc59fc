"""Opens what people pass as data: files, data frames, and datasets of the datasets library."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, IterableDataset, load_dataset

from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.utils.files import sha256

from .cache import dataset_digest
from .formats.registry import open_file
from .spec import DataSpec
from .table import BATCH_SIZE, SPLITS, Batch, Reader


class Source(NamedTuple):
    """The rows of one split.

    Attributes:
        name: Of the rows in messages: a path, or a dataset and its split.
        reader: Reads the rows.
        digest: Returns a digest of the rows; None if they may change.
    """

    name: str
    reader: Reader
    digest: Callable[[], str] | None


@dataclass(frozen=True)
class DatasetReader:
    """Reads a dataset of the datasets library.

    Attributes:
        dataset: Stored or streamed.
        said: What it is.
    """

    dataset: Dataset | IterableDataset
    said: str = "dataset"

    @property
    def features(self) -> Features:
        """The types of the columns; none of a stream that does not tell them."""
        return self.dataset.features or Features()

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        # As Arrow tables: ids stay ids, and columns of images or sound are not decoded.
        start = 1
        for table in self.dataset.with_format("arrow").iter(batch_size=BATCH_SIZE):
            yield Batch(range(start, start + table.num_rows), _columns_of(table))
            start += table.num_rows

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return no lines."""
        return {}


def open_source(data: Any, spec: DataSpec, split: str) -> Source:
    """Open whatever holds the rows of one split: a path, a data frame or a dataset.

    Raises:
        DataError: If it cannot be read.
        MultiLabelError: If it is something else.
    """
    if isinstance(data, str | Path):
        return _open_path(str(data), spec)
    if isinstance(data, pd.DataFrame):
        data = Dataset.from_pandas(data, preserve_index=False)
    if isinstance(data, Dataset | IterableDataset):
        return _of_dataset(f"the {split} data", data)
    raise MultiLabelError(
        f"cannot read data of type {type(data).__name__}: pass a path, a DataFrame, a Dataset or a DatasetDict"
    )


def open_files(files: Mapping[str, str], spec: DataSpec) -> dict[str, Source]:
    """Open the file of each split: one or more of train, validation and test."""
    if not files or not set(files) <= set(SPLITS):
        raise MultiLabelError(f"files must be passed by split name ({', '.join(SPLITS)}), got {files!r}")
    return {split: _open_path(files[split], spec) for split in SPLITS if split in files}


def open_dataset(
    name: str,
    config_name: str | None,
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
    except (OSError, ValueError) as error:  # no such dataset or configuration, or the Hub cannot be reached
        raise DataError(f"cannot load the dataset {name!r}: {error}") from error
    wanted = [split for split in SPLITS if split in wanted]
    if not set(wanted) & set(dataset):
        raise DataError(f"dataset {name!r} has none of the splits {', '.join(wanted)}; it has {', '.join(dataset)}")
    chosen = [split for split in SPLITS if split in wanted or train_too and split == "train"]
    return {split: _of_dataset(f"{name}, split {split!r}", dataset[split]) for split in chosen if split in dataset}


def _open_path(path: str, spec: DataSpec) -> Source:
    return Source(path, open_file(path, spec), partial(_file_digest, path))


def _file_digest(path: str) -> str:
    try:
        return f"{''.join(Path(path).suffixes).lower()} {sha256(Path(path))}"  # the extension may decide the format
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _of_dataset(name: str, dataset: Dataset | IterableDataset) -> Source:
    # The source of a stream may change at any time.
    digest = partial(dataset_digest, dataset) if isinstance(dataset, Dataset) else None
    return Source(name, DatasetReader(dataset), digest)


def _columns_of(table: pa.Table) -> dict[str, list[Any]]:
    """Return the values of each column; a missing text is empty, as the datasets library and pandas read csv."""
    columns: dict[str, list[Any]] = table.to_pydict()
    for field in table.schema:
        if field.type in (pa.string(), pa.large_string()):
            columns[field.name] = ["" if cell is None else cell for cell in columns[field.name]]
    return columns
