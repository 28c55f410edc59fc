"""Turns the raw rows of one split into clean examples: text, pair, labels as numbers, id and weight."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bert_multilabel.errors import DataError

from .arrow import as_lists
from .columns import Columns
from .folding import Fold, Rows, fold_annotators, fold_rows
from .label_parser import LabelParser
from .spec import DataSpec
from .table import Batch, Reader, located, raise_problems
from .values import BadValue, as_weight, has_lone_surrogate, shorten, text_problem

_ID_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}


@dataclass(frozen=True, kw_only=True)
class Cleaner:
    """Turns the rows of one split into clean examples. It can be pickled, to be used by other processes.

    Attributes:
        split: train, validation or test, where texts may be empty.
        source: Name of the rows in messages.
        reader: Reads the raw rows.
        columns: The columns in use.
        parser: Parses the labels; None without labels.
        id_names: The names of the ids in label columns, by column in the first split, if the dataset tells them.
        id_type: Name of the type of all ids.
        spec: How texts are joined and rows are folded.
    """

    split: str
    source: str
    reader: Reader
    columns: Columns
    parser: LabelParser | None
    id_names: dict[str, list[str]]
    id_type: str
    spec: DataSpec

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the clean examples."""
        columns = {"text": pa.string()}
        if self.columns.pair is not None:
            columns["pair"] = pa.string()
        if self._has_labels:
            columns["labels"] = pa.list_(pa.float32())
        if self.columns.id is not None:
            columns["id"] = _ID_TYPES.get(self.id_type, pa.string())
        if self.columns.weight is not None:
            columns["weight"] = pa.float32()
        return pa.schema(columns)

    def batches(self) -> Iterator[dict[str, Any]]:
        """Yield clean examples in batches by column, and raise `BadRows` at the end, with all bad rows."""
        problems: list[tuple[int, str]] = []
        rows: Iterator[Rows] = (self._clean(batch, problems) for batch in self.reader.batches())
        if self.spec.one_label_per_line or self.spec.annotators is not None:
            rows = fold_rows(rows, Fold(self.spec.annotators or "union"))
        rows = fold_annotators(rows, self.spec.annotators, problems)
        for part in rows:
            if part.numbers:
                yield self._in_arrow(part)
        raise_problems(self.source, located(self.source, self.reader, problems))

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yield clean examples one by one; raises as `batches`."""
        names = self.schema.names
        for batch in self.batches():
            columns = (batch[name].to_pylist() if isinstance(batch[name], pa.Array) else batch[name] for name in names)
            for row in zip(*columns, strict=True):
                yield dict(zip(names, row, strict=True))

    @property
    def _has_labels(self) -> bool:
        return self.parser is not None and bool(self.columns.labels)

    def _clean(self, batch: Batch, problems: list[tuple[int, str]]) -> Rows:
        """Clean a batch, and leave out the bad rows, whose problems are collected."""
        problems += batch.problems.items()
        size = len(batch.numbers)
        found: dict[int, list[BadValue]] = {}
        texts = [self._texts(batch.columns.get(name), size, name, found) for name in self.columns.texts]
        columns: dict[str, list[Any]] = {"text": texts[0] if len(texts) == 1 else self._joined(texts)}
        if self.split != "test":
            self._need_text(columns["text"], batch, found)
        if (pair := self.columns.pair) is not None:
            columns["pair"] = self._texts(batch.columns.get(pair), size, pair, found)
        labels = None
        if self._has_labels:
            labels = self._labels(batch, size, found)
        if (name := self.columns.id) is not None:
            columns["id"] = batch.columns.get(name) or [None] * size
            _check_ids(columns["id"], name, self.id_type, found)
        if (name := self.columns.weight) is not None:
            columns["weight"] = _weights(batch.columns.get(name) or [None] * size, name, found)
        rows = Rows(list(batch.numbers), columns, labels)
        if not found:
            return rows
        for index in sorted(found):
            problems += [(batch.numbers[index], f"column {bad.column!r}: {bad}") for bad in found[index]]
        return rows.select([index for index in range(size) if index not in found])

    def _texts(self, cells: list[Any] | None, size: int, column: str, found: dict[int, list[BadValue]]) -> list[str]:
        """Return texts, where a missing one is empty."""
        cells = cells or [None] * size
        if self.spec.join_lists:
            cells = [" ".join(cell) if _is_list_of_texts(cell) else cell for cell in cells]
        if set(map(type, cells)) == {str} and _is_valid(cells):
            return ["" if text.isspace() else text for text in cells]
        texts = []
        for index, cell in enumerate(cells):
            is_missing = cell is None or isinstance(cell, str) and not cell.strip()
            if not is_missing and (problem := text_problem(cell)):
                found.setdefault(index, []).append(BadValue(problem, column))
            texts.append("" if is_missing or problem else cell)
        return texts

    def _joined(self, texts: list[list[str]]) -> list[str]:
        names = [f"{name}: " if self.spec.name_text_columns else "" for name in self.columns.texts]
        rows = zip(*texts, strict=True)
        return ["\n".join(name + text for name, text in zip(names, row, strict=True) if text) for row in rows]

    def _need_text(self, texts: list[str], batch: Batch, found: dict[int, list[BadValue]]) -> None:
        column = self.columns.texts[0]
        for index, text in enumerate(texts):
            if not text and index not in found:
                value = (batch.columns.get(column) or [None] * len(texts))[index]
                problem = f"the text is missing ({value!r}); write one or remove the row"
                found.setdefault(index, []).append(BadValue(problem, column))

    def _labels(self, batch: Batch, size: int, found: dict[int, list[BadValue]]) -> NDArray[np.float32]:
        assert self.parser is not None  # see _has_labels
        # A split may spell its columns in another case than the first one.
        names = zip(self.columns.label_names, self.columns.labels, strict=True)
        cells = {name: batch.columns.get(column) or [None] * size for name, column in names}
        labels, problems = self.parser.parse_batch(cells, size, self.id_names)
        for index, problem in problems.items():
            found.setdefault(index, []).append(problem)
        return labels

    def _in_arrow(self, rows: Rows) -> dict[str, Any]:
        columns: dict[str, Any] = dict(rows.columns)
        if rows.labels is not None:
            columns["labels"] = as_lists(rows.labels)
        return {name: columns[name] for name in self.schema.names}


def _is_list_of_texts(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(item, str) for item in cell)


def _is_valid(texts: list[str]) -> bool:
    """Whether texts can be stored as UTF-8."""
    joined = "".join(texts)
    return joined.isascii() or not has_lone_surrogate(joined)


def _weights(cells: list[Any], column: str, found: dict[int, list[BadValue]]) -> list[float]:
    """Return weights, rounded as they are stored."""
    weights = np.zeros(len(cells), np.float32)
    for index, cell in enumerate(cells):
        try:
            weights[index] = as_weight(cell)
        except DataError as error:
            found.setdefault(index, []).append(BadValue(str(error), column))
    return list(weights.tolist())


def _check_ids(ids: list[Any], column: str, id_type: str, found: dict[int, list[BadValue]]) -> None:
    """Check that all ids are texts, or all numbers of one type, that can be stored."""
    if id_type == "str" and set(map(type, ids)) == {str} and _is_valid(ids):
        return
    for index, row_id in enumerate(ids):
        if row_id is not None and (problem := _id_problem(row_id, id_type)):
            found.setdefault(index, []).append(BadValue(problem, column))


def _id_problem(row_id: Any, id_type: str) -> str:
    # By type and not by isinstance, which takes True for a number.
    if type(row_id).__name__ != id_type or id_type not in _ID_TYPES:
        return f"{shorten(row_id)} is of type {type(row_id).__name__}; ids must be all text or all numbers"
    if isinstance(row_id, int) and not -(2**63) <= row_id < 2**63:
        return f"{shorten(row_id)} is too large a number for an id; write the ids as text"
    return text_problem(row_id) if isinstance(row_id, str) else ""
