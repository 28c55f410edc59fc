"""Splits validation examples off the training examples."""

import hashlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.labels import hard_labels

from .cache import column_batches
from .stratification import stratify
from .values import few

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_LARGE_GROUP = 0.1  # size of a group, as a share of the validation examples


def split_validation(
    dataset: "Dataset", fraction: float = 0.1, seed: int = 42, label_names: list[str] | None = None
) -> tuple["Dataset", "Dataset"]:
    """Split examples into training and validation, see `choose_validation`.

    Args:
        dataset: N examples with a column `labels`: L floats, 1.0, 0.0 or NaN; perhaps also `text` and `pair`.
        fraction: Share of the examples that go into validation, above 0 and below 1.
        seed: The same seed gives the same split.
        label_names: The L label names, for the log; default: their indices.

    Returns:
        Training and validation examples, each in their original order.

    Raises:
        MultiLabelError: If the fraction is out of range, or one of the sides would be empty.
    """
    labels = (hard_labels(batch) == 1 for batch in column_batches(dataset, "labels"))  # (B, L)
    names = [name for name in ("text", "pair") if name in dataset.column_names]
    texts: Iterable[tuple[str, ...]] | None = None
    if "text" in names:
        texts = (tuple(row[name] for name in names) for row in dataset.select_columns(names))
    in_validation = choose_validation(texts, labels, len(dataset), fraction, seed, label_names)
    return dataset.select(np.flatnonzero(~in_validation)), dataset.select(np.flatnonzero(in_validation))


def choose_validation(
    texts: Iterable[tuple[str, ...]] | None,
    labels: Iterable[NDArray[np.bool_]],
    rows: int,
    fraction: float = 0.1,
    seed: int = 42,
    label_names: list[str] | None = None,
) -> NDArray[np.bool_]:
    """Choose validation examples so that each label keeps its share on both sides.

    Iterative stratification, on groups of examples with the same text and pair. Every label keeps at least one group
    in training, so validation may be smaller than requested if labels are rare. "Not annotated" counts as 0.

    Args:
        texts: Text, and perhaps pair, of each of N examples; None: each is its own group.
        labels: Which labels the examples have, in batches (B, L).
        rows: N.
        fraction: Share of the examples that go into validation, above 0 and below 1.
        seed: The same seed gives the same split.
        label_names: The L label names, for the log; default: their indices.

    Returns:
        Whether each example is in validation, (N,).

    Raises:
        MultiLabelError: If the fraction is out of range, or one of the sides would be empty.
    """
    if not 0 < fraction < 1:
        raise MultiLabelError(f"the validation fraction must be above 0 and below 1, got {fraction}")
    size = round(fraction * rows)
    if not 0 < size < rows:
        share = f"a validation fraction of {fraction} of {rows} rows"
        raise MultiLabelError(f"{share} leaves one side empty; pass more rows or a validation file")
    groups = np.arange(rows) if texts is None else _group_equal_texts(texts)  # (N,), 0..G - 1
    sizes = np.bincount(groups)  # (G,)
    of_groups = _labels_of_groups(groups, len(sizes), labels)  # (G, L)
    in_validation = np.zeros(len(sizes), dtype=np.bool_)  # (G,)
    if len(sizes) > 1:
        # "No label" is stratified like a label.
        targets = np.hstack([of_groups, ~of_groups.any(axis=1, keepdims=True)])  # (G, L + 1)
        in_validation = stratify(targets, min(max(round(fraction * len(sizes)), 1), len(sizes) - 1), seed)
        lost = ~of_groups[~in_validation].any(axis=0)  # (L,)
        in_validation &= ~(of_groups & lost).any(axis=1)  # each label keeps an example in training
        _fit_size(of_groups, sizes, in_validation, size, seed)
    if not in_validation.any():
        raise MultiLabelError(
            f"none of the {rows} rows can go into validation: each is the only one of a label, or shares its "
            "text with too many others; pass more rows or a validation file"
        )
    _warn_of_rare(of_groups, label_names)
    return in_validation[groups]


def text_key(text: str, pair: str = "") -> tuple[str, str]:
    """Return a key that is equal for texts that differ only in case and spaces."""
    return " ".join(text.split()).casefold(), " ".join(pair.split()).casefold()


def _group_equal_texts(texts: Iterable[tuple[str, ...]]) -> NDArray[np.int64]:
    """Return the group of each example (N,), numbered in the order of their first examples."""
    # Digests, since the texts may not fit into memory.
    keys = (hashlib.blake2b(repr(text_key(*text)).encode(), digest_size=8).digest() for text in texts)
    digests = np.fromiter((int.from_bytes(key) for key in keys), np.uint64)  # (N,)
    _, firsts, groups = np.unique(digests, return_index=True, return_inverse=True)  # numbered by their digests
    numbers = np.empty(len(firsts), np.int64)  # (G,)
    numbers[np.argsort(firsts)] = np.arange(len(firsts))
    return numbers[groups]


def _labels_of_groups(
    groups: NDArray[np.int64], count: int, batches: Iterable[NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Return which labels each group has, (G, L): all of its examples."""
    found: NDArray[np.bool_] | None = None
    start = 0
    for labels in batches:  # (B, L)
        if found is None:
            found = np.zeros((count, labels.shape[1]), dtype=np.bool_)
        np.logical_or.at(found, groups[start : start + len(labels)], labels)
        start += len(labels)
    return np.zeros((count, 0), dtype=np.bool_) if found is None else found


def _warn_of_rare(labels: NDArray[np.bool_], label_names: list[str] | None) -> None:
    rare = np.flatnonzero(labels.sum(axis=0) < 2)
    if len(rare):
        names = [label_names[position] if label_names else str(position) for position in rare]
        logger.warning("labels with fewer than 2 rows are only in training: %s", few(names))


def _fit_size(
    labels: NDArray[np.bool_], sizes: NDArray[np.int64], in_validation: NDArray[np.bool_], size: int, seed: int
) -> None:
    """Move groups, in place, if this brings validation closer to the requested size.

    The stratifier ignores the sizes of groups: large ones are moved back, the largest first; a surplus of small ones
    is kept, to preserve the shares of the labels. It also rounds the shares of rare labels down to 0: more groups are
    added, as long as each of their labels keeps one in training.
    """
    surplus = int(sizes[in_validation].sum()) - size
    for group in np.argsort(-sizes, kind="stable"):
        is_large = sizes[group] > max(_LARGE_GROUP * size, 1)
        if in_validation[group] and is_large and sizes[group] < 2 * surplus:
            in_validation[group] = False
            surplus -= sizes[group]
    in_training = labels[~in_validation].sum(axis=0)  # (L,)
    for group in np.random.default_rng(seed).permutation(np.flatnonzero(~in_validation)):
        if sizes[group] < -2 * surplus and np.all(in_training[labels[group]] > 1):
            in_validation[group] = True
            in_training -= labels[group]
            surplus += sizes[group]
