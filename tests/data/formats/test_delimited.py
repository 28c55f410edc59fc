import csv
import gzip
import pickle
from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import delimited
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError
from tests import hostile
from tests.data.formats.any_bytes import reader_of_any_bytes

TWO_ROWS = "text,labels\ngood,price|quality\nbad,\n"
TWO_VALUES = [{"text": "good", "labels": "price|quality"}, {"text": "bad", "labels": ""}]


def reader_of(path, **spec):
    spec = DataSpec(**spec)
    return delimited.read(take_sample(path, spec), spec)


def values(reader):
    rows = []
    for batch in reader.batches():
        columns = list(batch.columns)
        rows += [dict(zip(columns, row, strict=True)) for row in zip(*batch.columns.values(), strict=True)]
    return rows


def without_blanks(row):
    return {name: cell.lstrip(" ") for name, cell in row.items()}


def problems(reader):
    return {number: problem for batch in reader.batches() for number, problem in batch.problems.items()}


def recognized(path, **spec):
    spec = DataSpec(**spec)
    return delimited.recognizes(take_sample(path, spec), spec)


# Dialects


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", TWO_ROWS, "csv separated by ','"),
        ("A.CSV", "\ufeff" + TWO_ROWS.replace("\n", "\r\n"), "csv separated by ','"),
        ("mac.csv", TWO_ROWS.replace("\n", "\r"), "csv separated by ','"),
        ("blank.csv", TWO_ROWS.replace("\n", "\n\n"), "csv separated by ','"),
        ("blanks.csv", "\n" + TWO_ROWS.replace("\n", "\n  \n"), "csv separated by ',', from line 2 on"),
        ("a.tsv", TWO_ROWS.replace(",", "\t"), "csv separated by a tab"),
        ("a.csv", TWO_ROWS.replace(",", "\t"), "csv separated by a tab"),
        ("a.tsv", TWO_ROWS, "csv separated by ','"),
        ("a.csv", TWO_ROWS.replace(",", ";"), "csv separated by ';'"),
        ("a.txt", 'text|labels\ngood|"price|quality"\nbad|\n', "csv separated by '|'"),
        ("excel.csv", "sep=;\r\n" + TWO_ROWS.replace(",", ";"), "csv separated by ';', from line 2 on"),
        ("excel.csv", '"sep=\t"\n' + TWO_ROWS.replace(",", "\t"), "csv separated by a tab, from line 2 on"),
        ("utf-16.csv", TWO_ROWS.encode("utf-16"), "csv separated by ','"),
        ("a.csv.gz", gzip.compress(TWO_ROWS.encode(), mtime=0), "csv separated by ','"),
        ("note.csv", "# exported 2024\n" + TWO_ROWS, "csv separated by ',', from line 2 on"),
        ("notes.csv", "\n# shop\n\n# 2024\n" + TWO_ROWS, "csv separated by ',', from line 5 on"),
        ("blanks.csv", TWO_ROWS.replace(",", " ,"), "csv separated by ','"),
        ("blanks.csv", 'text, labels\ngood, "price|quality"\nbad, ""\n', "csv separated by ','"),
        ("a.csv", "text;labels;\ngood;price|quality;\nbad;;\n", "csv separated by ';'"),
        ("a.csv", "text;labels\ngood;price|quality;\nbad;; ;\n", "csv separated by ';'"),
    ],
)
def test_dialects(write, name, content, said):
    reader = reader_of(write(name, content))
    assert [{name: cell.strip() for name, cell in row.items()} for row in values(reader)] == TWO_VALUES
    assert reader.said == said
    assert list(reader.known_columns) == ["text", "labels"]


@pytest.mark.parametrize(
    "content",
    [
        ",text,labels\n0,good,price|quality\n1,bad,\n",
        "Unnamed: 0,text,labels\n0,good,price|quality\n1,bad,\n",
        "__index_level_0__;text;labels\n0;good;price|quality\n1;bad;\n",
        '"","Unnamed: 0","text","labels"\n"0","0","good","price|quality"\n"1","1","bad",""\n',
    ],
)
def test_the_index_of_pandas_is_left_out(write, content):
    reader = reader_of(write("index.csv", content))
    assert values(reader) == TWO_VALUES
    assert list(reader.known_columns) == ["text", "labels"]
    assert reader.said.endswith(", index column left out")


