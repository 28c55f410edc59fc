import json
import logging
import math

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.examples import load_splits, load_texts
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import BadRows
from bert_multilabel.errors import DataError

TWO_ROWS = "text,labels\ngood,price|quality\nbad,\n"


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(path, split="train", **spec):
    return load_splits(DataSpec(**spec), {split: path})


def load_rows(path, split="train", **spec):
    return load(path, split, **spec).splits[split].to_list()


# Clean rows


def test_rows_come_out_clean(write):
    loaded = load(write("a.csv", TWO_ROWS))
    assert loaded.label_names == ["price", "quality"]
    assert loaded.splits["train"].features == Features({"text": Value("string"), "labels": List(Value("float32"))})
    assert loaded.splits["train"].to_list() == [{"text": "good", "labels": [1, 1]}, {"text": "bad", "labels": [0, 0]}]


def test_labels_in_another_order_are_the_same_labels(write):
    path = write("a.csv", "text,labels\ngood,c|a\nbad,b\n")
    loaded = load(path).ordered_as(["c", "a", "b"])
    assert loaded.label_names == ["c", "a", "b"]
    assert loaded.splits["train"].to_list() == load_rows(path, label_names=["c", "a", "b"])
    assert loaded.splits["train"].features == load(path).splits["train"].features
    unlabelled = load(write("b.csv", "text\ngood\n"), "test", label_names=["a", "b"])
    assert unlabelled.ordered_as(["b", "a"]).splits["test"].to_list() == [{"text": "good"}]


def test_parquet_with_class_labels(tmp_path):
    path = str(tmp_path / "a.parquet")
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["quality", "price"]))})
    Dataset.from_dict({"text": ["good"], "labels": [[1]]}, features=features).to_parquet(path)
    loaded = load(path)
    assert loaded.label_names == ["quality", "price"]
    assert loaded.splits["train"][0]["labels"] == [0, 1]


def test_words_for_missing_values_are_texts_but_no_labels(write, caplog):
    path = write("a.csv", "id,text,labels\n007,NA,null\n1e3,nan,None\n8,good,price\n9,bad,None\n")
    assert load(path).label_names == ["price"]
    assert [row["text"] for row in load_rows(path)] == ["NA", "nan", "good", "bad"]
    assert [row["id"] for row in load_rows(path)] == ["007", "1e3", "8", "9"]
    assert [row["labels"] for row in load_rows(path)] == [[0], [0], [1], [0]]
    assert "read as no label: 'null' in 1 rows, 'None' in 2 rows" in caplog.text
    assert load(path, label_names=["price", "None"]).splits["train"]["labels"][1] == [0, 1]


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
                "row 3 (line 3), [1] is not a JSON object",
                "row 4 (line 4), 'x' is not a JSON object",
            ],
        ),
        ("a.json", '[{"text": "good", "labels": ["a"]}, 7]', ["row 2 (line 1), 7 is not a JSON object"]),
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
                "row 5 (line 5), column 'text': 5 is not text but of type int",
                "row 5 (line 5), column 'labels': 'a' is a text, but other rows hold a list of names",
                "row 6 (line 6), column 'text': '\\ud800' holds a lone surrogate",
                "row 6 (line 6), column 'labels': [0] is a list of ids, but other rows hold a list of names",
                "row 7 (line 7), column 'text': ['x'] is not text but of type list",
            ],
        ),
        (
            "columns.csv",
            "text,a,b\ngood,0,1\nbad,2,0\nbad,,maybe\n",
            ["row 2 (line 3), column 'a': '2' is not 0 or 1", "row 3 (line 4), column 'b': 'maybe' is not 0 or 1"],
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


def test_the_columns_and_the_form_are_logged(write, caplog):
    with caplog.at_level(logging.INFO, logger="bert_multilabel"):
        load(write("a.csv", TWO_ROWS))
    assert [line.split() for line in caplog.messages[0].split("\n")[1:4]] == [
        "column role form examples".split(),
        "text text text 'good' | 'bad'".split(),
        "labels labels a text, split at '|' 'price|quality'".split(),
    ]


# Pairs and ids


def test_labels_that_were_found_are_logged_the_rarest_first(write, caplog):
    few = write("a.csv", "text,labels\na,price|quality\nb,price\nc,prise\nd,\n")
    with caplog.at_level(logging.INFO, logger="bert_multilabel"):
        load(few)
    assert "3 labels with their training rows, the rarest first: prise 1, quality 1, price 2\n" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="bert_multilabel"):
        load(write("b.csv", "text,labels\n" + "".join(f"a,label {number:02}\n" for number in range(40)) * 2))
    assert "label 29 2, and 10 more" in caplog.text
    assert "label 30" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="bert_multilabel"):
        load(few, label_names=["price", "quality", "prise"])
    assert "rarest first" not in caplog.text


