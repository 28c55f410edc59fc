"""Reads the files of LibMultiLabel: no header; perhaps an id, then labels joined by blanks, then the text, by tabs."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from bert_multilabel.data.spec import DataSpec

from .delimited import DelimitedReader, Dialect, Quoting
from .headerless import LabelsReader, are_labels_and_texts, sampled_columns
from .sample import Sample

_DIALECT = Dialect(separator="\t", quoting=Quoting.NONE)


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Recognize a file by its columns, unless these are named: labels that repeat, and sentences."""
    columns = [] if spec.column_names else sampled_columns(sample, _DIALECT)
    if len(columns) not in (2, 3):
        return None
    *ids, cells, texts = columns
    labels = [cell.split() for cell in cells]
    if ids and len({*ids[0]}) < len(ids[0]) or not are_labels_and_texts(labels, texts) or _has_phrases(cells):
        return None
    return f"each line holds {'an id, ' * len(ids)}labels and a text, separated by tabs, and the labels repeat"


def read(sample: Sample, spec: DataSpec) -> LabelsReader:
    """Return the reader of a file of LibMultiLabel."""
    has_ids = len(next(filter(None, _DIALECT.records(sample.lines)), [])) > 2
    table = DelimitedReader(
        path=sample.path,
        encoding=sample.encoding,
        dialect=_DIALECT,
        names=["id", "labels", "text"] if has_ids else ["labels", "text"],
        has_header=False,
    )
    said = "LibMultiLabel: no header line; " + "id, " * has_ids + "labels separated by blanks, and text"
    return LabelsReader(table, str.split, said)


def _has_phrases(cells: Iterable[str]) -> bool:
    """Whether cells of several words seem to be one label each: few of their words are in other cells."""
    distinct = {tuple(cell.split()) for cell in cells}
    cells_with = Counter(chain.from_iterable(map(set, distinct)))
    together = [word for words in distinct if len(words) > 1 for word in words]
    return bool(together) and 2 * sum(cells_with[word] > 1 for word in together) <= len(together)
