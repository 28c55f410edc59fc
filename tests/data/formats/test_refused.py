import gzip
import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import refused
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError
from tests import hostile

SPEC = DataSpec()


def numpy_bytes():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.arff",
            "% hotels\n\n@RELATION 'hotels: -C 2'\n@attribute room {0,1}\n@attribute w1 numeric\n@data\n1,3\n",
            "a.arff is an ARFF file, which holds counts of words and no texts; pass the texts from which they were "
            "counted (recognized since it begins with \"@RELATION 'hotels: -C 2'\")",
        ),
        (
            "a.arff",
            "@relation hotels\n@attribute room {0,1}\n@attribute 'the review' string\n@data\n1,'Cold'\n",
            "a.arff is an ARFF file, which is not read, although its attribute 'the review' may hold texts; save its ",
        ),
        (
            "a.txt",
            "3 5 2\n0,1 0:0.5 4:1e-3\n1 2:3\n 1:0.25\n",
            "a.txt is of sparse vectors, which hold weights of words and no texts; pass the file with the texts "
            "(recognized since its lines are such as '0,1 0:0.5 4:1e-3')",
        ),
        ("a.svm", "-1 3:0.5\n+1\n", "a.svm is of sparse vectors"),
        ("a.conll", "The O\nGrand B-HOTEL\nBudapest I-HOTEL\n\nis O\nfull O\n", "labels of words (CoNLL), not of"),
        ("a.md", "| text | labels |\n|:-----|-------:|\n| Cold | room |\n", "a.md is a table that was printed to be"),
        ("a.csv", " text | labels \n------+--------\n Cold | room\n(1 row)\n", "it has the line '------+--------'"),
        ("a.txt", "+------+\n| text |\n+------+\n| Cold |\n", "a table that was printed"),
        ("a.sql", "CREATE TABLE a (b text);\n", "a.sql is a dump of a database; save one of its tables as csv"),
        ("posts.xml", '<?xml version="1.0"?>\n<posts>\n</posts>\n', "posts.xml is an XML file"),
        ("a.csv", "<!DOCTYPE html>\n<html></html>\n", "a.csv is a web page; check where it was downloaded"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "run 'git lfs pull'"),
        ("a.pkl", pickle.dumps([{"text": "good"}]), "a.pkl is a pickle of Python, which could run any program"),
        ("a.npy", numpy_bytes(), "a.npy is a file of NumPy"),
        ("a.npz", b"PK\x03\x04...", "a.npz is a file of NumPy"),
        ("a.feather", b"FEA1\x00\x00", "a.feather is a feather file of version 1; write it again, as parquet"),
        ("a.docx", b"PK\x03\x04...", "a.docx is a Word document"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "a.xls is an old document of Office, such as xls; save it as xlsx"),
        ("a.pdf", b"%PDF-1.7 \xe2\xe3", "a.pdf is a PDF document"),
        ("a.csv", gzip.compress(b"text\ngood\n", mtime=0), "a.csv is compressed with gzip; end its name with .gz"),
    ],
)
def test_files_without_texts_are_refused_with_the_reason(write, name, content, message):
    sample = take_sample(write(name, content), SPEC)
    reason = refused.recognizes(sample, SPEC)
    assert reason
    with pytest.raises(DataError) as caught:
        refused.read(sample, SPEC)
    assert message in str(caught.value)
    assert str(caught.value).endswith(f"(recognized since {reason})")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "text,labels\ngood,price\n",
        "@relation is what I liked,price\n@home,room\n",
        '@relation,"no"\n',
        "3 5 2\n1 2\n",
        "At 10:30 we left\n1:0\n",
        "text\nO\nB-side is best\n",
        "I like it O\nnot at all O\n",
        "<b>good</b>,price\n",
        '{"text": "good", "labels": ["price"]}\n',
        "__label__price good\n",
        b"PK\x03\x04 a workbook",
    ],
)
def test_other_files_are_not_refused(write, content):
    assert refused.recognizes(take_sample(write("a.csv", content), SPEC), SPEC) is None


_PIECES = st.sampled_from(
    ["@relation", "@attribute x string\n", "1:2", "0,1 3:0.5\n", " ", "\n", "O", "a B-b\n", "<?xml"]
)


@settings(max_examples=100, deadline=None)
@given(content=st.lists(_PIECES.map(str.encode) | hostile.texts.map(str.encode) | st.binary(max_size=4)).map(b"".join))
def test_any_bytes_are_refused_with_a_reason_or_not(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.txt"
    path.write_bytes(content)
    try:
        sample = take_sample(str(path), SPEC)
    except DataError as error:
        assert str(path) in str(error)
        return
    if (reason := refused.recognizes(sample, SPEC)) is not None:
        with pytest.raises(DataError, match="bytes.txt is ") as caught:
            refused.read(sample, SPEC)
        assert reason in str(caught.value)
