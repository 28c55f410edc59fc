"""Columns of labels: they give vectors of numbers from 0 to 1 and NaN, or a `DataError` of readable length."""

import json
import math
from random import Random
from typing import Any

import numpy as np

from bert_multilabel.data.label_cells import read_cell
from bert_multilabel.data.label_form import count_cells
from bert_multilabel.data.label_parser import LabelParser
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

from .inputs import check_message, mutated_bytes, mutated_value, random_value

_NAMES = ["price", "quality", "[service]", "a|b", "0"]
_COLUMNS: list[list[Any]] = [
    ["price|quality", "", "price"],
    ["price, quality", "quality", "price"],
    [json.dumps(_NAMES), "[]", '["price"]'],
    [repr(_NAMES), "['price' 'quality']", "[0 1]"],
    [["price", "quality"], [], [""]],
    [[0, 1], [2], []],
    [[0, 1, 1, 0, 0], [0.5, 0, 1, 1, 0], [True, False, True, False, True]],
    ["10100", "00000", "1 0 1 0 0", "(1, 0, 1, 0, 0)"],
    ["1,0,0,1,0", "0,0,0,0,0"],
    ["<price><quality>", "<price>", "|price|quality|"],
    ["{price,quality}", "{'price', 'quality'}", "set()", '{"price", "b c"}'],
    [{"price": 1, "quality": 0.5}, {"price": None}, {}],
    [{"choices": ["price"]}, '{"choices": ["price", "quality"]}', "quality"],
    [[{"name": "price"}, {"name": "quality"}], [{"label": "price", "id": 3}]],
    [0, 1, 2, None, math.nan, -100],
    ["0", "1", "-1", "yes", "no", "x", "true", "0.83", "nan", "None", "\\N"],
]
_SEEDS = [cell.encode() for column in _COLUMNS for cell in column if isinstance(cell, str)]
_SPECS = [
    *(DataSpec(), DataSpec(label_names=_NAMES), DataSpec(label_names=_NAMES, label_ids=[3, 5, 7, 9, 2**40])),
    *(DataSpec(label_delimiter=text) for text in ("|", ",", "\\n", "ab")),
    *(DataSpec(label_values="shares"), DataSpec(label_values="votes>=2"), DataSpec(labels_as_they_are=True)),
]


def run(generator: Random) -> None:
    """Parse a mutated column as one of labels, and as 0/1 columns."""
    column = [_cell(generator, cell) for cell in generator.choice(_COLUMNS)]
    spec = generator.choice(_SPECS)
    for cell in column:
        try:
            read_cell(cell, "labels", spec.label_names or ())
        except DataError as error:
            check_message(error)
    for make in (_of_cells, _of_columns, _of_name_columns):
        try:
            parser = make(column, spec)
        except DataError as error:
            check_message(error)
        else:
            _parse(parser, column)


def _cell(generator: Random, cell: Any) -> Any:
    if (kind := generator.random()) < 0.6:
        return cell
    if kind < 0.7:
        return random_value(generator)
    if kind < 0.85 and isinstance(cell, str):
        return mutated_bytes(generator, _SEEDS).decode("utf-8", "surrogateescape")
    return mutated_value(generator, cell)


def _of_cells(column: list[Any], spec: DataSpec) -> LabelParser:
    return LabelParser.of_cells("labels", {"train": count_cells(column)}, spec)


def _of_columns(column: list[Any], spec: DataSpec) -> LabelParser:
    return LabelParser.of_columns(["labels"], spec)


def _of_name_columns(column: list[Any], spec: DataSpec) -> LabelParser:
    return LabelParser.of_name_columns(["labels"], {"train": {"labels": count_cells(column)}}, spec)


def _parse(parser: LabelParser, column: list[Any]) -> None:
    """Parse the cells one by one and as a batch, which must be the same."""
    vectors, problems = parser.parse_batch({"labels": column}, len(column))
    for index, cell in enumerate(column):
        try:
            vector = parser.parse({"labels": cell})
        except DataError as error:
            check_message(error)
            assert index in problems
        else:
            assert index not in problems and len(vector) == len(parser.label_names)
            assert all(math.isnan(number) or 0 <= number <= 1 for number in vector)
            assert np.array_equal(np.array(vector, np.float32), vectors[index], equal_nan=True)
