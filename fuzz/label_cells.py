"""Label values in all formats: they give a vector of 0, 1 and NaN, or a `DataError` of readable length."""

import json
import math
from typing import Any

import atheris

from bert_multilabel.data.labels import LabelParser, zero_one
from bert_multilabel.errors import DataError

from .expectations import check_message

SEEDS = [
    text.encode()
    for text in (
        "price|quality",
        '["price", "quality"]',
        "['price' 'quality']",
        "[0, 1, 2]",
        "[[1]]",
        "[" * 300 + "]" * 300,
        "[0x" + "f" * 6000 + "]",
        "{'price': 1}",
        "prise; quality",
        "\ufffd\u202e[]\u0000",
        "-100",
        "NaN",
    )
]
_NAMES = ["price", "quality", "[service]", "a|b", "0"]


def run(data: bytes) -> None:
    """Parse some values as one column, and the first also as a 0/1 column."""
    provider = atheris.FuzzedDataProvider(data)
    # Values of all types that JSON and parquet know, and first the bytes as they are, so that the seeds are cells.
    values = [_value(provider, 0) for _ in range(provider.ConsumeIntInRange(0, 3))]
    cells = [data.decode("utf-8", "surrogateescape"), *values]
    known = provider.PickValueInList([None, _NAMES])
    delimiter = provider.PickValueInList([None, "|", ", "])
    try:
        parser = LabelParser.of_values("labels", {"train": cells}, known, delimiter)
    except DataError as error:
        check_message(error)
    else:
        for cell in cells:
            try:
                vector = parser.parse({"labels": cell})
            except DataError as error:
                check_message(error)
            else:
                assert len(vector) == len(parser.label_names) and set(vector) <= {0.0, 1.0}
                assert [name for name, given in zip(parser.label_names, vector, strict=True) if given] == sorted(
                    set(parser.names_in(cell, parser.label_names)), key=parser.label_names.index
                )
    try:
        (number,) = LabelParser.of_columns(["labels"]).parse({"labels": cells[0]})
    except DataError as error:
        check_message(error)
        assert zero_one(cells[0]) is None
    else:
        assert number in (0.0, 1.0) or math.isnan(number)


def _value(provider: atheris.FuzzedDataProvider, depth: int) -> Any:
    kind = provider.ConsumeIntInRange(0, 7 if depth < 3 else 5)
    if kind == 0:
        return None
    if kind == 1:
        return provider.ConsumeBool()
    if kind == 2:
        return provider.ConsumeInt(9)
    if kind == 3:
        return provider.ConsumeFloat()
    if kind == 4:
        return provider.PickValueInList([*_NAMES, json.dumps(_NAMES), repr(_NAMES), "price, quality"])
    if kind == 5:
        return provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 20))
    items = [_value(provider, depth + 1) for _ in range(provider.ConsumeIntInRange(0, 4))]
    return items if kind == 6 else {str(item): item for item in items}
