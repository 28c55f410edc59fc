# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""BERT's encoder, whose last layer computes only the states that are used, and which can add label tokens to a text.

Shapes: B batch, T tokens, Q tokens that are computed, S labels that are scored, h heads, H hidden size.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import nn
from transformers import BertPreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.bert.modeling_bert import BertEmbeddings

from .configuration_multilabel import MultiLabelConfig
from .errors import MultiLabelError
from .layer import EncoderLayer

# How many label tokens of a batch go through the layers together: enough to keep the matrix products busy, and few
# enough that their states stay in the processor's cache, however many labels there are.
LABEL_TOKENS_AT_ONCE = 4096


class MultiLabelBert(BertPreTrainedModel):
    """BERT without pooler; its parameters have the names and shapes of `BertModel`."""

    config: MultiLabelConfig
    _no_split_modules = ["BertEmbeddings", "EncoderLayer"]

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config)
        layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings, as `resize_token_embeddings` does."""
        self.embeddings.word_embeddings = cast(nn.Embedding, value)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutput:
        """Encode tokens and keep all states.

        Args:
            input_ids: (B, T) token ids, or else `inputs_embeds`.
            attention_mask: (B, T), 1 at tokens; or (B, 1, T, T), which tokens each token reads.
            token_type_ids: (B, T) segment ids; 0 by default.
            position_ids: (B, T); 0 to T - 1 by default.
            inputs_embeds: (B, T, H) in place of `input_ids`.
            output_attentions: Return the attention weights of every layer, (B, h, T, T).
            output_hidden_states: Return the input of the first layer and the output of every layer, (B, T, H).

        Returns:
            `last_hidden_state` (B, T, H), and what was asked for.

        Raises:
            MultiLabelError: If not exactly one of `input_ids` and `inputs_embeds` is given.
        """
        states = self._embed(input_ids, token_type_ids, position_ids, inputs_embeds)  # (B, T, H)
        hidden_states, attentions = self._run(self._layers, states, self._mask(states, attention_mask))
        return BaseModelOutput(
            last_hidden_state=hidden_states[-1],
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=cast(Any, tuple(attentions)) if output_attentions else None,
        )

    def encode_selected(
        self,
        select: Callable[[torch.Tensor], torch.Tensor],
        attention_mask: torch.Tensor | None,
        **inputs: torch.Tensor | None,
    ) -> torch.Tensor:
        """Encode tokens and return some of their states; the last layer computes no others.

        Args:
            select: Takes the wanted states, (B, T, H) to (B, Q, H).
            attention_mask: (B, T), 1 at tokens.
            **inputs: The other inputs of `forward`.

        Returns:
            `select(last_hidden_state)`, (B, Q, H).
        """
        states = self._embed(**inputs)  # (B, T, H)
        return self._run_selected(self._layers, states, self._mask(states, attention_mask), select)

    def encode_labels(
        self, label_inputs: torch.Tensor, attention_mask: torch.Tensor | None, **inputs: torch.Tensor | None
    ) -> Iterator[torch.Tensor]:
        """Encode texts, add the label tokens at the layer that the configuration names, and return their states.

        Args:
            label_inputs: (1, S, H), or (B, S, H) where the labels differ between texts: the labels' states before
                their first layer.
            attention_mask: (B, T), 1 at the tokens of the text.
            **inputs: The other inputs of `forward`, for the text alone.

        Yields:
            The labels' last states in order, (B, S', H), where the S' add up to S.
        """
        states = self._embed(**inputs)  # (B, T, H)
        mask = self._mask(states, attention_mask)
        early, late = self._split_layers()
        for layer in early:
            states, _ = layer(states, mask)
        if self.config.label_attention == "full":
            tokens = states.size(1)
            states, mask = self._append_labels(states, label_inputs, attention_mask)  # (B, T + S, H)
            yield self._run_selected(late, states, mask, lambda joint: joint[:, tokens:])
            return
        contexts = [states]  # what the labels read in each of their layers
        for layer in late[:-1]:
            contexts.append(layer(contexts[-1], mask)[0])
        readable = None if attention_mask is None else attention_mask[:, None, None, :].bool()  # (B, 1, 1, T)
        at_once = max(1, LABEL_TOKENS_AT_ONCE // states.size(0))
        # A compiled graph serves any batch size, which therefore cannot decide on the number of chunks.
        chunks = (label_inputs,) if torch.compiler.is_compiling() else label_inputs.split(at_once, dim=1)
        for labels in chunks:  # (1 or B, S', H)
            for layer, context in zip(late, contexts, strict=True):
                labels, _ = layer(labels, readable, context, True)  # (B, S', H)
            yield labels

    def record_labels(
        self, label_inputs: torch.Tensor, attention_mask: torch.Tensor | None, **inputs: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
        """Compute what `encode_labels` does, over text and labels as one sequence, and keep all states and attentions.

        Isolated labels need a mask of (T + S) by (T + S) here: this is for inspection, not for speed.

        Args:
            label_inputs: As for `encode_labels`.
            attention_mask: As for `encode_labels`.
            **inputs: As for `encode_labels`.

        Returns:
            Hidden states, one more than layers, each (B, T + S, H): the text, then the labels, whose states are
            `label_inputs` until their first layer. Attentions of each layer, (B, h, T, T) without labels and
            (B, h, T + S, T + S) with them.
        """
        states = self._embed(**inputs)  # (B, T, H)
        waiting = label_inputs.expand(states.size(0), -1, -1)  # (B, S, H)
        early, late = self._split_layers()
        of_text, attentions = self._run(early, states, self._mask(states, attention_mask))
        states, mask = self._append_labels(of_text[-1], label_inputs, attention_mask)  # (B, T + S, H)
        of_both, late_attentions = self._run(late, states, mask)
        hidden_states = [torch.cat([states, waiting], dim=1) for states in of_text[:-1]] + of_both
        return hidden_states, attentions + late_attentions

    @property
    def _layers(self) -> list[EncoderLayer]:
        return list(cast(Any, self.encoder["layer"]))

    def _split_layers(self) -> tuple[list[EncoderLayer], list[EncoderLayer]]:
        """Return the layers without and with label tokens."""
        layers = self._layers
        first = len(layers) - (self.config.label_layers or len(layers))
        return layers[:first], layers[first:]

    def _embed(
        self,
        input_ids: torch.Tensor | None,
        token_type_ids: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
    ) -> torch.Tensor:
        if (input_ids is None) == (inputs_embeds is None):
            raise MultiLabelError("give exactly one of input_ids and inputs_embeds")
        states: torch.Tensor = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        return states

    def _mask(self, states: torch.Tensor, attention_mask: torch.Tensor | None) -> Any:
        """Make the mask for the attention implementation of the configuration."""
        mask = create_bidirectional_mask(self.config, states, attention_mask)
        if (
            isinstance(mask, torch.Tensor)
            and mask.dim() == 4
            and attention_mask is not None
            and attention_mask.dim() == 2
        ):
            # Every token reads the same tokens, so one row of the mask serves all.
            return mask[:, :, :1]  # (B, 1, T, T) -> (B, 1, 1, T)
        return mask

    def _append_labels(
        self, states: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, Any]:
        """Put labels (1 or B, S, H) behind the text: states (B, T + S, H), and the mask of which token reads which."""
        tokens = states.size(1)
        joint = torch.cat([states, labels.expand(states.size(0), -1, -1)], dim=1)  # (B, T + S, H)
        if attention_mask is not None:
            attention_mask = nn.functional.pad(attention_mask, (0, labels.size(1)), value=1)  # (B, T + S)
        if self.config.label_attention == "full":
            return joint, self._mask(joint, attention_mask)

        def isolation(batch: Any, head: Any, reading: Any, read: Any) -> Any:
            return (read < tokens) | (read == reading)

        return joint, create_bidirectional_mask(self.config, joint, attention_mask, and_mask_function=isolation)

    def _run(
        self, layers: list[EncoderLayer], states: torch.Tensor, mask: Any
    ) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
        """Return the states (B, T, H) before the first layer and after each, and each layer's attention weights."""
        hidden_states, attentions = [states], []
        for layer in layers:
            states, weights = layer(hidden_states[-1], mask)
            hidden_states.append(states)
            attentions.append(weights)
        return hidden_states, attentions

    def _run_selected(
        self,
        layers: list[EncoderLayer],
        states: torch.Tensor,
        mask: Any,
        select: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Return selected states (B, Q, H) after all layers."""
        for layer in layers[:-1]:
            states, _ = layer(states, mask)
        # Flash attention's mask, (B, T), and flex attention's serve only tokens that read each other.
        if mask is None or (isinstance(mask, torch.Tensor) and mask.dim() == 4):
            selected, _ = layers[-1](select(states), mask, states)  # (B, Q, H)
        else:
            selected = select(layers[-1](states, mask)[0])  # (B, Q, H)
        return cast(torch.Tensor, selected)
