"""Loads clean examples from files and datasets: the entry point of the data layer.

csv, tsv, json, jsonl, parquet and datasets of the datasets library all become a `datasets.Dataset` with the columns
`text`, `pair` (if there is a second text), `labels` (L floats, if labelled) and `id` (if there is one), stored on
disk; or an `ExampleStream`, which reads the same examples again in each epoch. reading.py reads raw rows, columns.py
chooses the columns, labels.py parses the labels.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from numpy.typing import NDArray
from transformers.utils import logging

from bert_multilabel.errors import DataError, MultiLabelError

from .cache import BATCH_SIZE, cached_examples, reopen_memory_map
from .columns import Columns, DataSpec, columns_in_split, find_columns, missing_column, warn_of_guesses
from .label_frequencies import LabelFrequencies
from .labels import BadValue, LabelReader, cell_reader, column_reader, shorten, text_problem
from .reading import SPLITS, BadRows, Table, describe_problem, raise_problems, read_dataset, read_files
from .streaming import ExampleStream, UnchangedExamples

logger = logging.get_logger(__name__)

_LABELS_LOGGED = 30

_ID_TYPES = {str: "string", int: "int64", float: "float64"}


@dataclass(frozen=True)
class LoadedData:
    """The clean rows of all splits.

    Attributes:
        splits: The data sets by split name: train, validation, test; memory-mapped from disk.
        label_names: The L label names in the order of the `labels` vectors; None without labels and given names.
        pair_column: Where the `pair` came from, if there are pairs.
        stream: The training rows, in place of `splits["train"]`, if they were asked for as a stream.
    """

    splits: dict[str, Dataset]
    label_names: list[str] | None
    pair_column: str | None
    stream: ExampleStream | None = None

    @property
    def train(self) -> Dataset | ExampleStream:
        """The training rows."""
        return self.splits["train"] if self.stream is None else self.stream

    @cached_property
    def frequencies(self) -> LabelFrequencies:
        """How often each label is given in the training rows."""
        return label_frequencies(self.train)

    def ordered_as(self, label_names: list[str]) -> "LoadedData":
        """Return the same rows with the labels in another order."""
        if self.label_names is None or self.label_names == label_names:
            return self
        order = [self.label_names.index(name) for name in label_names]
        splits = {
            split: rows.map(lambda row: {"labels": [row["labels"][i] for i in order]}, features=rows.features)
            if "labels" in rows.features
            else rows
            for split, rows in self.splits.items()
        }
        stream = None if self.stream is None else self.stream.with_label_order(order)
        return LoadedData(splits, label_names, self.pair_column, stream)


def load_splits(
    spec: DataSpec,
    files: dict[str, str] | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    wanted: Collection[str] | None = None,
    streaming: bool = False,
) -> LoadedData:
    """Read splits, from files or from a data set of the datasets library.

    Columns, label form, delimiter and label names are found once and hold for all splits. In `test`, the split to
    predict, texts may be empty and labels missing.

    Args:
        spec: What is known about columns and labels.
        files: Path of each split's file, by split name (train, validation, test).
        dataset_name: Name or local folder for `datasets.load_dataset`, in place of `files`.
        dataset_config_name: Configuration of that data set.
        wanted: Splits of the data set to read and check; default: all it has. Without given label names its training
            split is read in any case, for the names in it. Of `files`, all are read.
        streaming: Check the training rows, but store them nowhere: they come as a stream.

    Returns:
        The clean rows and the label names in their final order.

    Raises:
        BadRows: If rows are bad, with all of them.
        DataError: If a source cannot be read, or a column is missing.
        MultiLabelError: If not exactly one of `files` and `dataset_name` is given, or a split has another name.
    """
    if files is not None and dataset_name is None:
        wanted = SPLITS
        tables = read_files(files)
    elif dataset_name is not None and files is None:
        wanted = SPLITS if wanted is None else wanted
        tables = read_dataset(dataset_name, dataset_config_name, wanted, spec.label_names is None, streaming)
    else:
        raise MultiLabelError(
            f"give either files or dataset_name, got files={files!r} and dataset_name={dataset_name!r}"
        )
    first = next(iter(tables))
    columns = find_columns(tables[first], spec, labels_needed=first != "test")
    warn_of_guesses(tables[first], columns, spec)
    in_split = {split: columns_in_split(split, table, columns, spec) for split, table in tables.items()}
    last = list(tables)[-1]
    if spec.id_column is not None and in_split[last].id is None:
        raise missing_column(tables[last], "id", spec.id_column)
    labelled = {split: table for split, table in tables.items() if in_split[split].labels}
    reader = _label_reader(labelled, columns, spec) if labelled else None
    logger.info("columns in use: %s; labels: %s", columns, reader or "none")
    splits: dict[str, Dataset] = {}
    stream = None
    problems: dict[str, list[str]] = {}
    for split in [split for split in tables if split in wanted]:
        clean = _Cleaner(split, tables[split], in_split[split], reader)
        try:
            if streaming and split == "train":
                rows = UnchangedExamples(tables[split].source, clean.rows)
                parts = _in_columns(rows.read(), ["labels"])
                stream = ExampleStream(rows.read, LabelFrequencies.of(part["labels"] for part in parts))
            else:
                splits[split] = clean.stored()
        except BadRows as error:
            problems |= error.problems
    if problems:
        raise BadRows(problems)
    if reader is not None and not reader.label_names:
        raise DataError(f"{tables[first].source}: no row has a label in column {columns.labels[0]!r}")
    if reader is not None and reader.repeated:
        logger.warning("rows that name a label more than once: %d; it counts once", reader.repeated)
    loaded = LoadedData(splits, reader.label_names if reader is not None else spec.label_names, columns.pair, stream)
    if reader is not None and spec.label_names is None and (stream is not None or "train" in splits):
        _log_labels(reader.label_names, loaded.frequencies)
    return loaded


def multi_hot(rows: Dataset) -> NDArray[np.float32]:
    """Return the labels of clean rows as one matrix (N, L): 1, 0, or NaN for "not annotated"."""
    return np.asarray(rows.with_format("numpy")["labels"][:], np.float32)


def label_frequencies(rows: Dataset | ExampleStream) -> LabelFrequencies:
    """Count the labels of rows, which need not fit into memory."""
    if isinstance(rows, ExampleStream):
        return rows.frequencies
    batches = reopen_memory_map(rows).select_columns("labels").with_format("numpy").iter(batch_size=BATCH_SIZE)
    return LabelFrequencies.of(batch["labels"] for batch in batches)


def _log_labels(label_names: list[str], frequencies: LabelFrequencies) -> None:
    """Say which labels were found, the rarest first, since a misspelt one is rare."""
    counts = frequencies.positives.astype(np.int64)  # (L,)
    shown = [f"{label_names[i]} {counts[i]}" for i in np.argsort(counts, kind="stable")[:_LABELS_LOGGED]]
    more = f", and {len(label_names) - len(shown)} more" if len(label_names) > len(shown) else ""
    logger.info("%d labels with their training rows, the rarest first: %s%s", len(label_names), ", ".join(shown), more)


def _label_reader(tables: dict[str, Table], columns: Columns, spec: DataSpec) -> LabelReader:
    if columns.one_per_label:
        return column_reader(columns.labels, spec.label_names)
    column = columns.labels[0]
    cells = {split: table.cells(column) for split, table in tables.items()}
    id_names = next((table.id_names(column) for table in tables.values() if table.id_names(column)), None)
    return cell_reader(column, cells, spec.label_names or id_names, spec.label_delimiter)


class _Cleaner:
    """Cleans the rows of one split."""

    def __init__(self, split: str, table: Table, columns: Columns, reader: LabelReader | None) -> None:
        self._split, self._table, self._columns = split, table, columns
        self._reader = reader if columns.labels else None

    def stored(self) -> Dataset:
        """Return all clean rows, none left out, on disk.

        Raises:
            BadRows: If there are bad ones, with all of them.
        """
        computed_from = None
        if self._table.digest is not None:
            computed_from = {
                "source": self._table.digest(),
                "split": self._split,
                "columns": asdict(self._columns),
                "reader": None if self._reader is None else asdict(self._reader),
                "id_names": self._id_names,
            }
        features = Features({name: kind for name, (kind, _) in self._cells().items()})
        rows = cached_examples(computed_from, _in_columns(self.rows(), list(features)), features)
        if empty := sum(texts.count("") for texts in _column_parts(rows, "text")):
            logger.warning("%s: rows with an empty text: %d", self._table.source, empty)
        return rows

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the clean rows; in the end, raise with all that is bad in the others.

        Raises:
            BadRows: If there are bad ones, with all of them.
        """
        cells = {name: clean for name, (_, clean) in self._cells().items()}
        source = self._table.source
        problems = []
        for row in self._table:
            if row.problem:
                problems.append(describe_problem(source, row, row.problem))
                continue
            cleaned = {}
            for name, clean in cells.items():
                try:
                    cleaned[name] = clean(row.values)
                except BadValue as error:
                    problems.append(describe_problem(source, row, f"column {error.column!r}: {error}"))
            if len(cleaned) == len(cells):
                yield cleaned
        raise_problems(source, problems)

    @property
    def _id_names(self) -> list[str] | None:
        return None if self._reader is None else self._table.id_names(self._columns.labels[0])

    def _cells(self) -> dict[str, tuple[Any, Callable[[dict[str, Any]], Any]]]:
        """Return of each clean column its type, and what makes its cell out of a row's cells."""
        columns, reader, id_names = self._columns, self._reader, self._id_names
        needed = self._split != "test"
        text = Value("string")
        cells: dict[str, Any] = {"text": (text, lambda cells: _clean_text(cells, columns.text, needed))}
        if (pair := columns.pair) is not None:
            cells["pair"] = (text, lambda cells: _clean_text(cells, pair, needed=False))
        if reader is not None:
            cells["labels"] = (List(Value("float32")), lambda cells: reader.read(cells, id_names))
        if (column := columns.id) is not None:
            id_type = next((type(cell) for cell in self._table.cells(column) if cell is not None), str)
            kind = Value(_ID_TYPES.get(id_type, "string"))
            cells["id"] = (kind, lambda cells: _clean_id(cells.get(column), column, id_type))
        return cells


