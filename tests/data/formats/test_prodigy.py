import pytest

from bert_multilabel.data.formats import prodigy
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue
from bert_multilabel.errors import DataError

OPTIONS = [{"id": "price", "text": "About the price"}, {"id": "gift", "text": "A gift"}]


def choice(answer, *accept, **more):
    row = {"text": "A cheap gift", "_input_hash": -1, "options": OPTIONS, "accept": [*accept], "answer": answer}
    return row | more


def judged(label, answer):
    return {"text": "A cheap gift", "label": label, "score": 0.4, "spans": [], "answer": answer}


def read(row):
    return prodigy.read(row, DataSpec())


def test_accepted_options_are_labels():
    assert prodigy.recognizes([choice("accept", "gift")]) == "rows have 'accept', 'options' and 'answer'"
    assert read(choice("accept", "gift", "price")) == [{"text": "A cheap gift", "labels": ["gift", "price"]}]
    assert read(choice("accept", id="r-1")) == [{"text": "A cheap gift", "id": "r-1", "labels": []}]


def test_ignored_rows_are_left_out():
    assert read(choice("ignore", "gift")) == []
    assert read(judged("gift", "ignore")) == []


def test_rejected_choices_are_no_labels():
    assert read(choice("reject", "gift")) == [{"text": "A cheap gift", "labels": []}]


def test_choices_without_accept():
    row = choice("accept")
    del row["accept"]
    assert prodigy.recognizes([row, choice("accept", "gift")])
    assert read(row) == [{"text": "A cheap gift", "labels": []}]


def test_options_with_numbers_are_named_by_their_texts():
    options = [{"id": 0, "text": "price"}, {"id": 1, "text": "gift"}]
    assert read(choice("accept", 1, options=options)) == [{"text": "A cheap gift", "labels": ["gift"]}]


def test_judgements_on_one_label():
    rows = [judged("gift", "accept"), judged("price", "reject")]
    assert prodigy.recognizes(rows) == "rows have 'label' and 'answer'"
    assert [read(row) for row in rows] == [
        [{"text": "A cheap gift", "labels": {"gift": 1.0}}],
        [{"text": "A cheap gift", "labels": {"price": 0.0}}],
    ]


def test_choices_and_judgements_in_one_table():
    none = dict.fromkeys(("options", "accept", "label", "spans"))
    rows = [none | choice("accept", "gift"), none | judged("price", "reject")]
    assert prodigy.recognizes(rows) == "rows have 'accept', 'options' and 'answer'"
    assert [read(row)[0]["labels"] for row in rows] == [["gift"], {"price": 0.0}]


def test_parts_of_texts_are_refused():
    row = {"text": "Acme soap", "tokens": [], "spans": [{"start": 0, "end": 4, "label": "BRAND"}], "answer": "accept"}
    assert prodigy.recognizes([row]) == "rows have 'spans' and 'answer'"
    with pytest.raises(DataError, match="'spans' mark parts of a text, .*textcat.manual"):
        read(row)


@pytest.mark.parametrize(
    ("row", "problem", "column"),
    [
        (choice("maybe"), "'maybe' is not one of accept, reject, ignore", "answer"),
        (choice(["accept"]), "is not one of accept", "answer"),
        (choice("accept", "colour"), r"'colour' is not the id .*; the ids are \['price', 'gift'\]", "accept"),
        (choice("accept", ["gift"]), "is not the id of an option", "accept"),
        (choice("accept") | {"accept": "gift"}, "'gift' is not a list", "accept"),
        (choice("accept", options=["price"]), "'price' is not a JSON object", "options"),
        (choice("accept", options=[{"text": "price"}]), "has no id", "options"),
        (choice("accept", options=[{"id": 3}]), "None is not the name of a label", "options"),
        (judged(4, "accept"), "4 is not the name of a label", "label"),
        ({"text": "Fine", "answer": "accept"}, "neither 'options' nor 'label'", "label"),
        (["Fine"], "is not a JSON object", "text"),
    ],
)
def test_values_of_another_form(row, problem, column):
    with pytest.raises(BadValue, match=problem) as caught:
        read(row)
    assert caught.value.column == column


@pytest.mark.parametrize(
    "rows",
    [
        [{"question": "Is it cheap?", "answer": "accept"}],
        [{"text": "Fine", "label": "gift", "answer": "yes"}],
        [{"text": "Fine", "labels": ["gift"], "answer": "reject"}],
        [{"text": "Fine", "options": ["a"], "accept": ["a"]}],
        [choice("accept"), {"text": "Fine", "labels": ["gift"]}],
    ],
)
def test_plain_rows_are_not_recognized(rows):
    assert prodigy.recognizes(rows) is None