def test_bad_rows_of_all_splits_are_listed(write):
    files = {"train": write("a.csv", "text,labels\n,a\nb,a\n"), "validation": write("b.csv", "text,labels\nb,c\n")}
    with pytest.raises(BadRows, match="unknown label 'c'") as error:
        load_splits(DataSpec(), files)
    assert {path: len(problems) for path, problems in error.value.problems.items()} == dict.fromkeys(files.values(), 1)
    assert str(error.value).startswith(f"1 problem in {files['train']}:\n")


def test_a_pair_is_kept_and_may_be_missing(write):
    rows = [{"text": "t", "text_pair": "p", "labels": ["a"]}, {"text": "t", "text_pair": None, "labels": []}]
    rows += [{"text": "t", "labels": ["a"]}, {"text": "t", "text_pair": " ", "labels": []}]
    path = write("a.jsonl", json_lines(rows))
    assert [row["pair"] for row in load_rows(path)] == ["p", "", "", ""]


def test_scores_of_toxicity_reach_no_input(write, caplog):
    path = write("a.csv", "id,target,comment_text,obscene,threat\n1,0.83,you are bad,1,0\n2,0.0,hello,0,0\n")
    rows = load_rows(path, label_column=["obscene", "threat"])
    assert rows[0] == {"text": "you are bad", "labels": [1, 0], "id": "1"}
    message = caplog.messages[0]
    assert "  comment_text  text    text                      'you are bad' | 'hello'\n" in message
    assert "  not used: 'target'\n" in message


def test_a_pair_must_be_text(write):
    path = write("a.jsonl", json_lines([{"text": "t", "pair": 3, "labels": ["a"]}]))
    with pytest.raises(DataError, match="column 'pair': 3 is not text but of type int"):
        load(path, text_pair_column="pair")


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
    with pytest.raises(DataError, match="b.csv has no column 'key' for the id; name one of 'text', 'ticket'"):
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
    loaded = load(write("a.csv", "id,text,b,a\n1,good,0,1\n2,bad,,0\n"), **spec)
    assert loaded.label_names == ["b", "a"]
    first, second = loaded.splits["train"]["labels"][:]
    assert first == [0, 1]
    assert math.isnan(second[0])
    assert second[1] == 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_shares_and_votes_in_known_columns_are_asked_about_once(write, split):
    path = write("a.csv", "text,a,b,c\ngood,0,3,0\nbad,2,0,1\n")
    with pytest.raises(
        DataError, match="'a', 'b' hold other numbers than 0 and 1: .* pass --label_values shares or 'v"
    ):
        load(path, split, label_names=["a", "b", "c"])
    assert load_rows(path, split, label_names=["a", "b", "c"], label_values="votes>=2")[0]["labels"] == [0, 1, 0]


@pytest.mark.parametrize("names", [None, ["toxic"]])
def test_a_named_column_of_zeros_and_ones_is_one_label(write, names):
    files = {
        "train": write("t.csv", "text,toxic\nx,0\ny,1\nz,\n"),
        "test": write("p.csv", "text,toxic\nx,1\n"),
    }
    loaded = load_splits(DataSpec(label_column="toxic", label_names=names), files)
    assert loaded.label_names == ["toxic"]
    no, yes, unknown = loaded.splits["train"]["labels"][:]
    assert (no, yes) == ([0], [1])
    assert math.isnan(unknown[0])
    assert loaded.splits["test"]["labels"][:] == [[1]]
    files["test"] = write("p.csv", "text,toxic\nx,maybe\n")
    with pytest.raises(DataError, match=r"p.csv, row 1 \(line 2\), column 'toxic': 'maybe' is not 0 or 1"):
        load_splits(DataSpec(label_column="toxic", label_names=names), files)


