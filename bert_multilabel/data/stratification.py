"""Puts examples on two sides so that each label keeps its share on both.

Iterative stratification: Sechidis, Tsoumakas and Vlahavas (2011), On the Stratification of Multi-Label Data,
algorithm 1. Draws are made as by the package iterative-stratification, so both give the same sides for a seed.

Legend: N examples, L labels, 2 sides.
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def stratify(labels: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.bool_]:
    """Return which of N examples are on the second side, about `size` of them: (N,).

    Args:
        labels: (N, L).
        size: How many examples are wanted on the second side, above 0 and below N.
        seed: The same seed gives the same sides.
    """
    draw = np.random.RandomState(seed)
    order = np.arange(len(labels))
    draw.shuffle(order)
    shares = np.array([len(labels) - size, size]) / len(labels)  # (2,)
    sides = np.zeros(len(labels), np.int64)  # (N,)
    sides[order] = _sides(labels[order], shares, draw)
    is_second: NDArray[np.bool_] = sides == 1
    return is_second


def _sides(labels: NDArray[np.bool_], shares: NDArray[np.float64], draw: np.random.RandomState) -> Integers:
    """Return the side of each example (N,): those with the rarest label first, those without labels last."""
    room = shares * len(labels)  # how many more examples a side should get, (2,)
    room_of_label = np.outer(shares, labels.sum(axis=0))  # and how many more of each label, (2, L)
    sides = np.zeros(len(labels), np.int64)
    waits = np.ones(len(labels), np.bool_)  # (N,)
    left = labels.sum(axis=0)  # of each label among those that wait, (L,)
    while left.any():
        rarest = _one_of(np.flatnonzero(left == left[left > 0].min()), draw)
        for example in np.flatnonzero(labels[:, rarest] & waits):
            neediest = _largest(room_of_label[:, rarest])
            if len(neediest) > 1:
                neediest = neediest[_largest(room[neediest])]
            side = _one_of(neediest, draw)
            sides[example] = side
            room_of_label[side, labels[example]] -= 1
            room[side] -= 1
            left -= labels[example]
            waits[example] = False
    for example in np.flatnonzero(waits):
        sides[example] = _one_of(_largest(room), draw)
        room[sides[example]] -= 1
    return sides


def _largest(numbers: NDArray[np.float64]) -> Integers:
    """Return the positions of the largest number."""
    return np.flatnonzero(numbers == numbers.max())


def _one_of(candidates: Integers, draw: np.random.RandomState) -> int:
    return int(candidates[0] if len(candidates) == 1 else candidates[draw.choice(len(candidates))])
