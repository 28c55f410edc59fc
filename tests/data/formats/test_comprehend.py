import csv
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import comprehend
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError
from tests import hostile
from tests.data.formats.any_bytes import reader_of_any_bytes

CONTENT = """\
good price,It costs half of what I paid last year
good price|gift,"Cheap, and my niece loves it"
NULL,Arrived on a Monday
gift,"A birthday present
for my brother"
quality|gift,Solid wood and a nice box
quality,The handle came off at once
"""
LABELS = [["good price"], ["good price", "gift"], [], ["gift"], ["quality", "gift"], ["quality"]]


def recognized(path, **spec):
    spec = DataSpec(**spec)
    return comprehend.recognizes(take_sample(path, spec), spec)


def reader_of(path, **spec):
    spec = DataSpec(**spec)
    return comprehend.read(take_sample(path, spec), spec)


def test_labels_and_texts(write):
    path = write("comprehend.csv", CONTENT)
    reader = reader_of(path)
    (batch,) = reader.batches()
    assert batch.columns["labels"] == LABELS
    assert batch.columns["text"][1:4] == [
        "Cheap, and my niece loves it",
        "Arrived on a Monday",
        "A birthday present\nfor my brother",
    ]
    assert recognized(path) == "each line holds labels that repeat, joined by '|', and a text, separated by ','"
    assert reader.said == (
        "Amazon Comprehend: no header line; labels separated by '|', and text, csv separated by ','"
    )
    assert list(reader.known_columns) == ["labels", "text"]


def test_a_known_label_may_be_a_null_word(write):
    reader = reader_of(write("a.csv", CONTENT), label_names=["good price", "gift", "quality", "NULL"])
    assert next(reader.batches()).columns["labels"][2] == ["NULL"]


def test_rows_know_their_line_and_passes_are_alike(write):
    reader = reader_of(write("a.csv", CONTENT + "gift\n"))
    assert reader.lines({1, 4, 5, 7}) == {1: 1, 4: 4, 5: 6, 7: 8}
    first, second = list(reader.batches()), list(pickle.loads(pickle.dumps(reader)).batches())
    assert first == second
    assert first[0].problems == {7: "1 fields where other rows have 2; quote a field that holds ','"}


@pytest.mark.parametrize(
    "content",
    [
        "labels,text\n" + CONTENT,
        "topics,utterance in full\n" + CONTENT,  # a header with other names: its label does not repeat
        CONTENT.replace("|", ";"),
        CONTENT.replace(",", "\t"),
        "1,It costs half of what I paid\n2,Arrived on a Monday\n3,The handle came off\n",  # no label repeats
        "gift,good\ngift,bad\nquality,good\nquality,bad\n",  # no sentences
        "gift,It costs half of what I paid,3\ngift,Arrived on a Monday,4\n",
        "",
        "gift\n",
    ],
)
def test_what_is_something_else(write, content):
    assert recognized(write("a.csv", content)) is None


def test_named_columns_are_no_comprehend(write):
    assert recognized(write("a.csv", CONTENT), column_names=["label", "text"]) is None


def test_broken_quoting_is_told(write):
    with pytest.raises(DataError, match=r"a.csv, row 7 \(line 8\): broken quoting"):
        reader_of(write("a.csv", CONTENT + 'gift,"never, ever\n'))


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0|"), min_size=1).filter(
    lambda name: name == name.strip() and name not in comprehend.NULL_WORDS
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(st.tuples(st.lists(names, max_size=4), texts), min_size=1, max_size=6))
def test_any_labels_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    rows.insert(0, (["gift"], "The first row"))
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(("|".join(labels), text) for labels, text in rows)
    (batch,) = reader_of(str(path)).batches()
    assert batch.columns == {"labels": [labels for labels, _ in rows], "text": [text for _, text in rows]}


_PIECES = st.sampled_from([",", "|", "\n", "none", "gift", "gift,A present for me\n", '"', "\0"])


@settings(max_examples=100, deadline=None)
@given(content=st.lists(_PIECES.map(str.encode) | hostile.texts.map(str.encode) | st.binary(max_size=4)).map(b"".join))
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    reader_of_any_bytes(path, content, recognized, reader_of)