def test_the_extension_decides_where_the_header_has_its_separator(write):
    content = "text;more,labels\na;b,c\nd;e;f,g\nh;i,j\n"
    assert list(reader_of(write("a.csv", content)).known_columns) == ["text;more", "labels"]
    assert list(reader_of(write("a.tsv", content)).known_columns) == ["text;more", "labels"]
    assert reader_of(write("a.txt", content.replace("d;e;f,g", "d;e,f,g"))).said == "csv separated by ';'"


def test_a_separator_in_quotes_splits_no_header(write):
    reader = reader_of(write("a.csv", '"text, in full";labels\n"good, cheap";price\n'))
    assert values(reader) == [{"text, in full": "good, cheap", "labels": "price"}]
    reader = reader_of(write("a.csv", 'labels;"text, in full"\nprice;good, cheap\n'))
    assert values(reader) == [{"labels": "price", "text, in full": "good, cheap"}]


def test_a_file_of_one_column_is_not_split(write):
    reader = reader_of(write("a.csv", 'text\nI want it, now; please\n"Two\nlines"\n'))
    assert values(reader) == [{"text": "I want it, now; please"}, {"text": "Two\nlines"}]
    assert reader.said == "csv of a single column"


def test_a_header_may_begin_with_a_hash(write):
    reader = reader_of(write("a.tsv", "# 2024\n#id\ttext\n#1\tgood\n2\tbad\n"))
    assert values(reader) == [{"#id": "#1", "text": "good"}, {"#id": "2", "text": "bad"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", '"text" "labels"\n"1" "a good, \\"new\\" one" "price"\n"3" "bad" ""\n'),
        ("a.txt", '"text" "labels"\n"1" "a good, ""new"" one" "price"\n"3" "bad" ""\n'),
        ("a.tsv", 'text\tlabels\n1\ta good, "new" one\tprice\n3\tbad\t\n'),
        ("a.csv", '"text","labels"\n"1","a good, ""new"" one","price"\n"3","bad",""\n'),
    ],
)
def test_the_row_names_of_r_are_left_out(write, name, content):
    path = write(name, content)
    assert recognized(path)
    reader = reader_of(path)
    assert values(reader) == [{"text": 'a good, "new" one', "labels": "price"}, {"text": "bad", "labels": ""}]
    assert reader.said.endswith(", index column left out")
    assert reader.lines([2]) == {2: 3}


def test_texts_with_bare_separators_are_no_row_names(write):
    for content in ("text,labels\ngood, I think,price\n3, not more,size\n", "id,text\n1,good, cheap\n2,bad, dear\n"):
        assert list(problems(reader_of(write("a.csv", content)))) == [1, 2]


def test_a_named_index_column_stays(write):
    path = write("a.csv", "Unnamed: 0,text\n7,good\n")
    assert values(reader_of(path, id_column="Unnamed: 0")) == [{"Unnamed: 0": "7", "text": "good"}]


def test_cells_stay_text(write):
    reader = reader_of(write("a.csv", "id,text,labels\n007,NA,null\n1e3,nan,None\n"))
    assert values(reader) == [
        {"id": "007", "text": "NA", "labels": "null"},
        {"id": "1e3", "text": "nan", "labels": "None"},
    ]
    assert list(reader.known_columns) == ["id", "text", "labels"]


def test_a_field_may_be_longer_than_the_csv_module_likes(write):
    text = "long " * 50_000
    assert values(reader_of(write("a.csv", f"text,labels\n{text},a\n")))[0]["text"] == text


# Quoting


