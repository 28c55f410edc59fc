"""Recognizes files that hold no texts with labels, or none that can be read safely, to say so before all else."""

import re
from collections.abc import Callable
from typing import NoReturn

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

from .sample import Sample

_SAVE = "save its rows as csv, jsonl or parquet, with a column of texts and one of labels"
_NUMPY = "a file of NumPy, which holds numbers and no texts; pass the file with the texts"
_PROGRAM = f"which could run any program when it is read; {_SAVE}"
_BY_KIND = {
    "numpy": _NUMPY,
    "hdf5": f"an HDF5 file; {_SAVE}",
    "feather 1": "a feather file of version 1; write it again, as parquet",
    "office": "an old document of Office, such as xls; save it as xlsx or csv",
    "pdf": f"a PDF document; {_SAVE}",
    "sqlite": "a database of SQLite; save one of its tables as csv",
    "gzip": "compressed with gzip; end its name with .gz",
    "bzip2": "compressed with bzip2; end its name with .bz2",
    "xz": "compressed with xz; end its name with .xz",
    "pickle": f"a pickle of Python, {_PROGRAM}",
}
_ZIPPED = {
    ".docx": f"a Word document; {_SAVE}",
    ".odt": f"a text document; {_SAVE}",
    ".npz": _NUMPY,
    ".pt": f"a file of PyTorch, {_PROGRAM}",
}
_BY_EXTENSION = {
    ".xml": f"an XML file, whose elements may mean all; {_SAVE}",
    ".sql": "a dump of a database; save one of its tables as csv",
}
_BY_BEGINNING = {
    "version https://git-lfs": "a pointer of Git LFS to the data; run 'git lfs pull'",
    "<!doctype html": "a web page; check where it was downloaded",
    "<html": "a web page; check where it was downloaded",
    "<?xml": _BY_EXTENSION[".xml"],
}
_SHARE_OF_TAGS = 0.9  # of the lines in a file with a label for each word
_STRING_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']*'|"[^"]*"|\S+)\s+string\b""", re.IGNORECASE)
_SIZES = re.compile(r"\d+(\s+\d+){1,2}\s*")
_VECTOR = re.compile(r"([-+\d.]+(,[-+\d.]+)*)?(\s+\d+:[-+\d.eE]+)*\s*")
_RULE = re.compile(r"[|+]?(?=.*---)[-:+|= ]+")  # between the header and the rows of a printed table
_TAG = re.compile(r"O|[BIES]-\S+")

_Refusal = tuple[str, str]  # how a file was recognized; what it is, why it cannot be used, and what to do instead


def recognizes(sample: Sample, spec: DataSpec) -> str | None:
    """Recognize a file that is not read, and return how."""
    seen, _ = _refusal(sample) or (None, "")
    return seen


def read(sample: Sample, spec: DataSpec) -> NoReturn:
    """Raise a DataError that says why the file is not read and what to do instead."""
    seen, said = _refusal(sample) or ("it was passed", f"of no known format; {_SAVE}")
    raise DataError(f"{sample.path} is {said} (recognized since {seen})")


def _refusal(sample: Sample) -> _Refusal | None:
    if sample.kind in _BY_KIND:
        return "its first bytes say so", _BY_KIND[sample.kind]
    by_extension = _ZIPPED if sample.kind == "zip" else _BY_EXTENSION
    if sample.suffix in by_extension:
        return f"its extension is {sample.suffix}", by_extension[sample.suffix]
    for beginning, said in _BY_BEGINNING.items():
        if sample.first.lower().startswith(beginning):
            return f"it begins with {shorten(sample.first)}", said
    return next((refusal for check in _CHECKS if (refusal := check(sample)) is not None), None)


def _arff(sample: Sample) -> _Refusal | None:
    lines = [line.strip() for line in sample.lines if line.strip() and not line.lstrip().startswith("%")]
    keywords = {line.split()[0].lower() for line in lines[:2]}
    if keywords != {"@relation", "@attribute"}:
        return None
    texts = [found[1] for line in lines if (found := _STRING_ATTRIBUTE.match(line))]
    without = "which holds counts of words and no texts; pass the texts from which they were counted"
    with_texts = f"which is not read, although its attribute {', '.join(texts)} may hold texts; {_SAVE}"
    return f"it begins with {shorten(lines[0])}", f"an ARFF file, {with_texts if texts else without}"


def _sparse_vectors(sample: Sample) -> _Refusal | None:
    lines = [line.rstrip() for line in sample.lines if line.strip()]
    if lines and _SIZES.fullmatch(lines[0]):
        lines = lines[1:]
    with_features = next((line for line in lines if ":" in line), None)
    if with_features is None or not all(map(_VECTOR.fullmatch, lines)):
        return None
    said = "of sparse vectors, which hold weights of words and no texts; pass the file with the texts"
    return f"its lines are such as {shorten(with_features.strip(), 40)}", said


def _tagged_words(sample: Sample) -> _Refusal | None:
    """Recognize CoNLL files: a word and its label in each line, a blank line behind each sentence."""
    lines = [words for line in sample.lines if len(words := line.split()) != 0]
    tagged = [words for words in lines if 2 <= len(words) <= 5 and _TAG.fullmatch(words[-1])]
    first = next((words for words in tagged if words[-1] != "O"), None)
    if first is None or len(tagged) < _SHARE_OF_TAGS * len(lines):
        return None
    said = f"of labels of words (CoNLL), not of texts; {_SAVE}"
    return f"its lines are such as {shorten(' '.join(first), 40)}", said


def _printed_table(sample: Sample) -> _Refusal | None:
    """Recognize tables of Markdown, and what MySQL and psql print."""
    lines = [line.strip() for line in sample.lines[:5]]
    rule = next((line for line in lines if _RULE.fullmatch(line) and ("|" in line or "+" in line)), None)
    if rule is None:
        return None
    return f"it has the line {shorten(rule, 40)}", f"a table that was printed to be looked at; {_SAVE}"


_CHECKS: tuple[Callable[[Sample], _Refusal | None], ...] = (_arff, _sparse_vectors, _tagged_words, _printed_table)
