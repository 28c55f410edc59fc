import pytest

from bert_multilabel.data.table import BadRows, Batch, RowsReader, Table, located, raise_problems, rows_in_batches
from bert_multilabel.errors import DataError


class Lines(RowsReader):
    """Rows that are on every second line of a file, from 2."""

    def lines(self, numbers):
        return {number: 2 * number for number in numbers}


def test_a_table_has_the_columns_of_all_rows_and_the_cells_of_readable_ones():
    table = Table("t", RowsReader([{"a": 1}, {"a": 2, "b": [3]}]))
    assert (table.columns, table.rows) == (["a", "b"], 2)
    assert table.cells("a") == [(1, 1), (2, 1)]
    assert table.cells("b") == [(None, 1), ([3], 1)]
    assert table.cells("c") == [] and table.facts("c").is_all_missing
    assert "a" in table and "c" not in table


def test_different_cells_are_counted_however_many_there_are():
    table = Table("t", RowsReader([{"a": f"cell {number % 25_000}"} for number in range(30_000)]))
    assert table.facts("a").cells is None
    counts = dict(table.cells("a"))
    assert len(counts) == 25_000 and (counts["cell 0"], counts["cell 24999"]) == (2, 1)


def test_some_row_must_be_readable():
    with pytest.raises(DataError, match="^t has no rows$"):
        Table("t", RowsReader([]))

    class Broken(RowsReader):
        def batches(self):
            yield Batch([], {}, {1: "broken JSON", 3: "broken JSON"})

    with pytest.raises(BadRows) as caught:
        Table("t", Broken([]))
    assert str(caught.value) == "2 problems in t:\nt, row 1, broken JSON\nt, row 3, broken JSON"


def test_rows_come_in_batches_of_columns_with_the_problems_between():
    rows = [(1, {"a": 1}), (2, "broken"), (3, {"b": 2}), (4, {"a": 3, "b": 4})]
    first, second = rows_in_batches(iter(rows), 3)
    assert first == Batch([1, 3], {"a": [1, None], "b": [None, 2]}, {2: "broken"})
    assert second == Batch([4], {"a": [3], "b": [4]}, {})


def test_problems_say_where_they_are():
    assert located("a.csv", Lines([]), [(3, "bad"), (1, "worse")]) == [
        "a.csv, row 1 (line 2), worse",
        "a.csv, row 3 (line 6), bad",
    ]
    assert located("the data", RowsReader([]), [(3, "bad")]) == ["the data, row 3, bad"]


def test_up_to_three_rows_with_the_same_problem_are_listed_and_more_are_one_line():
    three = located("a.csv", Lines([]), [(number, "bad") for number in (1, 2, 3)])
    assert str(BadRows({"a.csv": three})).split("\n")[1:] == [f"a.csv, row {n} (line {2 * n}), bad" for n in (1, 2, 3)]
    more = located("a.csv", Lines([]), [(1, "bad"), (2, "bad"), (3, "other"), (4, "bad"), (5, "bad")])
    error = BadRows({"a.csv": more})
    assert str(error).split("\n") == [
        "5 problems in a.csv:",
        "a.csv, row 1 (line 2), row 2 (line 4), row 4 (line 8) and 1 more rows, bad",
        "a.csv, row 3 (line 6), other",
    ]
    assert error.problems["a.csv"][3] == "a.csv, row 4 (line 8), bad"


def test_only_the_first_problems_are_shown():
    raise_problems("a.csv", [])
    with pytest.raises(DataError, match="^1 problem in a.csv:\na.csv, row 7, bad$"):
        raise_problems("a.csv", located("a.csv", RowsReader([]), [(7, "bad")]))
    with pytest.raises(BadRows) as caught:
        raise_problems("a.csv", located("a.csv", RowsReader([]), [(n, f"bad {n}") for n in range(1, 24)]))
    lines = str(caught.value).split("\n")
    shown = [f"a.csv, row {n}, bad {n}" for n in range(1, 21)]
    assert lines == ["23 problems in a.csv:", *shown, "... and 3 more"]
    assert len(caught.value.problems["a.csv"]) == 23
