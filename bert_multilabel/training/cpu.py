"""What makes training on a CPU faster without changing what is learnt: the same sums, up to rounding.

Of a stock training step of a small BERT, less than half is matrix work. Most of the rest is a random number for every
value that may be dropped, and a gradient for every row of the word embeddings though a batch touches few of them. On a
GPU both are cheap, so nothing is replaced there.

Shapes: B batch, T tokens, Q tokens that read, h heads, V vocabulary, H hidden size.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

_ATTENTION = "bert_multilabel_training"


@contextmanager
def cpu_training(model: PreTrainedModel, is_alone: bool = True) -> Iterator[None]:
    """Train a BERT within this context and it is faster: same optimizer, same gradients, but other random numbers.

    Args:
        model: On a CPU.
        is_alone: Whether it is trained in this process alone. What adds up the gradients of several takes them dense.
    """
    with ExitStack() as stack:
        stack.enter_context(_cheap_dropout(model))
        embedding = model.get_input_embeddings()
        # PEFT's own module, of which only some rows are trained, has no gradient of all rows.
        if is_alone and isinstance(embedding, nn.Embedding) and embedding.weight.requires_grad:
            stack.enter_context(_touched_rows(embedding))
        yield


class CheapDropout(nn.Dropout):
    """A `Dropout` that draws 16 random bits per value instead of a random float."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Zero values with probability `p`, rounded to 1 / 65,536, and scale up the others."""
        return cheap_dropout(input, self.p) if self.training else input


def cheap_dropout(values: torch.Tensor, p: float) -> torch.Tensor:
    """Zero values with probability `p`, rounded to 1 / 65,536, and scale up the others: any shape to the same."""
    dropped = round(p * 65_536)
    if dropped in (0, 65_536):
        return nn.functional.dropout(values, p)
    count = values.numel()
    # One draw of the global generator serves four values.
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    kept = (bits >= dropped - 32_768).view(values.shape)
    # With both alternatives in the values' own type, the factors come in one pass and are multiplied in another.
    scale, zero = (torch.tensor(factor, dtype=values.dtype) for factor in (65_536 / (65_536 - dropped), 0.0))
    return values * torch.where(kept, scale, zero)


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
    """Attention as "sdpa" computes it, with cheap dropout where it is trained.

    Args:
        module: The attention module; "sdpa" reads its `is_causal`.
        query: (B, h, Q, H / h).
        key: (B, h, T, H / h).
        value: (B, h, T, H / h).
        attention_mask: (B, 1, Q, T), what may be read, bool or to be added to the scores; None: everything.
        dropout: Probability of dropping an attention weight.
        scaling: What the scores are multiplied with; by default one by the square root of H / h.
        **kwargs: Passed on.

    Returns:
        (B, Q, h, H / h), and no attention weights.
    """
    # Where gradients are off but there is dropout, a checkpointed layer will be computed again with the same numbers.
    if not dropout and not torch.is_grad_enabled():
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
    weights = cheap_dropout(scores.softmax(dim=-1), dropout)  # (B, h, Q, T)
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None  # (B, Q, h, H / h)


AttentionInterface.register(_ATTENTION, attention_forward)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)


@contextmanager
def _cheap_dropout(model: PreTrainedModel) -> Iterator[None]:
    dropouts = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Dropout
    ]
    attention = model.config._attn_implementation
    try:
        for parent, name, child in dropouts:
            setattr(parent, name, CheapDropout(child.p).train(child.training))
        if attention == "sdpa":
            model.set_attn_implementation(_ATTENTION)
        yield
    finally:
        if attention == "sdpa":
            model.set_attn_implementation(attention)
        for parent, name, child in dropouts:
            setattr(parent, name, child.train(getattr(parent, name).training))


@contextmanager
def _touched_rows(embedding: nn.Embedding) -> Iterator[None]:
    """Let the gradient of an embedding (V, H) be written only where a batch touches it.

    The optimizer still sees a dense gradient, the same as ever, but it is one matrix for the whole training: new rows
    are added to it, and those of the step before are set to zero. Otherwise every step makes V rows of zeros.
    """
    weight = embedding.weight
    dense = torch.zeros_like(weight)  # (V, H)
    touched: list[torch.Tensor] = []

    def prepare(new: torch.Tensor) -> torch.Tensor:
        if not new.is_sparse:
            return new  # the model reads the matrix elsewhere, too, so all of it has a gradient
        if weight.grad is None:  # the first batch of a step
            for rows in touched:
                dense.index_fill_(0, rows, 0.0)
            touched.clear()
            weight.grad = dense
        touched.append(new._indices()[0])
        return new  # autograd adds the few rows of this batch to the dense gradient

    hook = weight.register_hook(prepare)
    embedding.sparse = True
    try:
        yield
    finally:
        embedding.sparse = False
        hook.remove()
