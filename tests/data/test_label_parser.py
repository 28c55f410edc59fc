import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.label_form import LabelForm, count_cells
from bert_multilabel.data.label_parser import LabelParser
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue, zero_one
from bert_multilabel.errors import DataError
from tests import hostile

NAMES = ["price", "quality", "service"]


def make_parser(cells, names=None, id_names=None, **spec):
    return LabelParser.of_cells("labels", {"train": count_cells(cells)}, DataSpec(label_names=names, **spec), id_names)


def vectors(cells, names=None, **spec):
    parser = make_parser(cells, names, **spec)
    return [parser.parse({"labels": cell}) for cell in cells]


# Lists of names


def test_lists_of_names_become_vectors_in_sorted_order():
    cells = [["quality", "price"], [], ["service"]]
    assert make_parser(cells).label_names == NAMES
    assert vectors(cells) == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_given_names_set_the_order():
    assert vectors([["price"]], ["quality", "price"]) == [[0, 1]]


@pytest.mark.parametrize(
    "cell",
    ['["price", "quality"]', "['price', 'quality']", "{'price', 'quality'}", "{price,quality}", "<price><quality>"],
)
def test_lists_in_texts_are_lists(cell):
    assert make_parser([cell]).form is LabelForm.NAMES
    assert vectors([cell, "", "[]"], NAMES) == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_blanks_around_a_name_do_not_count():
    assert vectors([[" price "], ["price"]]) == [[1], [1]]


def test_a_repeated_label_counts_once_and_is_noted():
    parser = make_parser([["price", "price"], ["price", "price"], ["price"]])
    assert parser.parse({"labels": ["price", "price"]}) == [1]
    assert parser.notes == ["rows that name a label more than once: 2; it counts once"]


def test_names_come_from_the_training_split_only():
    cells = {"train": count_cells([["b"], ["a"], None]), "validation": count_cells([["c"]])}
    assert LabelParser.of_cells("labels", cells, DataSpec()).label_names == ["a", "b"]
    with pytest.raises(DataError, match="The label names are unknown: pass them, or a training split"):
        LabelParser.of_cells("labels", {"test": count_cells([["c"]])}, DataSpec())


# Ids


def test_ids_are_positions_in_the_names():
    assert vectors([[2, 0], []], NAMES) == [[1, 0, 1], [0, 0, 0]]
    assert vectors(["[2, 0]", ""], NAMES) == [[1, 0, 1], [0, 0, 0]]
    assert make_parser([2, 0], NAMES).form is LabelForm.ONE_ID
    assert vectors([2, 0], NAMES) == [[0, 0, 1], [1, 0, 0]]
    assert vectors(["2,0", "1", ""], NAMES) == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_ids_may_be_those_of_a_names_file():
    assert vectors([[30, 10], [20]], NAMES, label_ids=[10, 20, 30]) == [[1, 0, 1], [0, 1, 0]]
    with pytest.raises(BadValue, match=r"id 2 is none of \[10, 20, 30\]"):
        make_parser([[10]], NAMES, label_ids=[10, 20, 30]).parse({"labels": [2]})


def test_a_split_may_number_its_names_in_another_order():
    parser = make_parser([[0]], NAMES)
    assert parser.parse({"labels": [0]}, {"labels": ["service", "price"]}) == [0, 0, 1]


@pytest.mark.parametrize("bad", [3, -1, 16**6000], ids=["3", "-1", "long"])
def test_an_id_out_of_range_is_refused(bad):
    with pytest.raises(BadValue, match="id .* is out of range; ids run from 0 to 2"):
        make_parser([[0]], NAMES).parse({"labels": [bad]})


@pytest.mark.parametrize("cells", [[[0, 1], [2]], [4, 2], ["[0, 1]", "[2]"]])
def test_ids_need_names(cells):
    with pytest.raises(DataError, match="'labels' holds ids without names: pass --label_names_file"):
        make_parser(cells)


def test_numbers_in_a_text_are_refused_as_names():
    with pytest.raises(DataError, match="numbers in place of names. If they are ids, pass --label_names_file"):
        make_parser(["3", "17"])
    assert make_parser(["3", "17"], labels_as_they_are=True).label_names == ["17", "3"]
    assert vectors(["1", "0"], ["1", "0"]) == [[1, 0], [0, 1]]  # as names


# Vectors


