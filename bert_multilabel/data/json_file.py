"""Reads a file that holds one JSON value."""

import json
from typing import Any

from bert_multilabel.errors import DataError

from .formats.sample import read_lines, take_sample
from .spec import DataSpec


def read_json_pairs(path: str) -> Any:
    """Read a JSON file in which objects are tuples of pairs, which keep repeated names.

    Raises:
        DataError: If the file cannot be read or is no JSON.
    """
    text = "".join(read_lines(path, take_sample(path, DataSpec()).encoding))
    try:
        return json.loads(text, object_pairs_hook=tuple)
    except RecursionError as error:
        raise DataError(f"{path}: broken JSON: nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{path}: broken JSON: {error}") from error
