"""The weights of examples on their way from a file to a batch."""

import json
import math

import pytest
from datasets import Dataset

from bert_multilabel.data.examples import load_splits, mean_weight
from bert_multilabel.data.label_files import read_label_weights
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import as_weight
from bert_multilabel.errors import DataError, MultiLabelError

SPEC = DataSpec(weight_column="trust")


def test_weights_are_read_in_training_and_validation_and_from_a_stream_as_well(write):
    rows = "text,labels,trust\na b,x,0.1\nc d,y,3\ne f,x,0\n"
    files = {"train": write("train.csv", rows), "test": write("test.csv", "text\na b\n")}
    files["validation"] = write("validation.csv", "text,labels\na b,x\n")
    stored = load_splits(SPEC, files)
    stream = load_splits(SPEC, files, streaming=True).stream
    assert stored.splits["train"]["weight"] == pytest.approx([0.1, 3.0, 0.0])
    assert [row["weight"] for row in stream] == list(stored.splits["train"]["weight"])
    assert mean_weight(stream) == pytest.approx(3.1 / 3)
    assert mean_weight(stored.splits["train"]) == pytest.approx(3.1 / 3)
    assert all("weight" not in stored.splits[split].features for split in ("validation", "test"))
    assert "--weight_column trust" in " ".join(stored.options)
    # The cache knows examples with weights from those without.
    assert "weight" not in load_splits(DataSpec(), files).splits["train"].features


def test_a_column_of_weights_is_no_label(write):
    file = write("train.csv", "text,x,y,trust\na b,1,0,1\nc d,0,1,0\n")
    assert load_splits(DataSpec(), {"train": file}).label_names == ["x", "y", "trust"]
    assert load_splits(SPEC, {"train": file}).label_names == ["x", "y"]


def test_bad_weights_are_named_with_their_rows(write):
    cells = ["1", "", "-1", "many", "nan", "inf", "1e39"]
    file = write("train.csv", "text,labels,trust\n" + "".join(f"a b,x,{cell}\n" for cell in cells))
    with pytest.raises(DataError) as caught:
        load_splits(SPEC, {"train": file})
    problems = str(caught.value).splitlines()[1:]
    assert len(problems) == 6
    assert "row 3 (line 4), column 'trust': '-1' is no weight; write a number from 0 up" in problems[1]


def test_a_column_of_weights_must_be_in_the_training_data(write):
    with pytest.raises(DataError, match="train.csv has no column 'trust' for the weight; name one of"):
        load_splits(SPEC, {"train": write("train.csv", "text,labels\na b,x\n")})


@pytest.mark.parametrize("folding", [{"one_label_per_line": True}, {"annotators": "majority"}])
def test_rows_that_become_one_example_have_no_weights(folding):
    with pytest.raises(DataError, match="weight_column 'trust' has a weight for each row, but"):
        DataSpec(weight_column="trust", **folding)


def test_weights_of_which_all_are_0_are_refused():
    assert mean_weight(Dataset.from_dict({"labels": [[1.0]] * 2})) == 1.0
    with pytest.raises(MultiLabelError, match="all 2 training examples have the weight 0"):
        mean_weight(Dataset.from_dict({"weight": [0.0, 0.0]}))


@pytest.mark.parametrize(("cell", "weight"), [(0, 0.0), (2, 2.0), ("1.5", 1.5), ("0,5", 0.5), ("50 %", 0.5)])
def test_a_weight_is_a_number(cell, weight):
    assert as_weight(cell) == weight


@pytest.mark.parametrize("cell", [None, "", True, [1], {}, math.nan, "-0.1", 10**400])
def test_anything_else_is_no_weight(cell):
    with pytest.raises(DataError, match="is no weight; write a number from 0 up"):
        as_weight(cell)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", json.dumps({"gift": 2, "price": "0.5"})), ("a.csv", "label,weight\nprice,0.5\ngift,2\n")],
)
def test_weights_of_labels_are_in_the_order_of_the_labels(write, name, content):
    assert read_label_weights(write(name, content), ["gift", "other", "price"]) == [2.0, 1.0, 0.5]


def test_bad_weights_of_labels_are_refused(write):
    path = write("a.json", json.dumps({"gft": 1, "gift": -2, "price": None}))
    with pytest.raises(DataError) as caught:
        read_label_weights(path, ["gift", "price"])
    for problem in (
        "row 1, unknown label 'gft'; did you mean 'gift'?",
        "row 2, label 'gift': -2 is no weight; write a number from 0 up",
        "row 3, label 'price': None is no weight",
    ):
        assert problem in str(caught.value)
