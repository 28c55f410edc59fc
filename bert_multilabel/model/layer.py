# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""One layer of BERT's encoder, which can also compute fewer tokens than it reads; its parameters have BERT's names.

Shapes: B batch, T tokens, Q tokens that are computed, h heads, H hidden size.
"""

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_multilabel import MultiLabelConfig
from .errors import MultiLabelError


class EncoderLayer(GradientCheckpointingLayer):
    """Attention and a feed-forward network, each added to its input and normalized, as in BERT.

    Args:
        config: Gives the sizes, the activation, the dropout and the attention implementation.
    """

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__()
        attention = {"self": SelfAttention(config), "output": ResidualOutput(config, config.hidden_size)}
        self.attention = nn.ModuleDict(attention)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = ResidualOutput(config, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(
        self,
        states: torch.Tensor,
        mask: Any = None,
        context: torch.Tensor | None = None,
        isolated: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute the next states of some tokens.

        Args:
            states: (B, Q, H); also (1, Q, H) for `isolated` tokens that are the same for every text.
            mask: What the tokens may read, as `create_bidirectional_mask` makes it for the attention implementation;
                None: everything. For `isolated` tokens (B, 1, 1, T), bool.
            context: (B, T, H), the states that the tokens read; by default their own, T = Q.
            isolated: Each token reads the context and itself, but no other token.

        Returns:
            The next states, (B, Q, H), and the attention weights, (B, h, Q, T); None for `isolated` tokens and where
            the attention implementation returns none.
        """
        mixed, weights = self.attention["self"](states, mask, context, isolated)  # (B, Q, H)
        attended = self.attention["output"](mixed, states)  # (B, Q, H)
        inner = self.activation(self.intermediate["dense"](attended))
        return self.output(inner, attended), weights


class SelfAttention(nn.Module):
    """Multi-head attention of tokens that read each other, or a context."""

    is_causal = False  # attention functions of Transformers ask for it

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__()
        if config.hidden_size % config.num_attention_heads:
            raise MultiLabelError(
                f"hidden_size {config.hidden_size} is not a multiple of num_attention_heads "
                f"{config.num_attention_heads}"
            )
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(
        self, states: torch.Tensor, mask: Any, context: torch.Tensor | None, isolated: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mix the values of what each token reads; arguments and results as for `EncoderLayer`."""
        read = states if context is None else context
        query = self._heads(self.query(states))  # (B, h, Q, H / h)
        key, value = self._heads(self.key(read)), self._heads(self.value(read))  # (B, h, T, H / h)
        if isolated:
            own_key, own_value = self._heads(self.key(states)), self._heads(self.value(states))  # (B, h, Q, H / h)
            mixed = self._mix_isolated(query, key, value, own_key, own_value, mask)  # (B, h, Q, H / h)
            return mixed.transpose(1, 2).flatten(2), None
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        dropout = self.dropout.p if self.training else 0.0
        mixed, weights = attend(self, query, key, value, mask, dropout=dropout, scaling=self.head_size**-0.5)
        return mixed.flatten(2), weights  # (B, Q, h, H / h) -> (B, Q, H)

    def _heads(self, vectors: torch.Tensor) -> torch.Tensor:
        heads: torch.Tensor = vectors.unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        return heads  # (B, T, H) -> (B, h, T, H / h)

    def _mix_isolated(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        own_key: torch.Tensor,
        own_value: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        query = query * self.head_size**-0.5
        scores = query @ key.transpose(2, 3)  # (B, h, Q, T)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        own_scores = (query * own_key).sum(-1, keepdim=True).expand(scores.size(0), -1, -1, -1)  # (B, h, Q, 1)
        scores = torch.cat([scores, own_scores.to(scores.dtype)], dim=-1)  # (B, h, Q, T + 1)
        # In float32 as elsewhere in Transformers, which is also faster on a CPU.
        weights = self.dropout(scores.softmax(-1, dtype=torch.float32).to(value.dtype))  # (B, h, Q, T + 1)
        mixed: torch.Tensor = weights[..., :-1] @ value + weights[..., -1:] * own_value  # (B, h, Q, H / h)
        return mixed


class ResidualOutput(nn.Module):
    """Linear and dropout, added to the input of the block and normalized."""

    def __init__(self, config: MultiLabelConfig, size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, vectors: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Map vectors (B, Q, size), and the input of the block (B, Q, H), to its output (B, Q, H)."""
        output: torch.Tensor = self.LayerNorm(self.dropout(self.dense(vectors)) + residual)
        return output


def eager_attention(
    module: SelfAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention that also returns its weights, in the form of Transformers' attention functions.

    Args:
        module: Its `dropout` is applied to the weights.
        query: (B, h, Q, H / h).
        key: (B, h, T, H / h).
        value: (B, h, T, H / h).
        mask: (B, 1, Q, T), added to the scores; None: every token may be read.
        dropout: Probability of dropping a weight, which the module knows.
        scaling: Factor of the scores.

    Returns:
        (B, Q, h, H / h), and the weights, (B, h, Q, T).
    """
    scores = query @ key.transpose(2, 3) * scaling  # (B, h, Q, T)
    if mask is not None:
        scores = scores + mask
    weights = module.dropout(scores.softmax(-1, dtype=torch.float32).to(value.dtype))  # (B, h, Q, T)
    return (weights @ value).transpose(1, 2), weights