def test_labels_called_0_and_1_must_be_given(write):
    path = write("a.csv", "text,code\nx,0\ny,1\n")
    assert load_rows(path, label_column="code", label_names=["1", "0"])[0]["labels"] == [0, 1]


def test_given_names_pick_and_order_the_columns(write):
    path = write("a.csv", "text,b,other,a\ngood,0,x,1\n")
    assert load_rows(path, label_names=["a", "b"]) == [{"text": "good", "labels": [1, 0]}]
    with pytest.raises(DataError, match="no column looks like the labels"):
        load(path, label_names=["a", "c"])
    with pytest.raises(DataError, match=r"Without a column: \['c'\]"):
        load(path, label_names=["a", "b", "c"], label_column=["a", "b"])


def test_some_row_must_have_a_label(write):
    with pytest.raises(DataError, match="a.csv: no row has a label in column 'labels'"):
        load(write("a.csv", "text,labels\ngood,\n"))


# The split to predict


def test_empty_texts_are_rows_to_predict(write, caplog):
    path = write("a.csv", "id,text\n1,\n2,good\n3,  \n")
    assert [row["text"] for row in load_rows(path, "test")] == ["", "good", ""]
    assert "rows with an empty text: 2" in caplog.text
    path = write("a.jsonl", '{"text": null}\n{"other": "z"}\n')
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


@pytest.mark.parametrize("spec", [{"label_column": ["a"]}, {"label_column": ["a", "b"]}])
def test_names_of_columns_need_no_training_split(write, spec):
    loaded = load(write("a.csv", "text,a,b\ngood,1,0\nbad,0,1\n"), "test", **spec)
    assert loaded.label_names == spec["label_column"]
    assert loaded.splits["test"]["labels"][0] == [1, 0][: len(loaded.label_names)]


@pytest.mark.parametrize("content", ["text,labels\ngood,\nbad, \n", "text,labels\ngood,-100\n"])
def test_hidden_labels_are_no_labels(write, content):
    train = write("t.csv", TWO_ROWS)
    splits = load_splits(DataSpec(), {"train": train, "test": write("a.csv", content)}).splits
    assert splits["test"].column_names == ["text"]
    splits = load_splits(DataSpec(), {"train": train, "test": write("b.csv", "text,labels\nx,\ny,price\n")}).splits
    assert splits["test"]["labels"][:] == [[0, 0], [1, 0]]


def test_labels_to_predict_are_checked_if_present(write):
    with pytest.raises(DataError, match="unknown label 'prise'; did you mean 'price'"):
        load(write("a.csv", "text,labels\ngood,price\nbad,prise\n"), "test", label_names=["price"])
    with pytest.raises(DataError, match="unknown label 'prise'; did you mean 'price'"):
        load(write("a.csv", "text,labels\ngood,prise\n"), "test", label_names=["price"], label_column="labels")
    files = {"train": write("t.csv", "text,a,b\ngood,0,1\n"), "test": write("p.csv", "text,a\ngood,1\n")}
    with pytest.raises(DataError, match="p.csv has no column 'b' for the labels"):
        load_splits(DataSpec(), files)


def test_repeated_labels_are_noted(write, caplog):
    assert load_rows(write("a.csv", "text,labels\nx,a|a\n")) == [{"text": "x", "labels": [1]}]
    assert "rows that name a label more than once: 1; it counts once" in caplog.text


# Data sets of the datasets library


def test_a_data_set_with_class_labels(save_dataset):
    features = Features({"id": Value("int64"), "text": Value("string"), "label": List(ClassLabel(names=["b", "a"]))})
    rows = Dataset.from_dict({"id": [7, 8], "text": ["x", "y"], "label": [[1], [0, 1]]}, features=features)
    loaded = load_splits(DataSpec(), dataset_name=save_dataset(train=rows, test=rows.select([1])))
    assert loaded.label_names == ["b", "a"]
    assert loaded.splits["train"].to_list() == [
        {"text": "x", "labels": [0, 1], "id": 7},
        {"text": "y", "labels": [1, 1], "id": 8},
    ]
    assert loaded.splits["test"]["id"][:] == [8]


