"""What decisions are fitted for."""

import math
from dataclasses import dataclass

from bert_multilabel.errors import MultiLabelError

SCORES = ("hamming_score", "micro_f1", "macro_f1", "samples_f1")
BOUNDS = ("precision", "recall")


@dataclass(frozen=True)
class Goal:
    """What thresholds are fitted for: the highest `score`, or all that keeps precision or recall at a `floor`."""

    score: str
    floor: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Goal":
        """Read one of `SCORES`, or a bound such as "precision=0.9" or "recall=0.8"; refuse other texts."""
        name, is_bound, number = text.partition("=")
        try:
            floor = float(number) if is_bound else None
        except ValueError:
            floor = math.nan
        if name in SCORES and floor is None:
            return cls(name)
        if name in BOUNDS and floor is not None and 0 < floor <= 1:
            return cls(name, floor)
        known = f"{', '.join(SCORES)}, or a bound such as precision=0.9 or recall=0.8 (above 0, at most 1)"
        raise MultiLabelError(f"the goal of thresholds must be {known}, got {text!r}")
