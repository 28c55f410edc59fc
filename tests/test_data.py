import csv
import io
import json
import logging
import math

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.columns import COMMON_COLUMNS, DataSpec, find_columns
from bert_multilabel.data import load_splits
from bert_multilabel.labels import DataError
from bert_multilabel.reading import Row, Table, read_label_names, read_rows

TWO_ROWS = "text,labels\ngood,price|quality\nbad,\n"


@pytest.fixture
def write(tmp_path):
    """Write a file from text or bytes and return its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(path, split="train", **spec):
    return load_splits(DataSpec(**spec), {split: path})


def load_rows(path, split="train", **spec):
    return load(path, split, **spec).splits[split].to_list()


def table(columns):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return Table("table", [Row(number, None, row) for number, row in enumerate(rows, 1)])


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
    loaded = load(write(name, content))
    assert loaded.label_names == ["price", "quality"]
    assert loaded.splits["train"].features == Features({"text": Value("string"), "labels": List(Value("float32"))})
    assert loaded.splits["train"].to_list() == [{"text": "good", "labels": [1, 1]}, {"text": "bad", "labels": [0, 0]}]


def test_parquet(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["good", "bad"], "labels": [["price"], []]}), path, row_group_size=1)
    assert load_rows(path) == [{"text": "good", "labels": [1]}, {"text": "bad", "labels": [0]}]


def test_parquet_with_class_labels(tmp_path):
    path = str(tmp_path / "a.parquet")
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["quality", "price"]))})
    Dataset.from_dict({"text": ["good"], "labels": [[1]]}, features=features).to_parquet(path)
    loaded = load(path)
    assert loaded.label_names == ["quality", "price"]
    assert loaded.splits["train"][0]["labels"] == [0, 1]


def test_cells_of_csv_stay_text(write):
    path = write("a.csv", "id,text,labels\n007,NA,null\n1e3,nan,None\n")
    assert [row["text"] for row in load_rows(path)] == ["NA", "nan"]
    assert [row["id"] for row in load_rows(path)] == ["007", "1e3"]
    assert load(path).label_names == ["None", "null"]


def test_rows_know_their_line(write):
    path = write("a.csv", 'text,labels\n"two\nlines",a\n\nlast,b\n')
    assert [(row.number, row.line) for row in read_rows(path)] == [(1, 2), (2, 5)]
    path = write("a.jsonl", "{}\n\n{}\n")
    assert [(row.number, row.line) for row in read_rows(path)] == [(1, 1), (2, 3)]


def test_a_field_may_be_longer_than_the_csv_module_likes(write):
    text = "long " * 50_000
    assert load_rows(write("a.csv", f"text,labels\n{text},a\n"))[0]["text"] == text


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
        ("a.csv", "text,labels\ngo\0od,a\n", "line 2: a NUL byte"),
        ("a.csv", "text,,labels\ngood,1,a\n", "column 2 has no name"),
        ("a.csv", "text,labels,text\ngood,a,b\n", "column name 'text' stands there twice"),
        ("a.csv", 'text,labels\ngood,a\n"never,b\nbad,a\n', r"row 2 \(line 3\): broken quoting \(unexpected end"),
        ("a.csv", 'text,labels\n"so" good,a\n', r"row 1 \(line 2\): broken quoting"),
        ("a.csv", '"text,labels\ngood,a\n', r"header \(line 1\): broken quoting"),
        ("a.json", '[{"text": "good"},\n{"text" "bad"}]', r"broken JSON: Expecting ':' delimiter: line 2 column 9"),
        ("a.parquet", "text,labels\n", "is no parquet file that can be read"),
        ("a.parquet", "", "is no parquet file that can be read"),
    ],
)
def test_files_that_cannot_be_read(write, name, content, message):
    with pytest.raises(DataError, match=message):
        load(write(name, content))


def test_a_missing_file_is_quoted(tmp_path):
    with pytest.raises(DataError, match="there is no file 'nowhere/train.csv'"):
        load("nowhere/train.csv")
    with pytest.raises(DataError, match="there is no file"):
        load(str(tmp_path))
    with pytest.raises(DataError, match="there is no file 'nowhere.txt'"):
        read_label_names("nowhere.txt")


@pytest.mark.parametrize(
    ("name", "content", "messages"),
    [
        (
            "a.csv",
            "text,labels\ngood,a,b\nbad\n,a\nfine,a\n",
            [
                "row 1 (line 2), 3 fields where the header has 2; quote a field that holds ','",
                "row 2 (line 3), 1 fields where the header has 2",
                "row 3 (line 4), column 'text': the text is missing ('')",
            ],
        ),
        (
            "a.jsonl",
            '{"text": "good", "labels": ["a"]}\n{"text": "good"\n[1]\n"x"\n',
            [
                "row 2 (line 2), broken JSON: Expecting ',' delimiter",
                "row 3 (line 3), [1] is no JSON object",
                "row 4 (line 4), 'x' is no JSON object",
            ],
        ),
        ("a.json", '[{"text": "good", "labels": ["a"]}, 7]', ["row 2, 7 is no JSON object"]),
        ("all.jsonl", "{\n}\n", ["row 1 (line 1), broken JSON", "row 2 (line 2), broken JSON"]),
        (
            "bad.jsonl",
            json_lines(
                [
                    {"text": "good", "labels": ["a"]},
                    {"text": None, "labels": None},
                    {"labels": ["a"]},
                    {"text": "  ", "labels": ["a", ""]},
                    {"text": 5, "labels": "a"},
                    {"text": "\ud800", "labels": [0]},
                    {"text": ["x"], "labels": []},
                ]
            ),
            [
                "row 2 (line 2), column 'text': the text is missing (None)",
                "row 2 (line 2), column 'labels': the labels are missing (null); write an empty list",
                "row 3 (line 3), column 'text': the text is missing (None)",
                "row 4 (line 4), column 'text': the text is missing ('  ')",
                "row 4 (line 4), column 'labels': ['a', ''] holds an empty label",
                "row 5 (line 5), column 'text': 5 is no text but of type int",
                "row 5 (line 5), column 'labels': 'a' is a text, but other rows hold a list of names",
                "row 6 (line 6), column 'text': '\\ud800' holds a lone surrogate",
                "row 6 (line 6), column 'labels': [0] is a list of ids, but other rows hold a list of names",
                "row 7 (line 7), column 'text': ['x'] is no text but of type list",
            ],
        ),
        (
            "columns.csv",
            "text,a,b\ngood,0,1\nbad,2,0\nbad,,yes\n",
            ["row 2 (line 3), column 'a': '2' is not 0 or 1", "row 3 (line 4), column 'b': 'yes' is not 0 or 1"],
        ),
    ],
)
def test_all_bad_rows_are_listed(write, name, content, messages):
    spec = {"label_column": ["a", "b"]} if name == "columns.csv" else {}
    path = write(name, content)
    with pytest.raises(DataError) as caught:
        load(path, **spec)
    first, *lines = str(caught.value).split("\n")
    assert first == f"{len(messages)} problem{'s' if len(messages) > 1 else ''} in {path}:"
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(f"{path}, {message}")


def test_only_the_first_problems_are_shown(write):
    with pytest.raises(DataError) as caught:
        load(write("a.csv", "text,labels\n" + "x,zzz\n" * 23), label_names=["a"])
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("23 problems in ")
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "... and 3 more"


# Columns


@pytest.mark.parametrize("role", ["text", "pair", "labels", "id"])
def test_common_columns_are_found_best_first_in_any_case(role):
    given = {"text": "a text", "labels": ["x"]} | {name.upper(): "x" for name in reversed(COMMON_COLUMNS[role])}
    given = {name: [cell] for name, cell in given.items() if role not in ("text", "labels") or name.isupper()}
    given |= {"labels": ["x"]} if role == "text" else {"text": ["x"]} if role == "labels" else {}
    found = getattr(find_columns(table(given), DataSpec()), role)
    best = COMMON_COLUMNS[role][0].upper()
    assert found == ([best] if role == "labels" else best)


def test_named_columns_win_and_are_free_for_one_purpose():
    columns = {name: ["x"] for name in ("text", "title", "context", "tags", "labels", "key")}
    spec = DataSpec(text_column="title", text_pair_column="text", label_column="tags", id_column="key")
    found = find_columns(table(columns), spec)
    assert (found.text, found.pair, found.labels, found.id) == ("title", "text", ["tags"], "key")
    assert find_columns(table(columns), DataSpec(text_pair_column="text")).text == "title"


def test_columns_of_zeros_and_ones_are_labels_and_no_text():
    found = find_columns(table({"review": ["1", "0"], "product": ["", "1"], "comment": ["0", "x"]}), DataSpec())
    assert (found.text, found.pair, found.labels) == ("comment", None, ["review", "product"])
    assert found.one_per_label


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"text_column": "body"}, "has no column 'body' for the text; it has 'text', 'tags', 'a', 'b'"),
        ({"text_pair_column": "other"}, "has no column 'other' for the pair; it has 'text'"),
        ({"label_column": "opinions"}, "has no column 'opinions' for the labels; it has 'text'"),
        ({"label_column": ["a", "c"]}, "has no column 'c' for the labels"),
        ({"label_column": "text", "text_column": "text"}, "column 'text' cannot serve two of"),
        ({"label_column": ["a", "b", "a"]}, "column 'a' cannot serve two of"),
        ({"label_column": "text"}, "no column looks like the text; name it with text_column; it has 'text', 'tags'"),
        ({"text_column": "tags"}, "no column looks like the labels; name it with label_column; it has 'text'"),
    ],
)
def test_columns_that_cannot_be_found(spec, message):
    columns = {"text": ["x"], "tags": ["x"], "a": ["0"], "b": ["1"]}
    with pytest.raises(DataError, match=message):
        find_columns(table(columns), DataSpec(**spec))


def test_every_split_must_have_the_columns(write):
    files = {"train": write("a.csv", "text,pair,labels\ngood,p,a\n"), "validation": write("b.csv", "text,pair\nx,y\n")}
    with pytest.raises(DataError, match="b.csv has no column 'labels' for the labels; it has 'text', 'pair'"):
        load_splits(DataSpec(), files)
    files = files | {"validation": write("b.csv", "text,labels\nx,a\n")}
    with pytest.raises(DataError, match="b.csv has no column 'pair' for the pair"):
        load_splits(DataSpec(), files)


def test_the_columns_and_the_form_are_logged(write, caplog):
    with caplog.at_level(logging.INFO, logger="bert_multilabel"):
        load(write("a.csv", TWO_ROWS))
    assert "text='text', pair=None, labels=['labels']" in caplog.text
    assert "a text, split at '|'" in caplog.text


# Pairs and ids


def test_a_pair_is_kept_and_may_be_missing(write):
    rows = [{"text": "t", "product": "p", "labels": ["a"]}, {"text": "t", "product": None, "labels": []}]
    rows += [{"text": "t", "labels": ["a"]}, {"text": "t", "product": " ", "labels": []}]
    path = write("a.jsonl", json_lines(rows))
    assert [row["pair"] for row in load_rows(path)] == ["p", "", "", ""]


def test_a_pair_must_be_text(write):
    path = write("a.jsonl", json_lines([{"text": "t", "pair": 3, "labels": ["a"]}]))
    with pytest.raises(DataError, match="column 'pair': 3 is no text but of type int"):
        load(path)


@pytest.mark.parametrize("ids", [[7, 8], ["007", "x"], [0.5, 1.5], [None, 8], [None, None]])
def test_ids_stay_as_they_are(write, ids):
    rows = [{"text": "t", "labels": ["a"], "uid": row_id} for row_id in ids]
    assert [row["id"] for row in load_rows(write("a.jsonl", json_lines(rows)))] == ids


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", 8], "row 2 (line 2), column 'id': 8 is of type int; ids must be all text or all numbers"),
        ([1, True], "row 2 (line 2), column 'id': True is of type bool"),
        ([{"a": 1}, {"a": 2}], "row 1 (line 1), column 'id': {'a': 1} is of type dict"),
        ([1, 2**63], "row 2 (line 2), column 'id': 9223372036854775808 is too large"),
        (["\ud800", "b"], "row 1 (line 1), column 'id': '\\ud800' holds a lone surrogate"),
    ],
)
def test_bad_ids(write, ids, message):
    rows = [{"text": "t", "labels": ["a"], "id": row_id} for row_id in ids]
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", json_lines(rows)))
    assert message in str(caught.value)


def test_only_the_split_to_predict_needs_the_named_id(write):
    train = write("a.csv", "text,labels\ngood,a\n")
    test = write("b.csv", "text,ticket\nbad,T1\n")
    splits = load_splits(DataSpec(id_column="ticket"), {"train": train, "test": test}).splits
    assert splits["train"].column_names == ["text", "labels"]
    assert splits["test"].to_list() == [{"text": "bad", "id": "T1"}]
    with pytest.raises(DataError, match="b.csv has no column 'key' for the id; it has 'text', 'ticket'"):
        load_splits(DataSpec(id_column="key"), {"train": train, "test": test})
    with pytest.raises(DataError, match="a.csv has no column 'ticket' for the id"):
        load_splits(DataSpec(id_column="ticket"), {"train": train})


# Labels across splits


def test_names_and_form_hold_for_all_splits(write):
    files = {
        "validation": write("v.csv", "text,labels\nx,b\n"),
        "train": write("t.csv", "text,labels\nx,b;a\ny,c\n"),
        "test": write("p.csv", "text,labels\nx,a;c\n"),
    }
    loaded = load_splits(DataSpec(), files)
    assert list(loaded.splits) == ["train", "validation", "test"]
    assert loaded.label_names == ["a", "b", "c"]
    assert loaded.splits["validation"]["labels"][0] == [0, 1, 0]
    assert loaded.splits["test"]["labels"][0] == [1, 0, 1]
    files["validation"] = write("v.csv", "text,labels\nx,d\n")
    with pytest.raises(DataError, match=r"v.csv, row 1 \(line 2\), column 'labels': unknown label 'd'"):
        load_splits(DataSpec(), files)


def test_given_names_hold(write):
    loaded = load(write("a.csv", TWO_ROWS), label_names=["quality", "other", "price"])
    assert loaded.label_names == ["quality", "other", "price"]
    assert loaded.splits["train"]["labels"][0] == [1, 0, 1]


def test_a_given_delimiter_holds(write):
    assert load(write("a.csv", "text,labels\nx,a|b/c\n"), label_delimiter="/").label_names == ["a|b", "c"]


@pytest.mark.parametrize("spec", [{}, {"label_column": ["b", "a"]}, {"label_names": ["b", "a"]}])
def test_one_column_per_label(write, spec):
    loaded = load(write("a.csv", "id,text,b,a\n1,good,0,1\n2,bad,,true\n"), **spec)
    assert loaded.label_names == ["b", "a"]
    first, second = loaded.splits["train"]["labels"][:]
    assert first == [0, 1]
    assert math.isnan(second[0])
    assert second[1] == 1


def test_given_names_pick_and_order_the_columns(write):
    path = write("a.csv", "text,b,other,a\ngood,0,x,1\n")
    assert load_rows(path, label_names=["a", "b"]) == [{"text": "good", "labels": [1, 0]}]
    with pytest.raises(DataError, match="no column looks like the labels"):
        load(path, label_names=["a", "c"])
    with pytest.raises(DataError, match=r"without a column: \['c'\]"):
        load(path, label_names=["a", "b", "c"], label_column=["a", "b"])


def test_some_row_must_have_a_label(write):
    with pytest.raises(DataError, match="a.csv: no row has a label in column 'labels'"):
        load(write("a.csv", "text,labels\ngood,\n"))


# The split to predict


def test_empty_texts_are_rows_to_predict(write, caplog):
    path = write("a.csv", "id,text\n1,\n2,good\n3,  \n")
    assert [row["text"] for row in load_rows(path, "test")] == ["", "good", ""]
    assert "rows with an empty text: 2" in caplog.text
    path = write("a.jsonl", '{"text": null}\n{"other": "x"}\n')
    assert load_rows(path, "test") == [{"text": ""}, {"text": ""}]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_empty_texts_are_errors_elsewhere(write, split):
    with pytest.raises(DataError, match="the text is missing"):
        load(write("a.csv", "text,labels\n,a\n"), split, label_names=["a"])


@pytest.mark.parametrize("spec", [{}, {"label_column": "tags"}, {"label_column": ["a", "b"]}])
def test_labels_to_predict_may_be_missing(write, spec):
    loaded = load(write("a.csv", "text\ngood\n"), "test", label_names=["a", "b"], **spec)
    assert loaded.splits["test"].column_names == ["text"]
    assert loaded.label_names == ["a", "b"]
    assert load(write("a.csv", "text\ngood\n"), "test").label_names is None


@pytest.mark.parametrize("content", ["text,labels\ngood,\nbad, \n", "text,labels\ngood,-100\n"])
def test_hidden_labels_are_no_labels(write, content):
    train = write("t.csv", TWO_ROWS)
    splits = load_splits(DataSpec(), {"train": train, "test": write("a.csv", content)}).splits
    assert splits["test"].column_names == ["text"]
    splits = load_splits(DataSpec(), {"train": train, "test": write("b.csv", "text,labels\nx,\ny,price\n")}).splits
    assert splits["test"]["labels"][:] == [[0, 0], [1, 0]]


def test_labels_to_predict_are_checked_if_present(write):
    with pytest.raises(DataError, match="unknown label 'prise'; did you mean 'price'"):
        load(write("a.csv", "text,labels\ngood,prise\n"), "test", label_names=["price"])
    files = {"train": write("t.csv", "text,a,b\ngood,0,1\n"), "test": write("p.csv", "text,a\ngood,1\n")}
    with pytest.raises(DataError, match="p.csv has no column 'b' for the labels"):
        load_splits(DataSpec(), files)


def test_repeated_labels_are_noted(write, caplog):
    assert load_rows(write("a.csv", "text,labels\nx,a|a\n")) == [{"text": "x", "labels": [1]}]
    assert "rows that name a label more than once: 1; it counts once" in caplog.text


# Data sets of the datasets library


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save a DatasetDict and return the folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def save(**splits):
        for split, dataset in splits.items():
            dataset.to_parquet(str(tmp_path / "data" / f"{split}.parquet"))
        return str(tmp_path / "data")

    (tmp_path / "data" / "data").mkdir(parents=True)
    return save


def test_a_data_set_with_class_labels(saved):
    features = Features({"id": Value("int64"), "text": Value("string"), "label": List(ClassLabel(names=["b", "a"]))})
    rows = Dataset.from_dict({"id": [7, 8], "text": ["x", "y"], "label": [[1], [0, 1]]}, features=features)
    loaded = load_splits(DataSpec(), dataset_name=saved(train=rows, test=rows.select([1])))
    assert loaded.label_names == ["b", "a"]
    assert loaded.splits["train"].to_list() == [
        {"text": "x", "labels": [0, 1], "id": 7},
        {"text": "y", "labels": [1, 1], "id": 8},
    ]
    assert loaded.splits["test"]["id"][:] == [8]


def test_single_class_labels_hidden_in_the_test_split(saved):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["b", "a"])})
    train = Dataset.from_dict({"text": ["x"], "label": [1]}, features=features)
    test = Dataset.from_dict({"text": ["x"], "label": [-1]}, features=features)
    splits = load_splits(DataSpec(), dataset_name=saved(train=train, test=test)).splits
    assert splits["train"]["labels"][:] == [[0, 1]]
    assert splits["test"].column_names == ["text"]


def test_bad_rows_of_a_data_set_name_the_split(saved):
    name = saved(train=Dataset.from_dict({"text": ["x", ""], "labels": [["a"], ["a"]]}))
    with pytest.raises(DataError) as caught:
        load_splits(DataSpec(), dataset_name=name)
    assert f"{name}, split 'train', row 2, column 'text': the text is missing ('')" in str(caught.value)


def test_data_sets_that_cannot_be_used(saved, tmp_path):
    with pytest.raises(DataError, match="there is no data set"):
        load_splits(DataSpec(), dataset_name=str(tmp_path / "nowhere"))
    name = saved(**{"data/other-00000-of-00001": Dataset.from_dict({"text": ["x"]})})
    with pytest.raises(DataError, match="none of the splits train, validation, test; it has other"):
        load_splits(DataSpec(), dataset_name=name)


def test_the_configuration_of_a_data_set(saved, tmp_path):
    name = saved(one=Dataset.from_dict({"text": ["x"], "labels": [["a"]]}), two=Dataset.from_dict({"text": ["y"]}))
    configs = [{"config_name": "one", "data_files": "one.parquet"}]
    configs += [{"config_name": "two", "data_files": [{"split": "test", "path": "two.parquet"}]}]
    (tmp_path / "data" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert load_splits(DataSpec(), dataset_name=name, dataset_config_name="one").splits["train"]["text"][:] == ["x"]
    assert load_splits(DataSpec(), dataset_name=name, dataset_config_name="two").splits["test"]["text"][:] == ["y"]


def test_a_data_set_saved_to_disk(saved, tmp_path):
    rows = Dataset.from_dict({"text": ["x", "y"], "labels": [["a"], []]})
    DatasetDict(train=rows, test=rows.select([1])).save_to_disk(tmp_path / "disk")
    splits = load_splits(DataSpec(), dataset_name=str(tmp_path / "disk")).splits
    assert (splits["train"]["text"][:], splits["test"]["text"][:]) == (["x", "y"], ["y"])


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "either files or dataset_name"),
        ({"files": {"train": "a.csv"}, "dataset_name": "x"}, "either files or dataset_name"),
        ({"files": {}}, "by split name"),
        ({"files": {"dev": "a.csv"}}, "by split name .*'dev'"),
    ],
)
def test_one_source_is_needed(sources, message):
    with pytest.raises(ValueError, match=message):
        load_splits(DataSpec(), **sources)


# Names files


def test_names_files(write):
    assert read_label_names(write("names.txt", "\ufeffb\r\n\n  a c  \n")) == ["b", "a c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n\nb\na\n", "line 4: label 'a' stands on line 1 already"),
        (" \n", "holds no label name"),
        (b"a\nb\xe4\n", "line 2: byte 0xe4 is not UTF-8"),
    ],
)
def test_bad_names_files(write, content, message):
    with pytest.raises(DataError, match=message):
        read_label_names(write("names.txt", content))


@pytest.mark.parametrize("spec", [{"label_names": []}, {"label_names": ["a", "a"]}, {"label_names": ["a", " "]}])
def test_given_names_must_differ(spec):
    with pytest.raises(DataError, match="must be different and not blank"):
        DataSpec(**spec)


def test_an_empty_delimiter_is_refused():
    with pytest.raises(DataError, match="the label delimiter is empty"):
        DataSpec(label_delimiter="")


# Any text and any labels come back


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_comes_back(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"text": text, "labels": "a"} for text in texts]
    (folder / "a.jsonl").write_text(json_lines(rows), encoding="utf-8")
    (folder / "b.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, ["text", "labels"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        (folder / name).write_bytes(buffer.getvalue().encode())
    for name in ("a.jsonl", "b.jsonl", "a.csv", "a.tsv"):
        assert [row["text"] for row in load_rows(str(folder / name))] == texts


NAMES = ["price", "quality", "service"]


@settings(max_examples=40, deadline=None)
@given(sets=st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=6))
def test_every_form_in_a_file_reads_back_the_same(tmp_path_factory, sets):
    folder = tmp_path_factory.mktemp("forms")
    # One more row with a single id, since rows of L zeros and ones alone are refused as multi-hot vectors.
    lists = [*(sorted(names) for names in sets), ["service"]]
    expected = [[float(name in names) for name in NAMES] for names in lists]
    forms = {
        "names": [{"text": "t", "labels": names} for names in lists],
        "ids": [{"text": "t", "labels": [NAMES.index(name) for name in names]} for names in lists],
        "delimited": [{"text": "t", "labels": ", ".join(names)} for names in lists],
        "columns": [{"text": "t"} | {name: int(name in names) for name in NAMES} for names in lists],
    }
    for form, rows in forms.items():
        path = folder / f"{form}.jsonl"
        path.write_text(json_lines(rows))
        assert load(str(path), label_names=NAMES).splits["train"]["labels"][:] == expected