def test_quotes_escaped_by_backslashes(write):
    content = 'text,labels\n"a \\"good\\" price, I think",price\n"in C:\\new, or \\\\\\"D\\"",gift\nC:\\,gift\n'
    reader = reader_of(write("spark.csv", content))
    assert values(reader) == [
        {"text": 'a "good" price, I think', "labels": "price"},
        {"text": 'in C:\\new, or \\"D"', "labels": "gift"},
        {"text": "C:\\", "labels": "gift"},
    ]
    assert reader.said == "csv separated by ',' with \\\" escaped by a backslash"


def test_blanks_before_quotes(write):
    reader = reader_of(write("a.csv", 'text,labels\ngood, "price,quality"\n"dear, and bad", ""\n'))
    assert values(reader) == [{"text": "good", "labels": "price,quality"}, {"text": "dear, and bad", "labels": ""}]


def test_quotes_that_quote_nothing(write):
    reader = reader_of(write("a.csv", 'text,labels\n"so" good,price\n5" wide,size\n'))
    assert values(reader) == [{"text": '"so" good', "labels": "price"}, {"text": '5" wide', "labels": "size"}]
    assert reader.said == "csv separated by ',' without quoting"


@pytest.mark.parametrize("separator", ["\t", ","])
def test_two_lone_quotes_swallow_no_rows(write, separator):
    lines = ["text,labels", "fine,room", '"clean at last,room', "cold,food", 'and never warm",food', "late,staff"]
    reader = reader_of(write("a.csv", "\n".join(lines).replace(",", separator)))
    assert [row["text"] for row in values(reader)] == ["fine", '"clean at last', "cold", 'and never warm"', "late"]
    assert "without quoting" in reader.said


def test_two_lone_quotes_in_neighbouring_lines_swallow_no_row_of_a_tsv(write):
    reader = reader_of(write("a.tsv", 'text\tlabels\n"clean at last\troom\nand warm"\tfood\n'))
    assert values(reader) == [{"text": '"clean at last', "labels": "room"}, {"text": 'and warm"', "labels": "food"}]


def test_lines_in_quotes_stay_one_text(write):
    reader = reader_of(write("a.csv", 'text,labels\n"Dear sir, or\nmadam, my room",room\n"one\ntwo\nthree",food\n'))
    assert [row["text"] for row in values(reader)] == ["Dear sir, or\nmadam, my room", "one\ntwo\nthree"]
    reader = reader_of(write("b.csv", '"text","labels"\n"a,\nb,\nc",room\n'))  # a program wrote these quotes
    assert [row["text"] for row in values(reader)] == ["a,\nb,\nc"]


def test_lone_quotes_are_told_where_no_reading_fits(write):
    lines = ["text\tlabels", "fine\troom", '"clean at last\troom', "cold\tfood", 'and never warm"\tfood', "late"]
    path = write("a.tsv", "\n".join(lines))
    with pytest.raises(DataError, match=r"a.tsv, row 2 \(line 3\): a quoted field goes over 3 lines, which have 2"):
        reader_of(path)


# Rows and lines


def test_rows_know_their_line(write):
    reader = reader_of(write("a.csv", '# 2024\ntext,labels\n"two\nlines",a\n\n  \nlast,b\nmore,a\n'))
    assert [list(batch.numbers) for batch in reader.batches()] == [[1, 2, 3]]
    assert reader.lines({1, 2, 3}) == {1: 3, 2: 7, 3: 8}
    assert reader.lines({2}) == {2: 7}
    assert reader.lines(set()) == {}


def test_rows_with_other_numbers_of_fields_are_problems(write):
    reader = reader_of(write("a.csv", "text,labels\ngood,a,b\nbad\n \nfine,a\n"))
    (batch,) = reader.batches()
    assert batch.columns == {"text": ["fine"], "labels": ["a"]}
    assert list(batch.numbers) == [3]
    assert batch.problems == {
        1: "3 fields where the header has 2; quote a field that holds ','",
        2: "1 fields where the header has 2; quote a field that holds ','",
    }
    assert reader.lines({1, 2, 3}) == {1: 2, 2: 3, 3: 5}


