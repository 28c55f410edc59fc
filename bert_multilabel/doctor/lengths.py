"""How long the inputs are, and how many exceed the limit of a model. Tokens are counted in `token_lengths.py`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .findings import Finding, Severity, Split
from .text_checks import count_words


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The lengths of the inputs of one split.

    Attributes:
        unit: "words" or "tokens".
        limit: Longest input that is read completely; None for words.
        over: Number of inputs that exceed the limit, and are truncated or read in windows.
    """

    split: str
    unit: str
    mean: float
    median: float
    percentile_95: float
    longest: int
    limit: int | None
    over: int


class LengthProfiler:
    """Measures inputs in words, without a limit.

    Attributes:
        limit: Longest input that is read completely; None: there is none, and lengths are words.
        label_tokens: Number of label tokens in each input.
        has_windows: Whether longer inputs are read in windows.
    """

    limit: int | None = None
    label_tokens = 0
    has_windows = False

    def measure(self, split: Split) -> NDArray[np.int64]:
        """Return the length of each input (N,), including its pair."""
        return count_words(split.texts) + count_words(split.pairs)

    def profile(self, split: Split) -> tuple[Lengths, list[Finding]]:
        """Return the lengths of a split, and a finding if inputs would be truncated."""
        lengths = self.measure(split)
        over = np.flatnonzero(lengths > (self.limit or np.inf))
        median, percentile_95 = np.percentile(lengths, [50, 95])
        summary = Lengths(
            split=split.name,
            unit="words" if self.limit is None else "tokens",
            mean=float(lengths.mean()),
            median=float(median),
            percentile_95=float(percentile_95),
            longest=int(lengths.max()),
            limit=self.limit,
            over=len(over),
        )
        return summary, list(self._about_long_rows(split, over))

    def _about_long_rows(self, split: Split, over: NDArray[np.int64]) -> Iterator[Finding]:
        message = f"row is|rows are longer than {self.limit} tokens"
        advice = "with --stride 64, texts are read in windows that share 64 tokens; or check whether their ends matter"
        if self.label_tokens:
            message += f" ({self.label_tokens} of them label tokens)"
            advice += "; with --label_attention isolated, label tokens take no room from the text"
        message += f": {len(over) / len(split):.1%} of {split.name} would be "
        if not self.has_windows:
            yield from split.about_rows(Severity.WARNING, "cut-texts", over, f"{message}truncated", advice)
            return
        advice = "training reads one window of each in an epoch: give it as many epochs as most of them have windows"
        yield from split.about_rows(Severity.NOTE, "window-texts", over, f"{message}read in windows", advice)
