"""Reads parquet files, and Arrow files and streams."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, Reader
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .sample import Sample, open_bytes

PARQUET, ARROW_FILE, ARROW_STREAM = "parquet", "an Arrow file", "an Arrow stream"
_MAGIC = {b"PAR1": PARQUET, b"ARROW1": ARROW_FILE, b"\xff\xff\xff\xff": ARROW_STREAM}
_PARQUET_SUFFIXES = (".parquet", ".pq")
_ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")

# Files can be bombs: a few bytes that expand to gigabytes. Rows of text expand 10 times, or 50 times if many
# are equal. More is refused if it also exceeds these numbers of bytes.
_MOST_TIMES_LARGER = 200
_SMALL_GROUP, _SMALL_FILE = 2**22, 2**27
_ROWS = 64  # turned into Python values at a time: few, since each may hold the same cell of `_SMALL_GROUP` bytes
_BYTES_PER_ROW = 100  # of memory in Python, without its cells
# pandas writes the numbers of rows as columns of these names.
_INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: 0(\.\d+)?")


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Return why this is a parquet or Arrow file, or None."""
    if _form_by_magic(sample) is not None:
        return "its first bytes say so"
    if sample.suffix in (*_PARQUET_SUFFIXES, *_ARROW_SUFFIXES):
        return f"its extension is {sample.suffix}"
    return None


def read(sample: Sample, spec: DataSpec) -> Reader:
    """Return the reader of a parquet or Arrow file.

    Raises:
        DataError: If it is damaged, two columns have the same name, or its rows would be far larger than the file.
    """
    form = _form_by_magic(sample) or (PARQUET if sample.suffix in _PARQUET_SUFFIXES else ARROW_FILE)
    path = sample.path
    with _opened(path, form) as file:
        schema = _schema(file, form)
        _check_names(path, schema.names)
        return ColumnarReader(path=path, said=form, named=spec.named_columns, features=_features(path, schema))


@dataclass(frozen=True, kw_only=True)
class ColumnarReader:
    """Reads a parquet file, or an Arrow file or stream.

    Attributes:
        path: Of the file.
        said: Its form.
        named: The columns that the user names.
        features: The types that the datasets library wrote down; none if something else wrote the file.
    """

    path: str
    said: str
    named: frozenset[str]
    features: Features

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        with _opened(self.path, self.said) as file:
            start = 1
            for batch in _limited(self.path, _record_batches(self.path, file, self.said)):
                yield Batch(range(start, start + batch.num_rows), columns_of(batch, self.named))
                start += batch.num_rows

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return no lines."""
        return {}


def columns_of(table: pa.Table | pa.RecordBatch, named: Collection[str] = ()) -> dict[str, list[Any]]:
    """Return the columns as Python values; a null in a column of texts is "".

    The index of pandas is left out, unless it is among the columns that the user names.
    """
    fields = zip(table.schema, table.columns, strict=True)
    return {field.name: _values(field.type, column) for field, column in fields if is_kept(field.name, named)}


def is_kept(name: str, named: Collection[str]) -> bool:
    """Whether a column is more than the index of pandas, or named by the user."""
    return name in named or not _INDEX_NAME.fullmatch(name)


def _values(kind: pa.DataType, column: pa.Array | pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    # The datasets library and pandas read an empty csv cell as null.
    if column.null_count and kind in (pa.string(), pa.large_string(), pa.string_view()):
        return ["" if value is None else value for value in values]
    return values


def _form_by_magic(sample: Sample) -> str | None:
    return next((form for magic, form in _MAGIC.items() if sample.magic.startswith(magic)), None)


@contextmanager
def _opened(path: str, form: str) -> Iterator[Any]:
    """Open a file of this form; all errors that it causes become a `DataError` that names it."""
    try:
        with open_bytes(path) as file:
            if form == PARQUET:
                yield pq.ParquetFile(file)
            else:
                yield pa.ipc.open_stream(file) if form == ARROW_STREAM else pa.ipc.open_file(file)
    except DataError:
        raise
    # Names that are not UTF-8, times that Python cannot represent, and damaged sizes raise other errors than Arrow's.
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError, MemoryError) as error:
        kind = "parquet" if form == PARQUET else "Arrow"
        raise DataError(f"{path} cannot be read as {kind}: {str(error) or type(error).__name__}") from error


def _schema(file: Any, form: str) -> pa.Schema:
    return file.schema_arrow if form == PARQUET else file.schema


def _check_names(path: str, names: list[str]) -> None:
    for position, (name, times) in enumerate(Counter(names).items(), 1):
        if not name.strip():
            raise DataError(f"{path}: column {position} has no name; give it one or remove it")
        if times > 1:
            raise DataError(f"{path}: column name {shorten(name)} occurs twice; rename one")


def _features(path: str, schema: pa.Schema) -> Features:
    """Return the column types in a file of the datasets library; none if something else wrote it."""
    if b"huggingface" not in (schema.metadata or {}):
        return Features()
    try:
        return Features.from_arrow_schema(schema)
    # The datasets library does not validate them.
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        types = f"the column types for the datasets library in {path}"
        raise DataError(f"{types} cannot be read ({error}): write the file again") from error


def _record_batches(path: str, file: Any, form: str) -> Iterator[pa.RecordBatch]:
    """Yield batches of few rows each."""
    if form == PARQUET:
        _check_compression(path, file.metadata)
        yield from file.iter_batches(_ROWS)
        return
    batches = file if form == ARROW_STREAM else map(file.get_batch, range(file.num_record_batches))
    for batch in batches:
        batch.validate(full=True)  # a damaged file would otherwise end the process
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)


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
