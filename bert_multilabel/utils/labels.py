"""Labels as numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def hard_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels of any shape where soft ones, such as shares of annotators, are 1 from 0.5 on, and else 0."""
    return np.where((labels > 0) & (labels < 1), labels >= 0.5, labels)
