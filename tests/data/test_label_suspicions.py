import pytest

from bert_multilabel.data.label_suspicions import check_names, misread_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

REPEATED = {f"label {number}": 4 for number in range(11)}


@pytest.mark.parametrize(
    ("counts", "rows", "phrase"),
    [
        ({"(1": 5, "0": 5}, 10, r"such as '\(1': brackets or quotes that belong to no name"),
        ({"{'late'}": 5, "gift": 5}, 10, "brackets or quotes"),
        ({'["price"': 5, "gift": 5}, 10, "brackets or quotes"),
        ({"<late><dirty>": 5, "gift": 5}, 10, "brackets or quotes"),
        ({'"gift"': 5, "price": 5}, 10, "brackets or quotes"),
        ({"3": 5, "17": 5, "gift": 5}, 15, "'3', '17': numbers in place of names. If they are ids, .*names_file"),
        ({"0.83": 2, "0.1": 2}, 4, "numbers in place of names"),
        ({"late": 5, "dirty": 5, "late#dirty": 2}, 12, "such as 'late#dirty': names that are other names, joined"),
        ({"late": 5, "dirty": 5, "late - dirty": 2}, 12, "names that are other names, joined"),
        ({"late": 5, "dirty": 5, "late::dirty": 2}, 12, "names that are other names, joined"),
        ({"late": 5, "dirty": 5, "late and dirty": 2}, 12, "names that are other names, joined"),
        ({"#late": 5, "#dirty": 5, "#late#dirty": 2}, 12, "such as '#late#dirty': names that are other names, joined"),
        ({"🕒": 5, "🧹": 5, "🕒🧹": 2}, 12, "names that are other names, joined"),
        ({"'late": 5, "dirty": 5}, 10, "brackets or quotes"),
        ({"late:0.9": 5, "dirty: 12%": 5, "loud": 1}, 10, "'late:0.9', 'dirty: 12%': numbers behind the names"),
        ({"Stra\u00dfe": 5, "U\u0308bung": 5, "\u00dcbung": 5}, 15, "characters that cannot be seen"),
        ({"late": 5, "late\u200b": 5}, 10, "characters that cannot be seen"),
        ({f"a {number}": 2 for number in range(20)}, 39, "too many for the number of rows"),
        ({f"a {number}": 1 for number in range(10)}, 100, "each occurs only once"),
        ({f"row {number}": 9 for number in range(10_001)}, 99_999, "holds 10001 labels, such as 'row 0', 'row 1', "),
    ],
)
def test_names_of_a_column_that_was_misread_are_refused_unless_they_are_right(counts, rows, phrase):
    with pytest.raises(DataError, match=phrase) as caught:
        check_names(counts, "column 'tags'", rows, DataSpec(), are_cells=True)
    message = str(caught.value)
    assert message.startswith(f"column 'tags' holds {len(counts)} labels, such as ")
    assert message.endswith("if they are right, pass --labels_as_they_are") and len(message) < 400
    check_names(counts, "column 'tags'", rows, DataSpec(labels_as_they_are=True))


@pytest.mark.parametrize(
    ("counts", "rows"),
    [
        ({"price": 1, "gift": 1}, 2),  # with few rows, their number says nothing
        (REPEATED, 44),
        ({"C++": 5, "a-b": 3, "R&D": 4, "drinks (hot)": 4, "(non)fiction": 3, "don't": 3}, 30),
        ({"5 stars": 3, "4": 3, "gift": 5}, 11),  # less than half are numbers
        ({"good value": 3, "good": 2}, 9),  # "value" is no label by itself
        ({"food-": 3, "food": 2}, 9),
        ({"food:3": 3, "food:4": 2, "size 1:2": 4}, 9),
        ({f"a {number}": 2 for number in range(20)}, 40),
        ({f"a {number}": 1 for number in range(9)}, 19),
        ({}, 0),
    ],
)
def test_other_names_are_fine(counts, rows):
    check_names(counts, "column 'tags'", rows, DataSpec())


def test_misread_names_are_told():
    assert misread_names({"a]": 1, "'b'": 1, "c": 1, "d (e)": 1, "(d)": 1}) == ["a]", "'b'", "(d)"]


# Each name is the cell of several rows; no part of a name is a cell by itself.
JOINED = ["late {} dirty", "late {} loud", "dirty {} loud", "dirty {} dear", "loud {} dear", "late {} dear"]


@pytest.mark.parametrize("separator", [" ", "/", " - ", "::", "_"])
def test_cells_that_combine_the_same_parts_are_refused(separator):
    counts = {name.replace(" {} ", separator): 9 for name in JOINED}
    check_names(counts, "column 'tags'", 54, DataSpec())
    with pytest.raises(DataError, match="combinations of the same parts, as if several labels were joined"):
        check_names(counts, "column 'tags'", 54, DataSpec(), are_cells=True)


@pytest.mark.parametrize(
    "names",
    [
        ["good value", "good service", "bad value", "slow service", "clean room", "small room"],
        ["food/late", "food/cold", "food/dear", "room/loud", "room/dirty", "room/small"],
        ["late dirty", "late loud", "dirty loud"],  # few
    ],
)
def test_names_of_several_words_are_no_combinations(names):
    check_names(dict.fromkeys(names, 9), "column 'tags'", 54, DataSpec(), are_cells=True)


def test_no_delimiter_is_offered_for_what_is_split_already():
    counts = {"late": 5, "dirty": 5, "late#dirty": 2}
    with pytest.raises(DataError, match="joined. Write each label by itself; if they are right"):
        check_names(counts, "column 'tags'", 12, DataSpec())
    with pytest.raises(DataError, match="joined. Pass --label_delimiter with what separates the labels; if they"):
        check_names(counts, "column 'tags'", 12, DataSpec(), are_cells=True)


def test_the_advice_for_right_names_keeps_their_delimiter():
    with pytest.raises(DataError, match=r"pass --label_delimiter '\|' --labels_as_they_are$"):
        check_names({"4001": 5, "4002": 5}, "column 'tags'", 10, DataSpec(), "|")


def test_names_in_lists_may_be_joins_by_signs_of_names():
    check_names(
        {"google-maps": 2, "google": 3, "maps": 4, "red wine": 1, "red": 1, "wine": 3}, "column 'tags'", 9, DataSpec()
    )
    with pytest.raises(DataError, match="such as 'google, maps': names that are other names, joined"):
        check_names({"google, maps": 2, "google": 3, "maps": 4}, "column 'tags'", 9, DataSpec())
    with pytest.raises(DataError, match="such as 'google-maps': names that are other names, joined"):
        check_names({"google-maps": 2, "google": 3, "maps": 4}, "column 'tags'", 9, DataSpec(), are_cells=True)
