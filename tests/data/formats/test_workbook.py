import datetime
import importlib.util
import pickle
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import workbook
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError, MissingDependencyError

SPEC = DataSpec()
HEADER = ["text", "labels"]


@pytest.fixture
def save(tmp_path):
    """Write the rows of each sheet and return the path."""
    openpyxl = pytest.importorskip("openpyxl")

    def save_book(sheets, name="a.xlsx"):
        return save_sheets(openpyxl, sheets, tmp_path / name)

    return save_book


def save_sheets(openpyxl, sheets, path):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return str(path)


def open_file(path, spec=SPEC):
    return workbook.read(take_sample(path, spec), spec)


def rows_in(reader):
    return [
        dict(zip(batch.columns, cells, strict=True))
        for batch in reader.batches()
        for cells in zip(*batch.columns.values(), strict=True)
    ]


@pytest.mark.skipif(importlib.util.find_spec("openpyxl") is not None, reason="openpyxl is installed")
def test_without_openpyxl_what_installs_it_is_told(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(
        MissingDependencyError, match=r"a.xlsx needs the package openpyxl: pip .*'bert-multilabel\[xlsx\]'"
    ):
        open_file(str(path))


def test_all_cells_are_texts(save):
    day = datetime.datetime(2024, 5, 17)
    rows = [["text", "price", "late", "paid", "at"], ["Too hot", 1.0, 0, 12.5, day], ["007", None, True, "1e3", None]]
    reader = open_file(save({"Reviews": rows}))
    assert reader.said == "the sheet 'Reviews' of a workbook"
    assert rows_in(reader) == [
        {"text": "Too hot", "price": "1", "late": "0", "paid": "12.5", "at": "2024-05-17 00:00:00"},
        {"text": "007", "price": "", "late": "True", "paid": "1e3", "at": ""},
    ]
    assert rows_in(pickle.loads(pickle.dumps(reader))) == rows_in(reader)
    assert list(reader.known_columns) == rows[0]


def test_rows_know_their_place_in_the_sheet(save):
    reader = open_file(save({"a": [[], HEADER, ["good", "price"], [None, " "], ["bad"]]}))
    assert rows_in(reader) == [{"text": "good", "labels": "price"}, {"text": "bad", "labels": ""}]
    assert reader.lines([1, 2]) == {1: 3, 2: 5}


def test_empty_sheets_do_not_count(save):
    assert rows_in(open_file(save({"Sheet1": [], "a": [HEADER, ["x", "y"]]}))) == [{"text": "x", "labels": "y"}]


def test_several_sheets_are_asked_for(save):
    path = save({"train": [HEADER, ["a", "x"]], "test": [HEADER, ["b", "y"]]})
    with pytest.raises(DataError, match="has several sheets: 'train', 'test'; choose one, such as --rows_key 'train'"):
        open_file(path)
    assert rows_in(open_file(path, DataSpec(rows_key="test"))) == [{"text": "b", "labels": "y"}]
    with pytest.raises(DataError, match="has no sheet 'dev'; its sheets are 'train', 'test'"):
        open_file(path, DataSpec(rows_key="dev"))


def test_a_first_column_without_a_name_is_left_out(save):
    path = save({"a": [[None, " text "], [0, "good"], [1, "bad"]]})
    assert rows_in(open_file(path)) == [{"text": "good"}, {"text": "bad"}]


def test_columns_may_be_named_by_the_user(save):
    path = save({"a": [["good", "price"], ["bad"]]})
    assert rows_in(open_file(path, DataSpec(column_names=HEADER))) == [
        {"text": "good", "labels": "price"},
        {"text": "bad", "labels": ""},
    ]
    with pytest.raises(DataError, match="2 columns where 1 are named"):
        open_file(path, DataSpec(column_names=["text"]))


def test_a_row_that_is_longer_than_the_header_is_a_problem(save):
    (batch,) = open_file(save({"a": [HEADER, ["good", "price", "see above"], ["bad"]]})).batches()
    assert batch.problems == {1: "3 cells where the header has 2; name the columns of all cells"}
    assert batch.numbers == [2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "a.xlsx has no rows"),
        ([["text", None, "labels"]], "column 2 has no name"),
        ([["text", "text"]], "column name 'text' occurs twice"),
    ],
)
def test_sheets_that_cannot_be_used(save, rows, message):
    with pytest.raises(DataError, match=message):
        open_file(save({"a": rows}))


def test_a_workbook_is_recognized_by_its_content(save, tmp_path):
    assert workbook.recognizes(take_sample(save({"a": [HEADER]}, "book"), SPEC), SPEC) == "it holds xl/workbook.xml"
    with zipfile.ZipFile(tmp_path / "other", "w") as archive:
        archive.writestr("a.csv", "text")
    (tmp_path / "cut").write_bytes(b"PK\x03\x04")
    for name in ("other", "cut"):
        assert workbook.recognizes(take_sample(str(tmp_path / name), SPEC), SPEC) is None


_CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(
    lambda text: not text.startswith("=") and text.isprintable()
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(_CELLS.filter(str.strip), _CELLS), min_size=1, max_size=5))
def test_any_texts_come_back(tmp_path_factory, rows):
    openpyxl = pytest.importorskip("openpyxl")
    path = save_sheets(openpyxl, {"a": [HEADER, *rows]}, tmp_path_factory.mktemp("rows") / "a.xlsx")
    expected = [{"text": text, "labels": labels if labels.strip() else ""} for text, labels in rows]
    assert rows_in(open_file(path)) == expected


@settings(max_examples=100, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, changes):
    openpyxl = pytest.importorskip("openpyxl")
    path = save_sheets(openpyxl, {"a": [HEADER, ["good", "price"]]}, tmp_path_factory.mktemp("bytes") / "a.xlsx")
    with open(path, "r+b") as file:
        content = bytearray(file.read())
        for place, byte in changes:
            content[int(place * len(content))] = byte
        file.seek(0)
        file.write(content)
    try:
        rows_in(open_file(path))
    except DataError as error:
        assert path in str(error)
