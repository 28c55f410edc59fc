"""Reads raw rows from files and datasets: their values, and their positions for messages.

Unreadable rows are returned too, with their problem: all problems are reported at once. Rows are read again at each
iteration, since a file may be larger than the memory.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, IterableDataset, load_dataset

from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.utils.files import sha256

from .cache import BATCH_SIZE, dataset_digest
from .labels import ColumnFacts, shorten

SPLITS = ("train", "validation", "test")
PROBLEMS_SHOWN = 20  # in the message, of each source
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")

# Parquet files can be bombs: a few bytes that expand to gigabytes. Rows of text expand 10 times, or 50 times if many
# are equal. More is refused if it also exceeds these numbers of bytes.
_MOST_TIMES_LARGER = 200
_SMALL_GROUP, _SMALL_FILE = 2**22, 2**27
_PARQUET_ROWS = 64  # read at a time: few, since each may hold the same cell of `_SMALL_GROUP` bytes
_BYTES_PER_ROW = 100  # of memory in Python, without its cells


class BadRows(DataError):
    """Rows that cannot be used: all problems by source; the message shows `PROBLEMS_SHOWN` of each source."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        super().__init__("\n".join(_listed(source, listed) for source, listed in problems.items()))
        self.problems = problems


class Row(NamedTuple):
    """One raw row.

    Attributes:
        number: Position among the data rows, from 1.
        line: Line of the file on which the row starts, from 1; None without lines.
        values: The values by column name.
        problem: Why the row could not be read; empty if it could.
    """

    number: int
    line: int | None
    values: dict[str, Any]
    problem: str = ""


class Table:
    """The raw rows of one split. They are read once when it is made, to find the columns and what they have in common.

    Args:
        source: The name in messages: a path, or a dataset and its split.
        read: Begins a pass over the rows, including unreadable ones.
        digest: Returns a digest of the rows; None if they may change.
        features: The types of the columns, if they are known.
    """

    def __init__(
        self,
        source: str,
        read: Callable[[], Iterable[Row]],
        digest: Callable[[], str] | None = None,
        features: Features | None = None,
    ) -> None:
        self.source, self.digest, self._read = source, digest, read
        self.features = features or Features()
        self._facts: dict[str, ColumnFacts] = {}
        problems = []
        for row in self:
            if row.problem:
                problems.append(describe_problem(source, row, row.problem))
            for column, cell in row.values.items():
                facts = self._facts.setdefault(column, ColumnFacts())
                if not row.problem:
                    facts.update(cell)
        if not self._facts:
            raise_problems(source, problems)
            raise DataError(f"{source} has no rows")
        self.columns = list(self._facts)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._read())

    def values(self, column: str) -> "ColumnValues":
        """Return the values of one column, without unreadable rows; a row without the column gives None."""
        return ColumnValues(self, column)

    def facts(self, column: str) -> ColumnFacts:
        """Return what the values of a column have in common; a missing column has only missing values."""
        return self._facts.get(column, ColumnFacts())

    def id_names(self, column: str) -> list[str] | None:
        """Return the names of the ids in this column, if it is a ClassLabel or a list of them."""
        feature = self.features.get(column)
        feature = getattr(feature, "feature", feature)  # the type of the items of a list
        return list(feature.names) if isinstance(feature, ClassLabel) else None


@dataclass(frozen=True)
class ColumnValues:
    """The values of one column, read again at each iteration."""

    table: Table
    column: str

    def __iter__(self) -> Iterator[Any]:
        return (row.values.get(self.column) for row in self.table if not row.problem)


def read_rows(path: str) -> Iterator[Row]:
    """Read a file row by row, by its extension: csv, tsv, json (also with one object per line), jsonl or parquet.

    The values of csv and tsv are text, also if they look like numbers. Unreadable rows come with their problem.

    Raises:
        DataError: If the file is missing or has another extension; during iteration, if reading cannot continue.
    """
    check_is_file(path)
    if (read := _READERS.get(Path(path).suffix.lower())) is None:
        raise DataError(f"cannot read {path!r}: its extension must be one of {', '.join(_READERS)}")
    return read(path)


def read_label_names(path: str) -> list[str]:
    """Read a names file: one label name per line, in order; blank lines are ignored.

    Raises:
        DataError: If the file is missing, is not UTF-8, holds no name, or repeats one.
    """
    check_is_file(path)
    line_of: dict[str, int] = {}
    for number, name in enumerate(map(str.strip, read_lines(path)), 1):
        if name and number != (before := line_of.setdefault(name, number)):
            raise DataError(f"{path}, line {number}: label {name!r} is on line {before} already; remove one")
    if not line_of:
        raise DataError(f"{path} holds no label name; write one per line")
    return list(line_of)