@pytest.mark.parametrize(
    "cells",
    [
        [[1, 0, 1], [0, 0, 0]],
        [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]],
        [[True, False, True], [False, False, False]],
        ["(1, 0, 1)", "(0, 0, 0)"],
        ["[1. 0. 1.]", "[0. 0. 0.]"],
        ["1,0,1", "0,0,0"],
        ["1 0 1", "0 0 0"],
        ["1.0;0.0;1.0", "0.0;0.0;0.0"],
        ["101", "000"],
    ],
)
def test_vectors_need_names(cells):
    assert make_parser(cells, NAMES).form is LabelForm.VECTOR
    assert vectors(cells, NAMES) == [[1, 0, 1], [0, 0, 0]]
    with pytest.raises(DataError, match="holds vectors of 3 numbers without names: pass --label_names_file with 3"):
        make_parser(cells)
    with pytest.raises(DataError, match="holds vectors of 3 numbers, but there are 2 label names"):
        make_parser(cells, NAMES[:2])
    with pytest.raises(DataError, match="holds vectors of 3 numbers, but there are 4 label names"):
        make_parser(cells, [*NAMES, "gift"])


def test_vectors_hold_shares_and_gaps():
    (row,) = vectors([[0.25, math.nan, 1]], NAMES)
    assert row[0] == 0.25 and math.isnan(row[1]) and row[2] == 1
    parser = make_parser([[0.25, 0.5, 1.0]], NAMES)
    with pytest.raises(BadValue, match="2.5 is not a number from 0 to 1"):
        parser.parse({"labels": [0.25, 2.5, 1.0]})
    with pytest.raises(BadValue, match="has 2 numbers, but there are 3 labels"):
        parser.parse({"labels": [0.25, 0.5]})


def test_two_ids_are_no_vector_where_they_never_repeat():
    assert vectors([[0, 1], [1, 0]], NAMES) == [[1, 1, 0], [1, 1, 0]]
    assert vectors([[0, 1], [1, 1]], ["a", "b"]) == [[0, 1], [1, 1]]


# Numbers by name


def test_numbers_by_name_are_soft_labels_or_gaps():
    cells = [{"price": 1, "quality": 0, "service": 0.5}, {"price": None, "quality": 1.0}]
    first, second = vectors(cells)
    assert first == [1, 0, 0.5]
    assert math.isnan(second[0]) and second[1] == 1 and math.isnan(second[2])


def test_names_that_are_missing_are_negative_where_no_0_is_written():
    assert vectors(['{"price": 1}', '{"quality": 1, "price": 1}', "{}"]) == [[1, 0], [1, 1], [0, 0]]


# Choices


def test_an_object_with_choices_among_names():
    cells = ["price", '{"choices": ["price", "food, drink"]}', ""]
    assert make_parser(cells).label_names == ["food, drink", "price"]
    assert vectors(cells) == [[0, 1], [1, 1], [0, 0]]


# Delimiters


@pytest.mark.parametrize("delimiter", ["|", ";", " | ", ";  "])
def test_some_delimiters_are_taken_by_themselves(delimiter):
    cells = [f"price{delimiter}quality", "", "service"]
    assert make_parser(cells).delimiter == delimiter.strip()
    assert vectors(cells) == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert vectors(["|price|quality|", "|price|"]) == [[1, 1], [1, 0]]


