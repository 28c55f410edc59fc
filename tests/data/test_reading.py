import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.reading import (
    SPLITS,
    Row,
    Table,
    describe_problem,
    raise_problems,
    read_dataset,
    read_files,
    read_label_names,
    read_rows,
)
from bert_multilabel.errors import DataError
from tests import hostile

TWO_ROWS = "text,labels\ngood,price|quality\nbad,\n"


def read_values(path):
    return [row.values for row in read_rows(path)]


def texts(table):
    return list(table.values("text"))


# Files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TWO_ROWS),
        ("A.CSV", "\ufeff" + TWO_ROWS.replace("\n", "\r\n")),
        ("mac.csv", TWO_ROWS.replace("\n", "\r")),
        ("blank.csv", TWO_ROWS.replace("\n", "\n\n")),
        ("a.tsv", TWO_ROWS.replace(",", "\t")),
        ("a.jsonl", '{"text": "good", "labels": "price|quality"}\n\n{"text": "bad", "labels": ""}'),
        ("lines.json", '\n{"text": "good", "labels": "price|quality"}\n{"text": "bad", "labels": ""}'),
        ("a.json", '\ufeff [{"text": "good", "labels": "price|quality"},\n {"text": "bad", "labels": ""}]'),
    ],
)
def test_text_files(write, name, content):
    rows = list(read_rows(write(name, content)))
    assert [row.values for row in rows] == [
        {"text": "good", "labels": "price|quality"},
        {"text": "bad", "labels": ""},
    ]
    assert [(row.number, row.problem) for row in rows] == [(1, ""), (2, "")]


def test_parquet(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["good", "bad"], "labels": [["price"], []]}), path, row_group_size=1)
    assert list(read_rows(path)) == [
        Row(1, None, {"text": "good", "labels": ["price"]}),
        Row(2, None, {"text": "bad", "labels": []}),
    ]


def test_parquet_with_class_labels(tmp_path):
    path = str(tmp_path / "a.parquet")
    class_label = ClassLabel(names=["quality", "price"])
    features = Features({"text": Value("string"), "many": List(class_label), "one": class_label})
    Dataset.from_dict({"text": ["good"], "many": [[1]], "one": [0]}, features=features).to_parquet(path)
    table = read_files({"train": path})["train"]
    assert table.id_names("many") == table.id_names("one") == ["quality", "price"]
    assert table.id_names("text") is None
    assert list(table.values("many")) == [[1]]


def test_cells_of_csv_stay_text(write):
    path = write("a.csv", "id,text,labels\n007,NA,null\n1e3,nan,None\n")
    assert read_values(path) == [
        {"id": "007", "text": "NA", "labels": "null"},
        {"id": "1e3", "text": "nan", "labels": "None"},
    ]


def test_rows_know_their_line(write):
    path = write("a.csv", 'text,labels\n"two\nlines",a\n\nlast,b\n')
    assert [(row.number, row.line) for row in read_rows(path)] == [(1, 2), (2, 5)]
    path = write("a.jsonl", "{}\n\n{}\n")
    assert [(row.number, row.line) for row in read_rows(path)] == [(1, 1), (2, 3)]


