"""Reads parquet files, and Arrow files and streams."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import BATCH_SIZE, Batch, KnownColumns, Reader, WithoutLines, is_kept, kept_names
from bert_multilabel.errors import DataError

from .sample import Sample, open_bytes

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

PARQUET, ARROW_FILE, ARROW_STREAM = "parquet", "an Arrow file", "an Arrow stream"
# Rows of text expand 10 times, or 50 times if many are equal. More is refused, unless it is small.
_MOST_TIMES_LARGER, _SMALL_GROUP = 200, 2**22  # bytes
_BY_EXTENSION = {".parquet": PARQUET, ".pq": PARQUET, ".arrow": ARROW_FILE, ".feather": ARROW_FILE, ".ipc": ARROW_FILE}


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Return why this is a parquet or Arrow file, or None."""
    if sample.kind in (PARQUET, ARROW_FILE, ARROW_STREAM):
        return "its first bytes say so"
    return f"its extension is {sample.suffix}" if sample.suffix in _BY_EXTENSION else None


def read(sample: Sample, spec: DataSpec) -> Reader:
    """Return the reader of a parquet or Arrow file.

    Raises:
        DataError: If it is damaged, or two columns have the same name.
    """
    form = sample.kind or _BY_EXTENSION[sample.suffix]
    with _opened(sample.path, form) as file:
        if form == PARQUET:
            _check_size(sample.path, file.metadata)
        schema = file.schema_arrow if form == PARQUET else file.schema
        kept_names(sample.path, schema.names, spec.named_columns)
        known = _known_columns(sample.path, schema)
    return ColumnarReader(path=sample.path, said=form, named=spec.named_columns, known_columns=known)


@dataclass(frozen=True, kw_only=True)
class ColumnarReader(WithoutLines):
    """Reads a parquet file, or an Arrow file or stream.

    Attributes:
        path: Of the file.
        said: Its form.
        named: The columns that the user names.
        known_columns: What the datasets library wrote down; none if something else wrote the file.
    """

    path: str
    said: str
    named: frozenset[str]
    known_columns: KnownColumns

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        with _opened(self.path, self.said) as file:
            start = 1
            for batch in _record_batches(file, self.said):
                yield Batch(range(start, start + batch.num_rows), columns_of(batch, self.named))
                start += batch.num_rows


def columns_of(table: pa.Table | pa.RecordBatch, named: Collection[str] = ()) -> dict[str, list[Any]]:
    """Return the columns as Python values; a null in a column of texts is "".

    The index of pandas is left out, unless it is among the columns that the user names.
    """
    fields = zip(table.schema, table.columns, strict=True)
    return {field.name: _values(field.type, column) for field, column in fields if is_kept(field.name, named)}


def _values(kind: pa.DataType, column: pa.Array | pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    # The datasets library and pandas read an empty csv cell as null.
    if column.null_count and kind in (pa.string(), pa.large_string(), pa.string_view()):
        return ["" if value is None else value for value in values]
    return values


@contextmanager
def _opened(path: str, form: str) -> Iterator[Any]:
    """Open a file of this form; all errors that it causes become a `DataError` that names it."""
    try:
        with open_bytes(path) as file:
            yield _open_as(form)(file)
    except DataError:
        raise
    # Names that are not UTF-8, times that Python cannot represent, and damaged sizes raise other errors than Arrow's.
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError, MemoryError) as error:
        raise DataError(f"{path} cannot be read as {form}: {str(error) or type(error).__name__}") from error


def _open_as(form: str) -> Any:
    if form == PARQUET:
        from pyarrow.parquet import ParquetFile  # which other formats need not wait for

        return ParquetFile
    return {ARROW_FILE: pa.ipc.open_file, ARROW_STREAM: pa.ipc.open_stream}[form]


def _check_size(path: str, metadata: "FileMetaData") -> None:
    """Refuse rows that would be far larger than their file, before any of them is read."""
    limit = max(_SMALL_GROUP, _MOST_TIMES_LARGER * Path(path).stat().st_size)
    size = max((metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0)
    if size > limit:
        raise DataError(
            f"{path}: its rows become {size >> 20} MB when they are decompressed, more than {_MOST_TIMES_LARGER} "
            "times the size of the file; if this is intended, write the file without compression"
        )


def _known_columns(path: str, schema: pa.Schema) -> KnownColumns:
    """Return the columns of a file of the datasets library; none if something else wrote it."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    from bert_multilabel.data.class_labels import columns_in_schema  # the library takes longer than most files

    return columns_in_schema(path, schema)


def _record_batches(file: Any, form: str) -> Iterator[pa.RecordBatch]:
    """Yield batches of few rows each."""
    if form == PARQUET:
        yield from file.iter_batches(BATCH_SIZE)
        return
    batches = file if form == ARROW_STREAM else map(file.get_batch, range(file.num_record_batches))
    for batch in batches:
        batch.validate(full=True)  # a damaged file would otherwise end the process
        for start in range(0, batch.num_rows, BATCH_SIZE):
            yield batch.slice(start, BATCH_SIZE)
