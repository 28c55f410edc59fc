"""Makes the `config.json` that other tools read: that of a stock `BertForSequenceClassification`.

It names the labels, and under `DECISION_KEY` what decides on their probabilities, which no other tool reads. The
temperatures are not among it: an export divides the logits by them.
"""

from dataclasses import fields
from typing import Any

import torch
from transformers import BertConfig

from bert_multilabel.backbones import DECISION_FIELDS, DECISION_KEY
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

STOCK_CLASS = "BertForSequenceClassification"
# What says how a model was saved and called, not what it is.
_NOT_OF_THE_MODEL = ("transformers_version", "output_hidden_states", "return_dict")


def stock_config(config: MultiLabelConfig, threshold: float | None = None) -> BertConfig:
    """Return the configuration of the stock classifier that has a model's logits, divided by its temperatures.

    Args:
        config: Of a model with any strategy; with label tokens only an ONNX graph computes its logits.
        threshold: Store this in place of the model's own thresholds, which are then folded into the logits.

    Returns:
        The configuration, with all decisions of the model in the attribute `DECISION_KEY`, a dictionary.
    """
    stored = {name: getattr(config, name) for name in DECISION_FIELDS}
    if threshold is not None:
        stored["threshold"] = threshold
    names = [field.name for field in fields(BertConfig) if field.name not in _NOT_OF_THE_MODEL]
    kept = {name: getattr(config, name) for name in names}
    # A reader in another language may want numbers where Transformers takes None. Padding is masked, whatever its id.
    padding = config.pad_token_id or 0
    own: dict[str, Any] = {"architectures": [STOCK_CLASS], "dtype": torch.float32, DECISION_KEY: stored}
    return BertConfig(**{**kept, **own, "pad_token_id": padding, "position_embedding_type": "absolute"})
