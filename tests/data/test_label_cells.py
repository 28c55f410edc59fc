import math
import time

import pytest

from bert_multilabel.data.label_cells import NULL_WORDS, Kind, is_null_word, read_cell
from bert_multilabel.data.values import BadValue, shorten


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (["price", "gift"], ["price", "gift"]),
        ('["price", "gift"]', ["price", "gift"]),
        ("['price', 'gift']", ["price", "gift"]),
        (" ['price','gift'] ", ["price", "gift"]),
        ("['price' 'good value']", ["price", "good value"]),  # as numpy prints it
        ("['price'\n 'gift']", ["price", "gift"]),
        ("('price', 'gift')", ["price", "gift"]),
        ("{'price', 'gift'}", ["gift", "price"]),
        ("{price,gift}", ["price", "gift"]),
        ('{"good value",gift}', ["good value", "gift"]),
        ('{"say \\"hi\\"",gift}', ['say "hi"', "gift"]),
        ("<price><good-value>", ["price", "good-value"]),
        ([{"name": "price"}, {"name": "gift", "id": 7}], ["price", "gift"]),
        ('[{"label": "price"}]', ["price"]),
        ([], []),
        ("[]", []),
        ("{}", []),
        ([""], []),
    ],
)
def test_lists_of_names(value, items):
    assert read_cell(value, "labels") == (Kind.NAMES, items)


@pytest.mark.parametrize(
    ("value", "kind", "items"),
    [
        ([2, 0], Kind.IDS, [2, 0]),
        ("[2, 0]", Kind.IDS, [2, 0]),
        ("[2 0]", Kind.IDS, [2, 0]),
        ("(2, 0)", Kind.IDS, [2, 0]),
        (2, Kind.ONE_ID, [2]),
        ([0.0, 1.0], Kind.VECTOR, [0.0, 1.0]),
        ([True, False], Kind.VECTOR, [True, False]),
        ("[0. 1.]", Kind.VECTOR, [0.0, 1.0]),
        ("[true, false]", Kind.VECTOR, [True, False]),
        ({"price": 1, "gift": 0.5}, Kind.MAPPING, [("price", 1), ("gift", 0.5)]),
        ("{'price': True, 'gift': None}", Kind.MAPPING, [("price", True), ("gift", None)]),
        ('{"choices": ["price", "gift"]}', Kind.CHOICES, ["price", "gift"]),
        ("price", Kind.TEXT, ["price"]),
        (" price|gift ", Kind.TEXT, ["price|gift"]),
        ("|price|gift|", Kind.TEXT, ["price|gift"]),
        ("", Kind.TEXT, []),
        ("  ", Kind.TEXT, []),
        ("set()", Kind.TEXT, []),
        ("(see below)", Kind.TEXT, ["(see below)"]),
        ("<3", Kind.TEXT, ["<3"]),
    ],
)
def test_other_kinds(value, kind, items):
    assert read_cell(value, "labels") == (kind, items)


@pytest.mark.parametrize("word", sorted(NULL_WORDS))
def test_words_for_missing_values_are_no_labels_unless_they_are_known(word):
    assert read_cell(f" {word} ", "labels") == (Kind.TEXT, [])
    assert read_cell(word, "labels", {word}) == (Kind.TEXT, [word])
    assert is_null_word(f" {word} ", ()) and not is_null_word(word, {word})


@pytest.mark.parametrize("name", ["[other]", "{a,b}", "(1, 0)", "<a><b>", "|"])
def test_a_known_name_is_a_label_whatever_its_form(name):
    assert read_cell(f" {name} ", "labels", {name}) == (Kind.TEXT, [name])


@pytest.mark.parametrize("value", [None, math.nan])
def test_missing_labels_are_refused(value):
    with pytest.raises(BadValue, match=r"the labels are missing \(null\); write an empty list") as caught:
        read_cell(value, "tags")
    assert caught.value.column == "tags"


@pytest.mark.parametrize(
    ("value", "phrase"),
    [
        ("[price, gift]", "looks like a list but cannot be read"),
        ("['price']]", "looks like a list but cannot be read"),
        ("['a', 'b' 'c']", "looks like a list but cannot be read"),  # Python would read the label 'bc'
        ("[{[]: 1}]", "looks like a list but cannot be read"),
        ("[" * 100_000 + "]" * 100_000, "looks like a list but cannot be read"),
        ("[" + "9" * 5000 + "]", "looks like a list but cannot be read"),
        ("{a,,b}", "looks like a set but cannot be read"),
        ("{" * 100_000 + "}" * 100_000, "looks like a set but cannot be read"),
        (["price", 1], "is neither a list of names, nor a list of ids, nor a text"),
        (["price", None], "is neither a list of names"),
        ([["price"]], "is neither a list of names"),
        (1.5, "is neither a list of names"),
        (True, "is neither a list of names"),
        ({"price": 2}, "is not an object of label names with numbers from 0 to 1"),
        ({"price": "yes"}, "is not an object of label names"),
        ([{"title": "price"}], "has neither 'name' nor 'label'"),
        (
            [{"label": "price", "score": 0.9}, {"label": "gift", "score": 0.2}],
            "does not apply, by its score: leave out",
        ),
        ([{"name": "price", "value": False}], "does not apply, by its value"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_cannot_be_read_is_quoted(value, phrase):
    with pytest.raises(BadValue, match=phrase) as caught:
        read_cell(value, "labels")
    assert len(str(caught.value)) < 300


def test_a_long_text_in_braces_is_refused_in_time_that_grows_with_it():
    start = time.process_time()
    with pytest.raises(BadValue):
        read_cell("{" + "a" * 50_000 + '"' + "a," * 50_000 + "}", "labels")
    assert time.process_time() - start < 20


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_values_that_python_cannot_write_are_named_all_the_same():
    assert shorten("a" * 200) == "'" + "a" * 75 + "...'"
    assert shorten("a") == "'a'"
    assert shorten(nested(100_000)) == "a value that is nested too deeply"
    assert shorten([16**6000]) == "a number of more than 4300 digits"
    with pytest.raises(BadValue, match="is nested too deeply is neither"):
        read_cell(nested(100_000), "labels")
