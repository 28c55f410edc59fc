"""From files to clean examples, as Arrow tables. It needs neither torch nor the datasets library."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from bert_multilabel.errors import DataError

from .cache import as_table, cached_rows
from .cleaning import Cleaner
from .plan import Plan, find_plan
from .sources import Source, open_files
from .spec import DataSpec
from .table import SPLITS, BadRows, Problem

logger = logging.getLogger(__name__)

_Rows = TypeVar("_Rows")


@dataclass(frozen=True)
class CleanTables:
    """The clean examples of all splits.

    Attributes:
        splits: By split name: a table with the columns `text`, and if there are any `pair`, `labels` and `id`.
        label_names: The L label names in the order of `labels`; None without labels and names.
        options: Words of a command line that name everything that was recognized.
    """

    splits: dict[str, pa.Table]
    label_names: list[str] | None
    options: list[str]


def load_tables(spec: DataSpec, files: Mapping[str, str]) -> CleanTables:
    """Load clean examples from the file of each split, as `load_splits` does.

    Raises:
        BadRows: If rows are bad; lists all of them.
        DataError: If a file cannot be read, or a column is missing.
    """
    plan, stored = clean_splits(open_files(files, spec), spec, SPLITS, store_rows)
    splits = {split: as_table(rows) for split, rows in stored.items()}
    names = spec.label_names if plan.parser is None else plan.parser.label_names
    return CleanTables(splits, names, plan.options(spec))


def clean_splits(
    sources: dict[str, Source],
    spec: DataSpec,
    wanted: Collection[str],
    clean: Callable[[Cleaner, Source], _Rows],
) -> tuple[Plan, dict[str, _Rows]]:
    """Find out how rows become examples, and clean those of the wanted splits.

    Args:
        sources: By split.
        spec: The known columns and labels.
        wanted: The splits to clean.
        clean: Returns the clean rows of a split, as `store_rows` does.

    Raises:
        BadRows: If rows are bad; lists those of all splits together.
        DataError: If a source cannot be read, a column is missing, or no row has a label.
    """
    plan = find_plan(sources, spec)
    for message in plan.messages:
        logger.warning(message)
    rows: dict[str, _Rows] = {}
    problems: dict[str, Sequence[Problem]] = {}
    for split, source in sources.items():
        if split not in wanted:
            continue
        try:
            rows[split] = clean(plan.cleaner(split, source, spec), source)
        except BadRows as error:
            problems |= error.problems
    if problems:
        raise BadRows(problems)
    if plan.parser is not None and not plan.parser.label_names:
        name = next(iter(sources.values())).name
        raise DataError(f"{name}: no row has a label in column {plan.parser.columns[0]!r}")
    return plan, rows


def store_rows(cleaner: Cleaner, source: Source) -> Path | pa.Table:
    """Return all clean examples, stored on disk by all that decides them, see `cached_rows`."""
    computed_from = None
    if source.digest is not None:
        computed_from = {
            "source": source.digest(),
            "split": cleaner.split,
            "columns": asdict(cleaner.columns),
            "parser": cleaner.parser and asdict(cleaner.parser),
            "id_names": cleaner.id_names,
            "id_type": cleaner.id_type,
            "spec": asdict(cleaner.spec),
        }
    rows = cached_rows(computed_from, cleaner.batches(), cleaner.schema)
    if empty := pc.sum(pc.equal(as_table(rows)["text"], "")).as_py():
        logger.warning("%s: rows with an empty text: %d", cleaner.source, empty)
    return rows