@pytest.mark.parametrize("delimiter", [",", "#", "/", "&", "+", "\t", "\n", " / ", ", ", "、", "，", "؛ "])
def test_others_are_taken_if_all_parts_are_labels_elsewhere(delimiter):
    cells = [f"price{delimiter}quality", "price", "quality"]
    assert make_parser(cells).delimiter == (delimiter.strip() or delimiter)
    assert vectors(cells) == [[1, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("cells", "delimiter"),
    [
        (["price,quality", "price"], ","),  # one part is a label elsewhere
        (["price,quality", "service,price"], ","),  # two texts have a part in common
        (["price\nquality", "service\nprice"], r"\n"),
        (["price、quality", "service、price"], "、"),
        (["price#quality", "price"], "#"),
        (["price/quality", "price", "service"], "/"),
    ],
)
def test_what_may_be_one_label_or_several_is_asked(cells, delimiter):
    with pytest.raises(DataError) as caught:
        make_parser(cells)
    assert f"may be one label or several: pass --label_delimiter '{delimiter}' to split" in str(caught.value)
    assert make_parser(cells, labels_as_they_are=True).label_names == sorted(cells)
    assert "quality" in make_parser(cells, label_delimiter=delimiter).label_names


@pytest.mark.parametrize(
    "cells", [["food, drink", "price"], ["R&D", "C++"], ["price"], ["w/o sugar", "sugar"], ["good - bad"]]
)
def test_otherwise_each_text_is_one_label(cells):
    assert str(make_parser(cells)) == "a text, one label each"
    assert make_parser(cells).label_names == sorted(cells)


def test_unknown_parts_do_not_change_how_known_labels_are_split():
    cells = ["price, quality", "price", "service, quality", "quality, cost", "qualty", "price; cost"]
    parser = make_parser(cells, NAMES)
    assert parser.delimiter == ","
    assert parser.parse({"labels": "price, quality"}) == [1, 1, 0]
    with pytest.raises(BadValue, match="unknown label 'cost'; the labels are"):
        parser.parse({"labels": "quality, cost"})
    with pytest.raises(BadValue, match="unknown label 'qualty'; did you mean 'quality'"):
        parser.parse({"labels": "qualty"})
    with pytest.raises(BadValue, match="unknown label 'price; cost'; it may be several labels: join them by ','$"):
        parser.parse({"labels": "price; cost"})


def test_a_name_with_the_delimiter_stays_whole_where_most_others_are_split():
    names = ["food, drink", *NAMES]
    cells = ["food, drink", "price, quality", "service, price", "price, cost"]
    assert make_parser(cells, names).delimiter == ","
    assert vectors(cells[:3], names) == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]


def test_known_labels_that_few_texts_join_are_never_left_out():
    cells = ["price, quality", "quality, cost", "price, cost"]
    assert make_parser(cells, NAMES).delimiter is None
    with pytest.raises(BadValue, match=r"'price, quality'; it may be several labels: pass --label_delimiter ','$"):
        make_parser(cells, NAMES).parse({"labels": "price, quality"})
    for joined in (cells, ["price", "quality, cost"]):
        with pytest.raises(
            DataError, match="train split: '.*, .*' may be one label or several: pass --label_delimiter ','"
        ):
            make_parser(joined, NAMES, ignore_unknown_labels=True)
    parser = make_parser(cells, NAMES, ignore_unknown_labels=True, label_delimiter=",")
    assert parser.notes == ["unknown labels are left out, as asked, in 2 cells: 'cost' (2)"]


def parser_of_splits(train, validation, **spec):
    cells = {"train": count_cells(train), "validation": count_cells(validation)}
    return LabelParser.of_cells("labels", cells, DataSpec(**spec))


def test_the_training_split_decides_what_separates_its_labels():
    train = ["price, quality", "price", "quality"]
    parser = parser_of_splits(train, ["price, cost", "qualty", "price;quality"])
    assert parser.delimiter == "," and parser.label_names == ["price", "quality"]
    with pytest.raises(BadValue, match="unknown label 'cost'"):
        parser.parse({"labels": "price, cost"})


def test_another_split_may_join_what_no_training_row_joins():
    parser = parser_of_splits(["price", "quality"], ["price, quality"])
    assert parser.delimiter == "," and parser.parse({"labels": "price, quality"}) == [1, 1]
    assert parser_of_splits(["food/drink", "price", "quality"], ["price/quality"]).delimiter is None


def test_a_given_delimiter_holds():
    assert make_parser(["a|b/c"], label_delimiter="/").label_names == ["a|b", "c"]
    assert make_parser(["a, b\nc"], label_delimiter="\\n").label_names == ["a, b", "c"]
    assert str(make_parser(["a/b"], label_delimiter="/")) == "a text, split at '/'"


def test_a_whole_text_that_is_a_label_name_is_not_split():
    names = ["food, drink", "price"]
    assert vectors(["food, drink", "price"], names) == [[1, 0], [0, 1]]
    assert vectors(["food, drink", "food, drink|price"], names) == [[1, 0], [1, 1]]
    assert vectors(["food, drink", "price,price"], names) == [[1, 0], [0, 1]]


def test_words_for_missing_values_are_no_labels_and_are_counted():
    parser = make_parser(["price", "None", "None", "n/a", "quality"])
    assert parser.label_names == ["price", "quality"]
    assert parser.parse({"labels": "None"}) == [0, 0]
    (note,) = parser.notes
    assert "read as no label: 'None' in 2 rows, 'n/a' in 1 rows; --label_names_file can make it one" in note
    assert vectors(["None"], ["None", "price"]) == [[1, 0]]


# What a cell must not be