def _in_columns(rows: Iterator[dict[str, Any]], names: list[str]) -> Iterator[dict[str, list[Any]]]:
    while part := list(islice(rows, BATCH_SIZE)):
        yield {name: [row[name] for row in part] for name in names}


def _column_parts(rows: Dataset, column: str) -> Iterable[list[Any]]:
    return (part[column] for part in reopen_memory_map(rows).select_columns(column).iter(batch_size=BATCH_SIZE))


def _clean_text(cells: dict[str, Any], column: str, needed: bool) -> str:
    text = cells.get(column)
    if text is None or isinstance(text, str) and not text.strip():
        if needed:
            raise BadValue(f"the text is missing ({text!r}); write one or remove the row", column)
        return ""
    if problem := text_problem(text):
        raise BadValue(problem, column)
    return str(text)


def _clean_id(row_id: Any, column: str, id_type: type) -> Any:
    """Return the id as it is; all ids of a split have the type of the first."""
    if row_id is None:
        return None
    # By type and not by isinstance, which takes True for a number.
    if type(row_id) is not id_type or id_type not in _ID_TYPES:
        raise BadValue(
            f"{shorten(row_id)} is of type {type(row_id).__name__}; ids must be all text or all numbers", column
        )
    if isinstance(row_id, int) and not -(2**63) <= row_id < 2**63:
        raise BadValue(f"{shorten(row_id)} is too large a number for an id; write the ids as text", column)
    if isinstance(row_id, str) and (problem := text_problem(row_id)):
        raise BadValue(problem, column)
    return row_id
