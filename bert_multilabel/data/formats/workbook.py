"""Reads workbooks of Excel (.xlsx). All cells become texts, as in csv."""

import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any
from warnings import catch_warnings, simplefilter

from datasets import Features, Value

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Batch, Reader, rows_in_batches
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError
from bert_multilabel.utils.extras import check_installed

from .sample import Sample, open_bytes

_SUFFIXES = (".xlsx", ".xlsm")
_NAMES_SHOWN = 10
_ZIP = b"PK\x03\x04"
# A workbook is a zip file, which can be a bomb: sheets shrink 10 to 50 times.
_MOST_TIMES_LARGER, _SMALL_FILE = 200, 2**27


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Return why this is a workbook, or None."""
    if sample.suffix in _SUFFIXES:
        return f"its extension is {sample.suffix}"
    if sample.magic.startswith(_ZIP) and _holds_workbook(sample.path):
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
    names = _names(sample.path, header, spec.column_names)
    return WorkbookReader(path=sample.path, sheet=sheet, names=names, has_header=spec.column_names is None)


@dataclass(frozen=True, kw_only=True)
class WorkbookReader:
    """Reads one sheet of a workbook.

    Attributes:
        path: Of the file.
        sheet: Its name.
        names: The names of all columns; None for a first column of row numbers, which is left out.
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
    def features(self) -> Features:
        """All columns hold texts."""
        return Features({name: Value("string") for name in self.names if name is not None})

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
        cells += [""] * (len(self.names) - len(cells))
        return {name: cell for name, cell in zip(self.names, cells, strict=True) if name is not None}


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
            _check_size(path, file)
            with closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
                yield book
    except DataError:
        raise
    except Exception as error:  # whatever the parsers of zip and XML raise
        raise DataError(f"{path} cannot be read as xlsx: {error}; save it as xlsx or csv again") from error


def _check_size(path: str, file: Any) -> None:
    """Refuse a workbook that would be far larger than its file."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if size > max(_SMALL_FILE, _MOST_TIMES_LARGER * sum(entry.compress_size for entry in entries)):
        advice = "if this is intended, save it as csv"
        raise DataError(f"{path}: it becomes {size >> 20} MB when it is decompressed; {advice}")
    file.seek(0)


def _choose_sheet(path: str, book: Any, rows_key: str | None) -> str:
    names: list[str] = [sheet.title for sheet in book.worksheets]
    if rows_key is not None:
        if rows_key not in names:
            raise DataError(f"{path} has no sheet {rows_key!r}; its sheets are {_listed(names)}")
        return rows_key
    filled = [name for name in names if next(_filled_rows(book[name]), None) is not None]
    if not filled:
        raise DataError(f"{path} has no rows")
    if len(filled) > 1:
        advice = f"choose one, such as --rows_key {shorten(filled[0])}"
        raise DataError(f"{path} has several sheets: {_listed(filled)}; {advice}")
    return filled[0]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(shorten, names[:_NAMES_SHOWN])) + more


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


def _names(path: str, header: list[str], column_names: list[str] | None) -> list[str | None]:
    if column_names is not None:
        if len(header) > len(column_names):
            advice = "name each column of the sheet in --column_names"
            raise DataError(f"{path}: {len(header)} columns where {len(column_names)} are named; {advice}")
        return [*column_names]
    # pandas writes row numbers into a first column without a name.
    first = int(len(header) > 1 and header[0].strip() in ("", "Unnamed: 0"))
    names = [name.strip() for name in header[first:]]
    for position, (name, times) in enumerate(Counter(names).items(), 1 + first):
        if not name:
            raise DataError(f"{path}: column {position} has no name; give it one or remove it")
        if times > 1:
            raise DataError(f"{path}: column name {shorten(name)} occurs twice; rename one")
    return [*[None] * first, *names]