@pytest.mark.parametrize(
    ("cells", "bad", "message"),
    [
        ([["price"]], "price", "'price' is a text, but other rows hold a list of names; write all rows alike"),
        ([["price"]], [0], r"\[0\] is a list of ids, but other rows hold a list of names"),
        ([["price"]], 0, "0 is a single id, but other rows hold a list of names"),
        ([["price"]], [True], "is a vector of numbers, but other rows hold a list of names"),
        ([["price"]], {"price": 1}, "is numbers by name, but other rows hold a list of names"),
        (["price"], ["price"], "is a list of names, but other rows hold a text"),
        ([["price"]], None, r"the labels are missing \(null\); write an empty list"),
        ([["price"]], ["price", 1], "is neither a list of names, nor a list of ids, nor a text"),
        ([["price"]], ["price", " "], "holds an empty label"),
        (["price|quality"], "price||quality", r"'price\|\|quality' holds an empty label"),
        (["price|quality"], "|price", "holds an empty label"),
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


@pytest.mark.parametrize("cells", [[["price"]], ["price"], [[0]], [0], [[0, 1, 1]], [{"price": 1}]])
@pytest.mark.parametrize("empty", ["", " ", "[]", [], [""], "{}", "nan"])
def test_empty_cells_mean_no_label_in_every_form(cells, empty):
    assert make_parser(cells, NAMES).parse({"labels": empty}) == [0, 0, 0]


def test_the_first_cell_with_a_label_decides_the_form():
    assert make_parser([[], [0]], NAMES).form is LabelForm.IDS
    assert make_parser(["", "price"], NAMES).form is LabelForm.TEXT
    assert make_parser([""], NAMES).form is LabelForm.TEXT
    assert make_parser([None, ["price"]], NAMES).form is LabelForm.NAMES


def test_a_document_in_place_of_a_label_is_not_compared_with_the_labels():
    document = "the price and the quality of it, " * 300_000  # to find the letters of so many takes seconds
    start = time.process_time()
    with pytest.raises(BadValue, match="unknown label 'the price and .*; the labels are"):
        vectors([[document]], NAMES)
    assert time.process_time() - start < 10


# 0/1 columns


def of_columns(columns, names=None, blank_is_zero=(), **spec):
    return LabelParser.of_columns(columns, DataSpec(label_names=names, **spec), blank_is_zero)


def test_zero_one_columns_have_the_order_of_the_names():
    assert of_columns(["b", "a"]).parse({"a": 1, "b": 0}) == [0, 1]
    assert of_columns(["b", "a"], ["a", "b"]).parse({"a": 1, "b": 0}) == [1, 0]


def test_zero_one_columns_must_be_the_names():
    with pytest.raises(DataError, match=r"Without a column: \['c'\], not a label name: \['b'\]"):
        of_columns(["a", "b"], ["a", "c"])


@pytest.mark.parametrize("cell", [0, "0", 0.0, "0.0", False, "false", "False", " 0 ", "no", "N", "F"])
def test_cells_that_mean_no(cell):
    assert of_columns(["a"]).parse({"a": cell}) == [0]


@pytest.mark.parametrize("cell", [1, "1", 1.0, "1.0", True, "true", "TRUE", "yes", "Y", "x", "X", "t", "✓"])
def test_cells_that_mean_yes(cell):
    assert of_columns(["a"]).parse({"a": cell}) == [1]


@pytest.mark.parametrize("cell", [None, "", " ", math.nan, "nan", "N/A", "NA", "<NA>", -1, "-1", -100, -100.0, "-100"])
def test_cells_that_are_not_annotated(cell):
    assert math.isnan(zero_one(cell))
    assert math.isnan(of_columns(["a"]).parse({"a": cell})[0])


@pytest.mark.parametrize("cell", [2, -2, 0.5, "maybe", [], [1], {"a": 1}])
def test_other_cells_are_refused(cell):
    with pytest.raises(BadValue, match="is not 0 or 1") as caught:
        of_columns(["a", "b"]).parse({"a": 1, "b": cell})
    assert caught.value.column == "b"


@pytest.mark.parametrize(("cell", "is_asked"), [(2, True), ("0.75", True), (-2, False), ("maybe", False)])
def test_numbers_that_may_be_shares_or_votes_are_asked_about(cell, is_asked):
    with pytest.raises(BadValue) as caught:
        of_columns(["a", "b"]).parse({"a": 1, "b": cell})
    assert ("shares and votes need --label_values" in str(caught.value)) is is_asked


def test_blank_cells_are_0_in_columns_without_a_0():
    parser = of_columns(["a", "b"], blank_is_zero=["a"])
    first, second = parser.parse({"a": "", "b": ""})
    assert first == 0 and math.isnan(second)
    assert parser.notes == ["no 0 in 'a': blank cells are read as 0"]


def test_votes_and_shares():
    assert of_columns(["a", "b"], label_values="votes>=2").parse({"a": "1", "b": 2.0}) == [0, 1]
    assert str(of_columns(["a"], label_values="votes >= 2")) == "votes per label, yes from 2 on"
    assert of_columns(["a", "b"], label_values="shares").parse({"a": "0.25", "b": 1}) == [0.25, 1]
    assert of_columns(["a", "b"], label_values="shares").parse({"a": "87 %", "b": "0,5"}) == [0.87, 0.5]
    with pytest.raises(BadValue, match="'870 %' is not a share"):
        of_columns(["a"], label_values="shares").parse({"a": "870 %"})
    assert str(of_columns(["a"], label_values="shares")) == "shares per label"
    with pytest.raises(BadValue, match="1.5 is not a share"):
        of_columns(["a"], label_values="shares").parse({"a": 1.5})
    with pytest.raises(BadValue, match="-3 is not a number of votes"):
        of_columns(["a"], label_values="votes>=2").parse({"a": -3})
    with pytest.raises(BadValue, match="'many' is not a number"):
        of_columns(["a"], label_values="votes>=2").parse({"a": "many"})
    with pytest.raises(DataError, match="label_values 'most' is not known: pass shares, or votes>=K"):
        of_columns(["a"], label_values="most")


def test_ids_of_no_and_yes_have_the_meaning_of_their_names():
    parser = of_columns(["a", "b"])
    id_names = {"a": ["yes", "no"], "b": ["False", "True"]}
    assert parser.parse({"a": 0, "b": 0}, id_names) == [1, 0]
    assert parser.parse({"a": 1, "b": 1}, id_names) == [0, 1]
    assert all(map(math.isnan, parser.parse({"a": None, "b": -1}, id_names)))
    with pytest.raises(BadValue, match="id 2 is out of range; ids run from 0 to 1") as caught:
        parser.parse({"a": 0, "b": 2}, id_names)
    assert caught.value.column == "b"


# A name, or nothing, in each column


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (["ja", "nein"], ["nein", "nein"], "'ja' and 'nein'"),
        (["+", "-"], ["-", "+"], "'[+]' and '-'"),
        (["chosen", "chosen"], ["chosen", "chosen"], "'chosen'"),
        (["ja", ""], ["", "ja"], "'ja'"),
        (["gift", "0"], ["0", "price"], "'0'"),
        (["gift", "No"], ["", "price"], "'No'"),
    ],
)
def test_words_for_no_and_yes_in_place_of_names_are_refused(one, two, words):
    cells = {"train": {"one": count_cells(one), "two": count_cells(two)}}
    with pytest.raises(DataError, match=f"columns 'one', 'two' hold {words}, which may be no names of labels"):
        LabelParser.of_name_columns(["one", "two"], cells, DataSpec())
    accepted = LabelParser.of_name_columns(["one", "two"], cells, DataSpec(labels_as_they_are=True))
    assert set(accepted.label_names) == {*one, *two} - {""}


