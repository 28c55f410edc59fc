"""Files of label names: they give unique names that are not blank, and ids that increase, or a `DataError`."""

from random import Random

from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

from .inputs import check_message, mutated_bytes, write

SEEDS = [
    b"price\nquality\n",
    b"\xef\xbb\xbfprice\r\n\r\n quality ",
    b"class\nprice\nBeds, linen\n",
    b"0,price\n1,quality\n",
    b"id;label;description\n0;price;Money\n1;quality;How good\n",
    b"quality\t1\nprice\t0\n",
    b'["price", "quality"]',
    b"['price', 'quality']",
    b'{"0": "price", "1": "quality"}',
    b'{"price": 0, "quality": 1}',
    b'[{"id": 0, "name": "price"}, {"id": 1, "name": "quality"}]',
    b'{"text": "price", "suffix_key": "p"}\n{"text": "quality", "suffix_key": "q"}\n',
    b'{"model_type": "bert", "id2label": {"0": "price"}, "label2id": {"price": 0}}',
    "\u2028a\u2028b".encode(),
    "Größe\nPreis".encode("utf-16"),
    b"[" * 5000,
    b'{"a":' * 2000,
]


def run(generator: Random) -> None:
    """Read a mutated file, and use its names as a run does."""
    path = write("names.txt", mutated_bytes(generator, SEEDS))
    try:
        names, ids = read_label_names(path, generator.choice([None, None, "cp1252"]), generator.random() < 0.2)
        DataSpec(label_names=names, label_ids=ids)
    except DataError as error:
        check_message(error)
    else:
        assert names and len(set(names)) == len(names) and all(name == name.strip() != "" for name in names)
        assert ids is None or ids == sorted(set(ids)) and len(ids) == len(names)
