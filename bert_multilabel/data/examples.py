"""Loads clean examples from files and datasets: the entry point of the data layer.

All sources become a `datasets.Dataset` with the columns `text`, and if there are any `pair`, `labels` (L floats) and
`id`, stored on disk; or an `ExampleStream`, which reads the same examples again in each epoch. reading.py reads raw
rows, columns.py chooses the columns, labels.py parses the labels.
"""

from collections.abc import Callable, Collection, Iterator
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
from .labels import BadValue, LabelParser, shorten, text_problem
from .reading import SPLITS, BadRows, Table, describe_problem, raise_problems, read_dataset, read_files
from .streaming import ExampleStream, UnchangedExamples

logger = logging.get_logger(__name__)

_ID_TYPES = {str: "string", int: "int64", float: "float64"}


@dataclass(frozen=True)
class LoadedData:
    """The clean examples of all splits.

    Attributes:
        splits: Datasets by split name (train, validation, test), memory-mapped from disk.
        label_names: The L label names in the order of `labels`; None without labels and names.
        pair_column: The source column of `pair`.
        stream: The training examples, instead of `splits["train"]`, if a stream was requested.
    """

    splits: dict[str, Dataset]
    label_names: list[str] | None
    pair_column: str | None
    stream: ExampleStream | None = None

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
        return LoadedData(splits, label_names, self.pair_column, stream)


def load_splits(
    spec: DataSpec,
    files: dict[str, str] | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    wanted: Collection[str] | None = None,
    streaming: bool = False,
) -> LoadedData:
    """Load clean examples from files, or from a dataset of the datasets library.

    Columns, label format, delimiter and label names are determined once, for all splits. In `test`, the split to
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
        wanted = SPLITS
        tables = read_files(files)
    elif dataset_name is not None and files is None:
        wanted = SPLITS if wanted is None else wanted
        tables = read_dataset(dataset_name, dataset_config_name, wanted, spec.label_names is None, streaming)
    else:
        raise MultiLabelError(f"Pass either files or dataset_name, got files={files!r}, dataset_name={dataset_name!r}")
    columns = _find_columns_of_splits(tables, spec)
    first = next(iter(columns.values()))
    labelled = {split: table for split, table in tables.items() if columns[split].labels}
    parser = _label_parser(labelled, first, spec) if labelled else None
    logger.info("columns in use: %s; labels: %s", first, parser or "none")
    cleaners = {split: _Cleaner(split, table, columns[split], parser) for split, table in tables.items()}
    splits, stream = _clean_splits({split: cleaners[split] for split in tables if split in wanted}, streaming)
    if parser is None:
        return LoadedData(splits, spec.label_names, first.pair, stream)
    if not parser.label_names:
        raise DataError(f"{next(iter(tables.values())).source}: no row has a label in column {parser.columns[0]!r}")
    if parser.repeated:
        logger.warning("rows that name a label more than once: %d; it counts once", parser.repeated)
    loaded = LoadedData(splits, parser.label_names, first.pair, stream)
    if spec.label_names is None and (stream is not None or "train" in splits):
        _log_labels(parser.label_names, loaded.frequencies)
    return loaded


def _find_columns_of_splits(tables: dict[str, Table], spec: DataSpec) -> dict[str, Columns]:
    first, last = next(iter(tables)), list(tables)[-1]
    columns = find_columns(tables[first], spec, labels_needed=first != "test")
    warn_of_guesses(tables[first], columns, spec)
    in_splits = {split: columns_in_split(split, table, columns, spec) for split, table in tables.items()}
    if spec.id_column is not None and in_splits[last].id is None:
        raise missing_column(tables[last], "id", spec.id_column)
    return in_splits


def _clean_splits(cleaners: dict[str, "_Cleaner"], streaming: bool) -> tuple[dict[str, Dataset], ExampleStream | None]:
    """Clean the rows of all splits, and report the bad ones of all together."""
    splits: dict[str, Dataset] = {}
    problems: dict[str, list[str]] = {}
    stream = None
    for split, cleaner in cleaners.items():
        try:
            if streaming and split == "train":
                examples = UnchangedExamples(cleaner.source, cleaner.examples)
                batches = _in_columns(examples.read(), ["labels"])
                stream = ExampleStream(examples.read, LabelFrequencies.of(batch["labels"] for batch in batches))
            else:
                splits[split] = cleaner.cached()
        except BadRows as error:
            problems |= error.problems
    if problems:
        raise BadRows(problems)
    return splits, stream


def multi_hot(examples: Dataset) -> NDArray[np.float32]:
    """Return the labels of clean examples, (N, L): 1, 0, or NaN for "not annotated"."""
    return np.asarray(examples.with_format("numpy")["labels"][:], np.float32)


def label_frequencies(examples: Dataset | ExampleStream) -> LabelFrequencies:
    """Count the labels of examples, which need not fit into memory."""
    if isinstance(examples, ExampleStream):
        return examples.frequencies
    batches = reopen_memory_map(examples).select_columns("labels").with_format("numpy").iter(batch_size=BATCH_SIZE)
    return LabelFrequencies.of(batch["labels"] for batch in batches)


def _log_labels(label_names: list[str], frequencies: LabelFrequencies) -> None:
    """Log the labels, the rarest first, since misspelt ones are rare."""
    counts = frequencies.positives.astype(np.int64)  # (L,)
    shown = [f"{label_names[i]} {counts[i]}" for i in np.argsort(counts, kind="stable")[:30]]
    more = f", and {len(label_names) - len(shown)} more" if len(label_names) > len(shown) else ""
    logger.info("%d labels with their training rows, the rarest first: %s%s", len(label_names), ", ".join(shown), more)


def _label_parser(tables: dict[str, Table], columns: Columns, spec: DataSpec) -> LabelParser:
    if columns.one_per_label:
        return LabelParser.of_columns(columns.labels, spec.label_names)
    column = columns.labels[0]
    values = {split: table.values(column) for split, table in tables.items()}
    id_names = next((table.id_names(column) for table in tables.values() if table.id_names(column)), None)
    return LabelParser.of_values(column, values, spec.label_names or id_names, spec.label_delimiter)


class _Cleaner:
    """Turns the rows of one split into clean examples."""

    def __init__(self, split: str, table: Table, columns: Columns, parser: LabelParser | None) -> None:
        self.source = table.source
        self._split, self._table, self._columns = split, table, columns
        self._parser = parser if columns.labels else None

    def cached(self) -> Dataset:
        """Return all clean examples, stored on disk; raises as `examples`."""
        computed_from = None
        if self._table.digest is not None:
            computed_from = {
                "source": self._table.digest(),
                "split": self._split,
                "columns": asdict(self._columns),
                "parser": self._parser and asdict(self._parser),
                "id_names": self._id_names,
            }
        features = Features({name: kind for name, (kind, _) in self._fields().items()})
        examples = cached_examples(computed_from, _in_columns(self.examples(), list(features)), features)
        batches = reopen_memory_map(examples).select_columns("text").iter(batch_size=BATCH_SIZE)
        if empty := sum(batch["text"].count("") for batch in batches):
            logger.warning("%s: rows with an empty text: %d", self.source, empty)
        return examples

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yield the clean examples, and raise `BadRows` at the end, with all bad rows."""
        fields = {name: clean for name, (_, clean) in self._fields().items()}
        problems = []
        for row in self._table:
            if row.problem:
                problems.append(describe_problem(self.source, row, row.problem))
                continue
            example = {}
            for name, clean in fields.items():
                try:
                    example[name] = clean(row.values)
                except BadValue as error:
                    problems.append(describe_problem(self.source, row, f"column {error.column!r}: {error}"))
            if len(example) == len(fields):
                yield example
        raise_problems(self.source, problems)

    @property
    def _id_names(self) -> list[str] | None:
        return None if self._parser is None else self._table.id_names(self._columns.labels[0])

    def _fields(self) -> dict[str, tuple[Any, Callable[[dict[str, Any]], Any]]]:
        """Return the type of each field of an example, and the function that computes it from a row's values."""
        columns, parser, id_names = self._columns, self._parser, self._id_names
        text, needed = Value("string"), self._split != "test"
        fields: dict[str, Any] = {"text": (text, lambda values: _clean_text(values, columns.text, needed))}
        if (pair := columns.pair) is not None:
            fields["pair"] = (text, lambda values: _clean_text(values, pair, needed=False))
        if parser is not None:
            fields["labels"] = (List(Value("float32")), lambda values: parser.parse(values, id_names))
        if (column := columns.id) is not None:
            id_type = next((type(value) for value in self._table.values(column) if value is not None), str)
            kind = Value(_ID_TYPES.get(id_type, "string"))
            fields["id"] = (kind, lambda values: _clean_id(values.get(column), column, id_type))
        return fields


