"""Recognizes the format of a file by what is in it, and opens it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain, islice
from types import ModuleType
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, KnownColumns, Reader, rows_in_batches
from bert_multilabel.data.values import BadValue, shorten
from bert_multilabel.errors import DataError

from .questions import LABELS
from .sample import Sample, take_sample

# In the order in which they are tried; the last takes any text with columns.
CONTAINERS = ("refused", "columnar", "workbook", "fasttext", "json_rows", "libmultilabel", "comprehend", "delimited")
EXPORTS = ("doccano", "label_studio", "prodigy", "argilla", "spacy_cats", "lighttag", "chat")
_ROWS_LOOKED_AT = 100


@dataclass(frozen=True, kw_only=True)
class ExportReader:
    """Reads the rows of an annotation tool as plain rows with text and labels.

    Attributes:
        rows: Reads the rows as they are in the file.
        path: Of the file.
        export: Name of the module that knows what they mean.
        spec: What is known about the data, and how this export is read.
        label_column: What the column of the labels is called.
        kept: Columns of the file that plain rows have, too.
        said: What was recognized.
    """

    rows: Reader
    path: str
    export: str
    spec: DataSpec
    label_column: str = LABELS
    kept: tuple[str, ...] = ()
    said: str
    known_columns: KnownColumns = field(default_factory=dict)

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the plain rows; those of several annotators have the same number."""
        read = _module(self.export).read
        for batch in self.rows.batches():
            plain: list[tuple[int, Mapping[str, Any] | str]] = list(batch.problems.items())
            left_out = 0
            for number, row in zip(batch.numbers, _in_rows(batch), strict=True):
                try:
                    judgements = read(row, self.spec)
                except BadValue as error:
                    plain.append((number, f"column {error.column!r}: {error}"))
                    continue
                except DataError as error:
                    raise DataError(f"{self.path}, row {number}: {error}") from error
                left_out += not judgements
                plain += [(number, self._plain_row(row, judgement)) for judgement in judgements]
            # Judgements on one text stay in one batch.
            yield next(rows_in_batches(plain, len(plain) + 1), Batch([], {}))._replace(left_out=left_out)

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the lines of the file on which rows start."""
        return self.rows.lines(numbers)

    def _plain_row(self, row: Any, judgement: dict[str, Any]) -> dict[str, Any]:
        kept = {name: row[name] for name in self.kept if isinstance(row, dict) and name in row}
        return kept | {self.label_column if key == LABELS else key: value for key, value in judgement.items()}


def open_file(path: str, spec: DataSpec) -> Reader:
    """Recognize the format of a file, and return its reader.

    Raises:
        DataError: If the file cannot be read, or has no known format.
    """
    sample = take_sample(path, spec)
    for name in CONTAINERS:
        container = _module(name)
        if container.recognizes(sample, spec) is not None:
            reader: Reader = container.read(sample, spec)
            return _as_export(path, reader, spec)
    raise DataError(
        f"cannot read {path!r}: it is none of csv, tsv, json, jsonl, parquet, Arrow and xlsx, and no export of an "
        f"annotation tool; it begins with {shorten(sample.first or sample.kind)}{_advice(sample)}"
    )


def _advice(sample: Sample) -> str:
    """Say how a file of one text per line becomes a table of a single column; "" if it holds no such lines."""
    is_prose = sample.first and not sample.first.startswith(("{", "[", "<"))
    return "; if each line of it is a text, insert a first line that is just the word text" if is_prose else ""


def _as_export(path: str, reader: Reader, spec: DataSpec) -> Reader:
    rows = list(islice(chain.from_iterable(map(_in_rows, reader.batches())), _ROWS_LOOKED_AT))
    for name in EXPORTS if rows else ():
        export = _module(name)
        if (reason := export.recognizes(rows)) is not None:
            if not {*spec.label_columns} <= {LABELS, *getattr(export, "LABEL_COLUMNS", spec.label_columns)}:
                return reader  # other labels are wanted than those of the tool
            return ExportReader(
                rows=reader,
                path=path,
                export=name,
                spec=_prepared(path, export, rows, spec),
                label_column=next(iter(spec.label_columns), LABELS),
                kept=(*spec.text_columns, *filter(None, (spec.text_pair_column, spec.id_column))),
                said=f"{reader.said}, an export of {export.NAME} ({reason})",
            )
    return reader


def _prepared(path: str, export: ModuleType, rows: list[Any], spec: DataSpec) -> DataSpec:
    if not hasattr(export, "prepare"):
        return spec
    try:
        prepared: DataSpec = export.prepare(rows, spec)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return prepared


def _in_rows(batch: Batch) -> Iterator[Any]:
    """Yield the rows of a batch without missing values; rows that were lists in JSON become lists again."""
    names = list(batch.columns)
    are_lists = names == [str(index) for index in range(len(names))]
    for cells in zip(*batch.columns.values(), strict=True):
        row = {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        yield list(cells) if are_lists else row


def _module(name: str) -> ModuleType:
    return import_module(f"{__package__}.{name}")
