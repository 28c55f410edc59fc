import pytest

from bert_multilabel.data.formats.registry import open_file
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

TEXTS = ["I want it, now", "No", "Too dear; sadly", 'She said "never"']
ADVICE = "; if each line of it is a text, insert a first line that is just the word text"


def test_one_text_per_line_is_read_once_the_advice_is_followed(write):
    with pytest.raises(DataError, match=f"it begins with 'I want it, now'{ADVICE}$"):
        open_file(write("new.txt", "\n".join(TEXTS)), DataSpec())
    (batch,) = open_file(write("new.txt", "\n".join(["text", *TEXTS])), DataSpec()).batches()
    assert batch.columns == {"text": TEXTS}


@pytest.mark.parametrize("content", [b"", b"<p>No</p>\n<p>Yes</p>\n", b"[No\nYes\n"])
def test_no_such_advice_is_given_where_lines_are_no_texts(write, content):
    with pytest.raises(DataError, match="cannot read .*; it begins with '[^']*'$"):
        open_file(write("new.txt", content), DataSpec())