def describe_problem(source: str, row: Row, problem: str) -> str:
    """Return the problem of a row with its source, row number and line."""
    line = "" if row.line is None else f" (line {row.line})"
    return f"{source}, row {row.number}{line}, {problem}"


def raise_problems(source: str, problems: list[str]) -> None:
    """Raise `BadRows` if a source has problems."""
    if problems:
        raise BadRows({source: problems})


def _listed(source: str, problems: list[str]) -> str:
    heading = f"{len(problems)} problem{'s' * (len(problems) > 1)} in {source}:"
    more = [f"... and {len(problems) - PROBLEMS_SHOWN} more"] if len(problems) > PROBLEMS_SHOWN else []
    return "\n".join([heading, *problems[:PROBLEMS_SHOWN], *more])


def read_files(files: dict[str, str]) -> dict[str, Table]:
    """Read the file of each split: one or more of train, validation and test."""
    if not files or not set(files) <= set(SPLITS):
        raise MultiLabelError(f"files must be passed by split name ({', '.join(SPLITS)}), got {files!r}")
    paths = [(split, files[split]) for split in SPLITS if split in files]
    tables = {split: Table(path, partial(read_rows, path), partial(_file_digest, path)) for split, path in paths}
    for table in tables.values():
        if Path(table.source).suffix.lower() == ".parquet":
            table.features = _parquet_features(table.source)
    return tables


def read_dataset(
    name: str,
    config_name: str | None,
    wanted: Collection[str] = SPLITS,
    train_too: bool = False,
    streaming: bool = False,
) -> dict[str, Table]:
    """Read the wanted splits that a dataset of the datasets library has, and perhaps its training split too.

    With `streaming`, rows are read from their source at each pass, instead of being stored here first.

    Raises:
        DataError: If there is no such dataset, or it has no wanted split.
        MultiLabelError: If `wanted` is empty, or has another name than train, validation and test.
    """
    if not wanted or not set(wanted) <= set(SPLITS):
        raise MultiLabelError(f"wanted splits must be among {', '.join(SPLITS)}, got {wanted!r}")
    try:
        dataset = load_dataset(name, config_name, streaming=streaming)
    except (OSError, ValueError) as error:  # no such dataset or configuration, or the Hub cannot be reached
        raise DataError(f"cannot load the dataset {name!r}: {error}") from error
    wanted = [split for split in SPLITS if split in wanted]
    if not set(wanted) & set(dataset):
        raise DataError(f"dataset {name!r} has none of the splits {', '.join(wanted)}; it has {', '.join(dataset)}")
    chosen = [split for split in SPLITS if split in wanted or train_too and split == "train"]
    return {split: _read_split(f"{name}, split {split!r}", dataset[split]) for split in chosen if split in dataset}


def _file_digest(path: str) -> str:
    with _reading(path):
        return f"{Path(path).suffix.lower()} {sha256(Path(path))}"  # the extension decides how the bytes are read


def _read_split(source: str, split: Dataset | IterableDataset) -> Table:
    # The source of a stream may change at any time.
    digest = partial(dataset_digest, split) if isinstance(split, Dataset) else None
    return Table(source, partial(_dataset_rows, split), digest, split.features)


def _dataset_rows(split: Dataset | IterableDataset) -> Iterator[Row]:
    # As Arrow tables: ids stay ids, and columns of images or sound are not decoded.
    return _batch_rows(split.with_format("arrow").iter(batch_size=BATCH_SIZE))


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn errors of the operating system into a `DataError` that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def check_is_file(path: str) -> None:
    """Raise a DataError if there is no such file."""
    if not Path(path).is_file():
        raise DataError(f"there is no file {path!r}")


