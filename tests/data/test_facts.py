import math

import pytest

from bert_multilabel.data.facts import ColumnFacts


def facts(*cells):
    found = ColumnFacts()
    for cell in cells:
        found.update([cell])
    together = ColumnFacts()
    together.update(list(cells))
    assert found.examples == together.examples and found.cells == together.cells  # whatever the batches
    return found


def test_cells_are_counted_by_value_and_type():
    found = facts("a", 1, "1", "a", True, 1, [1], [1])
    assert found.cells == [("a", 2), (1, 2), ("1", 1), (True, 1), ([1], 2)]
    assert found.rows == 8


@pytest.mark.parametrize("cell", [None, "", " ", math.nan, "nan", "N/A", -1, "-1", -100, -100.0, "-100"])
def test_missing_and_hidden_cells(cell):
    assert facts(cell).is_all_missing
    assert not facts(cell, 0).is_all_missing and not facts(cell, "price").is_all_missing
    assert facts(cell, 1).holds_zero_one and not facts(cell).holds_zero_one


def test_hidden_cells_are_told_from_missing_ones():
    assert facts("-1", "1").has_hidden and facts(-100).has_hidden
    assert not facts("", "1", None).has_hidden


@pytest.mark.parametrize(
    ("cells", "zero_one", "marks", "zero"),
    [
        (["0", "1"], True, True, True),
        ([True, False], True, True, True),
        (["", "1"], True, True, False),
        (["yes", "no"], False, True, True),
        (["x", ""], False, True, False),
        (["1", "x"], False, True, False),
        (["0", "2"], False, False, True),
        (["0", "maybe"], False, False, True),
        (["", None], False, False, False),
        ([[1], [0]], False, False, False),
    ],
)
def test_columns_of_zeros_and_ones(cells, zero_one, marks, zero):
    found = facts(*cells)
    assert (found.holds_zero_one, found.holds_marks, found.has_zero) == (zero_one, marks, zero)


def test_columns_of_ones_and_the_style_of_columns():
    assert facts("1", 1.0, "yes").is_all_one and not facts("1", "").is_all_one and not ColumnFacts().is_all_one
    assert facts("1", 0, "").style == "numbers"
    assert facts("True", "False").style == facts("x", "").style == "words"


@pytest.mark.parametrize(
    "cells", [[0.83, 1], ["0.83", ""], ["1,200", "-3 %"], ["1e-3", None, "$5"], [7], ["", "nan", "2"]]
)
def test_columns_of_numbers(cells):
    assert facts(*cells).holds_numbers


@pytest.mark.parametrize(
    "cells", [["0.83", "good"], ["", None], ["2 gifts"], [[1]], ["2024-01-02"], ["1e"], ["yes", "1"]]
)
def test_other_columns_are_no_numbers(cells):
    assert not facts(*cells).holds_numbers


def test_columns_of_votes_and_shares():
    assert facts("0", "3").holds_shares and facts(0.25, 1).holds_shares
    assert not facts("0", "1").holds_shares and not facts("-3", "2").holds_shares and not facts("many").holds_shares


def test_columns_of_sentences():
    assert facts("It broke after a day", "A nice present for my sister").holds_sentences
    assert not facts("price", "quality").holds_sentences
    assert not facts(*["I bought it as a present"] * 4).holds_sentences  # a category
    assert not facts("", None).holds_sentences


def test_columns_of_lists_of_names():
    assert facts(["price"], ["price", "gift"], ["gift"], None).holds_lists_of_names
    assert not facts(["the", "cat"], ["a", "dog"], ["some", "birds"]).holds_lists_of_names  # words of texts
    assert not facts([1], [1]).holds_lists_of_names
    assert not facts("price", "price").holds_lists_of_names


def test_the_first_cell_with_something_in_it_is_the_example():
    assert facts(None, " ", [], "price", "gift").example == "price"


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_value_that_is_nested_too_deeply_is_some_other_value():
    found = facts(nested(100_000))
    assert not found.is_all_missing and not found.holds_marks and found.example is not None


def test_of_very_many_different_cells_only_some_are_kept():
    found = ColumnFacts()
    for start in range(0, 30_000, 1000):
        found.update([f"the text with the number {number}" for number in range(start, start + 1000)])
    assert found.rows == 30_000 and found.cells is None and len(found.examples) == 1000
    assert found.holds_sentences and not found.holds_numbers
