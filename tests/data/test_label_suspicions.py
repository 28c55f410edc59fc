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
        ({f"a {number}": 2 for number in range(20)}, 39, "too many for the number of rows"),
        ({f"a {number}": 1 for number in range(10)}, 100, "each occurs only once"),
        ({f"row {number}": 9 for number in range(10_001)}, 99_999, "holds 10001 labels, such as 'row 0', 'row 1', "),
    ],
)
def test_names_of_a_column_that_was_misread_are_refused_unless_they_are_right(counts, rows, phrase):
    with pytest.raises(DataError, match=phrase) as caught:
        check_names(counts, "column 'tags'", rows, DataSpec())
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
        ({f"a {number}": 2 for number in range(20)}, 40),
        ({f"a {number}": 1 for number in range(9)}, 19),
        ({}, 0),
    ],
)
def test_other_names_are_fine(counts, rows):
    check_names(counts, "column 'tags'", rows, DataSpec())


def test_misread_names_are_told():
    assert misread_names({"a]": 1, "'b'": 1, "c": 1, "d (e)": 1, "(d)": 1}) == ["a]", "'b'", "(d)"]
