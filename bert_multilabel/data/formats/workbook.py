"""Reads workbooks of Excel (.xlsx). All cells become texts, as in csv."""

import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any
from warnings import catch_warnings, simplefilter

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, KnownColumns, Reader, kept_names, rows_in_batches
from bert_multilabel.data.values import few, shorten
from bert_multilabel.errors import DataError
from bert_multilabel.utils.extras import check_installed

from .sample import Sample, open_bytes

_SUFFIXES = (".xlsx", ".xlsm")


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Return why this is a workbook, or None."""
    if sample.suffix in _SUFFIXES:
        return f"its extension is {sample.suffix}"
    if sample.kind == "zip" and _holds_workbook(sample.path):
        return "it holds xl/workbook.xml"
    return None


def read(sample: Sample, spec: DataSpec) -> Reader:
    """Return the reader of the one sheet that has rows, or of the sheet that `spec.rows_key` names.

    Raises:
        DataError: If it is damaged, has several sheets with rows, or columns without names.
        MissingDependencyError: If openpyxl is not installed.
    """
    check_installed(f"reading {sample.path}", "xlsx")
    with _opened(sample.path) as book:
        sheet = _choose_sheet(sample.path, book, spec.rows_key)
        _, header = next(_filled_rows(book[sheet]), (1, []))
    names = spec.column_names or [*map(str.strip, header)]
    if len(header) > len(names):
        advice = "name each column of the sheet in --column_names"
        raise DataError(f"{sample.path}: {len(header)} columns where {len(names)} are named; {advice}")
    kept = kept_names(sample.path, names, spec.column_names or spec.named_columns)
    return WorkbookReader(path=sample.path, sheet=sheet, names=kept, has_header=spec.column_names is None)


@dataclass(frozen=True, kw_only=True)
class WorkbookReader:
    """Reads one sheet of a workbook.

    Attributes:
        path: Of the file.
        sheet: Its name.
        names: The names of all columns; None for those that are left out.
        has_header: Whether the first row holds the names.
    """

    path: str
    sheet: str
    names: list[str | None]
    has_header: bool

    @property
    def said(self) -> str:
        """What was recognized."""
        return f"the sheet {shorten(self.sheet)} of a workbook"

    @property
    def known_columns(self) -> KnownColumns:
        """All columns, which hold texts."""
        return dict.fromkeys(filter(None, self.names))

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        return rows_in_batches((number, self._row(cells)) for number, (_, cells) in enumerate(self._rows(), 1))

    def lines(self, numbers: Collection[int]) -> Mapping[int, int]:
        """Return the rows of the sheet, which Excel numbers from 1."""
        return {number: line for number, (line, _) in enumerate(self._rows(), 1) if number in numbers}

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        with _opened(self.path) as book:
            yield from islice(_filled_rows(book[self.sheet]), int(self.has_header), None)

    def _row(self, cells: list[str]) -> dict[str, str] | str:
        if len(cells) > len(self.names):
            return f"{len(cells)} cells where the header has {len(self.names)}; name the columns of all cells"
        return {name: cell for name, cell in zip_longest(self.names, cells, fillvalue="") if name is not None}


def _holds_workbook(path: str) -> bool:
    try:
        with open_bytes(path) as file, zipfile.ZipFile(file) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (DataError, ValueError, NotImplementedError):
        return False


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a workbook; all errors that it causes become a `DataError` that names it."""
    import openpyxl

    try:
        with open_bytes(path) as file, catch_warnings():
            simplefilter("ignore")  # of styles and other things that hold no rows
            with closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
                yield book
    except DataError:
        raise
    except Exception as error:  # whatever the parsers of zip and XML raise
        raise DataError(f"{path} cannot be read as xlsx: {error}; save it as xlsx or csv again") from error


def _choose_sheet(path: str, book: Any, rows_key: str | None) -> str:
    names: list[str] = [sheet.title for sheet in book.worksheets]
    if rows_key in names:
        return rows_key
    if rows_key is not None:
        raise DataError(f"{path} has no sheet {rows_key!r}; its sheets are {few(names)}")
    filled = [name for name in names if any(_filled_rows(book[name]))]
    if not filled:
        raise DataError(f"{path} has no rows")
    if len(filled) > 1:
        raise DataError(
            f"{path} has several sheets: {few(filled)}; choose one, such as --rows_key {shorten(filled[0])}"
        )
    return filled[0]


def _filled_rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank as texts, each with its number and without empty cells at its end."""
    sheet.reset_dimensions()  # some programs write wrong ones, and rows would be lost
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        texts = list(map(_as_text, cells))
        while texts and not texts[-1].strip():
            texts.pop()
        if texts:
            yield number, texts


def _as_text(cell: Any) -> str:
    if cell is None:
        return ""
    # Excel knows one kind of number.
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
