"""Faster training on a CPU with the same result up to rounding and other random numbers.

Half to two thirds of a training step of a small BERT is matrix products. Most of the rest draws a random number for
every value that may be dropped, writes a gradient for every word embedding though a batch has few, casts states to the
precision of the products and back, and gives memory back to the system only to ask for it again. On a GPU all of that
is cheap.

Shapes: B batch, T tokens, Q tokens that are computed, h heads, V vocabulary, H hidden size.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bert_multilabel.model.layer import EncoderLayer, SelfAttention

# The parameters of `mallopt` in glibc's malloc.h, and the largest block that it can keep.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT_BLOCK = 32 * 2**20


@contextmanager
def cpu_training(model: PreTrainedModel, is_alone: bool = True) -> Iterator[None]:
    """Train a BERT faster within this context.

    Meanwhile the attention "sdpa" is replaced; that of other models than ours computes what it did.

    Args:
        model: On a CPU.
        is_alone: Whether it is trained in this process alone. Several processes exchange dense gradients.
    """
    with ExitStack() as stack:
        stack.enter_context(_kept_memory())
        stack.enter_context(_cheap_dropout(model))
        stack.enter_context(_narrow_states(model))
        embedding = model.get_input_embeddings()
        # The module with which PEFT trains some rows only is not an `nn.Embedding`.
        if is_alone and isinstance(embedding, nn.Embedding) and embedding.weight.requires_grad:
            stack.enter_context(_touched_rows(embedding))
        yield


class CheapDropout(nn.Dropout):
    """A `Dropout` that draws 16 random bits per value instead of a random float."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply `cheap_dropout` in training."""
        return cheap_dropout(input, self.p) if self.training else input


def cheap_dropout(values: torch.Tensor, p: float) -> torch.Tensor:
    """Zero values with probability `p`, rounded to 1 / 65,536, and scale up the others: any shape to the same."""
    dropped = round(p * 65_536)
    if dropped in (0, 65_536):
        return nn.functional.dropout(values, p)
    count = values.numel()
    # One draw of the global generator serves four values.
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    # Integers of 8 bits are cast much faster than Booleans.
    kept = (bits >= dropped - 32_768).view(torch.int8).view(values.shape).to(values.dtype)
    return values * kept.mul_(65_536 / (65_536 - dropped))


def attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as "sdpa" computes it, with cheap dropout of the attention weights in training.

    From `query` (B, h, Q, H / h), `key` and `value` (B, h, T, H / h), `attention_mask` (B, 1, Q, T), bool, or added to
    the scores, to (B, Q, h, H / h) and no weights.
    """
    # With dropout but without gradients, a checkpointed layer will be computed again from the same random numbers.
    is_as_fast = not dropout and not torch.is_grad_enabled()
    if is_as_fast or not isinstance(module, SelfAttention):  # that of a decoder, for example, masks by itself
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
        return output
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    scores = (query * scaling) @ key.transpose(2, 3)  # (B, h, Q, T)
    if attention_mask is not None and attention_mask.dtype is torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)  # (B, h, Q, T)
    weights = cheap_dropout(weights, dropout)
    return (weights @ value).transpose(1, 2).contiguous(), None  # (B, Q, h, H / h)


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Keep the memory that a step frees for the next step, with the allocator of glibc.

    By default it goes back to the system, and every page of it costs a page fault when it is used again.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        # What the allocator adjusts itself to at most. The defaults that it starts from cannot be had back.
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT_BLOCK)
        libc.malloc_trim(0)


@contextmanager
def _cheap_dropout(model: PreTrainedModel) -> Iterator[None]:
    dropouts = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Dropout
    ]
    sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
    try:
        for parent, name, child in dropouts:
            setattr(parent, name, CheapDropout(child.p).train(child.training))
        AttentionInterface.register("sdpa", attention_forward)
        yield
    finally:
        AttentionInterface.register("sdpa", sdpa)
        for parent, name, child in dropouts:
            setattr(parent, name, child.train(getattr(parent, name).training))


@contextmanager
def _narrow_states(model: PreTrainedModel) -> Iterator[None]:
    """Keep the states between products in the precision that `torch.autocast` gives the products.

    Sums within an operation, as in the normalization of a layer, stay float32.
    """

    def narrow(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if not (layer.training and torch.is_autocast_enabled("cpu")):
            return inputs
        states, *others = inputs
        return states.to(torch.get_autocast_dtype("cpu")), *others

    layers = [module for module in model.modules() if isinstance(module, EncoderLayer)]
    hooks = [layer.register_forward_pre_hook(narrow) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _touched_rows(embedding: nn.Embedding) -> Iterator[None]:
    """Write the gradient of an embedding (V, H) only in the rows of the tokens of a batch.

    The optimizer still gets a dense gradient, but one matrix serves the whole training: the rows of a batch are added
    to it, and those of the previous step are set to zero.
    """
    weight = embedding.weight
    dense = torch.zeros_like(weight)  # (V, H)
    read: list[torch.Tensor] = []  # token ids since the last backward pass, (B, T) each
    written: list[torch.Tensor] = []  # token ids whose rows in `dense` may not be zero

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            read.append(inputs[0])

    def prepare(new: torch.Tensor) -> torch.Tensor:
        if not new.is_sparse:
            return new  # the model also reads the matrix elsewhere, so all of it has a gradient
        if weight.grad is None:  # the first batch of a step
            for ids in written:
                dense.index_fill_(0, ids.flatten(), 0.0)
            written.clear()
            weight.grad = dense
        written.extend(read)
        read.clear()
        return new  # autograd adds its rows to the dense gradient

    hooks = embedding.register_forward_pre_hook(note), weight.register_hook(prepare)
    embedding.sparse = True
    try:
        yield
    finally:
        embedding.sparse = False
        for hook in hooks:
            hook.remove()