def test_a_value_behind_the_last_name_is_a_problem(write):
    rows = [f"text {number},a," for number in range(1, 1003)]
    rows[1000] = "text 1001,a,b"
    reader = reader_of(write("a.csv", "\n".join(["text,labels,", *rows])))
    assert problems(reader) == {1001: "3 fields where the header has 2; quote a field that holds ','"}
    assert len(values(reader)) == 1001


def test_numbers_go_on_behind_bad_rows(write):
    rows = [f"text {number},a" for number in range(1, 2502)]
    rows[1500] = "bad"
    reader = reader_of(write("a.csv", "\n\n".join(["text,labels", *rows])))
    numbers = [number for batch in reader.batches() for number in batch.numbers]
    assert numbers == [number for number in range(1, 2502) if number != 1501]
    assert list(problems(reader)) == [1501]
    assert [row["text"] for row in values(reader)] == [f"text {number}" for number in numbers]
    assert reader.lines({1501, 2501}) == {1501: 3003, 2501: 5003}


def test_passes_are_alike_also_of_a_copy(write):
    reader = reader_of(write("a.csv", TWO_ROWS))
    copy = pickle.loads(pickle.dumps(reader))
    assert values(reader) == values(reader) == values(copy) == TWO_VALUES


def test_a_header_alone_has_no_rows(write):
    reader = reader_of(write("a.csv", "text,labels\n"))
    assert list(reader.batches()) == []
    assert list(reader.known_columns) == ["text", "labels"]


# Files without a header


def test_named_columns(write):
    path = write("a.tsv", "good, I think\t1,3\tr1\nbad\n")
    reader = reader_of(path, column_names=["text", "labels", "id"])
    assert values(reader) == [{"text": "good, I think", "labels": "1,3", "id": "r1"}]
    assert problems(reader) == {2: "1 fields where other rows have 3; quote a field that holds a tab"}
    assert reader.lines({1, 2}) == {1: 1, 2: 2}


def test_the_number_of_named_columns_decides_between_separators(write):
    path = write("a.csv", "1;good, cheap;price\n2;bad, dear;quality\n")
    assert values(reader_of(path, column_names=["id", "text", "labels"]))[0]["text"] == "good, cheap"


def test_a_first_line_that_holds_the_named_columns_is_no_row(write):
    assert values(reader_of(write("a.csv", TWO_ROWS), column_names=["text", "labels"])) == TWO_VALUES


def test_named_columns_must_be_all_columns(write):
    path = write("a.tsv", "good\t1\tr1\n")
    with pytest.raises(DataError, match=r"a.tsv, line 1: 3 fields, separated by a tab, where 2 columns are named"):
        reader_of(path, column_names=["text", "labels"])


# Files that cannot be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv has no rows"),
        ("a.csv", b"\xef\xbb\xbf", "a.csv has no rows"),
        ("a.csv", "\n \n", "a.csv has no rows"),
        ("a.csv", "text,labels\ngood,a\ncaf\xe9,b\n".encode("latin-1"), "line 3: byte 0xe9 is not UTF-8; save the"),
        ("a.csv", b"\xef\xbb", "line 1: byte 0xef is not UTF-8"),  # a byte order mark that was cut
        ("a.csv", "text,labels\ngo\0od,a\n", "line 2: a NUL byte"),
        ("a.csv", "text,,labels\ngood,1,a\n", "column 2 has no name"),
        ("a.csv", "text,labels,\ngood,a,1\n", "column 3 has no name"),
        ("a.csv", "text,labels,text\ngood,a,b\n", "column name 'text' occurs twice"),
        ("a.csv", "text,labels, text \ngood,a,b\n", "column name 'text' occurs twice"),
        ("a.csv", 'text,labels\ngood,a\n"never, b\nbad\n', r"row 2 \(line 3\): broken quoting \(unexpected end"),
        ("a.csv", 'text,labels\n"so" good, or not,a\n', r"row 1 \(line 2\): broken quoting .* double the quotes"),
        ("a.csv", '"text","labels"\n"so" good,a\n', r"row 1 \(line 2\): broken quoting"),
        ("a.csv", 'text,labels\n"so" good,"a"\n"bad","b"\n', r"row 1 \(line 2\): broken quoting"),
        ("a.csv", '"text,labels\ngood,a\n', r"header \(line 1\): broken quoting"),
    ],
)
def test_files_that_cannot_be_read(write, name, content, message):
    with pytest.raises(DataError, match=message):
        list(reader_of(write(name, content)).batches())


