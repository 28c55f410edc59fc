"""Recognizes files that hold no texts with labels, or none that can be read safely, to say so before all else."""

import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .sample import Sample

_SAVE = "save its rows as csv, jsonl or parquet, with a column of texts and one of labels"
_SHARE_OF_TAGS = 0.9  # of the lines in a file with a label for each word
_STRING_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']*'|"[^"]*"|\S+)\s+string\b""", re.IGNORECASE)
_SIZES = re.compile(r"\d+(\s+\d+){1,2}\s*")
_VECTOR = re.compile(r"([-+\d.]+(,[-+\d.]+)*)?(\s+\d+:[-+\d.eE]+)*\s*")
_RULE = re.compile(r"[|+]?(?=.*---)[-:+|= ]+")  # between the header and the rows of a printed table
_TAG = re.compile(r"O|[BIES]-\S+")


class _Refusal(NamedTuple):
    """Why a file is not read.

    Attributes:
        seen: How it was recognized.
        said: What it is, why it cannot be used, and what to do instead.
    """

    seen: str
    said: str


# By the first bytes of a file.
_BINARY = {
    b"\x93NUMPY": "an array of NumPy, which holds numbers and no texts; pass the file with the texts",
    b"\x89HDF": f"an HDF5 file; {_SAVE}",
    b"\xd0\xcf\x11\xe0": "an old document of Office, such as xls; save it as xlsx or csv",
    b"%PDF-": f"a PDF document; {_SAVE}",
    b"SQLite format 3": "a database of SQLite; save one of its tables as csv",
    b"\x1f\x8b": "compressed with gzip; end its name with .gz",
    b"BZh91AY&SY": "compressed with bzip2; end its name with .bz2",
    b"\xfd7zXZ": "compressed with xz; end its name with .xz",
    **dict.fromkeys(
        (bytes([0x80, protocol]) for protocol in range(2, 6)),
        f"a pickle of Python, which could run any program when it is read; {_SAVE}",
    ),
}
# By the extension, of files that are archives inside.
_ARCHIVES = {
    ".docx": f"a Word document; {_SAVE}",
    ".odt": f"a text document; {_SAVE}",
    ".npz": "arrays of NumPy, which hold numbers and no texts; pass the file with the texts",
    ".pt": f"a file of PyTorch, which could run any program when it is read; {_SAVE}",
}


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Recognize a file that is not read, and return how."""
    refusal = _refusal(sample)
    return None if refusal is None else refusal.seen


def read(sample: Sample, spec: DataSpec) -> NoReturn:
    """Raise a DataError that says why the file is not read and what to do instead."""
    seen, said = _refusal(sample) or _Refusal("", f"of no known format; {_SAVE}")
    raise DataError(f"{sample.path} is {said}" + f" (recognized since {seen})" * bool(seen))


def _refusal(sample: Sample) -> _Refusal | None:
    return next((refusal for check in _CHECKS if (refusal := check(sample)) is not None), None)


def _binary(sample: Sample) -> _Refusal | None:
    for magic, said in _BINARY.items():
        if sample.magic.startswith(magic):
            return _Refusal(f"it begins with the bytes {shorten(magic)}", said)
    if sample.magic.startswith(b"PK\x03\x04") and sample.suffix in _ARCHIVES:
        return _Refusal(f"its extension is {sample.suffix}", _ARCHIVES[sample.suffix])
    return None


def _git_pointer(sample: Sample) -> _Refusal | None:
    if not sample.first.startswith("version https://git-lfs.github.com/"):
        return None
    return _Refusal(f"it begins with {shorten(sample.first)}", "a pointer of Git LFS to the data; run 'git lfs pull'")


def _markup(sample: Sample) -> _Refusal | None:
    first = sample.first.lower()
    if first.startswith(("<!doctype html", "<html")):
        return _Refusal(f"it begins with {shorten(sample.first)}", "a web page; check where it was downloaded")
    if first.startswith("<?xml") or sample.suffix == ".xml":
        return _Refusal(
            f"it begins with {shorten(sample.first)}", f"an XML file, whose elements may mean all; {_SAVE}"
        )
    return None


def _arff(sample: Sample) -> _Refusal | None:
    lines = [line.strip() for line in sample.lines if line.strip() and not line.lstrip().startswith("%")]
    keywords = {line.split()[0].lower() for line in lines[:2]}
    if keywords != {"@relation", "@attribute"}:
        return None
    texts = [found[1] for line in lines if (found := _STRING_ATTRIBUTE.match(line))]
    without = "which holds counts of words and no texts; pass the texts from which they were counted"
    with_texts = f"which is not read, although its attribute {', '.join(texts)} may hold texts; {_SAVE}"
    return _Refusal(f"it begins with {shorten(lines[0])}", f"an ARFF file, {with_texts if texts else without}")


def _sparse_vectors(sample: Sample) -> _Refusal | None:
    lines = [line.rstrip() for line in sample.lines if line.strip()]
    if lines and _SIZES.fullmatch(lines[0]):
        lines = lines[1:]
    with_features = next((line for line in lines if ":" in line), None)
    if with_features is None or not all(map(_VECTOR.fullmatch, lines)):
        return None
    said = "of sparse vectors, which hold weights of words and no texts; pass the file with the texts"
    return _Refusal(f"its lines are such as {shorten(with_features.strip(), 40)}", said)


def _tagged_words(sample: Sample) -> _Refusal | None:
    """Recognize CoNLL files: a word and its label in each line, a blank line behind each sentence."""
    lines = [words for line in sample.lines if len(words := line.split()) != 0]
    tagged = [words for words in lines if 2 <= len(words) <= 5 and _TAG.fullmatch(words[-1])]
    first = next((words for words in tagged if words[-1] != "O"), None)
    if first is None or len(tagged) < _SHARE_OF_TAGS * len(lines):
        return None
    said = f"of labels of words (CoNLL), not of texts; {_SAVE}"
    return _Refusal(f"its lines are such as {shorten(' '.join(first), 40)}", said)


def _printed_table(sample: Sample) -> _Refusal | None:
    """Recognize tables of Markdown, and what MySQL and psql print."""
    lines = [line.strip() for line in sample.lines[:5]]
    rule = next((line for line in lines if _RULE.fullmatch(line) and ("|" in line or "+" in line)), None)
    if rule is None:
        return None
    return _Refusal(f"it has the line {shorten(rule, 40)}", f"a table that was printed to be looked at; {_SAVE}")


def _sql(sample: Sample) -> _Refusal | None:
    if sample.suffix != ".sql":
        return None
    return _Refusal("its extension is .sql", "a dump of a database; save one of its tables as csv")


_CHECKS: tuple[Callable[[Sample], _Refusal | None], ...] = (
    _binary,
    _git_pointer,
    _markup,
    _arff,
    _sparse_vectors,
    _tagged_words,
    _printed_table,
    _sql,
)
