import pytest

from bert_multilabel.data.columns import COMMON_COLUMNS, LabelColumns, columns_in_split, describe_columns, find_columns
from bert_multilabel.data.examples import load_examples
from bert_multilabel.data.label_parser import LabelParser
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import RowsReader, Table
from bert_multilabel.errors import DataError

CELLS, ONE_PER_LABEL, NAMES = LabelColumns.CELLS, LabelColumns.ONE_PER_LABEL, LabelColumns.NAMES


def table(columns, known=None):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return Table("t", RowsReader(rows, known or {}))


def find(columns, known=None, needed=True, **spec):
    return find_columns(table(columns, known), DataSpec(**spec), needed)


# What is known beforehand


@pytest.mark.parametrize("spec", [{"label_names": []}, {"label_names": ["a", "a"]}, {"label_names": ["a", " "]}])
def test_given_names_must_differ(spec):
    with pytest.raises(DataError, match="must be unique and not blank"):
        DataSpec(**spec)


def test_an_empty_delimiter_and_an_unknown_rule_are_refused():
    with pytest.raises(DataError, match="the label delimiter is empty"):
        DataSpec(label_delimiter="")
    with pytest.raises(DataError, match="annotators must be one of majority, share, unanimous, got 'most'"):
        DataSpec(annotators="most")


def test_a_line_is_one_label_or_one_judgement():
    with pytest.raises(DataError, match=r"\(one_label_per_line\) or what one annotator says \(annotators\), not both"):
        DataSpec(one_label_per_line=True, annotators="majority")


# Text, pair and id


@pytest.mark.parametrize(
    ("role", "attribute"), [("text", "texts"), ("pair", "pair"), ("labels", "labels"), ("id", "id")]
)
def test_common_columns_are_found_in_any_case_and_the_first_name_wins(role, attribute):
    given = {name: ["x"] for name in ("text", "labels") if name != role}
    for name in COMMON_COLUMNS[role]:
        found = getattr(find(given | {name.upper(): ["x"]}), attribute)
        assert found == ([name.upper()] if attribute in ("texts", "labels") else name.upper())
    given |= {name.upper(): ["x"] for name in reversed(COMMON_COLUMNS[role])}
    best = COMMON_COLUMNS[role][0].upper()
    assert getattr(find(given), attribute) == ([best] if attribute in ("texts", "labels") else best)


@pytest.mark.parametrize(
    ("names", "phrase"),
    [
        (
            ["review", "body", "labels"],
            "several columns may be the text: 'review', 'body'; pass --text_column, or --text_column review body to j",
        ),
        (["Text", "text", "labels"], "several columns may be the text: 'Text', 'text'"),
        (["title", "headline", "labels"], "several columns may be the text: 'title', 'headline'"),
        (["text", "tags", "topics"], "several columns may be the labels: 'tags', 'topics'; pass --label_column"),
    ],
)
def test_where_several_columns_have_a_common_name_one_must_be_named(names, phrase):
    with pytest.raises(DataError, match=phrase):
        find({name: ["x"] for name in names})


def test_a_title_is_the_text_only_where_nothing_else_is():
    assert find({"title": ["x"], "body": ["y"], "labels": ["a"]}).texts == ["body"]
    assert find({"title": ["x"], "labels": ["a"]}).texts == ["title"]
    assert find({"title": ["x"], "body": ["y"], "labels": ["a"]}, text_column=["title", "body"]).texts == [
        "title",
        "body",
    ]


def test_the_only_column_of_sentences_is_the_text():
    sentences = ["I would buy this one again", "Too expensive for what it is", "A nice present for my mother"]
    given = {"author": ["Ann", "Ben", "Ann"], "what they wrote": sentences, "labels": ["a", "b", "a"]}
    assert find(given).texts == ["what they wrote"]
    with pytest.raises(DataError, match="several columns hold sentences: 'what they wrote', 'more': pass --text_col"):
        find(given | {"more": [text.upper() for text in sentences]})
    with pytest.raises(DataError, match="no column looks like the text: pass --text_column; name one of 'author', "):
        find({name: cells for name, cells in given.items() if name != "what they wrote"})


@pytest.mark.parametrize("name", ["target", "context", "aspect", "product", "hypothesis", "pair", "Target"])
def test_a_second_text_is_never_guessed_from_a_name_that_may_mean_anything(name):
    given = {"text": ["x"], name: ["y"], "labels": ["a"]}
    assert find(given).pair is None
    assert find(given, text_pair_column=name).pair == name