def test_a_field_may_be_longer_than_the_csv_module_likes(write):
    text = "long " * 50_000
    assert read_values(write("a.csv", f"text,labels\n{text},a\n"))[0]["text"] == text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "text\n", "its extension must be one of .csv, .tsv, .json, .jsonl, .parquet"),
        ("a.csv.gz", b"\x1f\x8b", "a.csv.gz': its extension must be one of"),
        ("a.csv", "", "a.csv has no rows"),
        ("a.csv", "text,labels\n", "a.csv has no rows"),
        ("a.jsonl", "\n \n", "a.jsonl has no rows"),
        ("a.json", "[]", "a.json has no rows"),
        ("a.csv", "text,labels\ngood,a\ncaf\xe9,b\n".encode("latin-1"), "line 3: byte 0xe9 is not UTF-8; save the"),
        ("a.jsonl", b'{"text": "\xff"}', "line 1: byte 0xff is not UTF-8"),
        ("a.json", b'[\n{"text": "\xff"}]', "line 2: byte 0xff is not UTF-8"),
        ("a.csv", TWO_ROWS.encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        ("a.csv", b"\xef\xbb", "line 1: byte 0xef is not UTF-8"),  # a byte order mark that was cut
        ("a.csv", b"\xef\xbb\xbf", "a.csv has no rows"),
        ("a.csv", "text,labels\ngo\0od,a\n", "line 2: a NUL byte"),
        ("a.csv", "text,,labels\ngood,1,a\n", "column 2 has no name"),
        ("a.csv", "text,labels,text\ngood,a,b\n", "column name 'text' occurs twice"),
        ("a.csv", 'text,labels\ngood,a\n"never,b\nbad,a\n', r"row 2 \(line 3\): broken quoting \(unexpected end"),
        ("a.csv", 'text,labels\n"so" good,a\n', r"row 1 \(line 2\): broken quoting"),
        ("a.csv", '"text,labels\ngood,a\n', r"header \(line 1\): broken quoting"),
        ("a.json", '[{"text": "good"},\n{"text" "bad"}]', r"broken JSON: Expecting ':' delimiter: line 2 column 9"),
        ("a.json", "[" * 100_000, "broken JSON: nested too deeply"),
        ("a.parquet", "text,labels\n", "cannot be read as parquet"),
        ("a.parquet", "", "cannot be read as parquet"),
    ],
)
def test_files_that_cannot_be_read(write, name, content, message):
    with pytest.raises(DataError, match=message):
        read_files({"train": write(name, content)})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([2**62], pa.timestamp("us")), "date value out of range"),
        (pa.array([b"caf\xe9"]).cast(pa.string(), safe=False), "'utf-8' codec can't decode byte 0xe9"),
    ],
)
def test_parquet_cells_that_python_cannot_hold_are_told(tmp_path, column, message):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["good"], "more": column}), path)
    with pytest.raises(DataError, match=f"cannot be read as parquet: {message}"):
        read_files({"train": path})


def write_parquet(path, column, **options):
    pq.write_table(pa.table({"text": column, "labels": ["a"] * len(column)}), path, **options)
    return str(path)


