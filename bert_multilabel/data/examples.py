"""Loads clean examples: the entry point of the data layer.

All sources become a `datasets.Dataset` with the columns `text`, and if there are any `pair`, `labels` (L floats), `id`
and `weight`, stored on disk; or an `ExampleStream`, which reads the same examples again in each epoch.
"""

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.labels import hard_labels

from .cache import as_dataset, column_batches
from .clean import clean_splits, store_rows
from .cleaning import Cleaner
from .columns import Columns, describe_columns, find_columns
from .dataset_sources import open_dataset, open_source
from .label_frequencies import LabelFrequencies
from .sources import Source, open_files
from .spec import DataSpec
from .streaming import ExampleStream, UnchangedExamples
from .table import BATCH_SIZE, SPLITS, Table
from .values import few

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedData:
    """The clean examples of all splits.

    Attributes:
        splits: Datasets by split name (train, validation, test), memory-mapped from disk.
        label_names: The L label names in the order of `labels`; None without labels and names.
        pair_column: The source column of `pair`.
        stream: The training examples, instead of `splits["train"]`, if a stream was requested.
        options: Words of a command line that name everything that was recognized.
    """

    splits: dict[str, Dataset]
    label_names: list[str] | None
    pair_column: str | None
    stream: ExampleStream | None = None
    options: list[str] = field(default_factory=list)

    @property
    def train(self) -> Dataset | ExampleStream:
        """The training examples."""
        return self.splits["train"] if self.stream is None else self.stream

    @cached_property
    def frequencies(self) -> LabelFrequencies:
        """The label frequencies in the training examples."""
        return label_frequencies(self.train)

    def ordered_as(self, label_names: list[str]) -> "LoadedData":
        """Return the same examples with the labels in another order."""
        if self.label_names is None or self.label_names == label_names:
            return self
        order = [self.label_names.index(name) for name in label_names]

        def reordered(examples: Dataset) -> Dataset:
            if "labels" not in examples.features:
                return examples
            return examples.map(lambda row: {"labels": [row["labels"][i] for i in order]}, features=examples.features)

        splits = {split: reordered(examples) for split, examples in self.splits.items()}
        stream = None if self.stream is None else self.stream.with_label_order(order)
        return replace(self, splits=splits, label_names=label_names, stream=stream)


def load_examples(data: Any, **known: Any) -> LoadedData:
    """Load clean examples from whatever holds them.

    Args:
        data: A path (file, folder or pattern), a pandas DataFrame or a `datasets.Dataset`, all of which are the
            training split; or a `DatasetDict` or dictionary of these by split (train, validation, test).
        **known: The attributes of `DataSpec` that are known, such as `label_names` and `text_column`.

    Returns:
        The examples of each split with `text`, `labels` (L floats) and perhaps `pair` and `id`; and the label names.

    Raises:
        BadRows: If rows are bad; lists all of them.
        DataError: If data cannot be read, or could mean two things; says which option decides.

    Examples:
        >>> import pandas as pd
        >>> loaded = load_examples(pd.DataFrame({"text": ["good", "bad"], "labels": [["price", "gift"], []]}))
        >>> loaded.label_names, loaded.splits["train"][0]
        (['gift', 'price'], {'text': 'good', 'labels': [1.0, 1.0]})
    """
    names = {field.name for field in fields(DataSpec)}
    if unknown := sorted(known.keys() - names):
        raise MultiLabelError(f"load_examples takes no {unknown[0]!r}; it takes {', '.join(sorted(names))}")
    spec = DataSpec(**known)
    by_split = data if isinstance(data, Mapping) else {"train": data}
    if not by_split or not set(by_split) <= set(SPLITS):
        raise MultiLabelError(f"data must be passed by split name ({', '.join(SPLITS)}), got {list(by_split)}")
    sources = {split: open_source(by_split[split], spec, split) for split in SPLITS if split in by_split}
    return load_sources(sources, spec)


def load_splits(
    spec: DataSpec,
    files: dict[str, str] | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    wanted: Collection[str] | None = None,
    streaming: bool = False,
) -> LoadedData:
    """Load clean examples from files, or from a dataset of the datasets library.

    Columns, label form, delimiter and label names are determined once, for all splits. In `test`, the split to
    predict, texts may be empty and labels missing.

    Args:
        spec: The known columns and labels.
        files: Path of the file of each split, by split name (train, validation, test).
        dataset_name: Name or local folder for `datasets.load_dataset`, instead of `files`.
        dataset_config_name: Configuration of that dataset.
        wanted: Splits of the dataset to load; default: all. Missing label names are read from train in any case.
        streaming: Check the training examples, but return them as a stream instead of storing them.

    Raises:
        BadRows: If rows are bad; lists all of them.
        DataError: If a source cannot be read, or a column is missing.
        MultiLabelError: If not exactly one of `files` and `dataset_name` is passed, or a split has another name.
    """
    if files is not None and dataset_name is None:
        return load_sources(open_files(files, spec), spec, streaming=streaming)
    if dataset_name is not None and files is None:
        wanted = SPLITS if wanted is None else wanted
        sources = open_dataset(dataset_name, dataset_config_name, spec, wanted, spec.label_names is None, streaming)
        return load_sources(sources, spec, wanted, streaming)
    raise MultiLabelError(f"Pass either files or dataset_name, got files={files!r}, dataset_name={dataset_name!r}")