@pytest.mark.parametrize("cells", [[0.83, 0.1], ["0.83", ""], ["1", "0"], [7, None]])
@pytest.mark.parametrize("name", ["text_pair", "sentence2"])
def test_numbers_are_never_guessed_to_be_a_second_text(name, cells):
    given = {"text": ["x", "y"], name: cells, "labels": ["a", "b"]}
    assert find(given).pair is None
    assert find(given, text_pair_column=name).pair == name


@pytest.mark.parametrize("label_column", ["sentence2", ["sentence2", "a"]])
def test_a_label_column_is_never_guessed_to_be_a_second_text(label_column):
    given = {"text": ["x", "y"], "sentence2": ["", "0"], "a": ["0", "1"]}
    assert find(given, label_column=label_column).pair is None


def test_no_second_text_may_be_said():
    given = {"text": ["x"], "sentence2": ["y"], "labels": ["a"]}
    assert find(given).pair == "sentence2"
    assert find(given, text_pair_column="").pair is None


def test_named_columns_win_and_are_free_for_one_purpose():
    columns = {name: ["x"] for name in ("text", "title", "context", "tags", "labels", "key")}
    found = find(columns, text_column="title", text_pair_column="text", label_column="tags", id_column="key")
    assert (found.texts, found.pair, found.labels, found.id) == (["title"], "text", ["tags"], "key")
    assert find(columns, text_pair_column="text").texts == ["title"]


def test_named_columns_may_differ_in_case_and_blanks():
    columns = {"Text": ["x"], " Tags ": ["a"], "ID": ["1"]}
    found = find(columns, text_column="text", label_column="tags", id_column="id")
    assert (found.texts, found.labels, found.id) == (["Text"], [" Tags "], "ID")
    with pytest.raises(DataError, match="has no column 'BODY' for the text"):  # which of the two?
        find({"Body": ["x"], "body": ["y"], "labels": ["a"]}, text_column="BODY")


def test_numbers_are_text_only_where_they_are_called_so():
    given = {"review": ["1", "0.5"], "labels": ["a", "b"]}
    with pytest.raises(DataError, match="no column looks like the text: pass --text_column"):
        find(given)
    assert find(given, text_column="review").texts == ["review"]
    assert find({**given, "text": ["1", "2"]}).texts == ["text"]
    assert find({**given, "text": ["1", "2"], "title": ["a", "b"]}).texts == ["text"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"text_column": "body"}, "t has no column 'body' for the text; name one of 'text', 'tags', 'a', 'b'"),
        ({"text_column": ["text", "body"]}, "t has no column 'body' for the text"),
        ({"text_pair_column": "other"}, "has no column 'other' for the pair; name one of 'text'"),
        ({"label_column": "opinions"}, "has no column 'opinions' for the labels; name one of 'text'"),
        ({"label_column": ["a", "c"]}, "has no column 'c' for the labels"),
        ({"label_column": "text", "text_column": "text"}, "column 'text' cannot be two of"),
        ({"label_column": ["a", "b", "a"]}, "column 'a' cannot be two of"),
        ({"label_column": "text"}, "no column looks like the text: pass --text_column; name one of 'text', 'tags'"),
    ],
)
def test_columns_that_cannot_be_found(spec, message):
    with pytest.raises(DataError, match=message):
        find({"text": ["x"], "tags": ["x"], "a": ["0"], "b": ["1"]}, **spec)


def test_labels_that_cannot_be_found():
    with pytest.raises(
        DataError, match="no column looks like the labels: pass --label_column; name one of 'text', 'a"
    ):
        find({"text": ["x"], "author": ["Ann"]})


def test_a_first_line_that_is_no_header_is_pointed_out():
    with pytest.raises(DataError, match="if 'It broke after a day' is no header but an example, pass --column_names"):
        find({"It broke after a day": ["Cheap, and good", "Well"], "quality": ["price", "gift"]})


# Label columns


def test_columns_of_zeros_and_ones_are_labels_and_no_text():
    found = find({"review": ["1", "0"], "product": ["", "1"], "comment": ["0", "z"]})
    assert (found.texts, found.pair, found.labels) == (["comment"], None, ["review", "product"])
    assert found.label_columns is ONE_PER_LABEL


def test_columns_of_zeros_and_ones_that_are_no_labels_are_left_out():
    given = {"text": ["x", "y"], "row id": ["1", "0"], "fold": ["0", "1"], "one": ["1", "1"], "rude": ["0", "1"]}
    assert find(given).labels == ["rude"]


