"""Writes clean examples as JSON lines that can be read without options."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bert_multilabel.data.arrow import as_numbers
from bert_multilabel.data.clean import load_tables
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import BATCH_SIZE
from bert_multilabel.errors import DataError
from bert_multilabel.utils.files import write_json_lines


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        rows: Number of rows.
        label_names: Names of the L labels.
        unused: The labels that no row has.
        holds_numbers: Whether the labels are written as numbers by name, since some are no 0 or 1.
    """

    rows: int
    label_names: list[str]
    unused: list[str]
    holds_numbers: bool


def convert_file(path: str, output: Path, spec: DataSpec) -> Converted:
    """Read a file of examples, and write them as rows such as `{"text": "...", "labels": ["gift"], "id": 7}`.

    If some labels are soft or not annotated, those of all rows are numbers by name, with null for "not annotated".

    Args:
        path: File, folder or pattern of files in any form that can be trained on.
        output: File to write, which is replaced.
        spec: What is known about the data.

    Raises:
        DataError: If the examples cannot be read, are bad, or could mean two things.
        FileError: If the file cannot be written.
    """
    loaded = load_tables(spec, {"train": path})
    examples, names = loaded.splits["train"], loaded.label_names
    if names is None or not len(examples):
        raise DataError(f"{path} has no labelled rows to convert")
    holds_numbers, positives = _find_numbers(examples, len(names))
    write_json_lines(output, _rows(examples, names, holds_numbers))
    unused = [name for name, is_used in zip(names, positives, strict=True) if not is_used]
    return Converted(len(examples), names, unused, holds_numbers)


def _find_numbers(examples: pa.Table, count: int) -> tuple[bool, NDArray[Any]]:
    """Return whether some labels are neither 0 nor 1, and whether each label is positive in some row, (L,)."""
    found, positives = False, np.zeros(count, bool)
    for batch in examples.select(["labels"]).to_batches(BATCH_SIZE):
        labels = as_numbers(pa.chunked_array([batch["labels"]]))  # (B, L)
        found = found or not np.isin(labels, (0, 1)).all()
        positives |= (labels > 0).any(axis=0)
    return found, positives


def _rows(examples: pa.Table, names: list[str], holds_numbers: bool) -> Iterator[dict[str, Any]]:
    for batch in examples.to_batches(BATCH_SIZE):
        columns = {name: batch[name].to_pylist() for name in examples.column_names}
        columns["labels"] = as_numbers(pa.chunked_array([batch["labels"]]))  # (B, L)
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(columns, values, strict=True))
            yield {
                "text": row["text"],
                **({"text_pair": row["pair"]} if "pair" in row else {}),
                "labels": _numbers(row["labels"], names) if holds_numbers else _positive(row["labels"], names),
                **({"id": row["id"]} if row.get("id") is not None else {}),
            }


def _positive(labels: NDArray[Any], names: list[str]) -> list[str]:
    return [names[index] for index in labels.nonzero()[0]]


def _numbers(labels: NDArray[Any], names: list[str]) -> dict[str, float | None]:
    """Return the labels by name, with as few digits as a float32 needs: 0.9 and not 0.8999999761581421."""
    found = {}
    for name, number in zip(names, labels, strict=True):
        short = int(number) if number in (0, 1) else float(str(number))
        found[name] = None if np.isnan(number) else short
    return found
