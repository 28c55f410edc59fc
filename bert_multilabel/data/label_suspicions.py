"""Refuses label names that look as if their column had been misread: a model trained on them would look fine."""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from bert_multilabel.errors import DataError

from .spec import DataSpec
from .values import is_number, shorten

_FEW_ROWS = 20  # with fewer, the number of labels says nothing
# A column with more distinct labels holds texts or ids: each row would become a vector of this length.
_MOST_NAMES_FOUND = 10_000
_BRACKETS = (("[", "]"), ("(", ")"), ("{", "}"), ("<", ">"))
_QUOTES = "\"'`"
_JOINS = re.compile(r"[|;,#/&+\n\t: _-]")


def check_names(counts: Mapping[str, int], place: str, rows: int, spec: DataSpec) -> None:
    """Refuse suspicious label names that were found in the data, unless they are to be taken as they are.

    Args:
        counts: The number of rows of each name.
        place: Where the names were found, for the message: "column 'labels'".
        rows: Number of rows with or without labels.
        spec: Whether labels are taken as they are.

    Raises:
        DataError: With three of the names, and how to say what is meant.
    """
    if spec.labels_as_they_are:
        return
    for find, phrase, advice in _SUSPICIONS:
        if found := find(counts, rows):
            shown = ", ".join(map(shorten, found[:3]))
            raise DataError(
                f"{place} holds {len(counts)} labels, such as {shown}: {phrase}. {advice}; if they are right, pass "
                "--labels_as_they_are"
            )


def misread_names(names: Mapping[str, int], rows: int = 0) -> list[str]:
    """Return the names with unbalanced or surrounding brackets or quotes."""
    return [name for name in names if _is_misread(name)]


def _is_misread(name: str) -> bool:
    if any(name.count(opening) != name.count(closing) for opening, closing in _BRACKETS):
        return True
    return name[0] in "[({<" + _QUOTES and name[-1] in "])}>" + _QUOTES or any(quote in name for quote in '"`')


def _numbers(counts: Mapping[str, int], rows: int) -> list[str]:
    numbers = [name for name in counts if is_number(name)]
    return numbers if 2 * len(numbers) > len(counts) else []


def _joins(counts: Mapping[str, int], rows: int) -> list[str]:
    """Return the names that are other names, joined."""
    joins = []
    for name in counts:
        for separator in set(_JOINS.findall(name)):
            parts = [part.strip() for part in name.split(separator)]
            if len(parts) > 1 and all(part in counts and part != name for part in parts):
                joins.append(name)
                break
    return joins


def _too_many(counts: Mapping[str, int], rows: int) -> list[str]:
    is_suspicious = rows >= _FEW_ROWS and 2 * len(counts) > rows or len(counts) > _MOST_NAMES_FOUND
    return list(counts) if is_suspicious else []


def _once(counts: Mapping[str, int], rows: int) -> list[str]:
    return list(counts) if len(counts) >= _FEW_ROWS // 2 and set(Counter(counts).values()) == {1} else []


_SPLIT = "Pass --label_delimiter with what separates the labels"
_SUSPICIONS: list[tuple[Callable[[Mapping[str, int], int], list[str]], str, str]] = [
    (misread_names, "brackets or quotes that belong to no name", "Write the labels in one of the known forms"),
    (_numbers, "numbers in place of names", "If they are ids, pass --label_names_file"),
    (_joins, "names that are other names, joined", _SPLIT),
    (_too_many, "too many for the number of rows", "Pass another --label_column, or --label_delimiter"),
    (_once, "each occurs only once", "Pass another --label_column, or --label_delimiter"),
]
