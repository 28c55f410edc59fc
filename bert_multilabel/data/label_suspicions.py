"""Refuses label names that look as if their column had been misread: a model trained on them would look fine."""

import re
import unicodedata
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
# What may separate names: a word, signs, or a blank.
_JOINS = re.compile(r"\s(?:and|und|et|y)\s|[^\w\s]+|[\s_]")
_JOINS_IN_LISTS = re.compile(r"[|;,#\n\t]")
_BEFORE_SIGNS = re.compile(r"(?=[^\w\s])")
_WEIGHT = re.compile(r".+[:=]\s*(?:[01]?\.\d+|\d+(?:\.\d+)?\s*%)")
_SEPARATORS = 9  # the most frequent ones are tried
_FEW_JOINS = 5  # with fewer joined names, parts may recur by chance
_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff]")  # characters of no width


def check_names(
    counts: Mapping[str, int],
    place: str,
    rows: int,
    spec: DataSpec,
    delimiter: str | None = None,
    are_cells: bool = False,
) -> None:
    """Refuse suspicious label names that were found in the data, unless they are to be taken as they are.

    Args:
        counts: The number of rows of each name.
        place: Where the names were found, for the message: "column 'labels'".
        rows: Number of rows with or without labels.
        spec: Whether labels are taken as they are.
        delimiter: What separated them in their cells, as it is typed.
        are_cells: Whether each name is a whole cell, which may hold several names.

    Raises:
        DataError: With three of the names, and how to say what is meant.
    """
    if spec.labels_as_they_are:
        return
    # Without a delimiter, cells that are taken as they are would not be split.
    split = "" if delimiter is None else f"--label_delimiter '{delimiter}' "
    for find, phrase, advice in [*_SUSPICIONS, *_OF_CELLS] if are_cells else _SUSPICIONS:
        if found := find(counts, rows):
            shown = ", ".join(map(shorten, found[:3]))
            if advice is _SPLIT and not are_cells:  # no delimiter splits what is a list already
                advice = "Write each label by itself"
            raise DataError(
                f"{place} holds {len(counts)} labels, such as {shown}: {phrase}. {advice}; if they are right, pass "
                f"{split}--labels_as_they_are"
            )


def misread_names(names: Mapping[str, int], rows: int = 0) -> list[str]:
    """Return the names with unbalanced or surrounding brackets or quotes."""
    return [name for name in names if _is_misread(name)]


def _is_misread(name: str) -> bool:
    if any(name.count(opening) != name.count(closing) for opening, closing in _BRACKETS):
        return True
    if name[0] == "'":  # Excel's mark of a text
        return True
    return name[0] in "[({<" + _QUOTES and name[-1] in "])}>" + _QUOTES or any(quote in name for quote in '"`')


def _numbers(counts: Mapping[str, int], rows: int) -> list[str]:
    numbers = [name for name in counts if is_number(name)]
    return numbers if 2 * len(numbers) > len(counts) else []


def _joins(counts: Mapping[str, int], rows: int) -> list[str]:
    """Return the names that are other names, joined by any sign or, as in "#late#dirty", without one."""

    def splits(name: str) -> list[list[str]]:
        return [*_split(name, _JOINS), [part for part in _BEFORE_SIGNS.split(name) if part]]

    return [name for name in counts if _is_join(name, splits(name), counts)]


def _joins_in_lists(counts: Mapping[str, int], rows: int) -> list[str]:
    """Return the names that are other names, joined by a sign that names such as google-maps have not."""
    return [name for name in counts if _is_join(name, _split(name, _JOINS_IN_LISTS), counts)]


def _split(name: str, separators: re.Pattern[str]) -> list[list[str]]:
    return [[part.strip() for part in name.split(separator)] for separator in set(separators.findall(name))]


def _is_join(name: str, splits: list[list[str]], counts: Mapping[str, int]) -> bool:
    return any(len(parts) > 1 and all(part in counts and part != name for part in parts) for parts in splits)


def _shared_parts(counts: Mapping[str, int], rows: int) -> list[str]:
    """Return names that are combinations of a few parts, none of which occurs by itself."""
    separators = Counter(found for name in counts for found in set(_JOINS.findall(name)))
    for separator, _ in separators.most_common(_SEPARATORS):
        joined = [name for name in counts if separator in name]
        names_with = Counter(part.strip() for name in joined for part in set(name.split(separator)))
        recurring = sum(count > 1 for count in names_with.values())
        if len(joined) >= max(_FEW_JOINS, len(names_with) + 1) and 10 * recurring >= 9 * len(names_with):
            return joined if 2 * len(joined) > len(counts) else []
    return []


def _look_the_same(counts: Mapping[str, int], rows: int) -> list[str]:
    by_look: dict[str, list[str]] = {}
    for name in counts:
        shown = " ".join(_HIDDEN.sub("", unicodedata.normalize("NFC", name)).split())
        by_look.setdefault(shown, []).append(name)
    return [name for names in by_look.values() if len(names) > 1 for name in names]


def _weights(counts: Mapping[str, int], rows: int) -> list[str]:
    with_weights = [name for name in counts if _WEIGHT.fullmatch(name)]
    return with_weights if 2 * len(with_weights) > len(counts) else []


def _too_many(counts: Mapping[str, int], rows: int) -> list[str]:
    is_suspicious = rows >= _FEW_ROWS and 2 * len(counts) > rows or len(counts) > _MOST_NAMES_FOUND
    return list(counts) if is_suspicious else []


def _once(counts: Mapping[str, int], rows: int) -> list[str]:
    return list(counts) if len(counts) >= _FEW_ROWS // 2 and set(Counter(counts).values()) == {1} else []


_SPLIT = "Pass --label_delimiter with what separates the labels"
_Suspicion = tuple[Callable[[Mapping[str, int], int], list[str]], str, str]
_SUSPICIONS: list[_Suspicion] = [
    (misread_names, "brackets or quotes that belong to no name", "Write the labels in one of the known forms"),
    (_numbers, "numbers in place of names", "If they are ids, pass --label_names_file"),
    (_joins_in_lists, "names that are other names, joined", _SPLIT),
    (_weights, "numbers behind the names", 'Leave them out, or write JSON such as {"gift": 0.9}'),
    (_look_the_same, "names that differ only in characters that cannot be seen", "Write them alike"),
    (_too_many, "too many for the number of rows", "Pass another --label_column, or --label_delimiter"),
    (_once, "each occurs only once", "Pass another --label_column, or --label_delimiter"),
]
_OF_CELLS: list[_Suspicion] = [
    (_joins, "names that are other names, joined", _SPLIT),
    (_shared_parts, "combinations of the same parts, as if several labels were joined", _SPLIT),
]
