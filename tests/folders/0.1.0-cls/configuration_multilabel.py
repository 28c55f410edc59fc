# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a multi-label BERT: what rebuilds the network and turns its logits into labels, nothing else."""

import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.dataclasses import strict
from transformers import BertConfig

__version__ = "0.1.0"

# The model class of each strategy.
STRATEGIES = {"cls": "BertForMultiLabelCLS", "label_tokens": "BertForMultiLabelLabelTokens"}


@strict
class MultiLabelConfig(BertConfig):
    """A `BertConfig` that also knows its labels and how to decide on them.

    The dropout of the classification head is BERT's own `classifier_dropout` (None means `hidden_dropout_prob`).

    Args:
        label_names: Names of the L labels, in the order of the logits. They fill `id2label`, `label2id` and
            `num_labels`; given together with one of those, they must agree.
        strategy: `"cls"` classifies from the [CLS] vector, `"label_tokens"` from one vector per label token.
        label_token_ids: Vocabulary ids of the L label tokens, in label order; only with `"label_tokens"`.
        threshold: A label is given when its probability is at least this: one number, or one per label, in 0..1.
        temperature: Logits are divided by it before the sigmoid: one positive number, or one per label.
        min_labels: At least this many labels are given to every row, the most probable ones first.
        bert_multilabel_version: Version of these files that wrote the configuration; set when saving.

    Raises:
        ValueError: If one of the above is violated, at construction and again when saving.
    """

    model_type = "bert_multilabel"

    if TYPE_CHECKING:
        label_names: list[str] = []  # what is not given is filled in
    else:
        label_names: list[str] | None = None
    strategy: str = "cls"
    label_token_ids: list[int] | None = None
    threshold: float | int | list[float] = 0.5
    temperature: float | int | list[float] = 1.0
    min_labels: int = 0
    bert_multilabel_version: str = __version__

    def __post_init__(self, **kwargs: Any) -> None:
        self._set_labels(kwargs.pop("num_labels", None))
        if self.problem_type not in (None, "multi_label_classification"):
            raise ValueError(f"problem_type must be 'multi_label_classification', got {self.problem_type!r}")
        self.problem_type = "multi_label_classification"
        super().__post_init__(**kwargs)
        self._check()
        # Which class rebuilds the model is a matter of the strategy alone: so it is in every folder, loaded or saved.
        model_class = STRATEGIES[self.strategy]
        self.architectures = [model_class]
        self.auto_map = {
            "AutoConfig": "configuration_multilabel.MultiLabelConfig",
            "AutoModel": f"modeling_multilabel.{model_class}",
            "AutoModelForSequenceClassification": f"modeling_multilabel.{model_class}",
        }

    def validate_multilabel(self) -> None:
        """Check again what may have been assigned since construction; `save_pretrained` calls this."""
        self._check()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary, stamped with the version of the code that writes it."""
        return {**super().to_dict(), "bert_multilabel_version": __version__}

    def decide(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn logits into probabilities and labels: the one place where that happens.

        Args:
            logits: (B, L), any floating dtype.

        Returns:
            Probabilities (B, L), float32, after `temperature`; and decisions (B, L), bool, by `threshold` and
            `min_labels`.
        """
        temperature = torch.as_tensor(self.temperature, dtype=torch.float32, device=logits.device)  # () or (L,)
        threshold = torch.as_tensor(self.threshold, dtype=torch.float32, device=logits.device)  # () or (L,)
        scaled = logits.float() / temperature
        probabilities = scaled.sigmoid()
        decisions = probabilities >= threshold
        if self.min_labels:
            # By logit: saturated probabilities would tie.
            likeliest = scaled.topk(self.min_labels, dim=-1).indices  # (B, min_labels)
            lacking = decisions.sum(-1, keepdim=True) < self.min_labels  # (B, 1)
            decisions = decisions | (torch.zeros_like(decisions).scatter(-1, likeliest, True) & lacking)
        return probabilities, decisions

    def _set_labels(self, num_labels: int | None) -> None:
        """Bring `label_names`, `id2label`, `label2id` and `num_labels` to one truth, or refuse."""
        mapped = None
        if self.id2label is not None:
            # JSON turns the keys into strings.
            by_id = {int(index): name for index, name in self.id2label.items()}
            if sorted(by_id) != list(range(len(by_id))):
                raise ValueError(f"id2label must have the keys 0 to {len(by_id) - 1}, got {sorted(by_id)}")
            mapped = [by_id[index] for index in range(len(by_id))]
        if self.label_names is None:
            self.label_names = mapped or [f"LABEL_{index}" for index in range(2 if num_labels is None else num_labels)]
        self._check_names()
        if mapped is not None and mapped != self.label_names:
            raise ValueError(f"id2label names {mapped} but label_names are {self.label_names}: give one of the two")
        if num_labels is not None and num_labels != len(self.label_names):
            raise ValueError(f"num_labels is {num_labels} but there are {len(self.label_names)} label names")
        label2id = {name: index for index, name in enumerate(self.label_names)}
        if self.label2id is not None and self.label2id != label2id:
            raise ValueError(f"label2id is {self.label2id} but the order of label_names says {label2id}")
        self.id2label = dict(enumerate(self.label_names))
        self.label2id = label2id

    def _check(self) -> None:
        self._check_names()
        if self.id2label != dict(enumerate(self.label_names)):
            raise ValueError(
                f"num_labels or id2label was changed to {self.id2label} while label_names are {self.label_names}: "
                "make a new configuration for other labels"
            )
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(map(repr, STRATEGIES))}, got {self.strategy!r}")
        if self.label_token_ids is not None:
            self._check_label_token_ids(self.label_token_ids)
        self._check_per_label("threshold", lambda value: 0 <= value <= 1, "a number from 0 to 1")
        self._check_per_label("temperature", lambda value: 0 < value < math.inf, "a positive number")
        num_labels = len(self.label_names)
        if not 0 <= self.min_labels <= num_labels:
            raise ValueError(f"min_labels must be from 0 to the number of labels, {num_labels}, got {self.min_labels}")
        if _minor(self.bert_multilabel_version) > _minor(__version__):
            raise ValueError(
                f"this configuration was written by bert-multilabel {self.bert_multilabel_version}, newer than this "
                f"{__version__}: upgrade with `pip install -U bert-multilabel`"
            )

    def _check_names(self) -> None:
        if not self.label_names:
            raise ValueError("label_names is empty: a multi-label model needs at least one label")
        for index, name in enumerate(self.label_names):
            if not name.strip():
                raise ValueError(f"label_names[{index}] is {name!r}: every label needs a name that is not blank")
        repeated = [name for name, count in Counter(self.label_names).items() if count > 1]
        if repeated:
            raise ValueError(f"label_names repeats {repeated}: every label needs a name of its own")

    def _check_label_token_ids(self, ids: list[int]) -> None:
        if self.strategy != "label_tokens":
            raise ValueError(f"label_token_ids go with strategy 'label_tokens', but strategy is {self.strategy!r}")
        num_labels = len(self.label_names)
        if len(ids) != num_labels or len(set(ids)) != len(ids):
            raise ValueError(f"label_token_ids must be {num_labels} different ids, one per label, got {ids}")
        outside = [index for index in ids if not 0 <= index < self.vocab_size]
        if outside:
            raise ValueError(f"label_token_ids {outside} lie outside the vocabulary of {self.vocab_size}")

    def _check_per_label(self, field: str, holds: Callable[[float], bool], expected: str) -> None:
        value = getattr(self, field)
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and len(value) != len(self.label_names):
            raise ValueError(
                f"{field} lists {len(value)} values for {len(self.label_names)} labels: give one per label"
            )
        for index, number in enumerate(values):
            if not holds(number):
                where = f" for label {self.label_names[index]!r}" if isinstance(value, list) else ""
                raise ValueError(f"{field} must be {expected}, got {number}{where}")


def _minor(version: str) -> list[int]:
    """Major and minor number: patch versions of these files read each other's configurations."""
    return [int(part) for part in version.split(".")[:2]]


MultiLabelConfig.register_for_auto_class()