@pytest.mark.parametrize("flag", ["is_reply", "has image", "verified", "Edited", "needs_review"])
def test_flags_among_zeros_and_ones_are_asked_about(flag):
    given = {"text": ["x", "y"], flag: ["1", "0"], "rude": ["0", "1"], "too loud": ["0", "1"]}
    with pytest.raises(DataError, match=f"columns such as '{flag}' may be labels or not: pass --label_column rude"):
        find(given)
    assert find(given, label_column=["rude", flag]).labels == ["rude", flag]
    assert find({"text": ["x", "y"], "is_rude": ["0", "1"], "is_loud": ["1", "0"]}).labels == ["is_rude", "is_loud"]


def test_columns_that_are_written_in_another_way_are_left_out_or_asked_about():
    given = {"text": ["x", "y"], "rude": ["0", "1"], "loud": ["0", "1"], "subscribed": ["True", "False"]}
    assert find(given).labels == ["rude", "loud"]
    with pytest.raises(DataError, match="'rude' and 'subscribed' hold 0 and 1 in other ways: pass --label_column"):
        find({name: cells for name, cells in given.items() if name != "loud"})


def test_numbered_columns_hold_names():
    found = find({"text": ["x", "y"], "label1": ["price", "gift"], "label2": ["", "price"], "label3": ["", None]})
    assert (found.labels, found.label_columns) == (["label1", "label2", "label3"], NAMES)
    given = {"text": ["x", "y", "z"], "main": ["price", "gift", "price"], "other": ["gift", "", "gift"]}
    assert find(given, label_column=["main", "other"]).label_columns is NAMES


def test_numbered_columns_of_zeros_and_ones_are_labels():
    found = find({"text": ["x", "y"], "label_1": [0, 1], "label_2": [1, 0]})
    assert (found.labels, found.label_columns) == (["label_1", "label_2"], ONE_PER_LABEL)


def test_the_only_column_of_lists_of_names_holds_the_labels():
    lists = [["price"], ["price", "gift"], ["gift"]]
    found = find({"text": ["x", "y", "z"], "what": lists})
    assert (found.labels, found.label_columns) == (["what"], CELLS)
    with pytest.raises(DataError, match="no column looks like the labels"):
        find({"text": ["x", "y", "z"], "what": lists, "which": lists})


def test_votes_and_shares_are_taken_on_request():
    given = {"text": ["x", "y"], "rude": ["0", "3"], "loud": ["1", "0.5"], "id": ["1", "2"]}
    with pytest.raises(DataError, match="columns of numbers, such as 'rude', 'loud', need --label_values shares"):
        find(given)
    found = find(given, label_values="votes>=2")
    assert (found.labels, found.label_columns) == (["rude", "loud"], ONE_PER_LABEL)


def test_known_names_pick_and_order_the_columns():
    given = {"text": ["x"], "b": ["0"], "other": ["1"], "a": ["1"]}
    assert find(given, label_names=["a", "b"]).labels == ["a", "b"]


def test_labels_that_are_not_needed_may_be_missing():
    assert find({"text": ["x"]}, label_column=["a", "b"], needed=False).labels == []
    with pytest.raises(DataError, match="has no column 'b' for the labels"):
        find({"text": ["x"], "a": ["1"]}, label_column=["a", "b"], needed=False)


def test_a_foreign_column_is_no_label_column_where_the_names_are_known():
    given = {"text": ["x", "y"], "tags": ["summer|sale", "new"]}
    assert find(given, label_names=["price", "gift"], needed=False).labels == []
    assert find(given, label_names=["sale", "gift"], needed=False).labels == ["tags"]
    assert find(given, label_names=["price", "gift"], label_column="tags", needed=False).labels == ["tags"]


# One 0/1 column for one label


@pytest.mark.parametrize("cells", [["0", "1"], [1, 1], [True, False], ["", "0"]])
@pytest.mark.parametrize("label_column", ["toxic", ["toxic"]])
@pytest.mark.parametrize("label_names", [None, ["toxic"]])
def test_a_named_column_of_zeros_and_ones_is_one_label(cells, label_column, label_names):
    found = find({"text": ["x", "y"], "toxic": cells}, label_column=label_column, label_names=label_names)
    assert (found.labels, found.label_columns) == (["toxic"], ONE_PER_LABEL)


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
    found = find({"text": ["x", "y"], "labels": cells}, **spec)
    assert (found.labels, found.label_columns) == (["labels"], CELLS)


