import logging

import pytest
from datasets import ClassLabel, Features

from bert_multilabel.data.columns import COMMON_COLUMNS, DataSpec, columns_in_split, find_columns, warn_of_guesses
from bert_multilabel.data.reading import Row, Table
from bert_multilabel.errors import DataError


def table(columns, features=None):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return Table("table", lambda: [Row(number, None, row) for number, row in enumerate(rows, 1)], features=features)


def given_cells(given):
    return {name: list(given.values(name)) for name in given.columns}


# What is known beforehand


@pytest.mark.parametrize("spec", [{"label_names": []}, {"label_names": ["a", "a"]}, {"label_names": ["a", " "]}])
def test_given_names_must_differ(spec):
    with pytest.raises(DataError, match="must be unique and not blank"):
        DataSpec(**spec)


def test_an_empty_delimiter_is_refused():
    with pytest.raises(DataError, match="the label delimiter is empty"):
        DataSpec(label_delimiter="")


# Choosing columns


@pytest.mark.parametrize("role", ["text", "pair", "labels", "id"])
def test_common_columns_are_found_in_any_case_and_the_first_name_wins(role):
    given = {name: ["x"] for name in ("text", "labels") if name != role}
    for name in COMMON_COLUMNS[role]:
        found = getattr(find_columns(table(given | {name.upper(): ["x"]}), DataSpec()), role)
        assert found == ([name.upper()] if role == "labels" else name.upper())
    given |= {name.upper(): ["x"] for name in reversed(COMMON_COLUMNS[role])}
    best = COMMON_COLUMNS[role][0].upper()
    assert getattr(find_columns(table(given), DataSpec()), role) == ([best] if role == "labels" else best)


@pytest.mark.parametrize(
    ("names", "phrase"),
    [
        (["title", "body", "labels"], "several columns may be the text: 'body', 'title'; pass text_column"),
        (["Text", "text", "labels"], "several columns may be the text: 'Text', 'text'"),
        (["text", "tags", "topics"], "several columns may be the labels: 'tags', 'topics'; pass label_column"),
    ],
)
def test_where_several_columns_have_a_common_name_one_must_be_named(names, phrase):
    with pytest.raises(DataError, match=phrase):
        find_columns(table({name: ["x"] for name in names}), DataSpec())


@pytest.mark.parametrize("name", ["target", "context", "aspect", "product", "hypothesis", "pair", "Target"])
def test_a_second_text_is_never_guessed_from_a_name_that_may_mean_anything(name):
    given = table({"text": ["x"], name: ["y"], "labels": ["a"]})
    assert find_columns(given, DataSpec()).pair is None
    assert find_columns(given, DataSpec(text_pair_column=name)).pair == name


@pytest.mark.parametrize("cells", [[0.83, 0.1], ["0.83", ""], ["1", "0"], [7, None]])
@pytest.mark.parametrize("name", ["text_pair", "sentence2"])
def test_numbers_are_never_guessed_to_be_a_second_text(name, cells):
    given = table({"text": ["x", "y"], name: cells, "labels": ["a", "b"]})
    assert find_columns(given, DataSpec()).pair is None
    assert find_columns(given, DataSpec(text_pair_column=name)).pair == name


@pytest.mark.parametrize("label_column", ["sentence2", ["sentence2", "a"]])
def test_a_label_column_is_never_guessed_to_be_a_second_text(label_column):
    given = table({"text": ["x", "y"], "sentence2": ["", "0"], "a": ["0", "1"]})
    assert find_columns(given, DataSpec(label_column=label_column)).pair is None


def test_scores_of_toxicity_are_no_second_text(caplog):
    columns = {
        "id": ["1", "2"],
        "target": ["0.83", "0.0"],
        "comment_text": ["you are bad", "hello"],
        "obscene": ["1", "0"],
        "threat": ["0", "0"],
    }
    spec = DataSpec(label_column=["obscene", "threat"])
    given = table(columns)
    found = find_columns(given, spec)
    assert (found.text, found.pair, found.labels, found.id) == ("comment_text", None, ["obscene", "threat"], "id")
    warn_of_guesses(given, found, spec)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for phrase in ("text 'comment_text' (e.g. 'you are bad')", "id 'id' (e.g. '1')", "not used: 'target'"):
        assert phrase in record.getMessage()
    assert "pair" not in record.getMessage() and "labels '" not in record.getMessage()