def test_single_class_labels_hidden_in_the_test_split(save_dataset):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["b", "a"])})
    train = Dataset.from_dict({"text": ["x"], "label": [1]}, features=features)
    test = Dataset.from_dict({"text": ["x"], "label": [-1]}, features=features)
    splits = load_splits(DataSpec(), dataset_name=save_dataset(train=train, test=test)).splits
    assert splits["train"]["labels"][:] == [[0, 1]]
    assert splits["test"].column_names == ["text"]


def test_bad_rows_of_a_data_set_name_the_split(save_dataset):
    name = save_dataset(train=Dataset.from_dict({"text": ["x", ""], "labels": [["a"], ["a"]]}))
    with pytest.raises(DataError) as caught:
        load_splits(DataSpec(), dataset_name=name)
    assert f"{name}, split 'train', row 2, column 'text': the text is missing ('')" in str(caught.value)


@pytest.fixture
def bad_training_rows(save_dataset):
    """A data set whose training rows name the labels; one of them is bad."""
    return save_dataset(
        train=Dataset.from_dict({"text": ["x", ""], "labels": [["b", "a"], ["c"]]}),
        validation=Dataset.from_dict({"text": ["y"], "labels": [["c"]]}),
        test=Dataset.from_dict({"text": ["z"], "labels": [["a"]]}),
    )


def test_only_wanted_splits_are_checked_and_returned(bad_training_rows):
    loaded = load_splits(DataSpec(), dataset_name=bad_training_rows, wanted=["test", "validation"])
    assert loaded.label_names == ["a", "b", "c"]
    assert {split: rows.to_list() for split, rows in loaded.splits.items()} == {
        "validation": [{"text": "y", "labels": [0, 0, 1]}],
        "test": [{"text": "z", "labels": [1, 0, 0]}],
    }
    for wanted in (None, ["train", "test"]):
        with pytest.raises(DataError, match=r"split 'train', row 2, column 'text': the text is missing \(''\)"):
            load_splits(DataSpec(), dataset_name=bad_training_rows, wanted=wanted)


def test_training_rows_are_read_only_for_names_that_are_not_given(save_dataset):
    # Looked at, the training rows would rule out the column `text`, which holds no text there.
    name = save_dataset(
        train=Dataset.from_dict({"text": ["1"], "comment": ["x"], "labels": [["a"]]}),
        test=Dataset.from_dict({"text": ["y"], "comment": ["z"], "labels": [["a"]]}),
    )
    loaded = load_splits(DataSpec(label_names=["a", "b"]), dataset_name=name, wanted={"test"})
    assert loaded.splits["test"].to_list() == [{"text": "y", "labels": [1, 0]}]
    loaded = load_splits(DataSpec(), dataset_name=name, wanted={"test"})
    assert loaded.splits["test"].to_list() == [{"text": "z", "labels": [1]}]


def test_all_files_are_read_whatever_is_wanted(write):
    files = {"train": write("t.csv", TWO_ROWS), "test": write("p.csv", "text\nx\n")}
    assert list(load_splits(DataSpec(), files, wanted=["test"]).splits) == ["train", "test"]