def test_a_name_in_each_column():
    cells = {"one": count_cells(["price", "gift", "None"]), "two": count_cells(["", "price", None])}
    parser = LabelParser.of_name_columns(["one", "two"], {"train": cells}, DataSpec())
    assert parser.label_names == ["gift", "price"]
    assert parser.parse({"one": "gift", "two": " price "}) == [1, 1]
    assert parser.parse({"one": "None", "two": None}) == [0, 0]
    with pytest.raises(BadValue, match="7 is not the name of a label but int") as caught:
        parser.parse({"one": "gift", "two": 7})
    assert caught.value.column == "two"
    with pytest.raises(BadValue, match="unknown label 'prise'"):
        parser.parse({"one": "prise", "two": ""})


# Batches


def test_batches_are_parsed_as_rows_are():
    cells = [["price"], ["prise"], ["price", "quality"], ["price"]]
    parser = make_parser([["price", "quality"]])
    labels, problems = parser.parse_batch({"labels": cells}, 4)
    np.testing.assert_array_equal(labels, [[1, 0], [0, 0], [1, 1], [1, 0]])
    assert labels.dtype == np.float32
    assert {index: str(problem)[:21] for index, problem in problems.items()} == {1: "unknown label 'prise'"}
    labels, problems = of_columns(["a", "b"]).parse_batch({"a": [1, "1", True, 1]}, 4)
    np.testing.assert_array_equal(labels, [[1, np.nan]] * 4)
    assert problems == {}


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
            assert len(vector) == len(parser.label_names)
            assert all(math.isnan(number) or 0 <= number <= 1 for number in vector)


