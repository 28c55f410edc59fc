# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""BERT's encoder, computed only where it is read, and with label tokens that need not be part of the text.

Shapes: B batch, T tokens, Q tokens that are computed, S labels that are scored, h heads, H hidden size.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import BertModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import BertLayer, eager_attention_forward

from .configuration_multilabel import MultiLabelConfig
from .errors import MultiLabelError

# How many label tokens of a batch go through the layers together: enough to keep the matrix products busy, and so few
# that their states stay near the processor, however many labels there are.
LABEL_TOKENS_AT_ONCE = 4096


class MultiLabelLayer(BertLayer):
    """A `BertLayer` that can compute other tokens than those it reads; its parameters are BERT's."""

    def forward(  # type: ignore[override]  # what a decoder reads is not for us
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        context: torch.Tensor | None = None,
        isolated: bool = False,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Compute the next states of some tokens.

        Args:
            hidden_states: (B, Q, H); also (1, Q, H) where `isolated` tokens are the same in every row.
            attention_mask: What may be read, as `create_bidirectional_mask` makes it; None: everything. For `isolated`
                tokens (B, 1, 1, T), bool.
            context: (B, T, H), what the tokens read; None: each other, as in BERT.
            isolated: Each token also reads itself, beside the context.
            **kwargs: For `BertLayer`, where there is no context.

        Returns:
            (B, Q, H).
        """
        if context is None:
            states: torch.Tensor = super().forward(hidden_states, attention_mask, **kwargs)
            return states
        mix = self._mix_isolated if isolated else self._mix
        attended = self.attention.output(mix(hidden_states, context, attention_mask), hidden_states)  # (B, Q, H)
        answer: torch.Tensor = self.feed_forward_chunk(attended)  # (B, Q, H)
        return answer

    def with_weights(self, states: torch.Tensor, attention_mask: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute the next states of all tokens, (B, T, H), and also give the attention weights, (B, h, T, T)."""
        attended, weights = self.attention(states, attention_mask)
        return self.feed_forward_chunk(attended), weights

    def _mix(self, states: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        attention = self.attention.self
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(attention.config._attn_implementation, eager_attention_forward)
        mixed, _ = attend(
            attention,
            self._heads(attention.query(states)),
            self._heads(attention.key(context)),
            self._heads(attention.value(context)),
            # The same may be read from every token, so one row of the mask says it for all.
            None if mask is None else mask[:, :, :1].expand(-1, -1, states.size(1), -1),  # (B, 1, Q, T)
            dropout=attention.dropout.p if self.training else 0.0,
            scaling=attention.scaling,
        )  # (B, Q, h, H / h)
        answer: torch.Tensor = mixed.flatten(2)  # (B, Q, H)
        return answer

    def _mix_isolated(self, states: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        attention = self.attention.self
        query, own_key, own_value = (
            self._heads(project(states)) for project in (attention.query, attention.key, attention.value)
        )  # (B, h, Q, H / h) each, or (1, h, Q, H / h)
        key, value = self._heads(attention.key(context)), self._heads(attention.value(context))  # (B, h, T, H / h)
        mixed = isolated_attention(
            query, key, value, own_key, own_value, mask, attention.scaling, attention.dropout
        )  # (B, h, Q, H / h)
        answer: torch.Tensor = mixed.transpose(1, 2).flatten(2)  # (B, Q, H)
        return answer

    def _heads(self, vectors: torch.Tensor) -> torch.Tensor:
        size: int = self.attention.self.attention_head_size
        heads: torch.Tensor = vectors.unflatten(-1, (-1, size)).transpose(1, 2)  # (B, T, H) -> (B, h, T, H / h)
        return heads


def isolated_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    own_key: torch.Tensor,
    own_value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    dropout: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Attention of tokens that read a context and themselves, but not each other.

    Args:
        query: (B, h, Q, H / h), or (1, h, Q, H / h) where the tokens are the same in every row.
        key: (B, h, T, H / h), of the context.
        value: (B, h, T, H / h), of the context.
        own_key: As `query`.
        own_value: As `query`.
        mask: (B, 1, 1, T), bool, what may be read of the context; None: everything.
        scaling: What the scores are multiplied with.
        dropout: Applied to the attention weights.

    Returns:
        (B, h, Q, H / h).
    """
    scores = query @ key.transpose(2, 3)  # (B, h, Q, T)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    own_scores = (query * own_key).sum(-1, keepdim=True).expand(scores.size(0), -1, -1, -1)  # (B, h, Q, 1)
    scores = torch.cat([scores, own_scores.to(scores.dtype)], dim=-1) * scaling  # (B, h, Q, T + 1)
    weights = scores.softmax(-1)  # (B, h, Q, T + 1)
    if dropout is not None:
        weights = dropout(weights)
    weights = weights.to(value.dtype)
    return weights[..., :-1] @ value + weights[..., -1:] * own_value


class MultiLabelBert(BertModel):
    """A `BertModel` without pooler that can spare what nobody reads; its parameters are BERT's."""

    config: MultiLabelConfig
    _no_split_modules = ["BertEmbeddings", "MultiLabelLayer"]

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        layers = (MultiLabelLayer(config, layer_idx=index) for index in range(config.num_hidden_layers))
        self.encoder.layer = nn.ModuleList(layers)
        self.post_init()

    def read(
        self, pick: Callable[[torch.Tensor], torch.Tensor], attention_mask: torch.Tensor | None, **inputs: Any
    ) -> torch.Tensor:
        """Encode tokens and take some of their states; the last layer computes no others.

        Args:
            pick: Takes the wanted states, (B, T, H) to (B, Q, H).
            attention_mask: (B, T), 1 at tokens.
            **inputs: For BERT's embeddings.

        Returns:
            `pick(last_hidden_state)`, (B, Q, H).
        """
        states = self._embed(**inputs)  # (B, T, H)
        mask = create_bidirectional_mask(self.config, states, attention_mask)
        return self._read(list(self.encoder.layer), states, mask, pick)

    def read_labels(
        self, starts: torch.Tensor, attention_mask: torch.Tensor | None, **inputs: Any
    ) -> Iterator[torch.Tensor]:
        """Encode texts, let the label tokens join where the configuration says, and take the labels' states.

        Args:
            starts: (1, S, H), or (B, S, H) where the labels differ between rows: the states with which they join.
            attention_mask: (B, T), 1 at the tokens of the text.
            **inputs: For BERT's embeddings; they hold the text alone.

        Yields:
            The labels' last states in order, (B, S', H) with the S' adding up to S.
        """
        states = self._embed(**inputs)  # (B, T, H)
        mask = create_bidirectional_mask(self.config, states, attention_mask)
        early, late = self._early_and_late()
        for layer in early:
            states = layer(states, mask)
        if self.config.label_attention == "full":
            tokens = states.size(1)
            states, mask = self._join(states, starts, attention_mask)  # (B, T + S, H)
            yield self._read(late, states, mask, lambda joined: joined[:, tokens:])
            return
        contexts = [states]
        for layer in late[:-1]:
            contexts.append(layer(contexts[-1], mask))
        readable = None if attention_mask is None else attention_mask[:, None, None, :].bool()  # (B, 1, 1, T)
        at_once = max(1, LABEL_TOKENS_AT_ONCE // states.size(0))
        # A compiled graph serves batches of any size, so it cannot divide labels by it.
        chunks = (starts,) if torch.compiler.is_compiling() else starts.split(at_once, dim=1)
        for labels in chunks:  # (1, S', H)
            for layer, context in zip(late, contexts, strict=True):
                labels = layer(labels, readable, context, isolated=True)  # (B, S', H)
            yield labels

    def encode_labels(
        self, starts: torch.Tensor, attention_mask: torch.Tensor | None, **inputs: Any
    ) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
        """Do what `read_labels` does, layer by layer over the whole sequence, and keep all states and attentions.

        Isolation is a mask of (T + S) by (T + S) here: this is for looking inside, not for speed.

        Args:
            starts: As for `read_labels`.
            attention_mask: As for `read_labels`.
            **inputs: As for `read_labels`.

        Returns:
            Hidden states, one more than layers, each (B, T + S, H): the text, then the labels, which stay as they
            start until they join. Attentions of each layer, (B, h, T, T) before the labels join and then
            (B, h, T + S, T + S); None where the attention implementation gives no weights.
        """
        states = self._embed(**inputs)  # (B, T, H)
        mask = create_bidirectional_mask(self.config, states, attention_mask)
        waiting = starts.expand(states.size(0), -1, -1)  # (B, S, H)
        early, late = self._early_and_late()
        hidden_states, attentions = [torch.cat([states, waiting], dim=1)], []
        for layer in early:
            states, weights = layer.with_weights(states, mask)
            hidden_states.append(torch.cat([states, waiting], dim=1))  # (B, T + S, H)
            attentions.append(weights)
        states, mask = self._join(states, starts, attention_mask)  # (B, T + S, H)
        for layer in late:
            states, weights = layer.with_weights(states, mask)
            hidden_states.append(states)
            attentions.append(weights)
        return hidden_states, attentions

    def _embed(self, **inputs: Any) -> torch.Tensor:
        if (inputs["input_ids"] is None) == (inputs["inputs_embeds"] is None):
            raise MultiLabelError("give exactly one of input_ids and inputs_embeds")
        states: torch.Tensor = self.embeddings(**inputs)
        return states

    def _early_and_late(self) -> tuple[list[Any], list[Any]]:
        """Return the layers without and with label tokens."""
        layers = list(self.encoder.layer)
        first = len(layers) - (self.config.label_layers or len(layers))
        return layers[:first], layers[first:]

    def _join(
        self, states: torch.Tensor, starts: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, Any]:
        """Put the labels behind the text: states (B, T + S, H) and the mask of who may read whom."""
        tokens = states.size(1)
        joined = torch.cat([states, starts.expand(states.size(0), -1, -1)], dim=1)  # (B, T + S, H)
        if attention_mask is not None:
            attention_mask = nn.functional.pad(attention_mask, (0, starts.size(1)), value=1)  # (B, T + S)
        isolation = None
        if self.config.label_attention == "isolated":

            def isolation(batch: Any, head: Any, reading: Any, read: Any) -> Any:
                return (read < tokens) | (read == reading)

        return joined, create_bidirectional_mask(self.config, joined, attention_mask, and_mask_function=isolation)

    def _read(
        self, layers: list[Any], states: torch.Tensor, mask: Any, pick: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        for layer in layers[:-1]:
            states = layer(states, mask)
        last = layers[-1]
        # Other masks belong to attention functions that answer for all tokens only.
        if mask is None or (isinstance(mask, torch.Tensor) and mask.dim() == 4):
            answer: torch.Tensor = last(pick(states), mask, states)  # (B, Q, H)
            return answer
        return pick(last(states, mask))  # (B, Q, H)