@pytest.mark.parametrize("spec", [{}, {"label_column": "labels"}, {"label_names": ["labels"]}])
def test_zeros_and_ones_mean_the_same_in_a_found_column_as_in_a_named_one(spec):
    found = find({"text": ["x", "y"], "labels": ["0", "1"]}, **spec)
    assert (found.labels, found.label_columns) == (["labels"], ONE_PER_LABEL)


@pytest.mark.parametrize(
    ("names", "kind"),
    [(["sad", "glad"], CELLS), (["yes", "no"], ONE_PER_LABEL), (["false", "true"], ONE_PER_LABEL), (["no"], CELLS)],
)
def test_ids_are_zeros_and_ones_only_with_names_for_no_and_yes(names, kind):
    known = {"mood": names}
    assert find({"text": ["x", "y"], "mood": [0, 0]}, known, label_column="mood").label_columns is kind
    assert find({"text": ["x", "y"], "mood": [[0], [0]]}, known, label_column="mood").label_columns is CELLS


# The columns of one split


FOUND = find({"id": ["1"], "text": ["t"], "pair": ["p"], "a": ["1"], "b": ["0"]}, text_pair_column="pair")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pair": ["p"], "a": ["1"], "b": ["0"]}, "has no column 'text' for the text; name one of 'pair', 'a', 'b'"),
        ({"text": ["t"], "a": ["1"], "b": ["0"]}, "has no column 'pair' for the pair; name one of 'text', 'a', 'b'"),
        ({"text": ["t"], "pair": ["p"], "a": ["1"]}, "no column 'b' for the labels; name one of 'text', 'pair', 'a'"),
    ],
)
def test_every_split_must_have_the_columns(split, columns, message):
    with pytest.raises(DataError, match=message):
        columns_in_split(split, table(columns), FOUND, DataSpec())


def test_a_split_may_spell_its_columns_in_another_case():
    columns = table({"TEXT": ["t"], "Pair": ["p"], " A": ["1"], "B": ["0"], "Id": ["1"]})
    found = columns_in_split("validation", columns, FOUND, DataSpec())
    assert (found.texts, found.pair, found.labels, found.id) == (["TEXT"], "Pair", [" A", "B"], "Id")
    assert found.label_names == ["a", "b"]


def test_a_split_may_lack_the_id():
    columns = {"text": ["t"], "pair": ["p"], "a": ["1"], "b": ["0"]}
    assert columns_in_split("train", table(columns | {"id": ["1"]}), FOUND, DataSpec()) == FOUND
    assert columns_in_split("train", table(columns), FOUND, DataSpec()).id is None


@pytest.mark.parametrize("labels", [{}, {"a": [""], "b": [None]}, {"a": [-1], "b": [-100]}])
def test_only_the_split_to_predict_may_hide_its_labels(labels, caplog):
    columns = table({"text": ["t"], "pair": ["p"]} | labels)
    with caplog.at_level("INFO", logger="bert_multilabel"):
        assert columns_in_split("test", columns, FOUND, DataSpec()).labels == []
    assert "t has no labels" in caplog.text
    if labels:
        assert columns_in_split("train", columns, FOUND, DataSpec()).labels == ["a", "b"]
    else:
        with pytest.raises(DataError, match="t has no column 'a' for the labels"):
            columns_in_split("train", columns, FOUND, DataSpec())


# What the user is shown


def described(given, **spec):
    found = find_columns(given, DataSpec(**spec))
    return describe_columns(given, found, DataSpec(**spec), LabelParser.of_columns(found.labels, DataSpec()))


def test_scores_of_toxicity_are_no_second_text():
    columns = {
        "id": ["1", "2"],
        "target": ["0.83", "0.0"],
        "comment_text": ["you are bad", "hello"],
        "obscene": ["1", "0"],
        "threat": ["0", "0"],
    }
    assert described(table(columns), label_column=["obscene", "threat"]).split("\n") == [
        "t: rows, 2 rows",
        "  column        role    form                      examples",
        "  comment_text  text    text                      'you are bad' | 'hello'",
        "  obscene       labels  one 0/1 column per label  '1' | '0'",
        "  threat        labels  one 0/1 column per label  '0'",
        "  id            id                                '1' | '2'",
        "  not used: 'target'",
        "  text, id: recognized by name or content; check them, or name others with --text_column, --id_column",
    ]


