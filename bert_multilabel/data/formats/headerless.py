"""What the formats without a header line have in common: a column of labels that repeat, and a column of sentences."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from bert_multilabel.data.columns import is_common_name
from bert_multilabel.data.table import Batch, KnownColumns

from .delimited import DelimitedReader, Dialect
from .sample import Sample

_SHARE_THAT_FITS = 0.95  # of the rows: some may be broken, and the last one cut
_WORDS_IN_A_TEXT = 3  # on average, at least


@dataclass(frozen=True)
class LabelsReader:
    """Reads a delimited file whose column `labels` holds several labels in each cell; see `Reader`.

    Attributes:
        table: Reads the cells as they are.
        split: Returns the labels in a cell.
        said: What was recognized.
    """

    table: DelimitedReader
    split: Callable[[str], list[str]]
    said: str

    @property
    def known_columns(self) -> KnownColumns:
        """The columns of the table."""
        return self.table.known_columns

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        for batch in self.table.batches():
            labels = [self.split(cell) for cell in batch.columns["labels"]]
            yield batch._replace(columns={**batch.columns, "labels": labels})

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines of the file on which rows start."""
        return self.table.lines(numbers)


def sampled_columns(sample: Sample, dialect: Dialect) -> list[tuple[str, ...]]:
    """Return the columns in a sample; none if rows have other numbers of fields, or the first line may be a header."""
    rows = [fields for fields in dialect.records(sample.lines, strict=False) if fields]
    fitting = [fields for fields in rows if len(fields) == len(rows[0])]
    if len(fitting) < _SHARE_THAT_FITS * len(rows) or not rows or any(map(is_common_name, rows[0])):
        return []
    return list(zip(*fitting, strict=True))


def are_labels_and_texts(labels: Sequence[list[str]], texts: Sequence[str]) -> bool:
    """Whether labels repeat and texts look like sentences, also those in the first line: it is no header."""
    rows_with = Counter(chain.from_iterable(map(set, labels)))
    first = next(filter(None, labels), None)
    if first is None or any(rows_with[label] < 2 for label in first):
        return False
    repeated = sum(count for count in rows_with.values() if count > 1)
    lengths = [len(text.split()) for text in texts]
    names = sum(len(name.split()) for name in chain.from_iterable(labels))
    are_sentences = sum(lengths) >= _WORDS_IN_A_TEXT * len(texts) and lengths[0] > 1
    return 2 * repeated >= rows_with.total() and are_sentences and 2 * names <= sum(lengths)
