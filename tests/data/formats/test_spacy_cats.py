import pytest

from bert_multilabel.data.formats import spacy_cats
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue

ROWS = [
    {"text": "A cheap gift", "cats": {"price": 1.0, "gift": 0.75, "quality": 0}, "tokens": []},
    {"text": "It is blue", "id": 3, "cats": {"price": False, "gift": None, "quality": True}},
]
LABELS = [{"price": 1.0, "gift": 0.75, "quality": 0.0}, {"price": 0.0, "gift": None, "quality": 1.0}]


def read(row):
    return spacy_cats.read(row, DataSpec())


def test_rows_with_cats():
    assert spacy_cats.recognizes(ROWS).startswith("rows have 'cats' such as {'price': 1.0")
    assert [read(row) for row in ROWS] == [
        [{"text": "A cheap gift", "labels": LABELS[0]}],
        [{"text": "It is blue", "id": 3, "labels": LABELS[1]}],
    ]


@pytest.mark.parametrize("kind", [list, tuple, lambda pair: {"0": pair[0], "1": pair[1]}])
def test_pairs_of_text_and_cats(kind):
    pairs = [kind([row["text"], {"cats": row["cats"], "entities": []}]) for row in ROWS]
    assert spacy_cats.recognizes(pairs).startswith("rows are pairs of a text and 'cats' such as {'price': 1.0")
    assert [read(pair) for pair in pairs] == [
        [{"text": "A cheap gift", "labels": LABELS[0]}],
        [{"text": "It is blue", "labels": LABELS[1]}],
    ]


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf"), "1", [1], {}])
def test_values_that_are_no_shares(value):
    with pytest.raises(BadValue, match="for 'gift' is not a number from 0 to 1") as caught:
        read({"text": "Fine", "cats": {"price": 1, "gift": value}})
    assert caught.value.column == "cats"


@pytest.mark.parametrize("row", ["Fine", None, ["Fine"], ["Fine", 3], {"text": "Fine"}, {"text": "Fine", "cats": []}])
def test_rows_of_another_form(row):
    with pytest.raises(BadValue, match="is not a JSON object"):
        read(row)


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "Fine", "cats": ["gift"]}],
        [{"text": "Fine", "cats": "gift"}],
        [{"text": "Fine", "cats": {}}],
        [{"text": "Fine", "cats": {"gift": "yes"}}],
        [{"body": "Fine", "cats": {"gift": 1}}],
        [["Fine", "gift"], ["Good", "price"]],
        [["Fine", {"entities": []}]],
        [*ROWS, {"text": "Fine", "labels": ["gift"]}],
        [],
    ],
)
def test_plain_rows_are_not_recognized(rows):
    assert spacy_cats.recognizes(rows) is None
