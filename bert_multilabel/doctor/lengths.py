"""How long the inputs are, in words or in the tokens of a model, and how many exceed its limit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.data.table import BATCH_SIZE
from bert_multilabel.data.tokenizing import check_max_length
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.model.windows import Windows

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
    """Measures inputs in the tokens of a model, or in words without one.

    Raises:
        MultiLabelError: If `max_length` exceeds the model's limit, or leaves no room for text.
    """

    def __init__(
        self,
        model: tuple[MultiLabelConfig, MultiLabelTokenizer] | None = None,
        max_length: int | None = None,
        windows: Windows | None = None,
    ) -> None:
        self.has_windows = windows is not None
        self.limit: int | None = None
        self.label_tokens = 0
        if model is not None:
            self._config, tokenizer = model
            tokenizer = scoring_tokenizer(tokenizer, self._config)
            tokenizer("", truncation=True, max_length=max_length)  # refuses a length without room for text
            self.label_tokens = len(tokenizer.label_token_ids)
            self.limit = check_max_length(tokenizer, max_length)
            if windows is not None:
                windows.check_room(tokenizer, self.limit)
            # The label tokens are the same in every input: adding their number is faster than encoding them.
            self._tokenizer = tokenizer.without_label_tokens()

    def measure(self, split: Split) -> NDArray[np.int64]:
        """Return the length of each input (N,), including its pair, label tokens and special tokens."""
        if self.limit is None:
            return count_words(split.texts) + count_words(split.pairs)
        lengths: list[int] = []
        pairs = split.pairs if any(split.pairs) else None
        self._config.warn_about_pairs(pairs is not None)
        for start in range(0, len(split), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            encoded = self._tokenizer(
                split.texts[batch], pairs and pairs[batch], return_attention_mask=False, verbose=False
            )
            lengths += map(len, encoded["input_ids"])
        return np.array(lengths) + self.label_tokens

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
