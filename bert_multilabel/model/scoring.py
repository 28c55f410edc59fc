# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Texts in, logits out, as fast as the matrix products allow.

Shapes: N texts, B batch, T tokens, Q tokens that are computed, L labels, h heads, H hidden size.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers.activations import GELUActivation

from .configuration_multilabel import MultiLabelConfig
from .encoder import MultiLabelLayer, isolated_attention
from .errors import MultiLabelError
from .modeling_multilabel import MultiLabelPreTrainedModel
from .tokenization_multilabel import MultiLabelTokenizer, check_tokenizer
from .windows import Windows

PRECISIONS = ("float32", "bfloat16")
# Texts that are sorted by length together, which bounds what is held at a time; fewer where each may be of any length.
TEXTS_AT_A_TIME = 16_384
LONG_TEXTS_AT_A_TIME = 1024
# Tokens in a batch: enough to keep the matrix products busy, on a CPU few enough to stay in its cache.
TOKENS_PER_BATCH_ON_CPU = 1024
TOKENS_PER_BATCH = 32_768

_CAN_PACK = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class MultiLabelScorer:
    """Computes logits of texts: sorted by length, in batches of so many tokens, with packed weights.

    Args:
        model: Any of this package's models; it is copied, and the copy put into evaluation mode.
        tokenizer: The model's tokenizer.
        precision: Of the encoder's matrix products; all else is float32. `"bfloat16"` pays where the hardware has it.
        max_length: Longest input in tokens; by default what the model can take. What is beyond is cut off.
        tokens_per_batch: About how many tokens, padding included, go through the model at once.

    Raises:
        MultiLabelError: If there is no such precision, the model cannot take `max_length`, or its weights are wrapped.
    """

    def __init__(
        self,
        model: MultiLabelPreTrainedModel,
        tokenizer: MultiLabelTokenizer,
        precision: str = "float32",
        max_length: int | None = None,
        tokens_per_batch: int | None = None,
    ) -> None:
        self.config = model.config
        self.tokenizer = scoring_tokenizer(tokenizer, model.config)
        self.model = pack(model, precision)
        # A tokenizer of the backbone may have no limit.
        limit = min(self.tokenizer.model_max_length, self.config.max_position_embeddings)
        self.max_length = limit if max_length is None else max_length
        if self.max_length > limit:
            raise MultiLabelError(f"max_length={max_length} is more than the {limit} tokens that this model can take")
        default = TOKENS_PER_BATCH_ON_CPU if model.device.type == "cpu" else TOKENS_PER_BATCH
        self.tokens_per_batch = tokens_per_batch or default

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
            MultiLabelError: If the texts are one text, or the windows leave no room for text.
        """
        if isinstance(texts, str):
            raise MultiLabelError(f"texts must be a list of texts, got the text {texts!r}")
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
        encoded = self.tokenizer(
            list(texts),
            None if pairs is None else list(pairs),
            return_attention_mask=False,
            **cutting(self.max_length, windows),
        )
        return encoded["input_ids"], encoded["token_type_ids"]

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
            return windows.pool(logits, counts, self.config.temperature)
        logits = torch.empty(len(input_ids), len(self.config.label_names))  # (N, L)
        padding = self.tokenizer.pad_token_id
        with torch.inference_mode():
            for rows in self._batches([len(ids) for ids in input_ids]):
                batch = pad_batch([input_ids[row] for row in rows], [token_type_ids[row] for row in rows], padding)
                batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
                logits[rows] = self.model(**batch).logits.cpu()  # (B, L)
                on_progress(len(rows))
        return logits

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Yield the numbers of texts that go together: of like length, the longest first, as memory shows at once."""
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        joining = num_late_label_tokens(self.config)
        start = 0
        while start < len(order):
            size = max(1, self.tokens_per_batch // (lengths[order[start]] + joining))
            yield order[start : start + size]
            start += size


def score_rows(
    score: Callable[[Sequence[str], Sequence[str] | None], torch.Tensor],
    rows: Sequence[tuple[str, str | None]],
    num_labels: int,
) -> torch.Tensor:
    """Score texts of which some may have a second text.

    Args:
        score: Returns the logits of texts that all have a second text, or of texts that all have none.
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
    """Return how many label tokens join a text late: they are not in its length, but in every product after that."""
    return len(config.label_names) if config.has_late_label_layers and config.label_attention == "full" else 0


def cutting(max_length: int, windows: Windows | None = None) -> dict[str, Any]:
    """Return what to tell a tokenizer of texts that are too long: to cut them off, or to leave them to windows."""
    # It would warn of texts that the model cannot take; but no window is one.
    return {"truncation": True, "max_length": max_length} if windows is None else {"verbose": False}


def texts_at_a_time(windows: Windows | None) -> int:
    """Return how many texts to hold in tokens: fewer if they are not truncated, but to be cut into windows."""
    return TEXTS_AT_A_TIME if windows is None else LONG_TEXTS_AT_A_TIME


def scoring_tokenizer(tokenizer: MultiLabelTokenizer, config: MultiLabelConfig) -> MultiLabelTokenizer:
    """Return what reads texts for a model: its tokenizer, without label tokens where these stand apart."""
    check_tokenizer(tokenizer, config)
    return tokenizer.without_label_tokens() if config.encodes_text_separately else tokenizer


def pad_batch(
    input_ids: Sequence[Sequence[int]], token_type_ids: Sequence[Sequence[int]], pad_token_id: int
) -> dict[str, torch.Tensor]:
    """Make one batch of tokenized texts: what `tokenizer.pad` does, without its cost per text.

    Args:
        input_ids: Token ids of B texts.
        token_type_ids: Segment ids of the same tokens.
        pad_token_id: Fills up the shorter texts, on the right.

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


def pack(model: MultiLabelPreTrainedModel, precision: str = "float32") -> MultiLabelPreTrainedModel:
    """Return a float32 copy for inference alone, whose encoder takes fewer and larger steps.

    It stays on its device, and cannot be trained, saved or packed again.

    Args:
        model: Any of this package's models; it stays as it is.
        precision: One of `PRECISIONS`.

    Raises:
        MultiLabelError: If there is no such precision, or the weights are wrapped.
    """
    if precision not in PRECISIONS:
        raise MultiLabelError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    packed = copy.deepcopy(model).float().eval().requires_grad_(False)
    packed.config.output_attentions = packed.config.output_hidden_states = False
    packed.set_attn_implementation("sdpa")
    dtype = getattr(torch, precision)
    layers = cast(Iterable[MultiLabelLayer], packed.bert.encoder.layer)
    packed.bert.encoder.layer = nn.ModuleList(PackedLayer(layer, dtype) for layer in layers)
    packed.classifier.dense = PackedLinear(cast(nn.Linear, packed.classifier.dense), dtype)
    return cast(MultiLabelPreTrainedModel, packed)


class PackedLayer(nn.Module):
    """What a `MultiLabelLayer` computes, for inference alone: fewer and larger steps.

    Args:
        layer: Gives the weights.
        dtype: Of the matrix products.
    """

    def __init__(self, layer: MultiLabelLayer, dtype: torch.dtype) -> None:
        super().__init__()
        attention = layer.attention.self
        self.dtype = dtype
        self.head_size: int = attention.attention_head_size
        self.scaling: float = attention.scaling
        self.query = PackedLinear(attention.query, dtype)
        self.key_value = PackedLinear(_stack(attention.key, attention.value), dtype)
        self.mixed = PackedLinear(layer.attention.output.dense, dtype)
        self.mixed_norm = layer.attention.output.LayerNorm
        self.up = PackedLinear(layer.intermediate.dense, dtype, layer.intermediate.intermediate_act_fn)
        self.down = PackedLinear(layer.output.dense, dtype)
        self.norm = layer.output.LayerNorm

    def forward(
        self,
        states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        context: torch.Tensor | None = None,
        isolated: bool = False,
    ) -> torch.Tensor:
        """Compute the next states of some tokens, with the arguments of `MultiLabelLayer`."""
        narrow = states.to(self.dtype)  # (B, Q, H)
        query = self._heads(self.query(narrow))  # (B, h, Q, H / h)
        key, value = self._keys_and_values(narrow if context is None else context)  # (B, h, T, H / h)
        if isolated:
            own_key, own_value = self._keys_and_values(narrow)  # (B, h, Q, H / h)
            mixed = isolated_attention(query, key, value, own_key, own_value, attention_mask, self.scaling)
        else:
            # The same may be read from every token.
            mask = None if attention_mask is None else attention_mask[:, :, :1]  # (B, 1, 1, T)
            mixed = nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=self.scaling)
        mixed = mixed.transpose(1, 2).flatten(2).to(self.dtype)  # (B, h, Q, H / h) -> (B, Q, H)
        attended = self.mixed_norm(self.mixed(mixed) + states)  # (B, Q, H), float32
        answer: torch.Tensor = self.norm(self.down(self.up(attended.to(self.dtype))) + attended)  # (B, Q, H), float32
        return answer

    def _keys_and_values(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        key, value = self.key_value(states.to(self.dtype)).chunk(2, dim=-1)  # (B, T, H) each
        return self._heads(key), self._heads(value)

    def _heads(self, vectors: torch.Tensor) -> torch.Tensor:
        # Attention over short texts is faster in float32, also on CPUs that multiply bfloat16.
        heads: torch.Tensor = vectors.float().unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        return heads  # (B, T, H) -> (B, h, T, H / h)


class PackedLinear(nn.Module):
    """A `Linear` for inference alone, whose weights lie as the hardware multiplies them; its output is like its input.

    Args:
        linear: Gives the weights.
        dtype: Of the product; inputs of another type are converted, and outputs back.
        activation: Applied to the output.

    Raises:
        MultiLabelError: If `linear` is more than a `Linear`, as an adapter is.
    """

    def __init__(
        self,
        linear: nn.Linear,
        dtype: torch.dtype,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        _check_plain(linear)
        weight = linear.weight.detach().to(dtype)  # (outputs, inputs)
        self.bias = nn.Parameter(linear.bias.detach().to(dtype), requires_grad=False)
        self.dtype, self.activation = dtype, activation
        # Torch's own compiler packs weights for oneDNN by this operator; without it they would be packed at each call.
        can_multiply = _CAN_PACK and (dtype is not torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        self.is_packed = can_multiply and weight.device.type == "cpu"
        # Not a parameter: packed weights have a layout of their own, which modules cannot move or save.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.is_packed else weight
        self.fused = "gelu" if self.is_packed and isinstance(activation, GELUActivation) else "none"

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Map vectors (..., inputs) to (..., outputs)."""
        narrow = vectors.to(self.dtype)
        if self.is_packed:
            algorithm = "none" if self.fused == "gelu" else ""  # the exact gelu, not its approximation by tanh
            rows = narrow.flatten(0, -2)  # (N, inputs)
            padded = nn.functional.pad(rows, (0, 0, 0, _rounded_up(len(rows)) - len(rows)))  # (M, inputs)
            products = torch.ops.mkldnn._linear_pointwise(padded, self.weight, self.bias, self.fused, [], algorithm)
            outputs = products[: len(rows)].unflatten(0, narrow.shape[:-1])  # (M, outputs) -> (..., outputs)
        else:
            outputs = nn.functional.linear(narrow, self.weight, self.bias)
        if self.activation is not None and self.fused == "none":
            outputs = self.activation(outputs)
        converted: torch.Tensor = outputs.to(vectors.dtype)
        return converted


def _rounded_up(count: int) -> int:
    """Round up by an eighth or to 8: oneDNN makes code for each number of rows, and does not give its memory back."""
    step = 1 << max(3, count.bit_length() - 4)
    return -(-count // step) * step


def _check_plain(linear: nn.Module) -> None:
    if type(linear) is not nn.Linear:
        raise MultiLabelError(
            f"cannot pack a {type(linear).__name__} where a Linear is expected, for its weight may not be all it has: "
            "merge adapters into the model first"
        )


def _stack(*linears: nn.Linear) -> nn.Linear:
    """Make one `Linear` of several that read the same vectors; its outputs are theirs, one behind the other."""
    for linear in linears:
        _check_plain(linear)
    first = linears[0]
    stacked = nn.Linear(first.in_features, sum(linear.out_features for linear in linears), device=first.weight.device)
    stacked.weight.data = torch.cat([linear.weight.data for linear in linears])
    stacked.bias.data = torch.cat([linear.bias.data for linear in linears])
    return stacked