def test_a_column_that_may_hold_ids_is_pointed_out():
    columns = {
        "user_id": ["u", "u"],
        "comment_id": ["x", "y"],
        "text": ["a b", "c d"],
        "a": ["1", "0"],
        "b": ["0", "1"],
    }
    assert "\n  not used: 'user_id', 'comment_id'; --id_column comment_id keeps the ids\n" in described(table(columns))
    assert "  not used: 'user_id'\n" in described(table(columns), id_column="comment_id")
    columns["comment_id"] = ["x", "x"]
    assert "  not used: 'user_id', 'comment_id'\n" in described(table(columns))


def test_nothing_is_said_to_be_recognized_where_all_is_named():
    given = table({"sentence": ["x", "y"], "sentence2": ["y", "z"], "a": ["1", "0"], "b": ["0", "1"]})
    spec = {"text_pair_column": "sentence2", "label_column": ["a", "b"], "text_column": "sentence"}
    assert "recognized by name" not in described(given, **spec)
    assert "text, pair, labels: recognized by name or content" in described(given)


def test_many_columns_and_long_cells_are_cut():
    labels = {f"label of number {number}": [0, 1] for number in range(40)}
    lines = described(table({"text": ["a" * 500, "b"], **labels})).split("\n")
    assert "... 10 more" in lines[-2] and max(map(len, lines)) < 200


def test_columns_of_zeros_and_ones_that_are_called_by_numbers_are_asked_about():
    given = {"text": ["good", "bad"], "0": [0, 1], "1": [1, 0]}
    with pytest.raises(DataError, match="t: 0/1 columns are called '0', '1': name them by their labels"):
        find(given)
    assert find(given, labels_as_they_are=True).labels == ["0", "1"]
    assert find(given, label_column=["0", "1"]).labels == ["0", "1"]
    assert find({"text": ["good", "bad"], "gift": [0, 1], "4711": [1, 0]}).labels == ["gift", "4711"]


def test_an_id_that_is_an_object_is_not_used():
    assert find({"_id": [{"$oid": "5f"}], "text": ["good"], "labels": [["gift"]]}).id is None


def test_lists_in_place_of_texts_are_asked_about_once(write):
    path = write("a.jsonl", '{"text": ["a b", "c"], "labels": ["x"]}\n{"text": ["d"], "labels": []}\n')
    with pytest.raises(DataError, match=r"column 'text' holds lists of texts \(\['a b', 'c'\]\): pass --join_lists"):
        load_examples(path)
    assert load_examples(path, join_lists=True).splits["train"]["text"][:] == ["a b c", "d"]
    words = write("b.jsonl", '{"words": ["a", "b"], "labels": "x"}\n')
    with pytest.raises(DataError, match="'words' holds lists of texts: --text_column words --join_lists"):
        load_examples(words)


def test_columns_of_1_and_2_are_no_votes():
    given = {"text": ["good", "bad"], "gift": ["1", "2"], "price": ["2", ""]}
    with pytest.raises(DataError) as caught:
        find(given)
    assert "'gift', 'price' hold 1 and 2: write 0 and 1 in place of them" in str(caught.value)
    assert "votes" not in str(caught.value)


def test_columns_without_names_are_named_by_their_positions():
    with pytest.raises(DataError, match="; columns are named by their positions, such as --text_column 0$"):
        find({"0": ["good", "bad"], "1": ["gift", "gift|price"]})


def test_an_odd_cell_among_zeros_and_ones_does_not_lose_its_label():
    given = {"text": ["good"] * 12, "gift": [0, 1] * 6, "price": [0, 1] * 5 + [0, 2], "votes": [*range(12)]}
    with pytest.raises(DataError, match="t: column 'price' holds 0 and 1, but 2 in 1 row: correct it, or pass"):
        find(given)
    assert find(given, label_column=["gift"]).labels == ["gift"]
    assert find(given | {"price": [0, 1, 2, 3] * 3}).labels == ["gift"]
    assert find({name: cells[:6] + cells[-3:] for name, cells in given.items()}).labels == ["gift"]


def test_columns_of_objects_are_pointed_out():
    with pytest.raises(DataError, match="'fields' holds objects with 'text', 'labels': write these as columns of"):
        find({"key": ["a"], "fields": [{"text": "good", "labels": []}]})
    with pytest.raises(DataError, match="'annotation' holds objects with 'labels': write these as columns of their"):
        find({"text": ["good"], "annotation": [{"labels": ["gift"]}]})


def test_empty_lists_are_no_texts():
    with pytest.raises(DataError) as caught:
        find({"cut": [[], []], "labels": [["gift"], []]})
    assert "join_lists" not in str(caught.value)