# What is recognized


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", TWO_ROWS, "the extension is .csv"),
        ("a.tsv.gz", gzip.compress(b"text\n", mtime=0), "the extension is .tsv"),
        ("a.txt", TWO_ROWS.replace(",", "\t"), "lines have 2 fields separated by a tab"),
        ("a", TWO_ROWS, "lines have 2 fields separated by ','"),
        ("a.txt", "text\ngood\n", "the first line is the name of a column, 'text'"),
        ("a.txt", "text,labels\n", None),
        ("a.txt", "I want it, now\nNo\nNot today\nNever\n", None),
        ("a.txt", "good\nbad\n", None),
        ("a.txt", "", None),
        ("a.txt", '{"text": "good", "labels": ["price"]}\n{"text": "bad", "labels": []}\n', None),
        ("a.csv", b"PK\x03\x04 a workbook", None),
    ],
)
def test_what_is_recognized(write, name, content, reason):
    assert recognized(write(name, content)) == reason


# Any text comes back


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(cells, cells), max_size=6),
    separator=st.sampled_from(delimited.SEPARATORS),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    name=st.sampled_from(["a.csv", "a.tsv", "a.dat"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_text_comes_back(tmp_path_factory, rows, separator, line_end, quoting, name, encoding):
    ends = any(end in cell for row in rows for cell in row for end in "\r\n")
    # The csv module leaves a line end of another kind unquoted; a separator and a line end may be a swallowed row.
    assume(quoting == csv.QUOTE_ALL or not ends or not any(separator in cell for row in rows for cell in row))
    assume(quoting == csv.QUOTE_ALL or not ends or line_end == "\r\n")
    path = tmp_path_factory.getbasetemp() / name
    with open(path, "w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator=line_end, quoting=quoting)
        writer.writerows([("text", "labels"), *rows])
    reader = reader_of(str(path))
    expected = [{"text": text, "labels": labels} for text, labels in rows]
    assert [without_blanks(row) for row in values(reader)] == [without_blanks(row) for row in expected]
    assert not problems(reader)


_PIECES = st.sampled_from(
    ['"', '""', '\\"', ",", ";", "\t", "|", "\n", "\r\n", " ", "#", "sep=", "text", "labels", "\\", "\0", "Unnamed: 0"]
)


@settings(max_examples=150, deadline=None)
@given(
    content=st.lists(_PIECES.map(str.encode) | hostile.texts.map(str.encode) | st.binary(max_size=4)).map(b"".join),
    name=st.sampled_from(["a.csv", "a.tsv", "a.txt"]),
    column_names=st.sampled_from([None, ["a"], ["a", "b"]]),
)
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, content, name, column_names):
    path = tmp_path_factory.getbasetemp() / name
    named = {"column_names": column_names}
    if found := reader_of_any_bytes(path, content, partial(recognized, **named), partial(reader_of, **named)):
        reader, numbers = found
        assert list(reader.lines(numbers)) == sorted(numbers)


def test_a_header_in_the_middle_is_no_row(write):
    for mark in ("", "\ufeff"):
        reader = reader_of(write("two.csv", TWO_ROWS + mark + TWO_ROWS))
        assert values(reader) == TWO_VALUES + TWO_VALUES
        assert problems(reader) == {3: "it repeats the header; remove it"}
        assert reader.lines([3, 5]) == {3: 4, 5: 6}
    assert problems(reader_of(write("one.csv", "text\ngood\ntext\n"))) == {}  # a text


def test_a_file_that_only_names_its_separator_has_no_rows(write):
    path = write("a.csv", "sep=;\n")
    with pytest.raises(DataError, match="has no rows"):
        delimited.read(take_sample(path, DataSpec()), DataSpec())