def read_lines(path: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their ends; raise `DataError` at a bad byte."""
    # Invalid bytes are decoded as lone surrogates: an error of open itself would not name the line.
    with _reading(path), open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix("\ufeff")  # not "utf-8-sig": it reads a part of the mark as an empty file
            if bad := _ESCAPED_BYTE.search(line):
                byte = ord(bad.group()) - 0xDC00
                raise DataError(f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8; save the file again as UTF-8")
            if "\0" in line:
                raise DataError(f"{path}, line {number}: a NUL byte; this is not a text file, or not saved as UTF-8")
            yield line


def _read_csv(path: str, delimiter: str = ",") -> Iterator[Row]:
    records = _csv_records(path, delimiter)
    _, header = next(records, (1, []))
    # pandas writes row numbers into a first column without a name.
    first = 1 if header and not header[0].strip() else 0
    _check_header(path, header[first:])
    for number, (line, cells) in enumerate(records, 1):
        if len(cells) == len(header):
            yield Row(number, line, dict(zip(header[first:], cells[first:], strict=True)))
        else:
            problem = f"{len(cells)} fields where the header has {len(header)}; quote a field that holds {delimiter!r}"
            yield Row(number, line, dict.fromkeys(header[first:]), problem)


def _csv_records(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line and fields of each record, beginning with the header; blank lines are skipped."""
    csv.field_size_limit(2**31 - 1)  # the default, 131,072 characters, is too low for documents
    # If not strict, the csv module guesses at bad quoting and loses rows.
    reader = csv.reader(read_lines(path), delimiter=delimiter, strict=True)
    number, line = 0, 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
                number += 1
            line = reader.line_num + 1
    except csv.Error as error:
        place = f"{path}, {f'row {number}' if number else 'header'} (line {line})"
        advice = "close each quote at the end of its field and double the quotes inside"
        raise DataError(f"{place}: broken quoting ({error}); {advice}") from error


def _check_header(path: str, header: list[str]) -> None:
    for position, (name, times) in enumerate(Counter(header).items(), 1):
        if not name.strip():
            raise DataError(f"{path}: column {position} has no name; give it one or remove it")
        if times > 1:
            raise DataError(f"{path}: column name {shorten(name)} occurs twice; rename one")


def _read_json(path: str) -> Iterator[Row]:
    first = next((line for line in read_lines(path) if line.strip()), "")
    if not first.lstrip().startswith("["):
        yield from _read_json_lines(path)
        return
    try:
        objects = parse_json("".join(read_lines(path)))
    except ValueError as error:
        raise DataError(f"{path}: broken JSON: {error}") from error
    for number, values in enumerate(objects, 1):
        yield _object_row(number, None, values)


def _read_json_lines(path: str) -> Iterator[Row]:
    lines = ((line, text) for line, text in enumerate(read_lines(path), 1) if text.strip())
    for number, (line, text) in enumerate(lines, 1):
        try:
            yield _object_row(number, line, parse_json(text))
        except ValueError as error:
            yield Row(number, line, {}, f"broken JSON: {error}")


def parse_json(text: str, **options: Any) -> Any:
    """Parse JSON as `json.loads` does; a text that is nested too deeply is a `ValueError`, too."""
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise MultiLabelError("nested too deeply") from error


def _object_row(number: int, line: int | None, values: Any) -> Row:
    if isinstance(values, dict):
        return Row(number, line, values)
    return Row(number, line, {}, f'{shorten(values)} is not a JSON object; write a row like {{"text": "..."}}')


def _read_parquet(path: str) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            _check_header(path, file.schema_arrow.names)
            _check_compression(path, file.metadata)
            yield from _batch_rows(_limited(path, file.iter_batches(_PARQUET_ROWS)))
    except DataError:
        raise
    # Names that are not UTF-8, and times that Python cannot represent, raise other errors than those of Arrow.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}") from error


def _check_compression(path: str, metadata: pq.FileMetaData) -> None:
    """Refuse rows that would be far larger than their file, before any of them is read."""
    limit = max(_SMALL_GROUP, _MOST_TIMES_LARGER * Path(path).stat().st_size)
    # Not the metadata of single columns: if the file is broken, pyarrow would end the process.
    size = max((metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0)
    if size > limit:
        raise DataError(
            f"{path}: its rows become {size >> 20} MB when they are decompressed, more than {_MOST_TIMES_LARGER} "
            "times the size of the file; if this is intended, write the file without compression"
        )


def _limited(path: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches until they are far larger than their file: a cell that many rows share is stored once."""
    size, file_size = 0, Path(path).stat().st_size
    limit = max(_SMALL_FILE, _MOST_TIMES_LARGER * file_size)
    for batch in batches:
        # As pandas stores categories: indices into a dictionary.
        cells = [x.dictionary_decode() if isinstance(x, pa.DictionaryArray) else x for x in batch.columns]
        batch = pa.RecordBatch.from_arrays(cells, batch.schema.names)
        size += batch.nbytes + _BYTES_PER_ROW * batch.num_rows
        if size > limit:
            advice = "if this is intended, write the rows as jsonl"
            raise DataError(f"{path}: its {file_size} bytes become more than {limit} when they are read; {advice}")
        yield batch


def _parquet_features(path: str) -> Features:
    """Return the column types in a parquet file of the datasets library; none if something else wrote it."""
    schema = pq.read_schema(path)
    if b"huggingface" not in (schema.metadata or {}):
        return Features()
    try:
        return Features.from_arrow_schema(schema)
    # The datasets library does not validate them.
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        types = f"the column types for the datasets library in {path}"
        raise DataError(f"{types} cannot be read ({error}): write the file again") from error


def _batch_rows(batches: Iterable[Any]) -> Iterator[Row]:
    numbers = count(1)
    for batch in batches:
        # The datasets library and pandas read an empty csv cell as null.
        texts = [field.name for field in batch.schema if field.type in (pa.string(), pa.large_string())]
        for values in batch.to_pylist():
            yield Row(next(numbers), None, values | {name: "" for name in texts if values[name] is None})


_READERS: dict[str, Callable[[str], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
