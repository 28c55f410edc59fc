"""Reads the csv files of Amazon Comprehend: no header; labels joined by "|", then the text."""

from collections.abc import Collection
from functools import partial

from bert_multilabel.data.label_cells import NULL_WORDS
from bert_multilabel.data.spec import DataSpec

from . import delimited
from .delimited import Dialect
from .headerless import LabelsReader, are_labels_and_texts, sampled_columns
from .sample import Sample

_SEPARATOR = "|"
_OTHER_SEPARATORS = frozenset(";,#\n\t")
_COLUMNS = ["labels", "text"]


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Recognize a file by its two columns, unless these are named: labels that repeat, and sentences."""
    columns = [] if spec.column_names else sampled_columns(sample, Dialect(separator=","))
    if len(columns) != 2:
        return None
    cells, texts = columns
    labels = [_split(cell) for cell in cells]
    if any(not _OTHER_SEPARATORS.isdisjoint(cell) for cell in cells) or not are_labels_and_texts(labels, texts):
        return None
    return f"each line holds labels that repeat, joined by {_SEPARATOR!r}, and a text, separated by ','"


def read(sample: Sample, spec: DataSpec) -> LabelsReader:
    """Return the reader of a file of Comprehend.

    Raises:
        DataError: If the quoting is broken.
    """
    table = delimited.read(sample, DataSpec(column_names=_COLUMNS, encoding=spec.encoding))
    said = f"Amazon Comprehend: no header line; labels separated by {_SEPARATOR!r}, and text, {table.said}"
    return LabelsReader(table, partial(_split, names=frozenset(spec.label_names or ())), said)


def _split(cell: str, names: Collection[str] = ()) -> list[str]:
    """Return the labels in a cell: none if it is blank or a word for "nothing" that is no known name."""
    cell = cell.strip()
    if not cell or cell in NULL_WORDS and cell not in names:
        return []
    return cell.split(_SEPARATOR)
