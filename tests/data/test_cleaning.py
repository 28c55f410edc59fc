import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from bert_multilabel.data.examples import load_examples, load_splits
from bert_multilabel.data.plan import Plan
from bert_multilabel.data.sources import open_files
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import BadRows
from bert_multilabel.errors import DataError, MultiLabelError


def json_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def texts(data, **spec):
    return load_examples(data, **spec).splits["train"]["text"][:]


def labels(data, split="train", **spec):
    return load_examples(data, **spec).splits[split]["labels"][:]


# Texts


TITLES = "title,body,labels\nToo dear,I returned it,price\n,Nice present,gift\nNothing to say,,\n"


def test_several_texts_are_joined_in_the_named_order(write):
    path = write("a.csv", TITLES)
    joined = texts(path, text_column=["title", "body"])
    assert joined == ["Too dear\nI returned it", "Nice present", "Nothing to say"]
    assert texts(path, text_column=["body", "title"])[0] == "I returned it\nToo dear"


def test_joined_texts_may_have_the_names_of_their_columns(write):
    joined = texts(write("a.csv", TITLES), text_column=["title", "body"], name_text_columns=True)
    assert joined == ["title: Too dear\nbody: I returned it", "body: Nice present", "title: Nothing to say"]


def test_a_row_needs_one_of_several_texts(write):
    path = write("a.csv", TITLES + ",,price\n")
    with pytest.raises(BadRows, match=r"row 4 \(line 5\), column 'title': the text is missing \(''\)"):
        load_examples(path, text_column=["title", "body"])


def test_lists_of_texts_are_joined_on_request(write):
    other = {"text": ["Nice.", ""], "labels": []}
    path = write("a.jsonl", json_lines({"text": ["Too dear.", "Returned."], "labels": ["price"]}, other))
    with pytest.raises(DataError, match=r"column 'text' holds lists of texts \(.*'Returned.'\]\): pass --join_lists"):
        load_examples(path)
    assert texts(path, join_lists=True) == ["Too dear. Returned.", "Nice. "]
    path = write("b.jsonl", json_lines({"text": ["Too dear.", 7], "labels": ["price"]}, other))
    with pytest.raises(DataError, match=r"\['Too dear.', 7\] is not text but of type list; write it as text$"):
        load_examples(path, join_lists=True)


# Labels


def test_a_split_may_spell_its_columns_in_another_case(write):
    files = {
        "train": write("t.csv", "text,Rude,loud\na,1,0\nb,0,1\n"),
        "validation": write("v.csv", "TEXT,LOUD,rude\nc,1,0\n"),
    }
    loaded = load_examples(files)
    assert loaded.label_names == ["Rude", "loud"]
    assert loaded.splits["validation"].to_list() == [{"text": "c", "labels": [0, 1]}]


def test_blank_cells_are_0_in_columns_without_a_0_and_it_is_said(write, caplog):
    path = write("a.csv", "text,rude,loud\na,1,0\nb,,1\nc,1,\n")
    first, second, third = labels(path)
    assert (first, second) == ([1, 0], [0, 1])
    assert third[0] == 1 and math.isnan(third[1])
    assert "no 0 in 'rude': blank cells are read as 0" in caplog.text


def test_ones_and_minus_ones_without_a_0_are_asked_about(write):
    with pytest.raises(DataError, match="column 'rude' holds 1 and -1 but no 0: write 0 where -1 means no"):
        load_examples(write("a.csv", "text,rude,loud\na,1,0\nb,-1,1\n"))
    (_, second) = labels(write("b.csv", "text,rude,loud\na,1,0\nb,-1,1\nc,0,1\n"))[:2]
    assert math.isnan(second[0])


def test_votes_and_shares(write):
    path = write("a.csv", "text,rude,loud\na,0,3\nb,2,1\nc,5,\n")
    first, second, third = labels(path, label_values="votes>=2")
    assert (first, second) == ([0, 1], [1, 0]) and third[0] == 1 and math.isnan(third[1])
    assert labels(write("b.csv", "text,rude\na,0.25\nb,1\n"), label_values="shares") == [[0.25], [1]]


def test_foreign_tags_are_no_labels_while_predicting(write):
    path = write("new.csv", "text,tags\na,summer|sale\nb,new\n")
    loaded = load_splits(DataSpec(label_names=["price", "gift"]), {"test": path})
    assert loaded.splits["test"].to_list() == [{"text": "a"}, {"text": "b"}]
    assert loaded.label_names == ["price", "gift"]


def test_the_same_problem_of_many_rows_is_told_once(write):
    path = write("a.csv", "text,labels\n" + "a,price\n" + ",price\n" * 5)
    with pytest.raises(BadRows) as caught:
        load_examples(path)
    assert str(caught.value).split("\n") == [
        f"5 problems in {path}:",
        f"{path}, row 2 (line 3), row 3 (line 4), row 4 (line 5) and 2 more rows, column 'text': the text is missing "
        "(''); write one or remove the row",
    ]