def _in_columns(examples: Iterator[dict[str, Any]], names: list[str]) -> Iterator[dict[str, list[Any]]]:
    while batch := list(islice(examples, BATCH_SIZE)):
        yield {name: [example[name] for example in batch] for name in names}


def _clean_text(values: dict[str, Any], column: str, needed: bool) -> str:
    text = values.get(column)
    is_missing = text is None or isinstance(text, str) and not text.strip()
    if is_missing and needed:
        raise BadValue(f"the text is missing ({text!r}); write one or remove the row", column)
    if not is_missing and (problem := text_problem(text)):
        raise BadValue(problem, column)
    return "" if is_missing else str(text)


def _clean_id(row_id: Any, column: str, id_type: type) -> Any:
    """Return the id unchanged; all ids of a split must have the type of the first."""
    if row_id is None:
        return None
    # By type and not by isinstance, which takes True for a number.
    if type(row_id) is not id_type or id_type not in _ID_TYPES:
        problem = f"{shorten(row_id)} is of type {type(row_id).__name__}; ids must be all text or all numbers"
    elif isinstance(row_id, int) and not -(2**63) <= row_id < 2**63:
        problem = f"{shorten(row_id)} is too large a number for an id; write the ids as text"
    else:
        problem = text_problem(row_id) if isinstance(row_id, str) else ""
    if problem:
        raise BadValue(problem, column)
    return row_id
