import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.labels import BadValue, ColumnFacts, LabelFormat, LabelParser, shorten, zero_one
from bert_multilabel.errors import DataError
from tests import hostile

NAMES = ["price", "quality", "service"]

names_without_delimiters = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="|;,[]"), min_size=1
)
label_sets = st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=8)


def make_parser(cells, names=None, delimiter=None):
    return LabelParser.of_values("labels", {"train": cells}, names, delimiter)


def multi_hot(cells, names=None, delimiter=None):
    parser = make_parser(cells, names, delimiter)
    return [parser.parse({"labels": cell}) for cell in cells]


def facts(*cells):
    found = ColumnFacts()
    for cell in cells:
        found.update(cell)
    return found


def expected(sets):
    return [[float(name in names) for name in NAMES] for names in sets]


# Lists of names


def test_lists_of_names_become_multi_hot_in_sorted_order():
    cells = [["quality", "price"], [], ["service"]]
    assert make_parser(cells).label_names == NAMES
    assert multi_hot(cells) == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_given_names_set_the_order():
    assert multi_hot([["price"]], ["quality", "price"]) == [[0, 1]]


@pytest.mark.parametrize("cell", ['["price", "quality"]', "['price', 'quality']", " ['price','quality'] "])
def test_a_list_may_stand_in_a_text(cell):
    assert make_parser([cell]).format is LabelFormat.NAMES
    assert multi_hot([cell], NAMES) == [[1, 1, 0]]


@pytest.mark.parametrize(
    "cell",
    [
        *("['price' 'quality']", "[price, quality]", "[0 1]", "['price']]", "[{[]: 1}]"),
        "[" * 100_000 + "]" * 100_000,
        "[" + "9" * 5000 + "]",
    ],
    ids=lambda cell: cell[:12],
)
def test_a_text_that_only_looks_like_a_list_is_refused(cell):
    with pytest.raises(BadValue, match="looks like a list but cannot be read"):
        make_parser(["price"], NAMES).parse({"labels": cell})


def test_brackets_are_fine_in_a_known_name():
    assert multi_hot(["[other]", "price"], ["[other]", "price"]) == [[1, 0], [0, 1]]


def test_blanks_around_a_name_do_not_count():
    assert multi_hot([[" price "], ["price"]]) == [[1], [1]]


def test_a_repeated_label_counts_once_and_is_noted():
    parser = make_parser([["price", "price"]])
    assert parser.parse({"labels": ["price", "price"]}) == [1]
    assert parser.parse({"labels": ["price"]}) == [1]
    assert parser.repeated == 1


# Lists of ids


def test_ids_are_positions_in_the_names():
    assert multi_hot([[2, 0], []], NAMES) == [[1, 0, 1], [0, 0, 0]]
    assert multi_hot(["[2, 0]"], NAMES) == [[1, 0, 1]]


def test_a_single_id_is_one_label():
    assert make_parser([2, 0], NAMES).format is LabelFormat.ONE_ID
    assert multi_hot([2, 0], NAMES) == [[0, 0, 1], [1, 0, 0]]


def test_a_split_may_number_its_names_differently():
    parser = make_parser([[0]], NAMES)
    assert parser.parse({"labels": [0]}, ["service", "price"]) == [0, 0, 1]


@pytest.mark.parametrize("bad", [3, -1])
def test_an_id_out_of_range_is_refused(bad):
    with pytest.raises(BadValue, match=f"id {bad} is out of range; ids run from 0 to 2"):
        make_parser([[0]], NAMES).parse({"labels": [bad]})


def test_ids_need_names():
    with pytest.raises(DataError, match="holds ids without names"):
        make_parser([[0, 1]])


def test_multi_hot_vectors_are_not_taken_for_ids():
    with pytest.raises(DataError, match="lists of 3 zeros and ones"):
        make_parser([[0, 1, 1], [1, 0, 0]], NAMES)
    assert multi_hot([[0, 1], [1, 0]], ["a", "b"]) == [[1, 1], [1, 1]]


# Texts


@pytest.mark.parametrize(
    ("cells", "delimiter"),
    [
        (["price|quality", "a;b", "c,d"], "|"),
        (["price;quality", "c,d"], ";"),
        (["price,quality", ""], ","),
        (["price", "quality"], None),
    ],
)
def test_the_delimiter_is_the_first_that_occurs(cells, delimiter):
    assert make_parser(cells).delimiter == delimiter


def test_the_delimiter_is_found_in_the_first_split_that_has_one():
    cells = {"train": ["price", "quality"], "validation": ["price,quality"], "test": ["price|quality"]}
    assert LabelParser.of_values("labels", cells).delimiter == ","


def test_texts_are_split_once_for_all():
    assert multi_hot([" price | quality ", "", "  ", "price"]) == [[1, 1], [0, 0], [0, 0], [1, 0]]
    assert make_parser(["a,b|c"]).label_names == ["a,b", "c"]
    assert make_parser(["a|b/c"], delimiter="/").label_names == ["a|b", "c"]


