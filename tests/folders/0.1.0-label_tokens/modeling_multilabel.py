# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Multi-label BERT models: one skeleton, two strategies.

Shapes: B batch, T tokens, L labels, H hidden size.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_multilabel import MultiLabelConfig


class MultiLabelHead(nn.Module):
    """Dropout, dense, tanh, linear: vectors (..., H) to outputs (..., num_outputs)."""

    def __init__(self, config: MultiLabelConfig, num_outputs: int) -> None:
        super().__init__()
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Map vectors (..., H) to outputs (..., num_outputs)."""
        outputs: torch.Tensor = self.out_proj(torch.tanh(self.dense(self.dropout(states))))
        return outputs


class MultiLabelPreTrainedModel(BertPreTrainedModel):
    """What both strategies share: the encoder, the head, the loss and the output.

    A strategy adds its `forward`, which picks the vectors that the head reads.

    Args:
        config: Its strategy must be the one of the class.
        num_outputs: How many logits the head makes of one vector.

    Raises:
        ValueError: If the configuration asks for another strategy.
    """

    config: MultiLabelConfig
    config_class = MultiLabelConfig
    # The loss is a mean over what its batch annotates, so Trainer has to average over accumulated batches.
    accepts_loss_kwargs = False
    strategy: ClassVar[str]

    def __init__(self, config: MultiLabelConfig, num_outputs: int = 1) -> None:
        super().__init__(config)
        if config.strategy != self.strategy:
            raise ValueError(
                f"{type(self).__name__} is for strategy {self.strategy!r}, but the configuration says "
                f"{config.strategy!r}: use {MODEL_CLASSES[config.strategy].__name__}"
            )
        self.num_labels = len(config.label_names)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = MultiLabelHead(config, num_outputs)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, config: Any = None, **kwargs: Any) -> "MultiLabelPreTrainedModel":
        """Load a folder or a Hub repository; a configuration that is given decides on the class.

        Two folders of the same name share their code in one process. Once the Auto classes know it from a folder of
        one strategy, they offer that strategy's class for the other folder too.
        """
        model: MultiLabelPreTrainedModel = super(MultiLabelPreTrainedModel, cls._for(config)).from_pretrained(
            *args, config=config, **kwargs
        )
        return model

    @classmethod
    def _from_config(cls, config: MultiLabelConfig, **kwargs: Any) -> "MultiLabelPreTrainedModel":
        model: MultiLabelPreTrainedModel = super(MultiLabelPreTrainedModel, cls._for(config))._from_config(
            config, **kwargs
        )
        return model

    @classmethod
    def _for(cls, config: Any) -> "type[MultiLabelPreTrainedModel]":
        return MODEL_CLASSES.get(getattr(config, "strategy", ""), cls)

    def _encode(self, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None, **inputs: Any) -> Any:
        if position_ids is None and attention_mask is not None and attention_mask.dim() == 2:
            position_ids = unpadded_positions(attention_mask)  # (B, T)
        return self.bert(attention_mask=attention_mask, position_ids=position_ids, return_dict=True, **inputs)

    def _output(self, logits: torch.Tensor, labels: torch.Tensor | None, encoded: Any) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(
            loss=None if labels is None else multi_label_loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )


class BertForMultiLabelCLS(MultiLabelPreTrainedModel):
    """Classifies every label from the [CLS] vector.

    With the same weights and no dropout it equals stock BERT with its pooler and a linear classifier.
    """

    strategy = "cls"

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config, num_outputs=len(config.label_names))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Score all labels of every row.

        Args:
            input_ids: (B, T) token ids, or else `inputs_embeds`.
            attention_mask: (B, T), 1 at tokens, 0 at padding; padding may be on either side.
            token_type_ids: (B, T) segment ids.
            position_ids: (B, T); by default they count from the first token that is not padding.
            inputs_embeds: (B, T, H) in place of `input_ids`.
            labels: (B, L) multi-hot of any number type; NaN or -100 means "not annotated".
            output_attentions: Return the attention weights of every layer.
            output_hidden_states: Return the hidden states of every layer.

        Returns:
            `logits` (B, L), and with labels the mean `loss` over what is annotated.

        Raises:
            ValueError: If the labels do not fit the logits or are not numbers from 0 to 1.
        """
        encoded = self._encode(
            attention_mask,
            position_ids,
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        states = first_states(encoded.last_hidden_state, attention_mask)  # (B, H)
        logits = self.classifier(states)  # (B, L)
        return self._output(logits, labels, encoded)


class BertForMultiLabelLabelTokens(MultiLabelPreTrainedModel):
    """Classifies every label from the vector of its own label token, with one head shared by all labels."""

    strategy = "label_tokens"

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        label_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Score all labels of every row.

        Args:
            input_ids: (B, T) token ids, or else `inputs_embeds`.
            attention_mask: (B, T), 1 at tokens, 0 at padding; padding may be on either side.
            token_type_ids: (B, T) segment ids.
            position_ids: (B, T); by default they count from the first token that is not padding.
            inputs_embeds: (B, T, H) in place of `input_ids`; then `label_mask` must be given.
            label_mask: (B, T), 1 at exactly L label tokens of each row, which stand in label order; by default the
                places in `input_ids` that hold one of the configuration's `label_token_ids`.
            labels: (B, L) multi-hot of any number type; NaN or -100 means "not annotated".
            output_attentions: Return the attention weights of every layer.
            output_hidden_states: Return the hidden states of every layer.

        Returns:
            `logits` (B, L) in label order, and with labels the mean `loss` over what is annotated.

        Raises:
            ValueError: If a row does not mark exactly L tokens, if the mask is neither given nor derivable, or if
                the labels do not fit the logits or are not numbers from 0 to 1.
        """
        if label_mask is None:
            label_mask = self._find_label_tokens(input_ids)  # (B, T)
        check_label_mask(label_mask, self.num_labels)
        encoded = self._encode(
            attention_mask,
            position_ids,
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        label_states = gather_label_states(encoded.last_hidden_state, label_mask, self.num_labels)  # (B, L, H)
        logits = self.classifier(label_states).squeeze(-1)  # (B, L, 1) -> (B, L)
        return self._output(logits, labels, encoded)

    def _find_label_tokens(self, input_ids: torch.Tensor | None) -> torch.Tensor:
        if input_ids is None or self.config.label_token_ids is None:
            missing = "input_ids" if input_ids is None else "config.label_token_ids"
            raise ValueError(f"label_mask must be given where it cannot be derived: there are no {missing}")
        mask = torch.zeros_like(input_ids, dtype=torch.bool)  # (B, T)
        # Label tokens are registered together, so this is one comparison, not one per label, and needs no tensor.
        for first, last in _runs(self.config.label_token_ids):
            mask = mask | ((input_ids >= first) & (input_ids <= last))
        return mask


MODEL_CLASSES: dict[str, type[MultiLabelPreTrainedModel]] = {
    model_class.strategy: model_class for model_class in (BertForMultiLabelCLS, BertForMultiLabelLabelTokens)
}


def unpadded_positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Count positions from the first token that is attended, so that padding on the left changes nothing.

    Args:
        attention_mask: (B, T), 1 at tokens.

    Returns:
        Positions (B, T), int64.
    """
    padding_left = attention_mask.ne(0).int().argmax(dim=1, keepdim=True)  # (B, 1)
    positions = torch.arange(attention_mask.size(1), device=attention_mask.device)  # (T,)
    return (positions - padding_left).clamp(min=0)  # (B, T)


def first_states(hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Take the vector of each row's first token that is attended: (B, T, H) to (B, H)."""
    if attention_mask is None or attention_mask.dim() != 2:
        return hidden_states[:, 0]
    first = attention_mask.ne(0).int().argmax(dim=1)  # (B,)
    return hidden_states[torch.arange(hidden_states.size(0), device=first.device), first]


def gather_label_states(hidden_states: torch.Tensor, label_mask: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Collect the vectors of the marked tokens, row by row, in the order in which they stand.

    Equals `hidden_states.masked_select(label_mask[..., None]).view(B, L, H)` wherever each row marks L tokens, but
    its shapes do not depend on the mask, so no device has to wait for the host.

    Args:
        hidden_states: (B, T, H).
        label_mask: (B, T), nonzero at exactly L tokens of each row.
        num_labels: L.

    Returns:
        Label states (B, L, H).
    """
    marked = label_mask.ne(0)  # (B, T)
    rank = marked.long().cumsum(dim=1) - 1  # (B, T): the k-th marked token holds k, counted from 0
    # What is not marked goes to a spare slot behind the L wanted ones, and is dropped with it.
    slot = torch.where(marked, rank, num_labels).clamp(max=num_labels)  # (B, T)
    tokens = torch.arange(label_mask.size(1), device=label_mask.device).expand_as(slot)  # (B, T)
    positions = torch.zeros_like(slot[:, :1]).repeat(1, num_labels + 1).scatter(1, slot, tokens)  # (B, L + 1)
    index = positions[:, :num_labels, None].expand(-1, -1, hidden_states.size(-1))  # (B, L, H)
    return hidden_states.gather(1, index)  # (B, L, H)


def check_label_mask(label_mask: torch.Tensor, num_labels: int) -> None:
    """Refuse rows that do not mark exactly `num_labels` tokens: their vectors would mix up.

    On a CPU the bad row is named. On an accelerator that would make every step wait for the host, so there the
    check is an assertion on the device, and a compiled graph has none.

    Args:
        label_mask: (B, T), nonzero at label tokens.
        num_labels: How many each row has to mark.

    Raises:
        ValueError: On CPU, naming the first bad row.
    """
    if torch.compiler.is_compiling():
        return
    counts = label_mask.ne(0).sum(dim=1)  # (B,)
    right = counts == num_labels
    if label_mask.device.type != "cpu":
        torch._assert_async(right.all())
    elif not right.all():
        row = int(right.int().argmin())
        raise ValueError(
            f"label_mask must mark exactly {num_labels} tokens in every row, but row {row} marks {int(counts[row])}: "
            "tokenize with this model's own tokenizer"
        )


def multi_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy with logits, averaged over what is annotated.

    Args:
        logits: (B, L), any floating dtype; the loss is computed in float32.
        labels: (B, L), numbers from 0 to 1 of any dtype; NaN or -100 means "not annotated" and counts nowhere.

    Returns:
        The loss, float32, (); 0 if nothing is annotated.

    Raises:
        ValueError: If the shapes differ, or (on CPU) if a label is no number from 0 to 1.
    """
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels must be a multi-hot of shape {tuple(logits.shape)}, one column per label, got shape "
            f"{tuple(labels.shape)}"
        )
    labels = labels.to(logits.device, torch.float32)  # (B, L)
    annotated = ~labels.isnan() & (labels != -100)  # (B, L)
    targets = torch.where(annotated, labels, 0.0)  # (B, L)
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_targets(targets)
    loss: torch.Tensor = nn.BCEWithLogitsLoss(weight=annotated.float(), reduction="sum")(logits.float(), targets)
    return loss / annotated.sum().clamp(min=1)


def _check_targets(targets: torch.Tensor) -> None:
    valid = (targets >= 0) & (targets <= 1)  # (B, L)
    if not valid.all():
        row, column = (int(index) for index in (~valid).nonzero()[0])
        raise ValueError(
            f"labels must be numbers from 0 to 1 (or -100 or NaN for not annotated), but row {row}, label {column} "
            f"is {targets[row, column].item():g}"
        )


def _runs(ids: list[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers in `ids`."""
    runs: list[tuple[int, int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


for _model_class in MODEL_CLASSES.values():
    _model_class.register_for_auto_class("AutoModel")
