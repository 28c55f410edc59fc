"""Finds annotations that look wrong, by confident learning over the model's out-of-sample probabilities.

Northcutt, Jiang and Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset Labels", as cleanlab has it,
label by label. So entries without annotation are left out, and a single label of an example is found, not the example.

Legend: N examples, L labels, A annotated examples of a label.
"""

import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelIssue:
    """An example whose annotation looks wrong."""

    example: int  # its index among the N examples
    labels: list[int]  # indices of the labels that look wrong, the least likely annotation first
    quality: float  # the probability of that annotation: the lower, the more suspect


def find_label_issues(probabilities: NDArray[Any], labels: NDArray[Any]) -> list[LabelIssue]:
    """Find the examples whose annotation looks wrong, the most suspect first.

    Args:
        probabilities: (N, L), of a model that was not trained on these examples.
        labels: (N, L), 0 or 1; NaN or -100 where not annotated. A label with only one value is not examined.
    """
    from cleanlab import filter as cleanlab_filter  # heavy, and of an extra

    found = defaultdict(list)
    for label, (likely, annotation) in enumerate(zip(probabilities.T, labels.T, strict=True)):
        examples = np.flatnonzero((annotation == 0) | (annotation == 1))  # (A,)
        true = annotation[examples] == 1  # (A,)
        if true.any() and not true.all():
            shares = np.stack([1 - likely[examples], likely[examples]], axis=1).astype(np.float64)  # (A, 2)
            with warnings.catch_warnings():
                # Of labels with few positives or few negatives, for which that is expected.
                warnings.filterwarnings("ignore", message="May not flag all label issues")
                # One process: starting more takes longer than the work.
                is_issue = cleanlab_filter.find_label_issues(true.astype(np.int64), shares, n_jobs=1)  # (A,)
            for index in np.flatnonzero(is_issue):
                found[int(examples[index])].append((float(shares[index, int(true[index])]), label))
    issues = [
        LabelIssue(example, labels=[label for _, label in sorted(entries)], quality=min(entries)[0])
        for example, entries in found.items()
    ]
    return sorted(issues, key=lambda issue: (issue.quality, issue.example))
