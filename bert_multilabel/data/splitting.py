"""Splits validation examples off the training examples."""

import hashlib

import numpy as np
import pandas as pd
from datasets import Dataset
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit
from numpy.typing import NDArray
from transformers.utils import logging

from bert_multilabel.errors import MultiLabelError

from .examples import multi_hot
from .values import few

logger = logging.get_logger(__name__)

_LARGE_GROUP = 0.1  # size of a group, as a share of the validation examples
_ROWS_AT_A_TIME = 10_000


def split_validation(
    dataset: Dataset, fraction: float = 0.1, seed: int = 42, label_names: list[str] | None = None
) -> tuple[Dataset, Dataset]:
    """Split examples into training and validation so that each label keeps its share on both sides.

    Iterative stratification: Sechidis, Tsoumakas and Vlahavas (2011), On the Stratification of Multi-Label Data,
    algorithm 1, on groups of examples with the same text and pair. Every label keeps at least one group in training,
    so validation may be smaller than requested if labels are rare. "Not annotated" counts as 0.

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
    if not 0 < fraction < 1:
        raise MultiLabelError(f"the validation fraction must be above 0 and below 1, got {fraction}")
    size = round(fraction * len(dataset))
    if not 0 < size < len(dataset):
        share = f"a validation fraction of {fraction} of {len(dataset)} rows"
        raise MultiLabelError(f"{share} leaves one side empty; pass more rows or a validation file")
    groups = _group_equal_texts(dataset)  # (N,), 0..G - 1
    sizes = np.bincount(groups)  # (G,)
    labels = np.zeros((len(sizes), len(dataset[0]["labels"])), dtype=np.bool_)  # (G, L)
    for start in range(0, len(dataset), _ROWS_AT_A_TIME):
        part = range(start, min(start + _ROWS_AT_A_TIME, len(dataset)))
        np.logical_or.at(labels, groups[part], multi_hot(dataset.select(part)) == 1)
    in_validation = np.zeros(len(sizes), dtype=np.bool_)  # (G,)
    if len(sizes) > 1:
        in_validation = _stratify(labels, min(max(round(fraction * len(sizes)), 1), len(sizes) - 1), seed)
        lost = ~labels[~in_validation].any(axis=0)  # (L,)
        in_validation &= ~(labels & lost).any(axis=1)  # each label keeps an example in training
        _fit_size(labels, sizes, in_validation, size, seed)
    if not in_validation.any():
        raise MultiLabelError(
            f"none of the {len(dataset)} rows can go into validation: each is the only one of a label, or shares its "
            "text with too many others; pass more rows or a validation file"
        )
    rare = np.flatnonzero(labels.sum(axis=0) < 2)
    if len(rare):
        names = [label_names[position] if label_names else str(position) for position in rare]
        logger.warning("labels with fewer than 2 rows are only in training: %s", few(names))
    of_rows = in_validation[groups]  # (N,)
    return dataset.select(np.flatnonzero(~of_rows)), dataset.select(np.flatnonzero(of_rows))


def text_key(text: str, pair: str = "") -> tuple[str, str]:
    """Return a key that is equal for texts that differ only in case and spaces."""
    return " ".join(text.split()).casefold(), " ".join(pair.split()).casefold()


def _group_equal_texts(dataset: Dataset) -> NDArray[np.int64]:
    """Return the group index of each example (N,), by first occurrence; without texts, each is its own group."""
    if "text" not in dataset.column_names:
        return np.arange(len(dataset))
    texts = dataset.select_columns([name for name in ("text", "pair") if name in dataset.column_names])
    # Digests, since the texts may not fit into memory.
    keys = (repr(text_key(**row)).encode() for row in texts)
    digests = [int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) for key in keys]
    groups: NDArray[np.int64] = pd.factorize(np.array(digests, np.uint64))[
        0
    ]  # numbered in the order of their first example
    return groups


def _stratify(labels: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.bool_]:
    """Return which groups iterative stratification puts into validation, (G,)."""
    # "No label" is stratified like a label. It also adds a second column if L is 1.
    targets = np.hstack([labels, ~labels.any(axis=1, keepdims=True)])  # (G, L + 1)
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    _, validation = next(splitter.split(targets, targets))
    in_validation = np.zeros(len(labels), dtype=np.bool_)
    in_validation[validation] = True
    return in_validation


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
