"""Parquet files: they give every row, in order, or a `DataError`."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, List, Value

from bert_multilabel.data.reading import read_files
from bert_multilabel.errors import DataError

from .expectations import check_message, write


def _seeds() -> list[bytes]:
    columns = {"text": ["good", "bad", None], "labels": [["a"], [], None], "id": [1, 2, 3]}
    tables = [
        pa.table(columns),
        pa.table({"text": pa.array(["a", "b"]).dictionary_encode(), "at": pa.array([0, 2**62], pa.timestamp("us"))}),
        pa.table({"text": pa.array([b"a", b"\xff"]), "s": [{"x": 1}, None], "d": pa.array([1, 2], pa.duration("ns"))}),
    ]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["a", "b"]))})
    rows = Dataset.from_dict({"text": ["good", "bad"], "labels": [[0], [0, 1]]}, features=features)
    files = []
    for compression in ("none", "snappy", "zstd"):
        for table in tables:
            file = io.BytesIO()
            pq.write_table(table, file, compression=compression)
            files.append(file.getvalue())
    file = io.BytesIO()
    rows.to_parquet(file)
    return [*files, file.getvalue()]


SEEDS = _seeds()


def run(data: bytes) -> None:
    """Read a file as a split."""
    try:
        table = read_files({"train": write("rows.parquet", data)})["train"]
        rows = list(table)
        table.id_names("labels")
    except DataError as error:
        check_message(error)
    else:
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