def test_a_whole_text_that_is_a_label_name_is_not_split():
    names = ["food, drink", "price"]
    assert multi_hot(["food, drink", "price"], names) == [[1, 0], [0, 1]]
    assert multi_hot(["food, drink", "food, drink|price"], names) == [[1, 0], [1, 1]]
    assert multi_hot(["food, drink", "price,price"], names) == [[1, 0], [0, 1]]


def test_one_plain_text_each_is_one_label_each():
    assert str(make_parser(["price", "quality"])) == "a text, one label each"
    assert multi_hot(["price", "quality"]) == [[1, 0], [0, 1]]


def test_zeros_and_ones_in_a_label_column_are_names():
    assert make_parser(["0", "1"]).label_names == ["0", "1"]


# What a cell must not be


@pytest.mark.parametrize(
    ("cells", "bad", "message"),
    [
        ([["price"]], "price", "'price' is a text, but other rows hold a list of names; write \\[\\] for no labels"),
        ([["price"]], "", "'' is a text, but other rows hold a list of names"),
        ([["price"]], [0], r"\[0\] is a list of ids, but other rows hold a list of names"),
        ([["price"]], 0, "0 is a single id, but other rows hold a list of names"),
        (["price"], ["price"], "is a list of names, but other rows hold a text; write an empty text for no labels"),
        (["", "price"], "[]", r"'\[\]' is a list of names, but other rows hold a text"),
        ([["price"]], None, r"the labels are missing \(null\); write an empty list"),
        ([["price"]], ["price", 1], "is neither a list of names, nor a list of ids, nor a text"),
        ([["price"]], ["price", None], "is neither a list of names"),
        ([["price"]], [True], "is neither a list of names"),
        ([["price"]], [0.0, 1.0], "is neither a list of names"),
        ([["price"]], {"price": 1}, "is neither a list of names"),
        ([["price"]], ["price", " "], "holds an empty label"),
        (["price|quality"], "price||quality", r"'price\|\|quality' holds an empty label"),
        (["price|quality"], "price|", "holds an empty label"),
        ([["price"]], ["\ud800"], "holds a lone surrogate"),
        ([["price"]], ["prise"], "unknown label 'prise'; did you mean 'price'?"),
        ([["price"]], ["PRICE"], "unknown label 'PRICE'; did you mean 'price'?"),
        ([["price"]], ["zzz"], r"unknown label 'zzz'; the labels are \['price', 'quality', 'service'\]"),
    ],
)
def test_bad_cells_are_refused(cells, bad, message):
    parser = make_parser(cells, NAMES)
    with pytest.raises(BadValue, match=message) as caught:
        parser.parse({"labels": bad})
    assert caught.value.column == "labels"


def test_the_first_cell_with_a_label_decides_the_form():
    assert make_parser([[], [0]], NAMES).format is LabelFormat.IDS
    assert make_parser(["", "price"], NAMES).format is LabelFormat.TEXT
    assert make_parser([""], NAMES).format is LabelFormat.TEXT
    assert make_parser([None, ["price"]], NAMES).format is LabelFormat.NAMES


def test_names_come_from_training_rows_only():
    cells = {"train": [["b"], ["a"], None, [""]], "validation": [["c"]]}
    assert LabelParser.of_values("labels", cells).label_names == ["a", "b"]
    with pytest.raises(DataError, match="The label names are unknown"):
        LabelParser.of_values("labels", {"test": [["c"]]})


def test_a_column_of_texts_and_ids_takes_the_form_of_the_first():
    parser = make_parser(["price", [7], 7, "price|quality"])
    assert (parser.label_names, parser.delimiter) == (["price", "quality"], "|")
    with pytest.raises(BadValue, match=r"\[7\] is a list of ids, but other rows hold a text"):
        parser.parse({"labels": [7]})


def test_a_column_in_which_nearly_every_cell_is_another_is_none_of_labels():
    names = [f"row {number}" for number in range(10_001)]
    with pytest.raises(DataError, match="holds 10001 different labels, such as 'row 0'"):
        make_parser(names)
    assert sum(make_parser([names], names).parse({"labels": names})) == len(names)


# 0/1 columns


def test_zero_one_columns_keep_the_order_of_the_names():
    assert LabelParser.of_columns(["b", "a"]).parse({"a": 1, "b": 0}) == [0, 1]
    assert LabelParser.of_columns(["b", "a"], ["a", "b"]).parse({"a": 1, "b": 0}) == [1, 0]


def test_zero_one_columns_must_be_the_names():
    with pytest.raises(DataError, match=r"Without a column: \['c'\], not a label name: \['b'\]"):
        LabelParser.of_columns(["a", "b"], ["a", "c"])


@pytest.mark.parametrize("cell", [0, "0", 0.0, "0.0", False, "false", "False", " 0 "])
def test_cells_read_as_zero(cell):
    assert zero_one(cell) == 0


