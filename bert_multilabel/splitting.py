"""A validation split for data that comes without one."""

import numpy as np
from datasets import Dataset
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit
from numpy.typing import NDArray
from transformers.utils import logging

logger = logging.get_logger(__name__)


def split_validation(
    dataset: Dataset, fraction: float = 0.1, seed: int = 42, label_names: list[str] | None = None
) -> tuple[Dataset, Dataset]:
    """Split rows into training and validation so that each label keeps its share on both sides.

    Iterative stratification: Sechidis, Tsoumakas and Vlahavas (2011), On the Stratification of Multi-Label Data,
    algorithm 1. Every label keeps at least one row in training, for which validation may come out smaller than asked
    where labels have few rows. Not annotated counts as 0.

    Args:
        dataset: N rows with a column `labels`: L floats, 1.0, 0.0 or NaN.
        fraction: Share of the rows that go into validation, above 0 and below 1.
        seed: The same seed gives the same split.
        label_names: The L label names, for the log; by default a label is called by its position.

    Returns:
        Training and validation rows, each in their original order.

    Raises:
        ValueError: If the fraction is out of range, or one of the sides would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the validation fraction must be above 0 and below 1, got {fraction}")
    size = round(fraction * len(dataset))
    if not 0 < size < len(dataset):
        raise ValueError(
            f"a validation fraction of {fraction} of {len(dataset)} rows leaves one side empty; give more rows, "
            "another fraction, or a validation file"
        )
    labels = np.asarray(dataset.with_format("numpy")["labels"][:]) == 1  # (N, L)
    in_validation = _stratify(labels, size, seed)
    _keep_labels_in_training(labels, in_validation)
    _fill_validation(labels, in_validation, size, seed)
    if not in_validation.any():
        raise ValueError(
            f"none of the {len(dataset)} rows can go into validation, because each is the only one of some label; "
            "give more rows or a validation file"
        )
    _log_rare_labels(labels, label_names)
    return dataset.select(np.flatnonzero(~in_validation)), dataset.select(np.flatnonzero(in_validation))


def _stratify(labels: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.bool_]:
    """Return which rows iterative stratification puts into validation, (N,)."""
    # Having no label is stratified like a label of its own. It also makes a second column where L is 1.
    unlabelled = ~labels.any(axis=1, keepdims=True)  # (N, 1)
    targets = np.hstack([labels, unlabelled])  # (N, L + 1)
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    _, validation = next(splitter.split(targets, targets))
    in_validation = np.zeros(len(labels), dtype=np.bool_)
    in_validation[validation] = True
    return in_validation


def _keep_labels_in_training(labels: NDArray[np.bool_], in_validation: NDArray[np.bool_]) -> None:
    """Move rows back, in place, whose label would have no row in training."""
    lost = ~labels[~in_validation].any(axis=0)  # (L,)
    in_validation &= ~(labels & lost).any(axis=1)


def _fill_validation(labels: NDArray[np.bool_], in_validation: NDArray[np.bool_], size: int, seed: int) -> None:
    """Move more rows, in place, up to the size asked for, as long as each of their labels keeps a row in training.

    With few rows per label, the stratifier rounds the share of each label down to nothing.
    """
    in_training = labels[~in_validation].sum(axis=0)  # (L,)
    missing = size - int(in_validation.sum())
    for row in np.random.default_rng(seed).permutation(np.flatnonzero(~in_validation)):
        if missing <= 0:
            return
        if np.all(in_training[labels[row]] > 1):
            in_validation[row] = True
            in_training -= labels[row]
            missing -= 1


def _log_rare_labels(labels: NDArray[np.bool_], label_names: list[str] | None) -> None:
    rare = np.flatnonzero(labels.sum(axis=0) < 2)
    if len(rare):
        names = [label_names[position] if label_names else str(position) for position in rare]
        logger.warning("labels with fewer than 2 rows stay in training, unseen in validation: %s", ", ".join(names))
