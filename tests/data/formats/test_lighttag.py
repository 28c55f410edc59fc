import pytest

from bert_multilabel.data.formats import lighttag
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue
from bert_multilabel.errors import DataError

ANN, BOB = {"annotator": "ann", "annotator_id": 1}, {"annotator": "bob", "annotator_id": 2}


def example(seen_by, **classes):
    """An example with the annotators who chose each class."""
    classifications = [
        {"example_id": "e1", "classname": name, "class_id": "c", "classified_by": people}
        for name, people in classes.items()
    ]
    return {
        "example_id": "e1",
        "content": "Cheap soap",
        "metadata": {},
        "seen_by": seen_by,
        "annotations": [],
        "classifications": classifications,
    }


def labels(row):
    return [row["labels"] for row in lighttag.read(row, DataSpec())]


def test_classes_are_labels():
    row = example([ANN], price=[ANN], quality=[ANN])
    assert lighttag.recognizes([row]) == "rows have 'content', and 'classifications' with 'classname'"
    assert lighttag.read(row, DataSpec()) == [{"text": "Cheap soap", "id": "e1", "labels": ["price", "quality"]}]


def test_one_row_per_annotator_who_has_seen_the_text():
    assert labels(example([ANN, BOB], price=[ANN, BOB], quality=[BOB])) == [["price"], ["price", "quality"]]
    assert labels(example([ANN, BOB], price=[BOB])) == [[], ["price"]]
    assert labels(example([], price=[BOB])) == [["price"]]


def test_texts_that_nobody_has_seen_are_left_out():
    assert labels(example([])) == []
    assert labels(example([ANN])) == [[]]


def test_classes_without_annotators():
    row = {"content": "Cheap", "classifications": [{"classname": "price"}, {"classname": "gift"}]}
    assert lighttag.read(row, DataSpec()) == [{"text": "Cheap", "labels": ["price", "gift"]}]


def test_labels_of_parts_of_texts_alone_are_refused():
    rows = [example([ANN]) | {"annotations": [{"tag": "BRAND", "start": 0, "end": 4}]}, example([ANN])]
    assert lighttag.recognizes(rows) == "rows have 'content', 'classifications' and 'seen_by'"
    with pytest.raises(DataError, match="'annotations' mark parts of a text, and 'classifications' are empty"):
        lighttag.prepare(rows, DataSpec())
    lighttag.prepare([*rows, example([ANN], price=[ANN])], DataSpec())


@pytest.mark.parametrize(
    "more",
    [
        {"classifications": "price"},
        {"classifications": ["price"]},
        {"classifications": [{"classname": 3}]},
        {"classifications": [{"classname": "price", "classified_by": "ann"}]},
        {"seen_by": ["ann"]},
    ],
)
def test_values_of_another_form(more):
    with pytest.raises(BadValue):
        lighttag.read(example([ANN]) | more, DataSpec())


@pytest.mark.parametrize(
    "rows",
    [
        [{"content": "Cheap", "classifications": ["price"]}],
        [{"content": "Cheap", "classifications": []}],
        [{"content": "Cheap", "classifications": "price"}],
        [{"content": "Cheap", "labels": ["price"]}],
        [example([ANN]), {"text": "Cheap", "labels": ["price"]}],
    ],
)
def test_plain_rows_are_not_recognized(rows):
    assert lighttag.recognizes(rows) is None