def shared(text, count):
    """A column of which every cell is the same text, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([text]))


def test_parquet_bombs_are_refused_before_they_go_off(tmp_path, monkeypatch):
    monkeypatch.setattr("bert_multilabel.data.reading._SMALL_FILE", 2**24)  # less to wait for
    page = write_parquet(tmp_path / "page.parquet", ["a" * 50_000_000], compression="zstd", use_dictionary=False)
    cells = [
        write_parquet(tmp_path / "cell.parquet", shared("a" * 1_000_000, 100_000)),
        write_parquet(tmp_path / "plain.parquet", shared("a" * 1_000_000, 1000), store_schema=False),
        write_parquet(tmp_path / "rows.parquet", shared("a", 2_000_000)),
    ]
    with pytest.raises(
        DataError, match="its rows become 47 MB when they are decompressed, more than 200 times the size"
    ):
        list(read_rows(page))
    for path in cells:
        with pytest.raises(DataError, match=r"its \d{4,5} bytes become more than 16777216 when they are read"):
            list(read_rows(path))


def test_parquet_columns_of_categories_are_columns_of_texts(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.array(["good", None]).dictionary_encode()}), path)
    assert read_values(path) == [{"text": "good"}, {"text": ""}]


def test_what_is_large_or_repeats_itself_is_no_bomb(tmp_path):
    text = " ".join(str(number**3) for number in range(600_000))  # 10 MB that compress to a third
    assert read_values(write_parquet(tmp_path / "a.parquet", [text, text], compression="zstd"))[1]["text"] == text
    assert len(read_values(write_parquet(tmp_path / "b.parquet", ["the same text"] * 200_000))) == 200_000


@pytest.mark.parametrize(
    "features", [b"\xff", b"{", b"7", b'{"info": {"features": {"text": {"_type": "ClassLabel"}}}}']
)
def test_column_types_that_cannot_be_read_are_told(tmp_path, features):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["good"]}).replace_schema_metadata({"huggingface": features}), path)
    with pytest.raises(DataError, match="column types for the datasets library in .* cannot be read"):
        read_files({"train": path})


def test_a_missing_file_is_quoted(tmp_path):
    with pytest.raises(DataError, match="there is no file 'nowhere/train.csv'"):
        read_files({"train": "nowhere/train.csv"})
    with pytest.raises(DataError, match="there is no file"):
        read_files({"train": str(tmp_path)})
    with pytest.raises(DataError, match="there is no file 'nowhere.txt'"):
        read_label_names("nowhere.txt")


def test_files_come_in_the_order_of_the_splits(write):
    files = {split: write(f"{split}.csv", f"text\n{split}\n") for split in reversed(SPLITS)}
    tables = read_files(files)
    assert list(tables) == ["train", "validation", "test"]
    assert [texts(table) for table in tables.values()] == [["train"], ["validation"], ["test"]]
    assert tables["test"].source == files["test"]


@pytest.mark.parametrize("files", [{}, {"dev": "a.csv"}])
def test_files_go_by_split_name(files):
    with pytest.raises(ValueError, match=f"by split name .*got {files!r}"):
        read_files(files)


# Rows that cannot be read


@pytest.mark.parametrize(
    ("name", "content", "problems"),
    [
        (
            "a.csv",
            "text,labels\ngood,a,b\nbad\nfine,a\n",
            ["3 fields where the header has 2; quote a field that holds ','", "1 fields where the header has 2", ""],
        ),
        (
            "a.jsonl",
            '{"text": "good"}\n{"text": "good"\n[1]\n"x"\n',
            ["", "broken JSON: Expecting ',' delimiter", "[1] is not a JSON object", "'x' is not a JSON object"],
        ),
        (
            "a.jsonl",
            '{"text": "good"}\n{"a": ' + "[" * 100_000 + "\n" + '{"a": ' + "9" * 5000 + "}\n",
            ["", "broken JSON: nested too deeply", "broken JSON: Exceeds the limit (4300"],
        ),
        ("a.json", '[{"text": "good"}, 7]', ["", "7 is not a JSON object"]),
    ],
)
def test_a_row_that_cannot_be_read_comes_with_its_problem(write, name, content, problems):
    rows = list(read_rows(write(name, content)))
    assert len(rows) == len(problems)
    for row, problem in zip(rows, problems, strict=True):
        assert row.problem.startswith(problem)
        assert bool(row.problem) == bool(problem)


def test_a_table_has_the_columns_of_all_rows_and_the_cells_of_readable_ones():
    table = Table("t", lambda: [Row(1, None, {"a": 1}), Row(2, None, {"a": 2}, "broken"), Row(3, None, {"b": 3})])
    assert table.columns == ["a", "b"]
    assert list(table.values("a")) == [1, None]


def test_some_row_must_be_readable(write):
    path = write("all.jsonl", "{\n}\n")
    with pytest.raises(DataError) as caught:
        read_files({"train": path})
    first, *lines = str(caught.value).split("\n")
    assert first == f"2 problems in {path}:"
    assert len(lines) == 2
    assert lines[0].startswith(f"{path}, row 1 (line 1), broken JSON")
    assert lines[1].startswith(f"{path}, row 2 (line 2), broken JSON")


def test_a_problem_says_where_it_stands():
    assert describe_problem("a.csv", Row(3, 5, {}), "bad") == "a.csv, row 3 (line 5), bad"
    assert describe_problem("a.parquet", Row(3, None, {}), "bad") == "a.parquet, row 3, bad"


def test_only_the_first_problems_are_shown():
    raise_problems("a.csv", [])
    with pytest.raises(DataError, match="^1 problem in a.csv:\nbad$"):
        raise_problems("a.csv", ["bad"])
    with pytest.raises(DataError) as caught:
        raise_problems("a.csv", [f"bad {number}" for number in range(1, 24)])
    lines = str(caught.value).split("\n")
    assert lines == ["23 problems in a.csv:", *(f"bad {number}" for number in range(1, 21)), "... and 3 more"]


# Names files


def test_names_files(write):
    assert read_label_names(write("names.txt", "\ufeffb\r\n\n  a c  \n")) == ["b", "a c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n\nb\na\n", "line 4: label 'a' is on line 1 already"),
        (" \n", "holds no label name"),
        (b"a\nb\xe4\n", "line 2: byte 0xe4 is not UTF-8"),
    ],
)
def test_bad_names_files(write, content, message):
    with pytest.raises(DataError, match=message):
        read_label_names(write("names.txt", content))


# Data sets of the datasets library


@pytest.fixture
def three_splits(save_dataset):
    return save_dataset(**{split: Dataset.from_dict({"text": [split]}) for split in SPLITS})


def test_a_data_set_keeps_its_types(save_dataset):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["b", "a"])})
    name = save_dataset(train=Dataset.from_dict({"text": ["x"], "label": [1]}, features=features))
    table = read_dataset(name, None)["train"]
    assert table.source == f"{name}, split 'train'"
    assert list(table) == [Row(1, None, {"text": "x", "label": 1})]
    assert table.id_names("label") == ["b", "a"]


@pytest.mark.parametrize(
    ("wanted", "train_too", "read"),
    [
        (SPLITS, False, ["train", "validation", "test"]),
        ({"test"}, False, ["test"]),
        (["test", "validation"], False, ["validation", "test"]),
        ({"test"}, True, ["train", "test"]),
        ({"train"}, True, ["train"]),
    ],
)
def test_only_wanted_splits_are_read(three_splits, wanted, train_too, read):
    tables = read_dataset(three_splits, None, wanted, train_too)
    assert {split: texts(table) for split, table in tables.items()} == {split: [split] for split in read}
    assert list(tables) == read


def test_a_data_set_may_lack_a_split(save_dataset):
    name = save_dataset(train=Dataset.from_dict({"text": ["x"]}))
    assert list(read_dataset(name, None)) == ["train"]
    assert list(read_dataset(name, None, {"train", "validation"})) == ["train"]
    with pytest.raises(DataError, match="none of the splits validation, test; it has train"):
        read_dataset(name, None, {"test", "validation"}, train_too=True)


def test_the_training_split_may_be_missing(save_dataset):
    name = save_dataset(test=Dataset.from_dict({"text": ["x"]}))
    assert list(read_dataset(name, None, {"test"}, train_too=True)) == ["test"]


@pytest.mark.parametrize("wanted", [[], ["train", "dev"], "test"])
def test_wanted_splits_go_by_name(three_splits, wanted):
    with pytest.raises(ValueError, match="wanted splits must be among train, validation, test, got") as caught:
        read_dataset(three_splits, None, wanted)
    assert repr(wanted) in str(caught.value)


def test_data_sets_that_cannot_be_used(save_dataset, tmp_path):
    with pytest.raises(DataError, match="cannot load the dataset"):
        read_dataset(str(tmp_path / "nowhere"), None)
    with pytest.raises(DataError, match="cannot load the dataset 'nobody/nothing'"):
        read_dataset("nobody/nothing", None)  # without the Hub
    name = save_dataset(**{"data/other-00000-of-00001": Dataset.from_dict({"text": ["x"]})})
    with pytest.raises(DataError, match="none of the splits train, validation, test; it has other"):
        read_dataset(name, None)


def test_the_configuration_of_a_data_set(save_dataset, tmp_path):
    name = save_dataset(one=Dataset.from_dict({"text": ["x"]}), two=Dataset.from_dict({"text": ["y"]}))
    configs = [{"config_name": "one", "data_files": "one.parquet"}]
    configs += [{"config_name": "two", "data_files": [{"split": "test", "path": "two.parquet"}]}]
    (tmp_path / "data" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert texts(read_dataset(name, "one")["train"]) == ["x"]
    assert texts(read_dataset(name, "two")["test"]) == ["y"]


@pytest.mark.usefixtures("save_dataset")  # for its cache
def test_a_data_set_saved_to_disk(tmp_path):
    rows = Dataset.from_dict({"text": ["x", "y"], "labels": [["a"], []]})
    DatasetDict(train=rows, test=rows.select([1])).save_to_disk(tmp_path / "disk")
    tables = read_dataset(str(tmp_path / "disk"), None)
    assert (texts(tables["train"]), texts(tables["test"])) == (["x", "y"], ["y"])


# Any text comes back


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_comes_back(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"text": cell, "labels": "a"} for cell in cells]
    for name, ascii_only in (("a.jsonl", True), ("b.jsonl", False)):
        lines = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
        (folder / name).write_text(lines, encoding="utf-8")
    (folder / "a.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "labels"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    for name in ("a.jsonl", "b.jsonl", "a.json", "a.csv", "a.tsv"):
        assert read_values(str(folder / name)) == rows


_PIECES = st.sampled_from(
    ['"', ",", "\t", "\n", "\r\n", "{", "}", "[", "]", ":", '"text"', "text", "labels", "\\", "\0", "null"]
)


@settings(max_examples=80, deadline=None)
@given(
    content=st.lists(_PIECES.map(str.encode) | hostile.texts.map(str.encode) | st.binary(max_size=4)).map(b"".join),
    name=st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet"]),
)
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    for read in (lambda: list(read_rows(str(path))), lambda: read_label_names(str(path))):
        try:
            found = read()
        except DataError as error:
            assert str(path) in str(error)
            continue
        if found and isinstance(found[0], Row):
            assert [row.number for row in found] == list(range(1, len(found) + 1))
            if name == "a.jsonl":
                assert len(found) == sum(bool(line.strip()) for line in _lines(content))
        else:
            assert len(set(found)) == len(found)


def _lines(content):
    """Lines as files have them, which are fewer than those of `str.splitlines`."""
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
