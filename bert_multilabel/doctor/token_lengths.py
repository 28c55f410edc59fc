"""How long the inputs are in the tokens of a model."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.data.table import BATCH_SIZE
from bert_multilabel.data.tokenizing import check_max_length
from bert_multilabel.loading import read_config, read_tokenizer
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.model.windows import Windows

from .findings import Split
from .lengths import LengthProfiler


class TokenProfiler(LengthProfiler):
    """Measures inputs in the tokens of a model.

    Args:
        config: Of the model.
        tokenizer: Of the model.
        max_length: Longest input; default: the model's limit.
        windows: How longer inputs are read; default: truncated.

    Raises:
        MultiLabelError: If `max_length` exceeds the model's limit, or leaves no room for text.
    """

    def __init__(
        self,
        config: MultiLabelConfig,
        tokenizer: MultiLabelTokenizer,
        max_length: int | None = None,
        windows: Windows | None = None,
    ) -> None:
        self._config = config
        self.has_windows = windows is not None
        tokenizer = scoring_tokenizer(tokenizer, config)
        tokenizer("", truncation=True, max_length=max_length)  # refuses a length without room for text
        self.label_tokens = len(tokenizer.label_token_ids)
        self.limit = check_max_length(tokenizer, max_length)
        if windows is not None:
            windows.check_room(tokenizer, self.limit)
        # The label tokens are the same in every input: adding their number is faster than encoding them.
        self._tokenizer = tokenizer.without_label_tokens()

    def measure(self, split: Split) -> NDArray[np.int64]:
        """Return the length of each input (N,), including its pair, label tokens and special tokens."""
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


def read_model(
    path: str, options: Mapping[str, Any], max_length: int | None, stride: int | None
) -> tuple[list[str] | None, Callable[[list[str]], TokenProfiler]]:
    """Read what counts tokens of a model that is in a folder, or that training would make from a checkpoint.

    Args:
        path: The trained model or checkpoint.
        options: `strategy`, `label_attention` and `label_layers` of training; None: as the model has them.
        max_length: Longest input; default: the model's limit.
        stride: Longer inputs are read in windows that share this many tokens; default: truncated.

    Returns:
        The label names of the model, if it has some, and a function that makes the profiler for other label names.
    """
    saved = read_config(path)
    given = {name: value for name, value in options.items() if value is not None}
    strategy = given.pop("strategy", getattr(saved, "strategy", "label_tokens"))
    windows = Windows.of(stride, None)

    def make_profiler(label_names: list[str]) -> TokenProfiler:
        return TokenProfiler(*read_tokenizer(path, label_names, strategy, **given), max_length, windows)

    return getattr(saved, "label_names", None), make_profiler