@pytest.mark.parametrize("cell", [1, "1", 1.0, "1.0", True, "true", "TRUE"])
def test_cells_read_as_one(cell):
    assert zero_one(cell) == 1


@pytest.mark.parametrize("cell", [None, "", " ", math.nan, "nan", -100, -100.0, "-100"])
def test_cells_read_as_not_annotated(cell):
    assert math.isnan(zero_one(cell))
    assert facts(cell).is_all_missing


@pytest.mark.parametrize("cell", [2, -1, 0.5, "yes", "none", [], [1]])
def test_other_cells_are_no_zero_or_one(cell):
    assert zero_one(cell) is None
    with pytest.raises(BadValue, match="is not 0 or 1") as caught:
        LabelParser.of_columns(["a", "b"]).parse({"a": 1, "b": cell})
    assert caught.value.column == "b"


def test_a_column_of_gaps_holds_no_zeros_and_ones():
    assert facts("", "1").holds_zero_one
    assert not facts("", None).holds_zero_one
    assert not facts("0", "2").holds_zero_one


def test_hidden_labels():
    assert facts(-1, "-1", None, "").is_all_missing
    for cell in (0, [], "price"):
        assert not facts(-1, cell).is_all_missing


@pytest.mark.parametrize(
    "cells", [[0.83, 1], ["0.83", ""], ["1,200", "-3 %"], ["1e-3", None, "$5"], [7], ["", "nan", "2"]]
)
def test_columns_of_numbers_are_told(cells):
    assert facts(*cells).holds_numbers


@pytest.mark.parametrize("cells", [["0.83", "good"], ["", None], ["2 gifts"], [[1]], ["2024-01-02"], ["1e"]])
def test_other_columns_are_no_numbers(cells):
    assert not facts(*cells).holds_numbers


def test_the_first_cell_with_something_in_it_is_the_example():
    assert facts(None, " ", [], "price", "gift").example == "price"


def test_long_values_are_cut():
    assert shorten("a" * 200) == "'" + "a" * 75 + "...'"
    assert shorten("a") == "'a'"


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_values_that_python_cannot_write_are_named_all_the_same():
    assert shorten(nested(100_000)) == "a value that is nested too deeply"
    assert shorten([16**6000]) == "a number of more than 4300 digits"
    with pytest.raises(BadValue, match="id a number of more than 4300 digits is out of range"):
        multi_hot(["[0x" + "f" * 6000 + "]"], NAMES)
    assert zero_one(nested(100_000)) is None and not facts(nested(100_000)).is_all_missing


def test_a_document_in_place_of_a_label_is_not_compared_with_the_labels():
    document = "the price and the quality of it, " * 300_000  # to find the letters of so many takes seconds
    start = time.process_time()
    with pytest.raises(BadValue, match="unknown label 'the price and .*; the labels are"):
        multi_hot([[document]], NAMES)
    assert time.process_time() - start < 1


# The same label sets in every form


@settings(max_examples=60, deadline=None)
@given(sets=label_sets)
def test_every_form_reads_back_the_same(sets):
    lists = [sorted(names) for names in sets]
    assert multi_hot(lists, NAMES) == expected(sets)
    assert multi_hot([json.dumps(names) for names in lists], NAMES) == expected(sets)
    assert multi_hot([repr(names) for names in lists], NAMES) == expected(sets)
    assert multi_hot(["; ".join(names) for names in lists], NAMES) == expected(sets)
    # One more row, since rows of L zeros and ones alone are refused as multi-hot vectors.
    ids = [[NAMES.index(name) for name in names] for names in lists]
    assert multi_hot([*ids, [2]], NAMES)[:-1] == expected(sets)
    columns = LabelParser.of_columns(NAMES)
    assert [columns.parse({name: name in names for name in NAMES}) for names in sets] == expected(sets)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(names_without_delimiters, min_size=1, max_size=6, unique=True),
    delimiter=st.sampled_from(["|", ";", ",", " / "]),
)
def test_a_joined_text_is_split_into_its_names(names, delimiter):
    parser = make_parser([delimiter.join(names)], delimiter=delimiter)
    assert parser.label_names == sorted({part for name in names for part in name.split(delimiter)})
    assert parser.parse({"labels": delimiter.join(names)}) == [1.0] * len(names)


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(hostile.json_values | hostile.json_values.map(json.dumps), min_size=1, max_size=4),
    names=st.sampled_from([None, NAMES]),
)
def test_any_cell_becomes_a_vector_or_is_quoted(cells, names):
    try:
        parser = make_parser(cells, names)
    except DataError as error:
        assert len(str(error)) < 500
        return
    for cell in cells:
        try:
            vector = parser.parse({"labels": cell})
        except BadValue as error:
            assert (error.column, len(str(error)) < 500) == ("labels", True)
        else:
            given = {name for name, bit in zip(parser.label_names, vector, strict=True) if bit}
            assert given == set(parser.names_in(cell, parser.label_names))
            assert set(vector) <= {0.0, 1.0}
