# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a multi-label BERT: what rebuilds the network and turns its logits into labels, nothing else."""

import copy
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import torch
from huggingface_hub.dataclasses import strict
from transformers import BertConfig

from .errors import MultiLabelError
from .hub_readme import PushedInParts

__version__ = "0.2.0"

# The model class of each strategy.
STRATEGIES = {"cls": "BertForMultiLabelCLS", "label_tokens": "BertForMultiLabelLabelTokens"}
LABEL_ATTENTIONS = ("full", "isolated")
# What `pipeline(...)` is told to do, and by which class it is done.
TASK = "multilabel-classification"
_PIPELINE_CLASS = "pipeline_multilabel.MultiLabelPipeline"


@strict
class MultiLabelConfig(PushedInParts, BertConfig):
    """A `BertConfig` that also knows its labels and how to decide on them.

    The dropout of the classification head is BERT's own `classifier_dropout` (None means `hidden_dropout_prob`).

    Args:
        label_names: Names of the L labels, in the order of the logits. They fill `id2label`, `label2id` and
            `num_labels`; given together with one of those, they must agree.
        strategy: `"cls"` classifies from the [CLS] vector, `"label_tokens"` from one vector per label token.
        label_token_ids: Vocabulary ids of the L label tokens, in label order; only with `"label_tokens"`.
        label_attention: What label tokens read and are read by. `"full"`: everything, as BERT does. `"isolated"`: each
            reads the text and itself, and the text reads none of them, so that a label's logit does not depend on the
            other labels and their number is not bounded by the positions of BERT; only with `"label_tokens"`.
        label_layers: In how many of the last encoder layers the label tokens take part; None: in all of them. With
            fewer, each label starts from a vector of its own, `label_embeddings`; only with `"label_tokens"`.
        threshold: A label is given when its probability is at least this: one number, or one per label, in 0..1.
        temperature: Logits are divided by it before the sigmoid: one positive number, or one per label.
        min_labels: At least this many labels are given to every row, the most probable ones first.
        bert_multilabel_version: Version of these files that wrote the configuration; set when saving.

    Raises:
        MultiLabelError: If one of the above is violated, at construction and again when saving.
    """

    model_type = "bert_multilabel"

    if TYPE_CHECKING:
        label_names: list[str] = []  # what is not given is filled in
    else:
        label_names: list[str] | None = None
    strategy: str = "cls"
    label_token_ids: list[int] | None = None
    label_attention: str = "full"
    label_layers: int | None = None
    threshold: float | int | list[float] = 0.5
    temperature: float | int | list[float] = 1.0
    min_labels: int = 0
    bert_multilabel_version: str = __version__

    def __post_init__(self, **kwargs: Any) -> None:
        self._set_labels(kwargs.pop("num_labels", None))
        if self.problem_type not in (None, "multi_label_classification"):
            raise MultiLabelError(f"problem_type must be 'multi_label_classification', got {self.problem_type!r}")
        self.problem_type = "multi_label_classification"
        super().__post_init__(**kwargs)
        self.validate_multilabel()
        # Which class rebuilds the model is a matter of the strategy alone: so it is in every folder, loaded or saved.
        model_class = STRATEGIES[self.strategy]
        self.architectures = [model_class]
        self.auto_map = {
            "AutoConfig": "configuration_multilabel.MultiLabelConfig",
            "AutoModel": f"modeling_multilabel.{model_class}",
            "AutoModelForSequenceClassification": f"modeling_multilabel.{model_class}",
        }
        self.custom_pipelines = _custom_pipelines()

    @property
    def encodes_text_separately(self) -> bool:
        """Whether label tokens take no part in the first layers, or are not read by the text: then it stands alone."""
        return self.label_attention == "isolated" or self.has_late_label_layers

    @property
    def has_late_label_layers(self) -> bool:
        """Whether label tokens take part in fewer layers than there are."""
        return self.label_layers is not None and self.label_layers < self.num_hidden_layers

    @property
    def label_thresholds(self) -> list[float]:
        """The threshold of each of the L labels, also where one holds for all."""
        values = self.threshold if isinstance(self.threshold, list) else [self.threshold] * len(self.label_names)
        return [float(value) for value in values]

    @property
    def most_labels(self) -> int | None:
        """How many labels leave room for text; None where they take no positions from it."""
        if self.strategy != "label_tokens" or self.encodes_text_separately:
            return None
        return self.max_position_embeddings - 5  # [CLS], a token of text, [SEP], a token of the pair, [SEP]

    def add_labels(self, names: Sequence[str], label_token_ids: list[int]) -> None:
        """Append labels: a model does so when its own `add_labels` is called.

        Where thresholds or temperatures are listed per label, a new label gets the median of the list: one head
        decides on all label tokens, so they are calibrated alike, and the median is not drawn by a rare label.

        Args:
            names: Names of the new labels.
            label_token_ids: Vocabulary ids of all label tokens, old and new.

        Raises:
            MultiLabelError: If a name is blank, repeated or taken.
        """
        check_new_labels(names, self.label_names)
        for field in ("threshold", "temperature"):
            value = getattr(self, field)
            if isinstance(value, list):
                setattr(self, field, [*value, *[median(value)] * len(names)])
        self.label_names = [*self.label_names, *names]
        self.id2label = dict(enumerate(self.label_names))
        self.label2id = {name: index for index, name in self.id2label.items()}
        self.label_token_ids = list(label_token_ids)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        """Read the fields of a folder; raise a ValueError if a newer version of these files wrote it."""
        # Before any other field: a newer version may have given it a value that would be refused for its own sake.
        _check_version(config_dict.get("bert_multilabel_version", __version__))
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary, stamped with the version of the code that writes it."""
        # `pipeline(...)` puts classes, which no JSON holds, into the custom pipelines of the configuration it reads.
        own = {"custom_pipelines": _custom_pipelines(), "bert_multilabel_version": __version__}
        return {**super().to_dict(), **own}

    def deciding_by(
        self, threshold: float | Mapping[str, float] | None = None, min_labels: int | None = None
    ) -> "MultiLabelConfig":
        """Return a copy of this configuration that decides otherwise.

        Args:
            threshold: One for all labels, or some by the names of their labels, whereupon the others keep what they
                have; None: all keep it.
            min_labels: As the field of that name; None: as it is.

        Raises:
            MultiLabelError: If there is no such label, or a value is refused.
        """
        config = copy.copy(self)
        if isinstance(threshold, Mapping):
            unknown = [name for name in threshold if name not in self.label_names]
            if unknown:
                raise MultiLabelError(
                    f"threshold names labels that there are not, {unknown}: the labels are {self.label_names}"
                )
            config.threshold = [
                _number(f"threshold of label {name!r}", threshold[name]) if name in threshold else kept
                for name, kept in zip(self.label_names, self.label_thresholds, strict=True)
            ]
        elif threshold is not None:
            config.threshold = _number("threshold", threshold)
        if min_labels is not None:
            if type(min_labels) is not int:
                raise MultiLabelError(f"min_labels must be a whole number, got {min_labels!r}")
            config.min_labels = min_labels
        config.validate_multilabel()
        return config

    def decide(self, logits: torch.Tensor, subset: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn logits into probabilities and labels: the one place where that happens.

        Args:
            logits: (B, L), any floating dtype, or (B, S) of a subset.
            subset: (S,) int64, the labels that were scored if it was not all; as the model was given it.

        Returns:
            Probabilities (B, L), float32, after `temperature`; and decisions (B, L), bool, by `threshold` and
            `min_labels`; or (B, S) each.

        Raises:
            MultiLabelError: If there are not as many logits per row as labels.
        """
        expected = len(self.label_names) if subset is None else len(subset)
        if logits.size(-1) != expected:
            raise MultiLabelError(
                f"logits have the shape {tuple(logits.shape)}, but there are {expected} labels to decide on: give the "
                "subset of labels that was scored, if it was not all of them"
            )
        temperature = torch.as_tensor(self.temperature, dtype=torch.float32, device=logits.device)  # () or (L,)
        threshold = torch.as_tensor(self.threshold, dtype=torch.float32, device=logits.device)  # () or (L,)
        if subset is not None:
            indices = torch.as_tensor(subset, device=logits.device)
            temperature, threshold = (
                values[indices] if values.dim() else values for values in (temperature, threshold)
            )  # () or (S,)
        scaled = logits.float() / temperature
        probabilities = scaled.sigmoid()
        decisions = probabilities >= threshold
        if self.min_labels:
            # By logit: saturated probabilities would tie.
            likeliest = scaled.topk(min(self.min_labels, expected), dim=-1).indices  # (B, min_labels)
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
                raise MultiLabelError(f"id2label must have the keys 0 to {len(by_id) - 1}, got {sorted(by_id)}")
            mapped = [by_id[index] for index in range(len(by_id))]
        if self.label_names is None:
            self.label_names = mapped or [f"LABEL_{index}" for index in range(2 if num_labels is None else num_labels)]
        _check_names(self.label_names, "label_names")
        if mapped is not None and mapped != self.label_names:
            raise MultiLabelError(
                f"id2label names {mapped} but label_names are {self.label_names}: give one of the two"
            )
        if num_labels is not None and num_labels != len(self.label_names):
            raise MultiLabelError(f"num_labels is {num_labels} but there are {len(self.label_names)} label names")
        label2id = {name: index for index, name in enumerate(self.label_names)}
        if self.label2id is not None and self.label2id != label2id:
            raise MultiLabelError(f"label2id is {self.label2id} but the order of label_names says {label2id}")
        self.id2label = dict(enumerate(self.label_names))
        self.label2id = label2id

    def validate_multilabel(self) -> None:
        """Hold all fields against each other; models and `save_pretrained` do so again, after later assignments.

        Raises:
            MultiLabelError: If a field contradicts its meaning or another field.
        """
        _check_names(self.label_names, "label_names")
        if self.id2label != dict(enumerate(self.label_names)):
            raise MultiLabelError(
                f"num_labels or id2label was changed to {self.id2label} while label_names are {self.label_names}: "
                "make a new configuration for other labels"
            )
        check_strategy(self.strategy)
        if self.label_token_ids is not None:
            self._check_label_token_ids(self.label_token_ids)
        self._check_label_form()
        self._check_per_label("threshold", lambda value: 0 <= value <= 1, "a number from 0 to 1")
        self._check_per_label("temperature", lambda value: 0 < value < math.inf, "a positive number")
        num_labels = len(self.label_names)
        if not 0 <= self.min_labels <= num_labels:
            raise MultiLabelError(
                f"min_labels must be from 0 to the number of labels, {num_labels}, got {self.min_labels}"
            )
        _check_version(self.bert_multilabel_version)

    def _check_label_token_ids(self, ids: list[int]) -> None:
        if self.strategy != "label_tokens":
            raise MultiLabelError(
                f"label_token_ids go with strategy 'label_tokens', but strategy is {self.strategy!r}"
            )
        num_labels = len(self.label_names)
        if len(ids) != num_labels or len(set(ids)) != len(ids):
            raise MultiLabelError(f"label_token_ids must be {num_labels} different ids, one per label, got {ids}")
        outside = [index for index in ids if not 0 <= index < self.vocab_size]
        if outside:
            raise MultiLabelError(f"label_token_ids {outside} lie outside the vocabulary of {self.vocab_size}")

    def _check_label_form(self) -> None:
        if self.label_attention not in LABEL_ATTENTIONS:
            expected = " or ".join(map(repr, LABEL_ATTENTIONS))
            raise MultiLabelError(f"label_attention must be {expected}, got {self.label_attention!r}")
        if self.label_layers is not None and not 1 <= self.label_layers <= self.num_hidden_layers:
            raise MultiLabelError(
                f"label_layers must be from 1 to the number of layers, {self.num_hidden_layers}, got "
                f"{self.label_layers}"
            )
        if self.strategy != "label_tokens":
            for field, default in (("label_attention", "full"), ("label_layers", None)):
                if getattr(self, field) != default:
                    raise MultiLabelError(
                        f"{field} is {getattr(self, field)!r}, but strategy {self.strategy!r} has no label tokens: "
                        "use strategy 'label_tokens'"
                    )

    def _check_per_label(self, field: str, holds: Callable[[float], bool], expected: str) -> None:
        value = getattr(self, field)
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and len(value) != len(self.label_names):
            raise MultiLabelError(
                f"{field} lists {len(value)} values for {len(self.label_names)} labels: give one per label"
            )
        for index, number in enumerate(values):
            if not holds(number):
                where = f" for label {self.label_names[index]!r}" if isinstance(value, list) else ""
                raise MultiLabelError(f"{field} must be {expected}, got {number}{where}")