def test_the_configuration_of_a_data_set(save_dataset, tmp_path):
    name = save_dataset(one=Dataset.from_dict({"text": ["x"]}), two=Dataset.from_dict({"text": ["y"]}))
    files = [{"split": "test", "path": f"{config}.parquet"} for config in ("one", "two")]
    configs = [{"config_name": file["path"][:3], "data_files": [file]} for file in files]
    (tmp_path / "data" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert load_splits(DataSpec(), dataset_name=name, dataset_config_name="two").splits["test"]["text"][:] == ["y"]


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


# Any text and any labels come back


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_text_comes_back(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("texts") / "a.jsonl"
    path.write_text(json_lines([{"text": text, "labels": ["a"]}]))
    assert load_rows(str(path)) == [{"text": text, "labels": [1]}]


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


def test_a_file_of_very_many_columns_is_read(write):
    count = 2_000
    columns = ",".join(f"c{number}" for number in range(count))
    (row,) = load_rows(write("a.csv", f"text,{columns}\ngood{',1' * count}\n"))
    assert row["labels"] == [1.0] * count
    with pytest.raises(DataError, match="'c28' or 1971 more") as caught:
        load(write("b.csv", f"text,{columns}\ngood{',1' * count}\n"), text_column="sentence")
    assert len(str(caught.value)) < 1000


# No rows


def test_rows_that_all_have_the_same_problem_are_told(write):
    path = write("r.csv", "text,labels\n1,a,good,price\n2,b,bad,gift\n")
    with pytest.raises(BadRows, match=r"row 1 \(line 2\), 4 fields where the header has 2"):
        load(path)


def test_tasks_without_an_answer_are_counted(write, caplog):
    answer = {"result": [{"from_name": "reason", "value": {"choices": ["price"]}}]}
    rows = [{"data": {"text": "good"}, "annotations": [answer]}, {"data": {"text": "bad"}, "annotations": []}]
    caplog.set_level(logging.INFO, "bert_multilabel")
    load(write("studio.json", json.dumps(rows)))
    assert "1 rows; 1 left out: skipped in their tool, or not answered" in caplog.text


def test_an_export_with_suggestions_alone_names_their_option(write):
    result = {"from_name": "reason", "value": {"choices": ["price"]}}
    row = {"data": {"text": "good"}, "annotations": [], "predictions": [{"result": [result]}]}
    path = write("studio.json", json.dumps([row]))
    with pytest.raises(DataError, match="rows with labels: all 1 are left out, .*--use_suggestions takes .* to a csv"):
        load(path)
    assert load_rows(path, use_suggestions=True)[0]["labels"] == [1]


def test_judgements_that_agree_are_one_row(write, caplog):
    annotations = [{"result": [{"from_name": "reason", "value": {"choices": ["price"]}}]}] * 3
    rows = [{"data": {"text": f"good {number}"}, "annotations": annotations} for number in range(4)]
    assert len(load_rows(write("studio.json", json.dumps(rows)))) == 4
    assert ", 4 rows" in caplog.text and "different texts" not in caplog.text


def test_a_line_for_each_text_and_label_needs_no_value(write):
    lines = "good,price,1\ngood,gift,0\nbad,price,0\nbad,gift,1\n"
    path = write("long.csv", "text,label,applies\n" + lines)
    with pytest.raises(DataError, match="column 'applies' may say whether it applies: leave out the lines with 0"):
        load(path, one_label_per_line=True)
    path = write("ones.csv", "text,label,applies\ngood,price,1\nbad,gift,1\n")
    assert [row["labels"] for row in load_rows(path, one_label_per_line=True)] == [[0, 1], [1, 0]]


def test_labels_of_unlabelled_texts_are_not_read(write, caplog):
    path = write("more.csv", "id,text,labels\n1,good,prise\n2,bad,\n")
    texts = load_texts(path, DataSpec(label_names=["price"], text_pair_column="", label_column="tags"))
    assert texts.to_dict() == {"text": ["good", "bad"]}
    assert "its labels are not read: 'labels'" not in caplog.text  # of other names than the known ones
    texts = load_texts(write("again.csv", "text,labels\ngood,price\n"), DataSpec(label_names=["price"]))
    assert texts.to_dict() == {"text": ["good"]}
    assert "again.csv: its labels are not read: 'labels'" in caplog.text


def test_unlabelled_texts_are_checked_as_those_to_train_on(write):
    path = write("more.csv", "text,other\ngood,x\n,y\n")
    with pytest.raises(BadRows, match=r"more.csv, row 2 .* the text is missing"):
        load_texts(path, DataSpec())
    with pytest.raises(DataError, match="no column 'other_text'"):
        load_texts(path, DataSpec(text_pair_column="other_text"))
    path = write("pairs.csv", "text,other\ngood,x\nbad,\n")
    texts = load_texts(path, DataSpec(text_pair_column="other"))
    assert texts.to_dict() == {"text": ["good", "bad"], "pair": ["x", ""]}
