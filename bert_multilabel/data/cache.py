"""Rows that are made once, lie on disk and are mapped into memory from there, so that there may be more than fit.

They lie beside what the datasets library stores (`HF_DATASETS_CACHE`), under a name that stands for all that decides
what they are: the same rows are not made again, and others never taken for them. The folder may go at any time.
"""

import hashlib
import json
import os
import pickle
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset, Features
from filelock import FileLock
from transformers.utils import logging

from bert_multilabel.utils.files import explain_write_errors, from_source, fsync

logger = logging.get_logger(__name__)

FOLDER = "bert_multilabel"
ROWS_AT_A_TIME = 1000
# A length of 0 where the next part would begin.
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def stored_rows(made_from: Mapping[str, Any] | None, batches: Iterable[dict[str, Any]], features: Features) -> Dataset:
    """Return rows from disk, where they are put first if they are not there yet.

    Args:
        made_from: All that decides what the rows are, beside the code of this package; as JSON values. None if that
            cannot be told: then the rows are held in memory.
        batches: Columns of some rows each; gone through only if the rows are not there yet. If that fails, the next
            call begins anew.
        features: The types of the columns.

    Raises:
        FileError: If they cannot be written.
    """
    if made_from is None:
        table = pa.Table.from_batches(_record_batches(batches, features), features.arrow_schema)
        return Dataset(table)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / FOLDER
    key = json.dumps({**made_from, "code": code_digest()}, sort_keys=True)
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.arrow"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # of several processes, one makes the rows
        if path.exists() and not _is_whole(path):
            logger.warning(f"{path} is not whole: its rows are made anew")
            path.unlink()
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            schema = features.arrow_schema
            try:
                with explain_write_errors(path):
                    with pa.OSFile(str(unfinished), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
                        for batch in from_source(_record_batches(batches, features)):
                            stream.write_batch(batch)
                    fsync(unfinished)
                    unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)  # after a bad row, which will have another name once it is mended
    return Dataset.from_file(str(path))


def mapped_anew(rows: Dataset) -> Dataset:
    """Return the same rows for going through all of them, once.

    Pages of a file that were read count as this process's memory for as long as the file is mapped. Through a mapping
    of their own, which pickling makes, they are given back at the end.
    """
    if not rows.cache_files:  # held in memory, and given back with all who hold them
        return rows
    anew: Dataset = pickle.loads(pickle.dumps(rows))  # of rows on disk, where they lie is what is pickled
    return anew


def rows_digest(rows: Dataset) -> str:
    """Return what tells rows from others: SHA-256 of all that they hold, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(rows.features.to_dict()).encode())
    for table in mapped_anew(rows).with_format("arrow").iter(batch_size=ROWS_AT_A_TIME):
        for batch in table.combine_chunks().to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether a file of rows has the end that is written last: cut between two parts, it would read as fewer rows."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_END_OF_STREAM)))
        return file.read() == _END_OF_STREAM


def _record_batches(batches: Iterable[dict[str, Any]], features: Features) -> Iterable[pa.RecordBatch]:
    return (pa.RecordBatch.from_pydict(batch, schema=features.arrow_schema) for batch in batches)


@cache
def code_digest() -> str:
    """Return what tells the code of this package from that of other versions, released or not."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