def load_texts(path: str, spec: DataSpec) -> Dataset:
    """Load texts to train on that need no labels: the columns `text`, and `pair` if `spec` names its column.

    Args:
        path: A file, folder or pattern.
        spec: The known columns; labels are not read.

    Raises:
        BadRows: If rows are bad, such as empty texts; lists all of them.
        DataError: If the file cannot be read, or a column is missing.
    """
    spec = replace(spec, label_column=None, id_column=None, weight_column=None, label_values=None, annotators=None)
    source = open_files({"train": path}, spec)["train"]
    table = Table(source.name, source.reader)
    found = find_columns(table, spec, labels_needed=False)
    columns = Columns(texts=found.texts, pair=found.pair)
    logger.warning(describe_columns(table, columns, spec, None))
    if found.labels:
        logger.warning("%s: its labels are not read: %s", path, few(found.labels))
    cleaner = Cleaner(
        split="train",
        source=source.name,
        reader=source.reader,
        columns=columns,
        parser=None,
        id_names={},
        id_type="str",
        spec=spec,
    )
    return as_dataset(store_rows(cleaner, source))


def load_sources(
    sources: dict[str, Source], spec: DataSpec, wanted: Collection[str] = SPLITS, streaming: bool = False
) -> LoadedData:
    """Load the wanted splits of some sources; see `load_splits`."""
    stream: ExampleStream | None = None

    def clean(cleaner: Cleaner, source: Source) -> Path | pa.Table | ExampleStream:
        if not (streaming and cleaner.split == "train"):
            return store_rows(cleaner, source)
        examples = UnchangedExamples(cleaner.source, cleaner.examples)
        return ExampleStream(examples.read, *_first_pass(examples.read()))

    plan, rows = clean_splits(sources, spec, wanted, clean)
    splits: dict[str, Dataset] = {}
    for split, found in rows.items():
        if isinstance(found, ExampleStream):
            stream = found
        else:
            splits[split] = as_dataset(found)
    first = next(iter(plan.columns.values()))
    loaded = LoadedData(splits, spec.label_names, first.pair, stream, plan.options(spec))
    if plan.parser is None:
        return loaded
    loaded = replace(loaded, label_names=plan.parser.label_names)
    if spec.label_names is None and (stream is not None or "train" in splits):
        _log_labels(plan.parser.label_names, loaded.frequencies)
    return loaded


def multi_hot(examples: Dataset) -> NDArray[np.float32]:
    """Return the labels of clean examples, (N, L): 1, 0, or NaN for "not annotated"; soft ones count from 0.5 on."""
    batches = [*column_batches(examples, "labels")]
    return hard_labels(np.concatenate(batches)) if batches else np.zeros((0, 0), np.float32)


def label_batches(examples: Dataset | ExampleStream) -> Iterator[Any]:
    """Yield the labels of clean examples in batches, (B, L) each, from 0 to 1; None, NaN or -100: not annotated."""
    return (
        _label_batches(iter(examples)) if isinstance(examples, ExampleStream) else column_batches(examples, "labels")
    )


def label_frequencies(examples: Dataset | ExampleStream) -> LabelFrequencies:
    """Count the labels of examples, which need not fit into memory."""
    if isinstance(examples, ExampleStream):
        return examples.frequencies
    return LabelFrequencies.of(column_batches(examples, "labels"))


def mean_weight(examples: Dataset | ExampleStream) -> float:
    """Return the mean of the weights of examples, 1 if they have none.

    Raises:
        MultiLabelError: If all weights are 0.
    """
    if isinstance(examples, ExampleStream):
        mean = examples.mean_weight
    elif "weight" not in examples.features:
        mean = 1.0
    else:
        mean = math.fsum(chain.from_iterable(column_batches(examples, "weight"))) / len(examples)
    if not mean:
        raise MultiLabelError(f"all {len(examples)} training examples have the weight 0: nothing could be learned")
    return mean


def _log_labels(label_names: list[str], frequencies: LabelFrequencies) -> None:
    """Log the labels, the rarest first, since misspelt ones are rare."""
    counts = frequencies.positives.astype(np.int64)  # (L,)
    shown = [f"{label_names[i]} {counts[i]}" for i in np.argsort(counts, kind="stable")[:30]]
    more = f", and {len(label_names) - len(shown)} more" if len(label_names) > len(shown) else ""
    logger.info("%d labels with their training rows, the rarest first: %s%s", len(label_names), ", ".join(shown), more)


def _first_pass(examples: Iterator[dict[str, Any]]) -> tuple[LabelFrequencies, float]:
    """Read examples to the end, and return the frequencies of their labels and the mean of their weights."""
    total = 0.0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal total
        for example in examples:
            total += example.get("weight", 1.0)
            yield example

    frequencies = LabelFrequencies.of(_label_batches(counted()))
    return frequencies, total / max(frequencies.rows, 1)


def _label_batches(examples: Iterator[dict[str, Any]]) -> Iterator[list[Any]]:
    while batch := [example["labels"] for example in islice(examples, BATCH_SIZE)]:
        yield batch
