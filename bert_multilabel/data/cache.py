"""Examples that are computed once and memory-mapped from `HF_DATASETS_CACHE`: there may be more than fit into memory.

The name of a file is a digest of everything that it was computed from. It may be deleted at any time; files that no
run has used for `DAYS_KEPT` days are deleted when others are written.
"""

import hashlib
import json
import logging
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from filelock import FileLock
from huggingface_hub import constants
from numpy.typing import NDArray

from bert_multilabel.utils.files import atomic_write, explain_write_errors, from_source, fsync
from bert_multilabel.utils.hashing import json_digest, software_digest

from .arrow import as_numbers
from .table import BATCH_SIZE

if TYPE_CHECKING:  # its import takes longer than many a command
    from datasets import Dataset, Features

logger = logging.getLogger(__name__)

FOLDER = "bert_multilabel"
DAYS_KEPT = 30
_AT_A_TIME = 10_000  # examples, of one column
# Ends an Arrow stream: a length of 0 where the next batch would begin.
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def cached_examples(
    computed_from: Mapping[str, Any] | None, batches: Iterable[dict[str, Any]], features: "Features"
) -> "Dataset":
    """Return examples from the cache, see `cached_rows`."""
    return as_dataset(cached_rows(computed_from, batches, features.arrow_schema))


def as_dataset(rows: Path | pa.Table) -> "Dataset":
    """Return what `cached_rows` returned as a dataset."""
    from datasets import Dataset

    return Dataset(rows) if isinstance(rows, pa.Table) else Dataset.from_file(str(rows))


def as_table(rows: Path | pa.Table) -> pa.Table:
    """Return what `cached_rows` returned as a table, memory-mapped from its file."""
    return rows if isinstance(rows, pa.Table) else pa.ipc.open_stream(pa.memory_map(str(rows))).read_all()


def cached_rows(
    computed_from: Mapping[str, Any] | None, batches: Iterable[dict[str, Any]], schema: pa.Schema
) -> Path | pa.Table:
    """Return the file in the cache that holds examples, after computing and storing them if they are not there yet.

    Args:
        computed_from: JSON values that, with code and library versions, determine the examples; None if they are
            unknown: then the examples are held in memory.
        batches: Columns of some examples each, read only if they are not cached. If that fails, nothing is stored.
        schema: The types of the columns.

    Returns:
        An Arrow stream; or a table in memory if nothing is known that decides the examples.

    Raises:
        FileError: If the examples cannot be written.
    """
    record_batches = (pa.RecordBatch.from_pydict(batch, schema=schema) for batch in batches)
    if computed_from is None:
        return pa.Table.from_batches(record_batches, schema)

    def write(path: Path) -> None:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            for batch in from_source(record_batches):
                stream.write_batch(batch)

    return cached_file(computed_from, ".arrow", write, _is_complete)


def cached_file(
    computed_from: Mapping[str, Any],
    suffix: str,
    write: Callable[[Path], None],
    is_complete: Callable[[Path], bool] = Path.exists,
) -> Path:
    """Return a file in the cache, after writing it if it is not there yet.

    Args:
        computed_from: JSON values that, with code and library versions, determine its content.
        suffix: Of its name.
        write: Writes the file. If that fails, nothing is stored.
        is_complete: Whether a file that was found is whole; if not, it is written again.

    Raises:
        FileError: If it cannot be written.
    """
    path = _path(computed_from, suffix)
    with FileLock(path.with_suffix(".lock")):  # of several processes, one writes
        if path.exists() and not is_complete(path):
            logger.warning(f"{path} is incomplete: it is made again")
            path.unlink()
        if not path.exists():
            _remove_unused(path.parent)
            unfinished = path.with_suffix(".unfinished")
            try:
                with explain_write_errors(path):
                    write(unfinished)
                    fsync(unfinished)
                    unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)  # after a bad row: the corrected file will have another digest
        os.utime(path)
    return path


def cached_json(computed_from: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """Return a JSON value from the cache, after computing and storing it if it is not there yet."""
    path = _path(computed_from, ".json")
    with FileLock(path.with_suffix(".lock")):  # of several processes, one computes and writes the value
        with suppress(OSError, ValueError):  # missing or damaged
            stored = json.loads(path.read_text(encoding="utf-8"))
            os.utime(path)
            return stored
        value = compute()
        with explain_write_errors(path), atomic_write(path) as file:
            json.dump(value, file)
    return json.loads(json.dumps(value))


def reopen_memory_map(dataset: "Dataset") -> "Dataset":
    """Return the same examples in a new memory map, for one pass over all of them.

    Pages that were read count as memory of this process until their map is closed; the new one is closed after the
    pass. A dataset on disk is pickled as the paths of its files, so unpickling opens a new map.
    """
    reopened: Dataset = pickle.loads(pickle.dumps(dataset)) if dataset.cache_files else dataset
    return reopened


def column_batches(dataset: "Dataset", name: str) -> Iterator[NDArray[Any]]:
    """Yield the numbers of a column in batches: (B,), or (B, L) of lists of equal length."""
    for table in reopen_memory_map(dataset).select_columns(name).with_format("arrow").iter(batch_size=_AT_A_TIME):
        yield as_numbers(table[name])


def dataset_digest(dataset: "Dataset") -> str:
    """Return the SHA-256 of the column types and all values of a dataset, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(dataset.features.to_dict()).encode())
    for table in reopen_memory_map(dataset).with_format("arrow").iter(batch_size=BATCH_SIZE):
        for batch in table.combine_chunks().to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()


def _path(computed_from: Mapping[str, Any], suffix: str) -> Path:
    folder = _datasets_cache() / FOLDER
    path = folder / f"{json_digest({**computed_from, 'software': software_digest()})}{suffix}"
    with explain_write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
    return path


def _datasets_cache() -> Path:
    """Return the folder that the datasets library keeps its files in, without importing it for this."""
    if (config := sys.modules.get("datasets.config")) is not None:
        return Path(config.HF_DATASETS_CACHE)
    return Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME) / "datasets"))


def _remove_unused(folder: Path) -> None:
    """Remove files that were not used for long; a process that still reads them keeps them open."""
    limit = time.time() - DAYS_KEPT * 86_400
    for path in folder.iterdir():
        with suppress(OSError):  # another process removes it, or on Windows reads it
            if path.stat().st_mtime < limit:
                path.unlink()


def _is_complete(path: Path) -> bool:
    """Whether a file ends like an Arrow stream; truncated between two batches, it would read as fewer examples."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_END_OF_STREAM)))
        return file.read() == _END_OF_STREAM
