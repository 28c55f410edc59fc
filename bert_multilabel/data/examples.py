"""Loads clean examples: the entry point of the data layer.

All sources become a `datasets.Dataset` with the columns `text`, and if there are any `pair`, `labels` (L floats) and
`id`, stored on disk; or an `ExampleStream`, which reads the same examples again in each epoch.
"""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset, Features
from numpy.typing import NDArray
from transformers.utils import logging

from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.metrics import hard_labels

from .cache import cached_examples, cached_json, column_batches, reopen_memory_map
from .cleaning import Cleaner
from .columns import Columns, LabelColumns, columns_in_split, describe_columns, find_columns, missing_column
from .label_form import LabelForm, delimiter_option
from .label_frequencies import LabelFrequencies
from .label_parser import LabelParser
from .sources import Source, open_dataset, open_files, open_source
from .spec import DataSpec
from .streaming import ExampleStream, UnchangedExamples
from .table import BATCH_SIZE, SPLITS, BadRows, Problem, Table, id_names
from .values import are_no_and_yes, few

logger = logging.get_logger(__name__)


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

    Example:
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


def load_sources(
    sources: dict[str, Source], spec: DataSpec, wanted: Collection[str] = SPLITS, streaming: bool = False
) -> LoadedData:
    """Load the wanted splits of some sources; see `load_splits`."""
    plan = _find_plan(sources, spec)
    for message in plan.messages:
        logger.warning(message)
    cleaners = {split: plan.cleaner(split, source, spec) for split, source in sources.items() if split in wanted}
    digests = {split: sources[split].digest for split in cleaners}
    splits, stream = _clean_splits(cleaners, digests, streaming)
    first = next(iter(plan.columns.values()))
    loaded = LoadedData(splits, spec.label_names, first.pair, stream, plan.options(spec))
    if plan.parser is None:
        return loaded
    if not plan.parser.label_names:
        source = next(iter(sources.values())).name
        raise DataError(f"{source}: no row has a label in column {plan.parser.columns[0]!r}")
    loaded = replace(loaded, label_names=plan.parser.label_names)
    if spec.label_names is None and (stream is not None or "train" in splits):
        _log_labels(plan.parser.label_names, loaded.frequencies)
    return loaded


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the rows of all splits become examples; determined once, in one pass over them.

    Attributes:
        columns: The columns in use, by split.
        parser: Parses the labels; None without labels.
        id_types: Name of the type of the ids, by split.
        messages: What was found out, for the user.
    """

    columns: dict[str, Columns]
    parser: LabelParser | None
    id_types: dict[str, str]
    messages: list[str]

    @classmethod
    def make(cls, sources: dict[str, Source], spec: DataSpec) -> "Plan":
        """Read all sources once, and choose columns and the form of the labels."""
        tables = {split: Table(source.name, source.reader) for split, source in sources.items()}
        first, last = next(iter(tables)), list(tables)[-1]
        columns = find_columns(tables[first], spec, labels_needed=first != "test")
        in_splits = {split: columns_in_split(split, table, columns, spec) for split, table in tables.items()}
        if spec.id_column is not None and in_splits[last].id is None:
            raise missing_column(tables[last], "id", spec.id_column)
        labelled = {split: table for split, table in tables.items() if in_splits[split].labels}
        parser = _label_parser(labelled, in_splits, spec) if labelled else None
        messages = [describe_columns(tables[first], columns, spec, parser)]
        if parser is not None:
            messages += parser.notes
        if message := _repeated_texts(tables[first], in_splits[first], spec):
            messages.append(message)
        id_types = {split: _id_type(tables[split], in_splits[split]) for split in tables}
        return cls(columns=in_splits, parser=parser, id_types=id_types, messages=messages)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Plan":
        """Restore a plan from its `asdict`."""
        columns = {
            split: Columns(**values | {"label_columns": LabelColumns(values["label_columns"])})
            for split, values in stored["columns"].items()
        }
        parser = stored["parser"]
        if parser is not None:
            parser = LabelParser(**parser | {"form": LabelForm(parser["form"])})
        return cls(**stored | {"columns": columns, "parser": parser})

    def options(self, spec: DataSpec) -> list[str]:
        """Return the words of a command line that name the columns and all that was set: nothing is left to guess."""
        columns = next(iter(self.columns.values()))
        delimiter = spec.label_delimiter or (self.parser.delimiter if self.parser else None)
        named = {
            "text_column": columns.texts,
            "text_pair_column": [columns.pair] if columns.pair else [],
            "label_column": columns.labels,
            "id_column": [columns.id] if columns.id else [],
            "label_delimiter": [delimiter_option(delimiter)] if delimiter else [],
        }
        for name, value in asdict(spec).items():
            if name in named or name in ("label_names", "label_ids") or value in (None, False):
                continue
            named[name] = [] if value is True else [*map(str, value)] if isinstance(value, list) else [str(value)]
        flags = {name for name, value in asdict(spec).items() if value is True}
        return [
            word
            for name, values in named.items()
            if values or name in flags
            for word in (f"--{name}", *map(shlex.quote, values))
        ]

    def cleaner(self, split: str, source: Source, spec: DataSpec) -> Cleaner:
        """Make the cleaner of a split."""
        columns = self.columns[split]
        return Cleaner(
            split=split,
            source=source.name,
            reader=source.reader,
            columns=columns,
            parser=self.parser,
            id_names=_id_names(source.reader.features, columns),
            id_type=self.id_types[split],
            spec=spec,
        )


def _id_names(features: Features, columns: Columns) -> dict[str, list[str]]:
    """Return the names of the ids in label columns, by the name of the column in the first split."""
    in_split = zip(columns.label_names, columns.labels, strict=False)
    return {name: names for name, column in in_split if (names := id_names(features, column)) is not None}


def _find_plan(sources: dict[str, Source], spec: DataSpec) -> Plan:
    """Return the plan, stored by all that decides it, so that known files are not read again."""
    digests = {split: source.digest() if source.digest else None for split, source in sources.items()}
    if None in digests.values():
        return Plan.make(sources, spec)
    names = {split: source.name for split, source in sources.items()}  # in messages
    computed_from = {"plan of": digests, "names": names, "spec": asdict(spec)}
    return Plan.from_json(cached_json(computed_from, lambda: asdict(Plan.make(sources, spec))))


def _label_parser(tables: dict[str, Table], columns: dict[str, Columns], spec: DataSpec) -> LabelParser:
    first = next(iter(tables))
    names, kind = columns[first].label_names, columns[first].label_columns
    in_split = {split: dict(zip(names, columns[split].labels, strict=True)) for split in tables}
    without_zero: list[str] = []
    if kind is LabelColumns.ONE_PER_LABEL:
        for split, table in tables.items():
            _check_id_names(table, in_split[split].values())
        without_zero = _without_zero(tables, in_split)
    try:
        return _make_parser(tables, in_split, kind, spec, without_zero)
    except DataError as error:  # of values, without their source
        raise DataError(f"{tables[first].source}: {error}") from error


def _make_parser(
    tables: dict[str, Table],
    in_split: dict[str, dict[str, str]],
    kind: LabelColumns,
    spec: DataSpec,
    without_zero: list[str],
) -> LabelParser:
    names = list(next(iter(in_split.values())))
    if kind is LabelColumns.ONE_PER_LABEL:
        return LabelParser.of_columns(names, spec, without_zero)
    if kind is LabelColumns.NAMES:
        cells = {
            split: {name: table.cells(in_split[split][name]) for name in names} for split, table in tables.items()
        }
        return LabelParser.of_name_columns(names, cells, spec)
    cells_of_one = {split: table.cells(in_split[split][names[0]]) for split, table in tables.items()}
    given = (table.id_names(in_split[split][names[0]]) for split, table in tables.items())
    return LabelParser.of_cells(names[0], cells_of_one, spec, next(filter(None, given), None))


def _check_id_names(table: Table, columns: Iterable[str]) -> None:
    """Raise a DataError if the ids in 0/1 columns have other names than words for no and yes."""
    for column in columns:
        if (names := table.id_names(column)) is not None and not are_no_and_yes(names):
            raise DataError(
                f"{table.source}: column {column!r} holds ids of the names {few(names)}, not of no and yes: pass "
                f"--label_column {column} if these are the labels, or name other columns"
            )


def _without_zero(tables: dict[str, Table], in_split: dict[str, dict[str, str]]) -> list[str]:
    """Return the 0/1 columns that have no 0 in the first split, where blank cells cannot mean "not annotated".

    Raises:
        DataError: If such a column holds -1, which may mean either.
    """
    first = next(iter(tables))
    found = []
    for name, column in in_split[first].items():
        facts = tables[first].facts(column)
        if facts.holds_marks and not facts.has_zero and tables[first].id_names(column) is None:
            if facts.has_hidden:
                raise DataError(
                    f"{tables[first].source}: column {column!r} holds 1 and -1 but no 0: write 0 where -1 means no, "
                    "and leave the cell empty where it means not annotated"
                )
            found.append(name)
    return found


def _repeated_texts(table: Table, columns: Columns, spec: DataSpec) -> str:
    """Point out a table that may have one line per text and label."""
    cells = table.facts(columns.texts[0]).cells
    if spec.one_label_per_line or spec.annotators or cells is None or not columns.labels or table.rows < 4:
        return ""
    if 3 * len(cells) > 2 * table.rows:
        return ""
    return (
        f"{table.source}: {table.rows} rows hold {len(cells)} different texts; if each line has one label of its "
        "text, pass --one_label_per_line, and if it has the judgement of one annotator, --annotators"
    )


def _id_type(table: Table, columns: Columns) -> str:
    if columns.id is None:
        return "str"
    found = next((value for value in table.facts(columns.id).examples if value is not None), "")
    return type(found).__name__


def _clean_splits(
    cleaners: dict[str, Cleaner], digests: dict[str, Any], streaming: bool
) -> tuple[dict[str, Dataset], ExampleStream | None]:
    """Clean the rows of all splits, and report the bad ones of all together."""
    splits: dict[str, Dataset] = {}
    problems: dict[str, Sequence[Problem]] = {}
    stream = None
    for split, cleaner in cleaners.items():
        try:
            if streaming and split == "train":
                examples = UnchangedExamples(cleaner.source, cleaner.examples)
                stream = ExampleStream(examples.read, LabelFrequencies.of(_label_batches(examples.read())))
            else:
                splits[split] = _cached(cleaner, digests[split])
        except BadRows as error:
            problems |= error.problems
    if problems:
        raise BadRows(problems)
    return splits, stream


def _cached(cleaner: Cleaner, digest: Any) -> Dataset:
    """Return all clean examples, stored on disk by all that decides them."""
    computed_from = None
    if digest is not None:
        decided = {field.name: getattr(cleaner, field.name) for field in fields(cleaner)}
        parts = {name: decided[name] for name in ("split", "id_names", "id_type")}
        parsed = {name: decided[name] and asdict(decided[name]) for name in ("columns", "parser", "spec")}
        computed_from = {"source": digest(), **parts, **parsed}
    examples = cached_examples(computed_from, cleaner.batches(), cleaner.features)
    batches = reopen_memory_map(examples).select_columns("text").iter(batch_size=BATCH_SIZE)
    if empty := sum(batch["text"].count("") for batch in batches):
        logger.warning("%s: rows with an empty text: %d", cleaner.source, empty)
    return examples


def multi_hot(examples: Dataset) -> NDArray[np.float32]:
    """Return the labels of clean examples, (N, L): 1, 0, or NaN for "not annotated"; soft ones count from 0.5 on."""
    batches = [*column_batches(examples, "labels")]
    return hard_labels(np.concatenate(batches)) if batches else np.zeros((0, 0), np.float32)


def label_frequencies(examples: Dataset | ExampleStream) -> LabelFrequencies:
    """Count the labels of examples, which need not fit into memory."""
    if isinstance(examples, ExampleStream):
        return examples.frequencies
    return LabelFrequencies.of(column_batches(examples, "labels"))


def _log_labels(label_names: list[str], frequencies: LabelFrequencies) -> None:
    """Log the labels, the rarest first, since misspelt ones are rare."""
    counts = frequencies.positives.astype(np.int64)  # (L,)
    shown = [f"{label_names[i]} {counts[i]}" for i in np.argsort(counts, kind="stable")[:30]]
    more = f", and {len(label_names) - len(shown)} more" if len(label_names) > len(shown) else ""
    logger.info("%d labels with their training rows, the rarest first: %s%s", len(label_names), ", ".join(shown), more)


def _label_batches(examples: Iterator[dict[str, Any]]) -> Iterator[list[Any]]:
    while batch := [example["labels"] for example in islice(examples, BATCH_SIZE)]:
        yield batch
