import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import libmultilabel
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from tests import hostile
from tests.data.formats.any_bytes import reader_of_any_bytes

ROWS = [
    ("h1", "room", "The room was cold all night"),
    ("h2", "room food", 'They called it "breakfast", I call it toast'),
    ("h3", "", "We came back a year later"),
    ("h4", "food", "Fresh bread each morning"),
    ("h5", "staff room", 'The night porter found us a "suite'),
    ("h6", "staff", "Nobody at the desk after ten"),
]
WITH_IDS = "".join("\t".join(row) + "\n" for row in ROWS)
WITHOUT_IDS = "".join("\t".join(row[1:]) + "\n" for row in ROWS)
LABELS = [["room"], ["room", "food"], [], ["food"], ["staff", "room"], ["staff"]]


def recognized(path, **spec):
    spec = DataSpec(**spec)
    return libmultilabel.recognizes(take_sample(path, spec), spec)


def reader_of(path):
    return libmultilabel.read(take_sample(path, DataSpec()), DataSpec())


def test_ids_labels_and_texts(write):
    path = write("train.txt", WITH_IDS)
    reader = reader_of(path)
    (batch,) = reader.batches()
    assert batch.columns == {
        "id": ["h1", "h2", "h3", "h4", "h5", "h6"],
        "labels": LABELS,
        "text": [text for _, _, text in ROWS],
    }
    assert recognized(path) == "each line holds an id, labels and a text, separated by tabs, and the labels repeat"
    assert reader.said == "LibMultiLabel: no header line; id, labels separated by blanks, and text"
    assert list(reader.known_columns) == ["id", "labels", "text"]


def test_labels_and_texts(write):
    path = write("train.tsv", WITHOUT_IDS)
    (batch,) = reader_of(path).batches()
    assert batch.columns == {"labels": LABELS, "text": [text for _, _, text in ROWS]}
    assert recognized(path) == "each line holds labels and a text, separated by tabs, and the labels repeat"


def test_rows_know_their_line_and_passes_are_alike(write):
    reader = reader_of(write("train.txt", WITH_IDS.replace("\n", "\n\n") + "h7\n"))
    assert reader.lines({1, 3, 7}) == {1: 1, 3: 5, 7: 13}
    first, second = list(reader.batches()), list(pickle.loads(pickle.dumps(reader)).batches())
    assert first == second
    assert first[0].problems == {7: "1 fields where other rows have 3; quote a field that holds a tab"}


@pytest.mark.parametrize(
    "content",
    [
        "id\tlabels\ttext\n" + WITH_IDS,
        "nr\tthema\tbeitrag\n" + WITH_IDS,  # a header with other names: its label does not repeat
        WITH_IDS.replace("\t", ","),
        "".join(f"{text}\t{labels}\t{row_id}\n" for row_id, labels, text in ROWS),
        "".join(f"{row_id}\t{row_id}\t{text}\n" for row_id, _, text in ROWS),  # no label repeats
        "".join(f"{row_id}\t{labels}\t{labels}\n" for row_id, labels, _ in ROWS),  # no sentences
        "".join(f"h1\t{labels}\t{text}\n" for _, labels, text in ROWS),  # no ids
        # Labels of several words:
        "h1\ttoo expensive\tHalf the size of the last one\nh2\tgood value\tCheap and the bed was fine\n"
        "h3\ttoo expensive\tNot at this price\nh4\tgood value\tWe paid less than for the train\n",
        "",
        "room\n",
    ],
)
def test_what_is_something_else(write, content):
    assert recognized(write("a.tsv", content)) is None


def test_named_columns_are_no_libmultilabel(write):
    assert recognized(write("a.tsv", WITH_IDS), column_names=["nr", "user", "text"]) is None


names = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=9)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\r\n"), min_size=1)


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(st.tuples(st.lists(names, max_size=4), texts), min_size=1, max_size=6))
def test_any_labels_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    lines = [f"r{number}\t{' '.join(labels)}\t{text}\n" for number, (labels, text) in enumerate(rows)]
    path.write_text("".join(lines).replace("r0", "\ufeffr0", 1), encoding="utf-8", newline="")
    (batch,) = reader_of(str(path)).batches()
    assert batch.columns["labels"] == [labels for labels, _ in rows]
    assert batch.columns["text"] == [text for _, text in rows]


_PIECES = st.sampled_from(["\t", "\n", "a b", "room", "The room was cold\n", '"', "\0"])


@settings(max_examples=100, deadline=None)
@given(content=st.lists(_PIECES.map(str.encode) | hostile.texts.map(str.encode) | st.binary(max_size=4)).map(b"".join))
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.txt"
    reader_of_any_bytes(path, content, recognized, reader_of)