def check_strategy(strategy: str) -> None:
    """Raise a ValueError if there is no such strategy."""
    if strategy not in STRATEGIES:
        raise MultiLabelError(f"strategy must be one of {', '.join(map(repr, STRATEGIES))}, got {strategy!r}")


def check_new_labels(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise a ValueError if labels cannot be added: none, blank or repeated ones, or such as there are already."""
    if isinstance(names, str):
        raise MultiLabelError(f"names must be a list of label names, got the text {names!r}")
    _check_names(names, "names")
    taken = [name for name in names if name in known]
    if taken:
        raise MultiLabelError(f"the labels {taken} are there already: add only new ones")


def _check_names(names: Sequence[str], field: str) -> None:
    if not names:
        raise MultiLabelError(f"{field} is empty: give at least one label")
    for index, name in enumerate(names):
        if not name.strip():
            raise MultiLabelError(f"{field}[{index}] is {name!r}: every label needs a name that is not blank")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise MultiLabelError(f"{field} repeats {repeated}: every label needs a name of its own")


def _number(field: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise MultiLabelError(f"{field} must be a number from 0 to 1, got {value!r}")
    return float(value)


def _check_version(version: Any) -> None:
    """Raise a ValueError if these files are too old for a folder that this version of them wrote."""
    # Patches read each other's folders: only a minor version adds to what a folder may hold.
    if _minor(version) > _minor(__version__):
        raise MultiLabelError(
            f"this configuration was written by bert-multilabel {version}, newer than this {__version__}: upgrade "
            "with `pip install -U bert-multilabel`, or load the folder by the code in it, with trust_remote_code=True "
            "in a process that does not import bert_multilabel"
        )


def _minor(version: Any) -> tuple[int, int]:
    """Return the major and the minor number of a version."""
    found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})([.+a-z]\S*)?", str(version))
    if found is None:
        raise MultiLabelError(f"bert_multilabel_version must be a version such as {__version__!r}, got {version!r}")
    return int(found[1]), int(found[2])


def _custom_pipelines() -> dict[str, Any]:
    return {TASK: {"impl": _PIPELINE_CLASS, "pt": ["AutoModelForSequenceClassification"]}}


MultiLabelConfig.register_for_auto_class()
