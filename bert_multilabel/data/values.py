"""Quotes and checks single values, for messages and for the choice of columns. It knows no files."""

import math
import re
import sys
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from bert_multilabel.errors import DataError
from bert_multilabel.utils.spelling import closest

_NOT_ANNOTATED = ("", "nan", "none", "null", "n/a", "na", "<na>", "-1", "-1.0", "-100", "-100.0")
_ZERO_ONE = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0} | dict.fromkeys(
    _NOT_ANNOTATED, math.nan
)
_MARKS = dict.fromkeys(("no", "n", "f"), 0.0) | dict.fromkeys(("yes", "y", "t", "x", "✓", "✔"), 1.0)
_LARGEST_FLOAT32 = 3.4e38
_SURROGATE = re.compile("[\ud800-\udfff]")
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_NUMBER = re.compile(r"[-+]?[$€£¥]?\d[\d.,' _]*(e[-+]?\d+)?[%$€£¥]?|nan|[-+]?inf", re.IGNORECASE)


class BadValue(DataError):
    """A bad value and its column; the caller adds row and line."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def zero_one(value: object) -> float | None:
    """Parse a value of a 0/1 column: 0.0, 1.0, NaN for "not annotated" (empty, null, NaN, -1, -100), else None."""
    return _ZERO_ONE.get(_as_text(value))


def mark(value: object) -> float | None:
    """Parse a value of one of several 0/1 columns as `zero_one` does, or a word such as yes, no and x."""
    text = _as_text(value)
    return _ZERO_ONE.get(text, _MARKS.get(text))


def are_no_and_yes(names: Sequence[str]) -> bool:
    """Whether the names of ids are words for no and yes, in any order: an id then means 0 or 1.

    Examples:
        >>> are_no_and_yes(["yes", "no"]), are_no_and_yes(["sad", "glad"])
        (True, False)
    """
    return len(names) == 2 and {mark(name) for name in names} == {0.0, 1.0}


def as_share(value: Any) -> float:
    """Return a number, which may be written as 87 % or 0,87; raise a ValueError or TypeError for other values.

    Examples:
        >>> as_share("87 %"), as_share("0,87"), as_share(0.87)
        (0.87, 0.87, 0.87)
    """
    if isinstance(value, str):
        text = value.strip()
        if _DECIMAL_COMMA.fullmatch(text.removesuffix("%").rstrip()):
            text = text.replace(",", ".")
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text)
    return float(value)


def as_weight(value: Any) -> float:
    """Return a number from 0 up, which may be written as `as_share` reads it; raise a DataError for other values."""
    with suppress(ValueError, TypeError, OverflowError):
        if not isinstance(value, bool) and 0 <= (weight := as_share(value)) <= _LARGEST_FLOAT32:
            return weight
    raise DataError(f"{shorten(value)} is no weight; write a number from 0 up")


def key_of(value: object) -> Hashable:
    """Return a key that differs for different values, which may be lists; 1, True and "1" are different."""
    if type(value) is str:
        return value
    try:
        return type(value), repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or too many digits: no other is the same
        return type(value), id(value)


def is_number(text: str) -> bool:
    """Whether a text is a number, such as "0.83", "1,200", "4 %" or "$5"."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _as_text(cell: object) -> str:
    return "[...]" if isinstance(cell, (list, dict)) else str("" if cell is None else cell).strip().lower()


def shorten(value: object, width: int = 80) -> str:
    """Quote a value for a message, shortened to about `width` characters."""
    try:
        text = repr(value)
    except RecursionError:
        return "a value that is nested too deeply"
    except ValueError:  # Python's limit on digits
        return f"a number of more than {sys.get_int_max_str_digits()} digits"
    return text if len(text) <= width else f"{text[: width - 4]}...{text[-1]}"


def few(names: Sequence[str]) -> str:
    """Quote the first three names for a message, and count the others."""
    return ", ".join(map(shorten, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def rows_text(numbers: Sequence[int] | NDArray[Any], shown: int = 10) -> str:
    """List row numbers, such as "row 3" and "rows 3, 7, ..."."""
    more = ", ..." if len(numbers) > shown else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:shown]))}{more}"


def unknown_label(name: str, label_names: list[str]) -> str:
    """Return the message for an unknown label, with a suggestion."""
    close = closest(name, label_names)
    hint = f"the labels are {shorten(label_names)}" if close is None else f"did you mean {shorten(close)}?"
    return f"unknown label {shorten(name)}; {hint}"


def has_lone_surrogate(text: str) -> bool:
    r"""Whether a text holds half of a UTF-16 pair (JSON's "\ud800"), which UTF-8 cannot store."""
    return _SURROGATE.search(text) is not None


def text_problem(value: object) -> str:
    """Say why a value cannot be used as text; "" if it can.

    Examples:
        >>> text_problem("good"), text_problem(7)
        ('', '7 is not text but of type int; write it as text')
    """
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return f"{shorten(value)} is not text but of type list; write it as text, or pass --join_lists"
    if not isinstance(value, str):
        return f"{shorten(value)} is not text but of type {type(value).__name__}; write it as text"
    if has_lone_surrogate(value):
        return f"{shorten(value)} holds a lone surrogate, which is not valid text; remove it"
    return ""
