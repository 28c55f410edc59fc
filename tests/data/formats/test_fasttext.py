import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import fasttext
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from tests import hostile
from tests.data.formats.any_bytes import reader_of_any_bytes

SPEC = DataSpec()
LINES = [
    "__label__price __label__too-dear! far too much for a kettle\n",
    "\n",
    "  no opinion, __label\n",
    "__label__gift\tmy sister wants it\r\n",
    "it broke on day one __label__quality __label__<b>\n",
    "__label__price",
]


def reader_of(path):
    return fasttext.read(take_sample(path, SPEC), SPEC)


def columns(reader):
    (batch,) = reader.batches()
    return batch.columns


def recognized(path):
    return fasttext.recognizes(take_sample(path, SPEC), SPEC)


def test_labels_are_words_before_or_behind_the_text(write):
    reader = reader_of(write("shop.train", "".join(LINES)))
    assert columns(reader) == {
        "text": ["far too much for a kettle", "no opinion, __label", "my sister wants it", "it broke on day one", ""],
        "labels": [["price", "too-dear!"], [], ["gift"], ["quality", "<b>"], ["price"]],
    }
    assert reader.said == "fastText: words that begin with __label__ are the labels, the rest of a line is the text"
    assert list(reader.known_columns) == ["text", "labels"]


def test_blanks_within_a_text_stay(write):
    path = write("a.txt", "__label__a  two  blanks , and\ta tab  __label__b\n")
    assert columns(reader_of(path)) == {"text": ["two  blanks , and\ta tab"], "labels": [["a", "b"]]}


def test_rows_know_their_line(write):
    reader = reader_of(write("a.txt", "".join(LINES)))
    assert reader.lines({1, 2, 5}) == {1: 1, 2: 3, 5: 6}
    assert reader.lines([]) == {}


def test_passes_are_alike_also_of_a_copy(write):
    reader = reader_of(write("a.txt", "".join(LINES)))
    assert columns(reader) == columns(reader) == columns(pickle.loads(pickle.dumps(reader)))


def test_labels_that_run_together_are_told(write):
    (batch,) = reader_of(write("a.txt", "__label__a,__label__b good\n__label__ bad\n__label__a fine\n")).batches()
    assert batch.problems == {
        1: "'__label__a,__label__b' holds several labels; separate them by blanks",
        2: "__label__ without the name of a label; write the name directly behind it",
    }
    assert (list(batch.numbers), batch.columns) == ([3], {"text": ["fine"], "labels": [["a"]]})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("__label__a good\n__label__b bad\n", "each line begins with __label__"),
        ("__label__a good\nbad __label__b\n", "each line begins or ends with __label__"),
        ("__label__a good\n bad\n__label__b fine\n", "almost each line begins or ends with __label__"),
        ("good\nbad\n__label__b fine\n", None),
        ("what is __label__a here\n", None),
        ('{"text": "__label__a", "labels": "a __label__b"}\n', None),
        ("text,labels\n", None),
        ("", None),
    ],
)
def test_what_is_recognized(write, content, reason):
    assert recognized(write("a.csv", content)) == reason


words = st.text(st.characters(exclude_categories=["Cs", "Z", "C"], exclude_characters="_"), min_size=1, max_size=9)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.lists(words, max_size=3), st.lists(words, max_size=3), st.lists(words, min_size=1, max_size=5)),
        min_size=1,
    )
)
def test_any_labels_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    lines = [
        " ".join([*(f"__label__{name}" for name in before), *text, *(f"__label__{name}" for name in behind)])
        for before, behind, text in rows
    ]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    assert columns(reader_of(str(path))) == {
        "text": [" ".join(text) for _, _, text in rows],
        "labels": [[*before, *behind] for before, behind, _ in rows],
    }


_PIECES = st.sampled_from(["__label__", "__label__a", " ", "\n", "\t", "\0", ","])


@settings(max_examples=100, deadline=None)
@given(content=st.lists(_PIECES.map(str.encode) | hostile.texts.map(str.encode) | st.binary(max_size=4)).map(b"".join))
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.txt"
    if found := reader_of_any_bytes(path, content, recognized, reader_of):
        reader, numbers = found
        assert list(reader.lines(numbers)) == sorted(numbers)
