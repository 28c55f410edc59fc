"""Finds annotations that look wrong, by confident learning over the model's out-of-sample probabilities.

Northcutt, Jiang and Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset Labels", as cleanlab has it,
label by label: so that a cell that nobody annotated takes part in nothing, and so that what is suspected of a row is
not the row but one of its labels.

Legend: N rows, L labels, A annotated rows of a label.
"""

import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suspect:
    """A row whose annotation looks wrong.

    Attributes:
        row: Its place among the N rows.
        labels: Places of the labels that look wrong, the least likely annotation first.
        quality: The probability of that annotation: the lower, the more suspect.
    """

    row: int
    labels: list[int]
    quality: float


def find_suspects(probabilities: NDArray[Any], labels: NDArray[Any]) -> list[Suspect]:
    """Find the rows whose annotation looks wrong, the most suspect first.

    Args:
        probabilities: (N, L), of a model that was not trained on these rows.
        labels: (N, L), 0 or 1; NaN or -100 where not annotated. One that is the same in all rows is not examined.
    """
    from cleanlab.filter import find_label_issues  # heavy, and of an extra

    found = defaultdict(list)
    for label, (likely, annotation) in enumerate(zip(probabilities.T, labels.T, strict=True)):
        rows = np.flatnonzero((annotation == 0) | (annotation == 1))  # (A,)
        true = annotation[rows] == 1  # (A,)
        if true.any() and not true.all():
            shares = np.stack([1 - likely[rows], likely[rows]], axis=1).astype(np.float64)  # (A, 2)
            with warnings.catch_warnings():
                # Where hardly a row has a label, or hardly one has not, there is little to go by: no news here.
                warnings.filterwarnings("ignore", message="May not flag all label issues")
                # One process: the work is a matter of milliseconds, starting more of them is not.
                is_suspect = find_label_issues(true.astype(np.int64), shares, n_jobs=1)  # (A,)
            for place in np.flatnonzero(is_suspect):
                found[int(rows[place])].append((float(shares[place, int(true[place])]), label))
    suspects = [
        Suspect(row, labels=[label for _, label in sorted(cells)], quality=min(cells)[0])
        for row, cells in found.items()
    ]
    return sorted(suspects, key=lambda suspect: (suspect.quality, suspect.row))
