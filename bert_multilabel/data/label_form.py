"""Decides which form the labels of a column have, over all its cells, and what separates them.

What could mean two things is refused with the option that decides.
"""

import re
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from bert_multilabel.errors import DataError

from .label_cells import Cell, Kind
from .spec import DataSpec
from .values import key_of, shorten

Cells = Sequence[tuple[Any, int]]  # each different cell of a column, and its number of rows

CERTAIN_DELIMITERS = ("|", ";")  # taken by themselves
# Taken if all parts are labels by themselves elsewhere in the column.
DELIMITERS = ("\n", ",", "，", "、", "；", "،", "؛", "#", "/", "&", "+", "\t")  # with those of Chinese and Arabic
_IN_NO_NAME = DELIMITERS[:7]
_ESCAPES = {"\\n": "\n", "\\t": "\t"}  # as they are written on a command line
_BITS = re.compile(r"[01]{2,}")
_SPACED_BITS = re.compile(r"[01](?:\.0*)?(?:\s*[,;| ]\s*[01](?:\.0*)?)+")
_JOINED_IDS = re.compile(r"\d{1,18}(?:\s*[,;| ]\s*\d{1,18})*")


class LabelForm(StrEnum):
    """The forms of labels, as messages call them."""

    NAMES = "a list of names"
    IDS = "a list of ids"
    ONE_ID = "a single id"
    TEXT = "a text"
    JOINED_IDS = "ids in a text"
    CHOICES = "a name or an object with choices"
    VECTOR = "a vector with a number per label"
    MAPPING = "numbers by name"
    COLUMNS = "one 0/1 column per label"
    NAME_COLUMNS = "one name per column"


_FORM_OF_KIND = {
    Kind.NAMES: LabelForm.NAMES,
    Kind.IDS: LabelForm.IDS,
    Kind.ONE_ID: LabelForm.ONE_ID,
    Kind.TEXT: LabelForm.TEXT,
    Kind.CHOICES: LabelForm.CHOICES,
    Kind.VECTOR: LabelForm.VECTOR,
    Kind.MAPPING: LabelForm.MAPPING,
}
# Kinds of cells that a form takes, besides cells without labels.
KINDS_OF_FORM = {
    LabelForm.NAMES: (Kind.NAMES,),
    LabelForm.IDS: (Kind.IDS,),
    LabelForm.ONE_ID: (Kind.ONE_ID,),
    LabelForm.TEXT: (Kind.TEXT,),
    LabelForm.JOINED_IDS: (Kind.TEXT,),
    LabelForm.CHOICES: (Kind.TEXT, Kind.CHOICES),
    LabelForm.VECTOR: (Kind.VECTOR, Kind.IDS, Kind.TEXT),
    LabelForm.MAPPING: (Kind.MAPPING,),
}


def count_cells(values: Iterable[Any]) -> Cells:
    """Return each different value and how often it occurs, in the order of their first occurrence."""
    counts: dict[Hashable, list[Any]] = {}
    for value in values:
        counts.setdefault(key_of(value), [value, 0])[1] += 1
    return [(value, count) for value, count in counts.values()]


def delimiter_option(delimiter: str) -> str:
    """Return a delimiter as it is written on a command line."""
    return next((written for written, meant in _ESCAPES.items() if meant == delimiter), delimiter)


def bits_in(text: str) -> list[str]:
    """Return the zeros and ones of a text that holds nothing else; none of another text."""
    if _BITS.fullmatch(text):
        return list(text)
    return re.findall(r"[01](?:\.0*)?", text) if _SPACED_BITS.fullmatch(text) else []


def ids_in(text: str) -> list[int]:
    """Return the ids of a text that holds nothing else; none of another text."""
    return [int(item) for item in re.findall(r"\d+", text)] if _JOINED_IDS.fullmatch(text) else []


def find_form(
    column: str, read: Mapping[str, list[tuple[Cell, int]]], spec: DataSpec, known: list[str]
) -> tuple[LabelForm, str | None]:
    """Return form and delimiter of the labels: of the first cell with a label, or of the first."""
    cells = [cell for listed in read.values() for cell, _ in listed]
    with_labels = [cell for cell in cells if cell.items]
    kind = next((cell.kind for cell in [*with_labels, *cells]), Kind.NAMES)
    if any(cell.kind is Kind.CHOICES for cell in with_labels) and kind is Kind.TEXT:
        kind = Kind.CHOICES
    if (
        kind is Kind.VECTOR
        or kind is Kind.IDS
        and _are_vectors([c.items for c in with_labels if c.kind is kind], known)
    ):
        _check_vectors(column, len(with_labels[0].items), known)
        return LabelForm.VECTOR, None
    if kind is not Kind.TEXT:
        return _FORM_OF_KIND[kind], None
    in_splits = {split: _texts_of([cell for cell, _ in listed], known) for split, listed in read.items()}
    texts = [text for listed in in_splits.values() for text in listed]
    if not spec.labels_as_they_are and spec.label_delimiter is None and texts:
        if _is_text_of_bits(texts, known):
            _check_vectors(column, len(bits_in(texts[0])), known)
            return LabelForm.VECTOR, None
        if known and all(_JOINED_IDS.fullmatch(text) for text in texts):
            return LabelForm.JOINED_IDS, None
    delimiter = spec.label_delimiter and _ESCAPES.get(spec.label_delimiter, spec.label_delimiter)
    if delimiter is None and not spec.labels_as_they_are:
        delimiter = _find_delimiter(column, in_splits, spec, known)
    return LabelForm.TEXT, delimiter


def split_text(text: str, delimiter: str) -> list[str]:
    """Return the parts of a text; some forms end each cell with the delimiter, which separates nothing there."""
    return [part.strip() for part in text.removesuffix(delimiter).split(delimiter)]


