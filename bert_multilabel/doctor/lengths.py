"""How long texts are, in words or in the tokens of a model, and how many are longer than it reads."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

from .findings import Finding, Rows, Severity, count
from .text_checks import count_words

_BATCH = 1000


@dataclass(frozen=True)
class Lengths:
    """The lengths of the texts of one split.

    Attributes:
        split: train, validation or test.
        unit: "words" or "tokens".
        mean: Of all rows, and so are the next three.
        median: Half the rows are longer.
        percentile_95: One row of twenty is longer.
        longest: The longest row.
        limit: The longest input that is read; None for words.
        over: Rows that are longer, and would be cut.
    """

    split: str
    unit: str
    mean: float
    median: float
    percentile_95: float
    longest: int
    limit: int | None = None
    over: int = 0


class Ruler:
    """Measures inputs in tokens as a model reads them, and in words where there is no model.

    Args:
        model: Configuration and tokenizer of the model.
        max_length: Longest input that will be read; by default what the model can take.

    Raises:
        MultiLabelError: If the model cannot take inputs that long, or they would have no room for text.
    """

    def __init__(
        self, model: tuple[MultiLabelConfig, MultiLabelTokenizer] | None = None, max_length: int | None = None
    ) -> None:
        self.limit: int | None = None
        self.label_tokens = 0
        if model is not None:
            config, tokenizer = model
            reader = scoring_tokenizer(tokenizer, config)
            reader("", truncation=True, max_length=max_length)  # refuses what leaves no room beside label tokens
            self.label_tokens = len(reader.label_token_ids)
            self.limit = reader.model_max_length if max_length is None else max_length
            if self.limit > reader.model_max_length:
                raise MultiLabelError(
                    f"max_seq_length={max_length} is more than the {reader.model_max_length} tokens that this model "
                    "can take"
                )
            # Label tokens are the same in every row: adding their number is faster than encoding them.
            self.reader = reader.without_label_tokens()

    def measure(self, rows: Rows) -> NDArray[np.int64]:
        """Return the length of each row (N,), pair, label tokens and special tokens included."""
        if self.limit is None:
            return count_words(rows.texts) + count_words(rows.pairs)
        lengths: list[int] = []
        has_pairs = any(rows.pairs)
        for start in range(0, len(rows), _BATCH):
            some = slice(start, start + _BATCH)
            pairs = rows.pairs[some] if has_pairs else None
            encoded = self.reader(rows.texts[some], pairs, return_attention_mask=False, verbose=False)
            lengths += map(len, encoded["input_ids"])
        return np.array(lengths) + self.label_tokens

    def examine(self, rows: Rows) -> tuple[Lengths, list[Finding]]:
        """Return the lengths of a split, and what is found about them."""
        lengths = self.measure(rows)
        unit = "words" if self.limit is None else "tokens"
        over = np.flatnonzero(lengths > (self.limit or np.inf))
        mean, (median, percentile_95) = lengths.mean(), np.percentile(lengths, [50, 95])
        longest = int(lengths.max())
        summary = Lengths(
            rows.split, unit, float(mean), float(median), float(percentile_95), longest, self.limit, len(over)
        )
        return summary, list(self._find_cuts(rows, over))

    def _find_cuts(self, rows: Rows, over: NDArray[np.int64]) -> Iterator[Finding]:
        if len(over):
            beside = f", of which labels take {self.label_tokens}" if self.label_tokens else ""
            message = (
                f"{count(len(over), 'row is', 'rows are')} longer than {self.limit} tokens{beside}: "
                f"{len(over) / len(rows):.1%} of {rows.split} would be cut"
            )
            advice = "see whether what is said at the end matters"
            if self.label_tokens:
                advice += "; --label_attention isolated leaves all tokens to the text"
            yield rows.found(Severity.WARNING, "cut-texts", over, message, advice)