def test_one_line_says_all_that_was_guessed(caplog):
    given = table(
        {"key": ["7"], "sentence": ["x"], "sentence2": ["y"], "a": ["1"], "b": ["0"], "c": ["0"], "d": ["1"]}
    )
    spec = DataSpec(text_pair_column="sentence2", label_column=["a", "b"], text_column="sentence")
    warn_of_guesses(given, find_columns(given, spec), spec)
    assert not caplog.records
    given = table({name: cells for name, cells in given_cells(given).items() if name != "key"})
    warn_of_guesses(given, find_columns(given, DataSpec()), DataSpec())
    (message,) = caplog.messages
    for phrase in ("text 'sentence' (e.g. 'x')", "pair 'sentence2' (e.g. 'y')", "labels 'a', 'b', 'c' and 1 more"):
        assert phrase in message
    assert "name others with text_column, text_pair_column, label_column" in message


def test_named_columns_win_and_are_free_for_one_purpose():
    columns = {name: ["x"] for name in ("text", "title", "context", "tags", "labels", "key")}
    spec = DataSpec(text_column="title", text_pair_column="text", label_column="tags", id_column="key")
    found = find_columns(table(columns), spec)
    assert (found.text, found.pair, found.labels, found.id) == ("title", "text", ["tags"], "key")
    assert find_columns(table(columns), DataSpec(text_pair_column="text")).text == "title"


def test_columns_of_zeros_and_ones_are_labels_and_no_text():
    found = find_columns(table({"review": ["1", "0"], "product": ["", "1"], "comment": ["0", "x"]}), DataSpec())
    assert (found.text, found.pair, found.labels) == ("comment", None, ["review", "product"])
    assert found.one_per_label


def test_numbers_are_text_only_where_they_are_called_so():
    given = {"review": ["1", "0.5"], "labels": ["a", "b"]}
    with pytest.raises(DataError, match="no column looks like the text: pass text_column"):
        find_columns(table(given), DataSpec())
    assert find_columns(table(given), DataSpec(text_column="review")).text == "review"
    assert find_columns(table({**given, "text": ["1", "2"]}), DataSpec()).text == "text"
    assert find_columns(table({**given, "text": ["1", "2"], "title": ["a", "b"]}), DataSpec()).text == "title"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"text_column": "body"}, "has no column 'body' for the text; name one of 'text', 'tags', 'a', 'b'"),
        ({"text_pair_column": "other"}, "has no column 'other' for the pair; name one of 'text'"),
        ({"label_column": "opinions"}, "has no column 'opinions' for the labels; name one of 'text'"),
        ({"label_column": ["a", "c"]}, "has no column 'c' for the labels"),
        ({"label_column": "text", "text_column": "text"}, "column 'text' cannot be two of"),
        ({"label_column": ["a", "b", "a"]}, "column 'a' cannot be two of"),
        ({"label_column": "text"}, "no column looks like the text: pass text_column; name one of 'text', 'tags'"),
        ({"text_column": "tags"}, "no column looks like the labels: pass label_column; name one of 'text'"),
    ],
)
def test_columns_that_cannot_be_found(spec, message):
    columns = {"text": ["x"], "tags": ["x"], "a": ["0"], "b": ["1"]}
    with pytest.raises(DataError, match=message):
        find_columns(table(columns), DataSpec(**spec))


def test_labels_that_are_not_needed_may_be_missing():
    spec = DataSpec(label_column=["a", "b"])
    assert find_columns(table({"text": ["x"]}), spec, labels_needed=False).labels == []
    with pytest.raises(DataError, match="has no column 'b' for the labels"):
        find_columns(table({"text": ["x"], "a": ["1"]}), spec, labels_needed=False)


