import pytest

from bert_multilabel.data.formats import doccano
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue
from bert_multilabel.errors import DataError

NAMES = DataSpec(label_names=["price", "quality", "gift"])
BOTH = {"id": 7, "text": "A cheap gift", "meta": {}, "annotations": [{"label": 1, "user": 2}, {"label": 3, "user": 2}]}
NEITHER = {"id": 8, "text": "It is blue", "meta": {}, "annotation_approver": None, "annotations": []}


def test_ids_of_the_database_start_at_1():
    assert doccano.read(BOTH, NAMES) == [{"id": 7, "text": "A cheap gift", "labels": ["price", "gift"]}]
    assert doccano.read(NEITHER, NAMES) == [{"id": 8, "text": "It is blue", "labels": []}]


def test_ids_with_gaps():
    spec = DataSpec(label_names=["price", "quality", "gift"], label_ids=[4, 3, 1])
    assert doccano.read(BOTH, spec)[0]["labels"] == ["gift", "quality"]


@pytest.mark.parametrize("label", [0, 4, -1])
def test_id_without_a_name(label):
    with pytest.raises(BadValue, match=rf"id {label} has no name; the ids with names are \[1, 2, 3\]") as caught:
        doccano.read({"text": "Fine", "annotations": [{"label": label}]}, NAMES)
    assert caught.value.column == "annotations"


def test_ids_need_names():
    with pytest.raises(DataError, match="ids of doccano's database, such as 1: .*--label_names_file") as caught:
        doccano.read(BOTH, DataSpec())
    assert not isinstance(caught.value, BadValue)


def test_names_in_annotations_are_names():
    assert doccano.read({"text": "Fine", "annotations": [{"label": "quality", "user": 1}]}, DataSpec()) == [
        {"text": "Fine", "labels": ["quality"]}
    ]


def test_one_row_per_annotator():
    row = {
        "text": "Cheap",
        "annotations": [{"label": 1, "user": 1}, {"label": 1, "user": 2}, {"label": 2, "user": 1}],
    }
    assert doccano.read(row, NAMES) == [
        {"text": "Cheap", "labels": ["price", "quality"]},
        {"text": "Cheap", "labels": ["price"]},
    ]


@pytest.mark.parametrize("label", [True, None, 1.0, [1], {}])
def test_label_that_is_neither_id_nor_name(label):
    with pytest.raises(BadValue, match="is not the id of a label"):
        doccano.read({"text": "Fine", "annotations": [{"label": label}]}, NAMES)


def test_old_exports_are_recognized():
    assert doccano.recognizes([NEITHER, BOTH]) == "rows have 'annotations' such as {'label': 1, 'user': 2}"


@pytest.mark.parametrize(
    ("key", "items"),
    [
        ("label", [[0, 5, "BRAND"]]),
        ("labels", [["BRAND", 0, 5]]),
        ("entities", [{"id": 1, "label": "BRAND", "start_offset": 0, "end_offset": 5}]),
        ("annotations", [{"label": 3, "start_offset": 0, "end_offset": 5, "user": 1}]),
    ],
)
def test_labels_of_parts_of_a_text_are_refused(key, items):
    rows = [{"id": 1, "text": "Nothing", key: []}, {"id": 2, "text": "Acme soap", key: items}]
    assert doccano.recognizes(rows).startswith(f"rows have '{key}' such as ")
    assert doccano.read(rows[0], NAMES) == [{"id": 1, "text": "Nothing", "labels": []}]
    with pytest.raises(DataError, match=rf"'{key}' holds labels of parts of a text, such as .*a column 'labels'"):
        doccano.read(rows[1], NAMES)


@pytest.mark.parametrize(
    "rows",
    [
        [{"id": 1, "text": "Cheap", "label": ["price"], "Comments": []}],
        [{"text": "Cheap", "label": [1, 2, 3]}],
        [{"text": "Cheap", "label": ["a", "b", "c"]}],
        [{"text": "Cheap", "label": []}],
        [{"text": "Cheap", "labels": ["price"], "entities": [{"label": "X", "start_offset": 0, "end_offset": 5}]}],
        [BOTH, {"text": "Cheap", "annotations": [{"text": "bon marché"}]}],
    ],
)
def test_plain_rows_are_not_recognized(rows):
    assert doccano.recognizes(rows) is None