# Ids with names


def with_classes(columns, **classes):
    features = {name: Value("string") for name in columns if name not in classes}
    features |= {name: ClassLabel(names=names) for name, names in classes.items()}
    return Dataset.from_dict(columns, features=Features(features))


def test_columns_of_no_and_yes_have_the_meaning_of_their_names():
    columns = {"text": [*"abcd"], "rude": [0, 1, None, -1], "loud": [0, 1, 1, 0]}
    loaded = load_examples(with_classes(columns, rude=["yes", "no"], loud=["no", "yes"]))
    assert loaded.label_names == ["rude", "loud"]
    first, second, *others = loaded.splits["train"]["labels"][:]
    assert (first, second) == ([1, 0], [0, 1])
    assert [math.isnan(row[0]) for row in others] == [True, True] and [row[1] for row in others] == [1, 0]


def test_a_split_may_number_no_and_yes_in_another_order():
    train = with_classes({"text": ["a", "b"], "rude": [0, 1]}, rude=["yes", "no"])
    validation = with_classes({"text": ["c", "d"], "rude": [0, 1]}, rude=["False", "True"])
    data = DatasetDict(train=train, validation=validation)
    assert labels(data, label_column="rude") == [[1], [0]]
    assert labels(data, "validation", label_column="rude") == [[0], [1]]


def test_names_that_mean_neither_no_nor_yes_are_refused_among_zeros_and_ones():
    columns = {"text": ["a", "b"], "mood": [0, 1], "loud": [0, 1]}
    data = with_classes(columns, mood=["sad", "glad"], loud=["no", "yes"])
    with pytest.raises(DataError, match="column 'mood' holds ids of the names 'sad', 'glad', not of no and yes"):
        load_examples(data)
    loaded = load_examples(data, label_column="mood")
    assert (loaded.label_names, loaded.splits["train"]["labels"][:]) == (["sad", "glad"], [[1, 0], [0, 1]])


def test_lists_of_ids_have_the_names_of_their_split():
    def rows(names):
        features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
        return Dataset.from_dict({"text": ["a", "b"], "labels": [[0], [0, 1]]}, features=features)

    data = {"train": rows(["price", "gift"]), "validation": rows(["gift", "price"])}
    assert load_examples(data).label_names == ["price", "gift"]
    assert labels(data) == [[1, 0], [1, 1]]
    assert labels(data, "validation") == [[0, 1], [1, 1]]


# Sources


def test_frames_and_datasets_have_the_examples_of_files(write):
    rows = [{"text": "a", "labels": ["price"], "id": 7}, {"text": "b", "labels": [], "id": 8}]
    expected = [{"text": "a", "labels": [1], "id": 7}, {"text": "b", "labels": [0], "id": 8}]
    for data in (write("a.jsonl", json_lines(*rows)), pd.DataFrame(rows), Dataset.from_list(rows)):
        assert load_examples(data).splits["train"].to_list() == expected
    assert load_examples({"train": pd.DataFrame(rows)}).splits["train"].to_list() == expected


def test_unknown_arguments_and_splits_are_refused():
    with pytest.raises(MultiLabelError, match="load_examples takes no 'labels_column'; it takes annotators, column_n"):
        load_examples("a.csv", labels_column="x")
    with pytest.raises(MultiLabelError, match="by split name .*'dev'"):
        load_examples({"dev": "a.csv"})


# Other processes


FILES = {
    "a.csv": "text,labels\na,price|gift\nb,\n",
    "a.jsonl": json_lines({"text": "a", "labels": ["price", "gift"]}, {"text": "b", "labels": []}),
    "b.jsonl": json_lines(
        {"text": "a", "cats": {"price": 1, "gift": 1}}, {"text": "b", "cats": {"price": 0, "gift": 0}}
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_cleaner_can_be_pickled(write, name):
    spec = DataSpec()
    sources = open_files({"train": write(name, FILES[name])}, spec)
    cleaner = Plan.make(sources, spec).cleaner("train", sources["train"], spec)
    expected = [{"text": "a", "labels": [1, 1]}, {"text": "b", "labels": [0, 0]}]
    assert list(cleaner.examples()) == expected == list(cleaner.examples())
    assert list(pickle.loads(pickle.dumps(cleaner)).examples()) == expected


@pytest.mark.parametrize("name", FILES)
def test_a_stream_can_be_pickled(write, name):
    stream = load_splits(DataSpec(), {"train": write(name, FILES[name])}, streaming=True).train
    expected = [{"text": "a", "labels": [1, 1]}, {"text": "b", "labels": [0, 0]}]
    assert list(pickle.loads(pickle.dumps(stream))) == expected == list(stream)
    np.testing.assert_array_equal(stream.frequencies.positives, [1, 1])
