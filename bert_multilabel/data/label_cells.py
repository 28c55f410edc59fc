"""Reads single label cells, in all the ways in which people and tools write them.

A cell is read by itself into one of the kinds of `Kind`. What a whole column means, such as whether texts are joined
names, is decided in `label_form.py`.
"""

import ast
import json
import math
import re
from collections.abc import Collection
from contextlib import suppress
from enum import StrEnum
from typing import Any, NamedTuple

from .values import BadValue, shorten

# Words that other tools write for a missing value.
NULL_WORDS = frozenset("nan NaN NAN none None NONE null Null NULL n/a N/A NA <NA> \\N".split())

_ADJACENT_STRINGS = re.compile(r"""['"]\s+['"]""")
_NUMPY_STRINGS = re.compile(r"""\[\s*(?:'[^'\\]*'|"[^"\\]*")(?:\s+(?:'[^'\\]*'|"[^"\\]*"))*\s*\]""")
_NUMPY_NUMBERS = re.compile(r"\[\s*[-+\d.e]+(?:\s+[-+\d.e]+)*\s*\]")
_QUOTED = re.compile(r"""'([^'\\]*)'|"([^"\\]*)\"""")
_TAGS = re.compile(r"(?:<[^<>]+>)+")
# {a,"b c"}: an array of Postgres.
_POSTGRES_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^",{}\s][^",{}]*)')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NAME_KEYS = ("name", "label")  # of objects that are labels
_VALUE_KEYS = ("score", "value", "probability", "confidence", "selected", "checked")  # of whether they apply


class Kind(StrEnum):
    """The kinds of label cells, as messages call them."""

    NAMES = "a list of names"
    IDS = "a list of ids"
    ONE_ID = "a single id"
    TEXT = "a text"
    CHOICES = "an object with choices"
    VECTOR = "a vector of numbers"
    MAPPING = "numbers by name"


class Cell(NamedTuple):
    """What a label cell holds.

    Attributes:
        kind: How it is written.
        items: Names, ids or numbers; of `Kind.MAPPING` pairs of name and number; of `Kind.TEXT` the text or nothing.
    """

    kind: Kind
    items: list[Any]


def read_cell(value: Any, column: str, known: Collection[str] = ()) -> Cell:
    """Read a label cell; a text that is in `known` is one label, whatever its form.

    Raises:
        BadValue: If it is missing, or is written in no known way.
    """
    if value is None or isinstance(value, float) and math.isnan(value):
        raise BadValue("the labels are missing (null); write an empty list for a row without labels", column)
    if isinstance(value, str):
        text = value.strip()
        if text in known:
            return Cell(Kind.TEXT, [text])
        if not text or text in NULL_WORDS:
            return Cell(Kind.TEXT, [])
        return _read_text(text, column)
    return _read_value(value, column)


def is_null_word(value: Any, known: Collection[str]) -> bool:
    """Whether a cell holds a word for a missing value that is not the name of a label."""
    return isinstance(value, str) and (text := value.strip()) in NULL_WORDS and text not in known


def _read_text(text: str, column: str) -> Cell:
    match text[0], text[-1]:
        case "[", "]":
            return _read_value(_parse_list(text, column), column)
        case "(", ")":
            with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                if isinstance(value := ast.literal_eval(text), tuple):
                    return _read_value(list(value), column)
        case "{", "}":
            return _read_value(_parse_braces(text, column), column)
        case "<", ">" if _TAGS.fullmatch(text):
            return Cell(Kind.NAMES, text[1:-1].split("><"))
        case "|", "|" if text.strip("|"):
            return Cell(Kind.TEXT, [text.strip("|")])
    return Cell(Kind.TEXT, []) if text == "set()" else Cell(Kind.TEXT, [text])


def _parse_list(text: str, column: str) -> Any:
    """Parse a text in square brackets as a list of JSON, of Python or as numpy prints it."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    if _NUMPY_STRINGS.fullmatch(text):
        return [single or double for single, double in _QUOTED.findall(text)]
    if _NUMPY_NUMBERS.fullmatch(text):
        with suppress(ValueError):
            return [float(item) if "." in item else int(item) for item in text[1:-1].split()]
    # Python concatenates adjacent strings: ['a', 'b' 'c'] would have the label 'bc'.
    if not _ADJACENT_STRINGS.search(text):
        # The last two: nested too deeply.
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return ast.literal_eval(text)
    raise BadValue(f'{shorten(text)} looks like a list but cannot be read; write it like ["a", "b"]', column)


def _parse_braces(text: str, column: str) -> Any:
    """Parse a text in braces as an object of JSON, a dictionary or set of Python, or an array of Postgres."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        value = ast.literal_eval(text)
        return sorted(value, key=str) if isinstance(value, set) else value
    inner = text[1:-1]
    items = [_ESCAPED.sub(r"\1", match[1] or match[2] or "").strip() for match in _POSTGRES_ITEM.finditer(inner)]
    if items and re.fullmatch(rf"\s*(?:{_POSTGRES_ITEM.pattern})(?:\s*,\s*(?:{_POSTGRES_ITEM.pattern}))*\s*", inner):
        return items
    raise BadValue(f'{shorten(text)} looks like a set but cannot be read; write it like ["a", "b"]', column)


def _read_value(value: Any, column: str) -> Cell:
    if _is_id(value):
        return Cell(Kind.ONE_ID, [value])
    if isinstance(value, dict):
        return _read_object(value, column)
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return Cell(Kind.NAMES, [] if value == [""] else value)
        if all(_is_id(item) for item in value):
            return Cell(Kind.IDS, value)
        if all(isinstance(item, (bool, int, float)) for item in value):
            return Cell(Kind.VECTOR, value)
        if all(isinstance(item, dict) for item in value):
            return Cell(Kind.NAMES, [_name_in(item, column) for item in value])
    raise BadValue(f"{shorten(value)} is neither a list of names, nor a list of ids, nor a text", column)


def _read_object(value: dict[str, Any], column: str) -> Cell:
    choices = value.get("choices")
    if isinstance(choices, list) and all(isinstance(item, str) for item in choices):
        return Cell(Kind.CHOICES, choices)
    if all(isinstance(name, str) for name in value) and all(_is_share(number) for number in value.values()):
        return Cell(Kind.MAPPING, list(value.items())) if value else Cell(Kind.NAMES, [])
    raise BadValue(f"{shorten(value)} is not an object of label names with numbers from 0 to 1", column)


def _name_in(item: dict[str, Any], column: str) -> str:
    name: str | None = next((item[key] for key in _NAME_KEYS if isinstance(item.get(key), str)), None)
    if name is None:
        keys = " nor ".join(map(repr, _NAME_KEYS))
        raise BadValue(f"{shorten(item)} has neither {keys}: write the names of the labels", column)
    if key := next((key for key in _VALUE_KEYS if _is_low(item.get(key))), None):
        advice = f"leave out such labels, or write numbers by name, such as {{{shorten(name)}: 0.3}}"
        raise BadValue(f"{shorten(item)} may be a label that does not apply, by its {key}: {advice}", column)
    return name


def _is_low(value: object) -> bool:
    return isinstance(value, (bool, int, float)) and value < 0.5


def _is_id(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def _is_share(number: object) -> bool:
    """Whether this is a number from 0 to 1, or missing: not annotated."""
    if number is None or isinstance(number, bool):
        return True
    return isinstance(number, (int, float)) and (math.isnan(number) or 0 <= number <= 1)
