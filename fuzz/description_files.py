"""Files of label descriptions: they give known labels with a text each, or a `DataError`."""

from random import Random

from bert_multilabel.data.label_files import read_label_descriptions
from bert_multilabel.errors import DataError

from .inputs import check_message, mutated_bytes, write

_NAMES = ["price", "quality"]
SEEDS = {
    ".json": [
        b'{"price": "What it costs", "quality": "How good it is"}',
        b'{"price": "a", "price": "b", "": {"a": [1]}}',
        b'{"a":' * 2000,
        b"[7]",
    ],
    ".csv": [b"label,description\nprice,What it costs\nprise,\n"],
    ".tsv": [b"label\tdescription\nprice\tWhat it costs\nprise\t\n"],
    ".jsonl": [b'{"label": "price", "description": "What it costs"}\n{"label": 7}\n'],
}


def run(generator: Random) -> None:
    """Read a mutated file."""
    suffix = generator.choice(list(SEEDS))
    path = write(f"about{suffix}", mutated_bytes(generator, SEEDS[suffix]))
    try:
        descriptions = read_label_descriptions(path, _NAMES)
    except DataError as error:
        check_message(error)
    else:
        assert set(descriptions) <= set(_NAMES) and all(text.strip() for text in descriptions.values())