# Notes


def test_labels_that_differ_only_in_case_are_pointed_out():
    parser = make_parser(["Price", "price|gift", "gift"])
    assert parser.notes == ["column 'labels': labels that differ only in case: 'Price' and 'price'"]
    assert make_parser(["Price", "price"], ["Price", "price"]).notes == []


@pytest.mark.parametrize("cells", [[[1], [2, 1]], [1, 2], ["1,2", "1"]])
def test_ids_that_may_start_at_1_are_pointed_out(cells):
    (note,) = make_parser(cells, NAMES).notes
    assert "no row has the id 0, 'price'; ids are positions in the label names, from 0: if they start at 1" in note
    assert make_parser(cells, NAMES, label_ids=[1, 2, 3]).notes == []
    assert make_parser([*cells, [0] if isinstance(cells[0], list) else type(cells[0])(0)], NAMES).notes == []


def test_labels_that_training_lacks_are_left_out_on_demand():
    train, note = ["price|gift", "gift"], "unknown labels are left out, as asked, in 2 cells: 'size' (2)"
    parser = parser_of_splits(train, ["size|gift", "size"], ignore_unknown_labels=True)
    assert parser.label_names == ["gift", "price"] and note in parser.notes
    assert parser.parse({"labels": "size|gift"}) == [1.0, 0.0]
    with pytest.raises(BadValue, match="unknown label 'size'"):
        parser_of_splits(train, ["size|gift", "size"]).parse({"labels": "size"})
    cells = {"train": {"one": count_cells(["gift", "hue", ""])}, "validation": {"one": count_cells(["size", "size"])}}
    columns = LabelParser.of_name_columns(["one"], cells, DataSpec(ignore_unknown_labels=True))
    assert columns.label_names == ["gift", "hue"] and columns.notes == [note]
    assert columns.parse({"one": "size"}) == [0.0, 0.0]
    with pytest.raises(DataError, match="validation split: 'gift, size' may be one label or several"):
        parser_of_splits(["price", "gift"], ["gift, size", "gift"], ignore_unknown_labels=True)


@pytest.mark.parametrize("delimiter", [";", ","])
def test_a_delimiter_at_the_end_of_a_cell_separates_nothing(delimiter):
    cells = {"train": count_cells([f"price{delimiter}", f"gift{delimiter}price{delimiter}", "gift", "price"])}
    parser = LabelParser.of_cells("labels", cells, DataSpec())
    assert parser.label_names == ["gift", "price"]
    assert parser.parse({"labels": f"gift{delimiter}price{delimiter}"}) == [1, 1]


def test_unknown_labels_are_left_out_on_demand():
    names = ["gift", "price"]
    parser = make_parser(["price|size", "gift", "size"], names, ignore_unknown_labels=True)
    assert parser.parse({"labels": "price|size"}) == [0.0, 1.0] and parser.parse({"labels": "size"}) == [0.0, 0.0]
    assert parser.notes == ["unknown labels are left out, as asked, in 2 cells: 'size' (2)"]
    mapping = make_parser([{"price": 0.5, "size": 1}], names, ignore_unknown_labels=True)
    assert mapping.parse({"labels": {"price": 0.5, "size": 1}})[1] == 0.5
    spec = DataSpec(label_names=names, ignore_unknown_labels=True)
    cells = {"validation": {"one": count_cells(["size", "size", "gift"]), "two": count_cells(["gift", "hue", ""])}}
    columns = LabelParser.of_name_columns(["one", "two"], cells, spec)
    assert columns.parse({"one": "size", "two": "gift"}) == [1.0, 0.0]
    assert columns.notes == ["unknown labels are left out, as asked, in 3 cells: 'size' (2), 'hue' (1)"]
    with pytest.raises(
        BadValue, match="unknown label 'size'; .*; or leave such labels out by --ignore_unknown_labels"
    ):
        make_parser(["price|size"], names).parse({"labels": "size"})
