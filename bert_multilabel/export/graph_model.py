"""A model as its ONNX graph computes it, for clients that know only what a stock tokenizer makes of a text.

Shapes: B batch, T tokens, L labels.
"""

import torch
from torch import nn

from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.positions import unpadded_positions


class GraphModel(nn.Module):
    """Takes texts without label tokens, and returns calibrated logits.

    - Where the label tokens are part of the text, it adds them itself: behind all other tokens, with the positions
      that they have before the last separator, because attention does not depend on the order of tokens.
    - It divides the logits by the temperatures.
    - It cuts texts at the limit, and ends each with a separator, because not all clients do: infinity does not cut
      texts, and transformers.js cuts off their ends together with the separator.

    Args:
        model: A model in evaluation mode that records nothing.
        separator_id: The last token of each input.
        max_length: The limit in tokens, label tokens not among them.
    """

    temperature: torch.Tensor  # (L,)
    label_ids: torch.Tensor  # (L,)

    def __init__(self, model: MultiLabelPreTrainedModel, separator_id: int, max_length: int) -> None:
        super().__init__()
        config = model.config
        self.model, self.separator_id, self.max_length = model, separator_id, max_length
        self.adds_label_tokens = config.strategy == "label_tokens" and not config.encodes_text_separately
        temperature = torch.tensor(config.temperature, dtype=torch.float32)  # () or (L,)
        self.register_buffer("temperature", temperature.expand(len(config.label_names)))
        self.register_buffer("label_ids", torch.tensor(config.label_token_ids or [], dtype=torch.int64))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Score all labels of every text.

        Args:
            input_ids: (B, T), int64, with special tokens but without label tokens.
            attention_mask: (B, T), int64, 1 at tokens, 0 at padding on either side.
            token_type_ids: (B, T), int64.

        Returns:
            (B, L), float32, the logits divided by the temperatures.
        """
        positions = unpadded_positions(attention_mask)  # (B, T)
        mask = attention_mask * (positions < self.max_length)  # (B, T)
        places = torch.arange(1, mask.size(1) + 1, device=mask.device)  # (T,)
        is_last = places == (places * mask).amax(dim=1, keepdim=True)  # (B, T)
        inputs = {
            "input_ids": torch.where(is_last, self.separator_id, input_ids),
            "attention_mask": mask,
            "token_type_ids": token_type_ids,
            "position_ids": positions.clamp(max=self.max_length - 1),
        }
        if self.adds_label_tokens:
            inputs = self._with_label_tokens(inputs, is_last)
        logits: torch.Tensor = self.model(**inputs).logits  # (B, L)
        return logits / self.temperature

    def _with_label_tokens(self, inputs: dict[str, torch.Tensor], is_last: torch.Tensor) -> dict[str, torch.Tensor]:
        """Append the label tokens to the inputs, (B, T) each, whose last token `is_last` (B, T) marks."""
        count = self.label_ids.size(0)

        def of_last(values: torch.Tensor) -> torch.Tensor:
            return (values * is_last).sum(dim=1, keepdim=True).expand(-1, count)  # (B, T) -> (B, L)

        positions = inputs["position_ids"]
        label_positions = of_last(positions) + torch.arange(count, device=positions.device)  # from the separator's on
        ones = torch.ones_like(label_positions)  # (B, L)
        added = {
            "input_ids": self.label_ids * ones,
            "attention_mask": ones,
            "token_type_ids": of_last(inputs["token_type_ids"]),
            "position_ids": label_positions,
            "label_mask": ones,
        }
        own = {
            **inputs,
            "position_ids": torch.where(is_last, positions + count, positions),
            "label_mask": torch.zeros_like(positions),
        }
        return {name: torch.cat([own[name], added[name]], dim=1) for name in added}  # (B, T + L) each