def delimiter_inside(text: str, known: Container[str]) -> str | None:
    """Return a delimiter that separates a known label in a text from something else, if there is one."""
    for delimiter in (*CERTAIN_DELIMITERS, *DELIMITERS):
        if delimiter in text and any(part in known for part in split_text(text, delimiter)):
            return delimiter
    return None


def _texts_of(cells: list[Cell], known: list[str]) -> list[str]:
    """Return the texts that are none of the known labels, which may hold any delimiter."""
    return [cell.items[0] for cell in cells if cell.items and cell.kind is Kind.TEXT and cell.items[0] not in known]


def _are_vectors(lists: list[list[int]], known: list[str]) -> bool:
    """Whether lists of whole numbers are vectors of zeros and ones: as ids they would repeat."""
    sizes = {len(items) for items in lists}
    if len(sizes) != 1 or not all(set(items) <= {0, 1} for items in lists):
        return False
    repeats = any(len(set(items)) < len(items) for items in lists)
    return repeats or sizes == {2} and len(known) == 2


def _is_text_of_bits(texts: list[str], known: list[str]) -> bool:
    """Whether all texts are zeros and ones, as many in each."""
    if all(map(_SPACED_BITS.fullmatch, texts)):
        sizes = {len(bits_in(text)) for text in texts}
        # Two numbers may also be ids.
        return len(sizes) == 1 and (sizes != {2} or len(known) == 2 or any(text[0] == text[-1] for text in texts))
    return all(map(_BITS.fullmatch, texts)) and len(set(map(len, texts))) == 1


def _check_vectors(column: str, size: int, known: list[str]) -> None:
    if not known:
        raise DataError(
            f"column {column!r} holds vectors of {size} numbers without names: pass --label_names_file with {size} "
            "names in their order"
        )
    if size != len(known):
        raise DataError(
            f"column {column!r} holds vectors of {size} numbers, but there are {len(known)} label names: pass those "
            f"of the {size} numbers, in their order"
        )


def _find_delimiter(column: str, in_splits: Mapping[str, list[str]], spec: DataSpec, known: list[str]) -> str | None:
    """Return what certainly separates labels, or None if each text is one label.

    Where no names are known, the training split decides, so that a fault in another split cannot change its labels.

    Raises:
        DataError: If texts may be one label or several.
    """
    texts = [text for listed in in_splits.values() for text in listed]
    if known:
        found = _delimiter_of_known(texts, known)
        if found is None and spec.ignore_unknown_labels:
            _check_none_joined(column, in_splits, known)
        return found
    train = in_splits.get("train", texts)
    if (found := _delimiter_of_names(column, train)) is not None:
        return found
    whole = {*train}
    new = {split: [text for text in listed if text not in whole] for split, listed in in_splits.items()}
    found = _delimiter_of_known([text for listed in new.values() for text in listed], train)
    if found is not None and not any(found in text for text in train):
        return found
    if spec.ignore_unknown_labels:
        _check_none_joined(column, new, train)
    return None


def _delimiter_of_known(texts: list[str], known: list[str]) -> str | None:
    """Return the delimiter that splits the most texts into labels, and at least two of three texts that hold it.

    The parts of the other texts are then unknown labels, which are reported row by row.
    """
    whole = {*texts, *known}
    split_well: dict[str, int] = {}
    for delimiter in (*CERTAIN_DELIMITERS, *DELIMITERS):
        joined = [text for text in texts if delimiter in text]
        well = sum(whole.issuperset(split_text(text, delimiter)) for text in joined)
        if well and 3 * well >= 2 * len(joined):
            split_well[delimiter] = well
    if split_well:
        return max(split_well, key=split_well.__getitem__)
    return next((delimiter for delimiter in CERTAIN_DELIMITERS if any(delimiter in text for text in texts)), None)


def _check_none_joined(column: str, in_splits: Mapping[str, list[str]], known: list[str]) -> None:
    """Refuse to leave out as unknown what may be several labels, some of them known."""
    names = {*known}
    for split, texts in in_splits.items():
        for text in texts:
            if (delimiter := delimiter_inside(text, names)) is not None:
                raise _one_or_several(f"{column!r} of the {split} split", text, delimiter)


def _delimiter_of_names(column: str, texts: list[str]) -> str | None:
    """Return what certainly separates names that are not known yet.

    Raises:
        DataError: If a comma or line end may separate labels or may belong to a name.
    """
    whole = {*texts}
    for delimiter in (*CERTAIN_DELIMITERS, *DELIMITERS):
        joined = [text for text in texts if delimiter in text]
        if not joined:
            continue
        parts = [split_text(text, delimiter) for text in joined]
        if delimiter in CERTAIN_DELIMITERS or all(part in whole for split in parts for part in split):
            return delimiter
        if _may_be_joined(delimiter, parts, whole):
            raise _one_or_several(repr(column), joined[0], delimiter)
    return None


def _one_or_several(column: str, text: str, delimiter: str) -> DataError:
    return DataError(
        f"column {column}: {shorten(text)} may be one label or several: pass --label_delimiter "
        f"'{delimiter_option(delimiter)}' to split such texts, or --labels_as_they_are"
    )


def _may_be_joined(delimiter: str, parts: list[list[str]], whole: set[str]) -> bool:
    """Whether a part of a text is a label elsewhere; of what no name would hold, also a part of another text."""
    if delimiter not in _IN_NO_NAME:
        return any(all(split) and any(part in whole for part in split) for split in parts)
    counts = Counter(part for split in parts for part in set(split))
    return any(count > 1 or part in whole for part, count in counts.items())