# One 0/1 column for one label


@pytest.mark.parametrize("cells", [["0", "1"], [1, 1], [True, False], ["", "0"]])
@pytest.mark.parametrize("label_column", ["toxic", ["toxic"]])
@pytest.mark.parametrize("label_names", [None, ["toxic"]])
def test_a_named_column_of_zeros_and_ones_is_one_label(cells, label_column, label_names):
    spec = DataSpec(label_column=label_column, label_names=label_names)
    found = find_columns(table({"text": ["x", "y"], "toxic": cells}), spec)
    assert found.labels == ["toxic"]
    assert found.one_per_label


@pytest.mark.parametrize(
    ("cells", "spec"),
    [
        (["0", "2"], {"label_column": "labels"}),
        (["0|1", "1"], {"label_column": "labels"}),
        ([[0], [1]], {"label_column": "labels"}),
        (["", ""], {"label_column": "labels"}),
        (["0", "1"], {"label_column": "labels", "label_names": ["0", "1"]}),
        (["0", "1"], {"label_column": "labels", "label_names": ["0"]}),
    ],
)
def test_other_label_columns_hold_the_labels_themselves(cells, spec):
    found = find_columns(table({"text": ["x", "y"], "labels": cells}), DataSpec(**spec))
    assert found.labels == ["labels"]
    assert not found.one_per_label


@pytest.mark.parametrize("spec", [{}, {"label_column": "labels"}, {"label_names": ["labels"]}])
def test_zeros_and_ones_mean_the_same_in_a_found_column_as_in_a_named_one(spec):
    found = find_columns(table({"text": ["x", "y"], "labels": ["0", "1"]}), DataSpec(**spec))
    assert (found.labels, found.one_per_label) == (["labels"], True)


def test_ids_of_class_labels_are_no_zeros_and_ones():
    ids = table({"text": ["x", "y"], "mood": [0, 1]}, Features({"mood": ClassLabel(names=["sad", "glad"])}))
    assert not find_columns(ids, DataSpec(label_column="mood")).one_per_label


# The columns of one split


FOUND = find_columns(
    table({"id": ["1"], "text": ["t"], "pair": ["p"], "a": ["1"], "b": ["0"]}), DataSpec(text_pair_column="pair")
)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"pair": ["p"], "a": ["1"], "b": ["0"]},
            "has no column 'text' for the text; name one of 'pair', 'a', 'b'",
        ),
        (
            {"text": ["t"], "a": ["1"], "b": ["0"]},
            "has no column 'pair' for the pair; name one of 'text', 'a', 'b'",
        ),
        (
            {"text": ["t"], "pair": ["p"], "a": ["1"]},
            "no column 'b' for the labels; name one of 'text', 'pair', 'a'",
        ),
    ],
)
def test_every_split_must_have_the_columns(split, columns, message):
    with pytest.raises(DataError, match=message):
        columns_in_split(split, table(columns), FOUND, DataSpec())


def test_a_split_may_lack_the_id():
    columns = {"text": ["t"], "pair": ["p"], "a": ["1"], "b": ["0"]}
    assert columns_in_split("train", table(columns | {"id": ["1"]}), FOUND, DataSpec()) == FOUND
    assert columns_in_split("train", table(columns), FOUND, DataSpec()).id is None


@pytest.mark.parametrize("labels", [{}, {"a": [""], "b": [None]}, {"a": [-1], "b": [-100]}])
def test_only_the_split_to_predict_may_hide_its_labels(labels, caplog):
    columns = table({"text": ["t"], "pair": ["p"]} | labels)
    with caplog.at_level(logging.INFO, logger="bert_multilabel"):
        assert columns_in_split("test", columns, FOUND, DataSpec()).labels == []
    assert "table has no labels" in caplog.text
    if labels:
        assert columns_in_split("train", columns, FOUND, DataSpec()).labels == ["a", "b"]
    else:
        with pytest.raises(DataError, match="table has no column 'a' for the labels"):
            columns_in_split("train", columns, FOUND, DataSpec())
