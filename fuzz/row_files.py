"""Files of csv, tsv, json and jsonl: they give every row, in order, or a `DataError`."""

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.reading import read_rows
from bert_multilabel.errors import DataError

from .expectations import check_message, write

_EXTENSIONS = (".csv", ".tsv", ".json", ".jsonl")
_SPECS = (
    DataSpec(),
    DataSpec(text_column="text", label_column="labels", label_names=["a", "b"]),
    DataSpec(label_column=["a", "b"], text_pair_column=""),
    DataSpec(label_delimiter="|", id_column="id"),
)
_FILES = [
    'text,labels\ngood,a|b\n"two\nlines, ""quoted""",\n',
    "id\ttext\tpair\tlabels\n1\tgood\tthing\ta\n2\tbad\t\tb\n",
    "text,a,b\ngood,0,1\nbad,,1\n",
    '[{"text": "good", "labels": ["a"]}, {"text": "bad", "labels": []}]',
    '{"text": "good", "labels": [0, 1], "id": 7}\n\n{"text": "bad", "labels": [], "id": null}\n',
    '{"text": "\\ud800", "labels": "a;b"}\n{"text": null, "a": 1e999, "b": NaN}\n',
    "[" * 2000 + "]" * 2000,
    '{"text": "a", "labels": ' + "[" * 900 + "]" * 900 + "}",
    '{"text": "a", "labels": [' + "9" * 5000 + "]}",
    "\ufefftext,labels\r\ngood,a\r\n",
]
SEEDS = [bytes([4 * spec + kind]) + text.encode() for spec in range(4) for kind in range(4) for text in _FILES]


def run(data: bytes) -> None:
    """Read a file; the first byte chooses its extension and the `DataSpec`."""
    if not data:
        return
    path = write("rows" + _EXTENSIONS[data[0] % 4], data[1:])
    try:
        rows = list(read_rows(path))
    except DataError as error:
        check_message(error)
        rows = None
    else:
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        assert path[-1] != "l" or len(rows) == sum(bool(line.strip()) for line in _lines(data[1:]))
    split = "test" if data[0] & 64 else "train"
    try:
        loaded = load_splits(_SPECS[data[0] // 4 % 4], {split: path})
    except DataError as error:
        check_message(error)
    else:
        assert rows is not None and len(loaded.splits[split]) == len(rows)


def _lines(data: bytes) -> list[str]:
    """Split a text at the line ends of files, which are fewer than those of `str.splitlines`."""
    return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
