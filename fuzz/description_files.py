"""Files of label descriptions: they give known labels with a text each, or a `DataError`."""

from bert_multilabel.data.label_descriptions import read_label_descriptions
from bert_multilabel.errors import DataError

from .expectations import check_message, write

_EXTENSIONS = (".json", ".csv", ".jsonl", ".tsv")
_NAMES = ["price", "quality"]
SEEDS = [
    b'\0{"price": "What it costs", "quality": "How good it is"}',
    b'\0{"price": "a", "price": "b", "": {"a": [1]}}',
    b"\1label,description\nprice,What it costs\nprise,\n",
    b'\2{"label": "price", "description": "What it costs"}\n{"label": 7}\n',
    b"\0" + b'{"a":' * 2000,
    b"\0[7]",
]


def run(data: bytes) -> None:
    """Read a file whose extension the first byte chooses."""
    if not data:
        return
    try:
        descriptions = read_label_descriptions(write("about" + _EXTENSIONS[data[0] % 4], data[1:]), _NAMES)
    except DataError as error:
        check_message(error)
    else:
        assert set(descriptions) <= set(_NAMES) and all(text.strip() for text in descriptions.values())
