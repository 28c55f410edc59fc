"""Makes one example of several rows: one label per line, or one judgement per annotator."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .table import BATCH_SIZE


class Fold(StrEnum):
    """How the labels of several rows become those of one example.

    `UNION` takes all labels, `MAJORITY` those of more than half of the rows, `SHARE` the share of the rows as a soft
    label, and `UNANIMOUS` leaves open ("not annotated") where rows disagree.
    """

    UNION = "union"
    MAJORITY = "majority"
    SHARE = "share"
    UNANIMOUS = "unanimous"


@dataclass(frozen=True)
class Rows:
    """Clean rows.

    Attributes:
        numbers: Their B positions in the source.
        columns: B texts and ids, by column.
        labels: (B, L), or None without labels.
    """

    numbers: list[int]
    columns: dict[str, list[Any]]
    labels: NDArray[np.float32] | None

    def select(self, indices: list[int]) -> "Rows":
        """Return some of the rows."""
        columns = {name: [cells[index] for index in indices] for name, cells in self.columns.items()}
        labels = None if self.labels is None else self.labels[indices]
        return Rows([self.numbers[index] for index in indices], columns, labels)


def fold_rows(batches: Iterable[Rows], fold: Fold) -> Iterator[Rows]:
    """Make one row of all rows with the same id, or without ids the same text and pair, wherever they are."""
    parts = [part for part in batches if part.numbers]
    if not parts:
        return
    whole = _concatenate(parts)
    texts = whole.columns["text"]
    keys = whole.columns.get("id") or list(zip(texts, whole.columns.get("pair", texts), strict=True))
    groups: dict[Any, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(("row", index) if key is None else (key,), []).append(index)
    found = iter(groups.values())
    while part := list(islice(found, BATCH_SIZE)):
        folded = whole.select([indices[0] for indices in part])
        if whole.labels is not None:
            folded = replace(folded, labels=np.stack([_fold(whole.labels[group], fold) for group in part]))
        yield folded


def fold_annotators(
    batches: Iterable[Rows], annotators: str | None, problems: list[tuple[int, str]]
) -> Iterator[Rows]:
    """Make one row of the judgements of several annotators on one text: neighbours with the same number in a batch.

    Without a rule, those who disagree are a problem.
    """
    for part in batches:
        is_folded = len(set(part.numbers)) == len(part.numbers)
        yield part if is_folded else _fold_neighbours(part, annotators, problems)


def _fold_neighbours(rows: Rows, annotators: str | None, problems: list[tuple[int, str]]) -> Rows:
    groups = [list(group) for _, group in groupby(range(len(rows.numbers)), key=rows.numbers.__getitem__)]
    if rows.labels is None:
        return rows.select([group[0] for group in groups])
    kept, labels = [], []
    for group in groups:
        judgements = rows.labels[group]
        if annotators is None and not np.array_equal(
            judgements, np.broadcast_to(judgements[0], judgements.shape), True
        ):
            advice = "pass --annotators majority, share or unanimous"
            problems.append((rows.numbers[group[0]], f"its {len(group)} annotators disagree: {advice}"))
            continue
        kept.append(group[0])
        labels.append(_fold(judgements, Fold(annotators or "majority")))
    return replace(rows.select(kept), labels=np.array(labels, np.float32).reshape(len(kept), rows.labels.shape[1]))


def _fold(labels: NDArray[np.float32], fold: Fold) -> NDArray[np.float32]:
    """Fold labels (B, L) into (L,); what some rows leave open is decided by the others."""
    annotated = ~np.isnan(labels)
    count = annotated.sum(axis=0)
    share = np.where(count > 0, np.nansum(labels, axis=0) / np.maximum(count, 1), np.nan)
    match fold:
        case Fold.UNION:
            folded = np.where(share > 0, 1.0, share)
        case Fold.MAJORITY:
            folded = np.where(np.isnan(share), np.nan, share > 0.5)
        case Fold.SHARE:
            folded = share
        case _:
            folded = np.where((share == 0) | (share == 1), share, np.nan)
    return folded.astype(np.float32)


def _concatenate(parts: list[Rows]) -> Rows:
    columns = {name: [cell for part in parts for cell in part.columns[name]] for name in parts[0].columns}
    labels = [part.labels for part in parts if part.labels is not None]
    numbers = [number for part in parts for number in part.numbers]
    return Rows(numbers, columns, np.concatenate(labels) if labels else None)
