"""Files of label names: they give unique names that are not blank, or a `DataError`."""

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.errors import DataError

from .expectations import check_message, write

SEEDS = [
    b"price\nquality\n",
    b"\xef\xbb\xbfprice\r\n\r\n quality ",
    b"a\na\n",
    b"\xff\xfea\0",
    "\u2028a\u2028b".encode(),
]


def run(data: bytes) -> None:
    """Read the names, and use them as a run does."""
    try:
        names = read_label_names(write("names.txt", data))
        DataSpec(label_names=names)
    except DataError as error:
        check_message(error)
    else:
        assert names and len(set(names)) == len(names)
        assert all(name == name.strip() and name.encode() in data for name in names)
