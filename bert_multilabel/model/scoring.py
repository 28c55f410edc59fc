# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Computes the logits of texts with a model: sorted by length, in batches of about equally many tokens.

Shapes: N texts, B batch, T tokens, L labels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from .choices import PRECISIONS
from .configuration_multilabel import MultiLabelConfig
from .errors import MultiLabelError
from .tokenization_multilabel import MultiLabelTokenizer, check_tokenizer
from .windows import Windows

# How many texts are sorted by length together, which bounds memory; fewer where texts are not cut off.
TEXTS_AT_A_TIME = 16_384
LONG_TEXTS_AT_A_TIME = 1024
# Tokens in a batch: enough to keep the matrix products busy, and on a CPU few enough to stay in its cache.
TOKENS_PER_BATCH_ON_CPU = 1024
TOKENS_PER_BATCH = 32_768
# Computes the logits, float (B, L), of a batch, `input_ids`, `token_type_ids` and `attention_mask`, int64 (B, T) each.
Engine = Callable[[dict[str, torch.Tensor]], torch.Tensor]


class MultiLabelScorer:
    """Computes logits of texts with a model, which is used as it is at each call: its weights, device and labels.

    Args:
        model: Any of this package's models; it scores in evaluation mode, and is left in the mode that it has.
        tokenizer: The model's tokenizer.
        precision: `"bfloat16"` computes the matrix products in bfloat16, by `torch.autocast`, which is faster where
            the hardware supports it; `"float32"` insists on a model of float32 weights. By default the model computes
            in the dtype of its weights.
        max_length: Longest input in tokens, beyond which texts are cut off; by default what the model can take.
        tokens_per_batch: About how many tokens, padding included, make a batch; by default as many as suit the device.
        engine: What computes the logits in place of the model, on its device and in the scorer's precision.

    Raises:
        MultiLabelError: If the precision is unknown or not that of the weights, or the model cannot take `max_length`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: MultiLabelTokenizer,
        precision: str | None = None,
        max_length: int | None = None,
        tokens_per_batch: int | None = None,
        engine: Engine | None = None,
    ) -> None:
        if precision not in (None, *PRECISIONS):
            raise MultiLabelError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
        if precision == "float32" and model.dtype != torch.float32:
            raise MultiLabelError(
                f"precision is 'float32', but the model's weights are {model.dtype}: call model.float() first, or "
                "leave precision out"
            )
        self.model, self.precision, self.tokens_per_batch, self.engine = model, precision, tokens_per_batch, engine
        self.config = cast(MultiLabelConfig, model.config)
        self.tokenizer = scoring_tokenizer(tokenizer, self.config)
        # A tokenizer of the backbone may have no limit.
        limit = min(self.tokenizer.model_max_length, self.config.max_position_embeddings)
        self.max_length = limit if max_length is None else max_length
        if self.max_length > limit:
            raise MultiLabelError(f"max_length={max_length} is more than the {limit} tokens that this model can take")

    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, windows: Windows | None = None
    ) -> torch.Tensor:
        """Score texts.

        Args:
            texts: N texts.
            pairs: N second texts, for a model trained on pairs.
            windows: How texts longer than `max_length` are read; without them, what is beyond is cut off.

        Returns:
            (N, L), float32, on the CPU, in the order of the texts.

        Raises:
            MultiLabelError: If the texts or the pairs are one text, or not equally many, or the windows leave no room
                for text.
        """
        if isinstance(texts, str):
            raise MultiLabelError(f"texts must be a list of texts, got the text {texts!r}")
        if isinstance(pairs, str):
            raise MultiLabelError(f"pairs must be a list of texts, got the text {pairs!r}")
        if pairs is not None and len(pairs) != len(texts):
            raise MultiLabelError(f"there are {len(texts)} texts, but {len(pairs)} pairs: pass one for each text")
        parts = []
        size = texts_at_a_time(windows)
        for start in range(0, len(texts), size):
            part = slice(start, start + size)
            tokens = self.tokens(texts[part], None if pairs is None else pairs[part], windows)
            parts.append(self.logits_of_tokens(*tokens, windows))
        return torch.cat(parts) if parts else torch.empty(0, len(self.config.label_names))

    def tokens(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, windows: Windows | None = None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Tokenize texts as `logits_of_tokens` takes them.

        Args:
            texts: N texts.
            pairs: N second texts, for a model trained on pairs.
            windows: How texts longer than `max_length` will be read; without them, what is beyond is cut off.

        Returns:
            Token ids of the N texts, and segment ids of the same tokens.
        """
        self.config.warn_about_pairs(pairs is not None)
        max_length = None if windows else self.max_length
        if hasattr(self.tokenizer, "token_ids"):
            return self.tokenizer.token_ids(texts, pairs, max_length)
        # A stock tokenizer, which a model that classifies from [CLS] takes.
        truncation = {"truncation": max_length is not None, "max_length": max_length, "verbose": False}
        asked = {"return_token_type_ids": True, "return_attention_mask": False}
        encoded = self.tokenizer(list(texts), pairs and list(pairs), **asked, **truncation)
        return encoded["input_ids"], encoded["token_type_ids"]

    def are_cut(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """Return for each text whether it, with its pair, is longer than `max_length`: `logits` cuts it off."""
        input_ids, _ = self.tokens(texts, pairs, Windows(0))
        return [len(ids) > self.max_length for ids in input_ids]

    def logits_of_tokens(
        self,
        input_ids: Sequence[Sequence[int]],
        token_type_ids: Sequence[Sequence[int]],
        windows: Windows | None = None,
        on_progress: Callable[[int], object] = int,
    ) -> torch.Tensor:
        """Score texts that are tokenized already, by `self.tokenizer`.

        Args:
            input_ids: Token ids of N texts, not padded; not truncated, if there are windows.
            token_type_ids: Segment ids of the same tokens.
            windows: How texts longer than `max_length` are read.
            on_progress: Told after each batch how many texts, or windows, it held.

        Returns:
            (N, L), float32, on the CPU, in the order of the texts.
        """
        if windows is not None:
            input_ids, token_type_ids, counts = windows.cut(input_ids, token_type_ids, self.tokenizer, self.max_length)
            logits = self.logits_of_tokens(input_ids, token_type_ids, on_progress=on_progress)  # of all windows
            return windows.pool(logits, counts)
        logits = torch.empty(len(input_ids), len(self.config.label_names))  # (N, L)
        padding, device = self.tokenizer.pad_token_id, self.model.device
        is_cast = self.precision == "bfloat16"
        # Autocast keeps the weights that it has cast from batch to batch, but not in inference mode.
        no_gradients = torch.no_grad() if is_cast else torch.inference_mode()
        autocast = torch.autocast(device.type, torch.bfloat16) if is_cast else nullcontext()
        with evaluating(self.model), no_gradients, autocast:
            for rows in self._batches([len(ids) for ids in input_ids]):
                batch = pad_batch([input_ids[row] for row in rows], [token_type_ids[row] for row in rows], padding)
                computed = self._compute({name: tensor.to(device) for name, tensor in batch.items()})
                logits[rows] = computed.float().cpu()  # (B, L)
                on_progress(len(rows))
        return logits

    def _compute(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of a batch, (B, L)."""
        if self.engine is not None:
            # A mask always, so that there is one form of a batch only.
            batch.setdefault("attention_mask", torch.ones_like(batch["input_ids"]))
            return self.engine(batch)
        logits: torch.Tensor = self.model(**batch, output_attentions=False, output_hidden_states=False).logits
        return logits

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Yield the indices of texts of similar length, the longest first, which shows at once if memory suffices."""
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        on_device = TOKENS_PER_BATCH_ON_CPU if self.model.device.type == "cpu" else TOKENS_PER_BATCH
        tokens, late = self.tokens_per_batch or on_device, num_late_label_tokens(self.config)
        start = 0
        while start < len(order):
            size = max(1, tokens // (lengths[order[start]] + late))
            yield order[start : start + size]
            start += size


def store_in_bfloat16(model: nn.Module) -> None:
    """Cast the weights of linear layers, so that no call of a scorer in bfloat16 has to: for models that only predict.

    The logits are those of `torch.autocast` with the float32 weights.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into training mode that was in it."""
    training = [module for module in model.modules() if module.training]
    if training:  # to tell all modules takes a tenth of the time of one text
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def score_rows(
    score: Callable[[Sequence[str], Sequence[str] | None], torch.Tensor],
    rows: Sequence[tuple[str, str | None]],
    num_labels: int,
) -> torch.Tensor:
    """Score texts, some of which may have a second text.

    Args:
        score: Returns the logits of texts which all have a second text, or which all have none.
        rows: N texts, each with its second text or None.
        num_labels: How many labels there are.

    Returns:
        (N, L), float32, on the CPU, in the order of the rows.
    """
    logits = torch.empty(len(rows), num_labels)  # (N, L)
    for is_pair in (False, True):
        chosen = [index for index, (_, pair) in enumerate(rows) if (pair is not None) == is_pair]
        if chosen:
            texts, pairs = [rows[index][0] for index in chosen], [rows[index][1] or "" for index in chosen]
            logits[chosen] = score(texts, pairs if is_pair else None)
    return logits


def num_late_label_tokens(config: MultiLabelConfig) -> int:
    """Return how many label tokens are added to a text in later layers: its length does not count them."""
    return len(config.label_names) if config.has_late_label_layers and config.label_attention == "full" else 0


def texts_at_a_time(windows: Windows | None) -> int:
    """Return how many texts to tokenize together: fewer if they are not truncated but cut into windows."""
    return TEXTS_AT_A_TIME if windows is None else LONG_TEXTS_AT_A_TIME


def scoring_tokenizer(tokenizer: MultiLabelTokenizer, config: MultiLabelConfig) -> MultiLabelTokenizer:
    """Return the tokenizer of a model's texts: without label tokens where the model adds them itself."""
    check_tokenizer(tokenizer, config)
    return tokenizer.without_label_tokens() if config.encodes_text_separately else tokenizer


def pad_batch(
    input_ids: Sequence[Sequence[int]], token_type_ids: Sequence[Sequence[int]], pad_token_id: int
) -> dict[str, torch.Tensor]:
    """Pad tokenized texts to one batch, as `tokenizer.pad` does, but faster.

    Args:
        input_ids: Token ids of B texts.
        token_type_ids: Segment ids of the same tokens.
        pad_token_id: Added to shorter texts, on the right.

    Returns:
        `input_ids` and `token_type_ids`, (B, T), int64, and if there is padding `attention_mask`, (B, T), int64.
    """
    lengths = [len(ids) for ids in input_ids]
    longest = max(lengths)

    def pad(rows: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
        return torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])  # (B, T)

    batch = {"input_ids": pad(input_ids, pad_token_id), "token_type_ids": pad(token_type_ids, 0)}
    if min(lengths) < longest:
        batch["attention_mask"] = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    return batch
