# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a multi-label BERT: what rebuilds the network and turns its logits into labels, nothing else."""

import copy
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import lru_cache
from numbers import Real
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from transformers import BertConfig
from transformers.utils import logging

from .choices import LABEL_ATTENTIONS, STRATEGIES
from .decision import EXAMPLE_SCORES, RULES, Decider
from .errors import MultiLabelError
from .hub_readme import PushedInParts
from .label_rules import LabelRules, few
from .likeliest_sets import LikeliestSets

logger = logging.get_logger(__name__)

__version__ = "0.2.0"

TASK = "multilabel-classification"  # the name of our task for `pipeline(...)`


@strict
class MultiLabelConfig(PushedInParts, BertConfig):
    """A `BertConfig` with label names and the rule that turns logits into labels.

    The dropout of the classification head is BERT's own `classifier_dropout` (None means `hidden_dropout_prob`).

    Args:
        label_names: Names of the L labels, in the order of the logits. They fill `id2label`, `label2id` and
            `num_labels`, which must agree with them where both are set.
        strategy: `"cls"` classifies from the [CLS] vector, `"label_tokens"` from one vector per label token.
        label_token_ids: Vocabulary ids of the L label tokens, in label order; only with `"label_tokens"`.
        label_attention: Only with `"label_tokens"`. `"full"`: all tokens attend to each other, as in BERT.
            `"isolated"`: a label token attends to the text and to itself, and the text attends to no label token. A
            logit then does not depend on other labels, and the position embeddings do not limit their number.
        label_layers: How many of the last encoder layers the label tokens pass through; None means all. With fewer,
            each label has an input vector in `label_embeddings`. Only with `"label_tokens"`.
        threshold: A label is predicted if its probability is at least this: one number, or one per label, in 0..1.
        temperature: Logits are divided by it before the sigmoid: one positive number, or one per label.
        min_labels: At least this many labels are predicted for every example, the most probable ones first.
        decision: None decides by the thresholds. A fitted rule such as `{"rule": "expected_score", "score":
            "hamming_score", "temperature": 1.0, "threshold_weight": 0.5, "shift": 0.1}` predicts for each example the
            set of labels with the highest expected score, see `decision.py`.
        label_rules: Rules that no decision breaks: `{"implies": {"child": ["parent"]}, "exclusive": [["a", "b"]]}`. Of
            the sets of labels that break none, the likeliest is predicted, see `label_rules.py`.
        trained_on_pairs: Whether the model was trained on pairs of texts; None means unknown.
        backbone_model_type: The `model_type` of the checkpoint that training started from; None means unknown.
        bert_multilabel_version: Version of these files that wrote the configuration; set when saving.

    Raises:
        MultiLabelError: If a field is invalid or contradicts another, at construction and again when saving.

    Examples:
        >>> config = MultiLabelConfig(label_names=["price", "quality"], threshold=[0.3, 0.6])
        >>> config.id2label
        {0: 'price', 1: 'quality'}
        >>> probabilities, decisions = config.decide([[0.0, 0.0]])
        >>> decisions.tolist()
        [[True, False]]
    """

    model_type = "bert_multilabel"

    if TYPE_CHECKING:
        label_names: list[str] = []  # filled in if missing
        strategy: str = "cls"
        label_token_ids: list[int] | None = None
        label_attention: str = "full"
        label_layers: int | None = None
        threshold: float | list[float] = 0.5
        temperature: float | list[float] = 1.0
        min_labels: int = 0
        decision: dict[str, Any] | None = None
        label_rules: dict[str, Any] | None = None
        trained_on_pairs: bool | None = None
        backbone_model_type: str | None = None
    else:  # Any: `validate_multilabel` checks types, with better messages than the strict decorator.
        label_names: Any = None
        strategy: Any = "cls"
        label_token_ids: Any = None
        label_attention: Any = "full"
        label_layers: Any = None
        threshold: Any = 0.5
        temperature: Any = 1.0
        min_labels: Any = 0
        decision: Any = None
        label_rules: Any = None
        trained_on_pairs: Any = None
        backbone_model_type: Any = None
    bert_multilabel_version: str = __version__

    def __post_init__(self, **kwargs: Any) -> None:
        self._set_labels(kwargs.pop("num_labels", None))
        if self.problem_type not in (None, "multi_label_classification"):
            raise MultiLabelError(f"problem_type must be 'multi_label_classification', got {self.problem_type!r}")
        self.problem_type = "multi_label_classification"
        for field, number_type in (("threshold", float), ("temperature", float), ("label_token_ids", int)):
            setattr(self, field, _as_list(getattr(self, field), number_type))
        super().__post_init__(**kwargs)
        self.validate_multilabel()
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
        """Whether the hidden states of the text do not depend on label tokens, at least in the first layers."""
        return self.label_attention == "isolated" or self.has_late_label_layers

    @property
    def has_late_label_layers(self) -> bool:
        """Whether label tokens pass through the last encoder layers only."""
        return self.label_layers is not None and self.label_layers < self.num_hidden_layers

    @property
    def label_thresholds(self) -> list[float]:
        """One threshold per label, L floats, even if `threshold` is a single number."""
        values = self.threshold if isinstance(self.threshold, list) else [self.threshold] * len(self.label_names)
        return [float(value) for value in values]

    @property
    def checked_rules(self) -> LabelRules | None:
        """The `label_rules`, checked, with what they say about labels; None: there are none."""
        return None if self.label_rules is None else self._read_rules()[0]

    @property
    def max_labels(self) -> int | None:
        """How many label tokens leave room for text; None if they need no position embeddings."""
        if self.strategy != "label_tokens" or self.encodes_text_separately:
            return None
        return self.max_position_embeddings - 5  # [CLS], a token of text, [SEP], a token of the pair, [SEP]

    def add_labels(self, names: Sequence[str], label_token_ids: list[int]) -> None:
        """Append labels; `model.add_labels` calls this.

        Where there is one threshold or temperature per label, a new label gets their median. A `decision` is kept: it
        has no numbers of single labels.

        Args:
            names: Names of the new labels.
            label_token_ids: Vocabulary ids of all label tokens, old and new.

        Raises:
            MultiLabelError: If a name is blank, repeated or exists already.
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
        """Build a configuration from `config.json`; raise a MultiLabelError if it is invalid or of a newer version."""
        # First, because a newer version may allow values that are invalid here.
        _check_version(config_dict.get("bert_multilabel_version", __version__))
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:  # of a field of BertConfig
            raise MultiLabelError(f"config.json is invalid: {' '.join(str(error).split())}") from error

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the configuration; raise a MultiLabelError if a field is invalid."""
        self.validate_multilabel()
        super().save_pretrained(*args, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary, with the version of this code."""
        # `pipeline(...)` replaces names in `custom_pipelines` by classes, which JSON cannot hold.
        own = {"custom_pipelines": _custom_pipelines(), "bert_multilabel_version": __version__}
        return {**super().to_dict(), **own}

    def with_decision(
        self, threshold: float | Sequence[float] | Mapping[str, float] | None = None, min_labels: int | None = None
    ) -> "MultiLabelConfig":
        """Return a copy of this configuration with another decision rule.

        Args:
            threshold: One for all labels, one per label, or `{name: number}` for some of them. Thresholds then replace
                a `decision`; labels that are not named have the stored ones. None keeps both.
            min_labels: None keeps it.

        Raises:
            MultiLabelError: If a label is unknown or a value invalid.

        Examples:
            >>> config = MultiLabelConfig(label_names=["price", "quality"])
            >>> config.with_decision({"quality": 0.7}).threshold
            [0.5, 0.7]
        """
        config = copy.copy(self)
        if isinstance(threshold, Mapping):
            if unknown := [name for name in threshold if name not in self.label_names]:
                raise MultiLabelError(f"Unknown labels in threshold: {unknown}. Known labels: {self.label_names}")
            stored = zip(self.label_names, self.label_thresholds, strict=True)
            config.threshold = _as_list([threshold.get(name, value) for name, value in stored])
        elif threshold is not None:
            config.threshold = _as_list(threshold)
        if threshold is not None:
            config.decision = None
        if min_labels is not None:
            config.min_labels = min_labels
        config.validate_multilabel()
        return config

    def decide(self, logits: Any, subset: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn logits into probabilities and decisions. Nothing else in this package does, except for exports.

        Args:
            logits: (B, L), or (B, S) for a subset: a tensor, numpy array or nested list of floats.
            subset: (S,) indices of the labels that were scored, as passed to the model; by default all. Thresholds
                decide on them as if all were scored. `min_labels` and a `decision` see no other labels: the set with
                the highest expected score is that of an example which has only these.

        Returns:
            Probabilities, float32, and decisions, bool, both with the shape and on the device of the logits.

        Raises:
            MultiLabelError: If the last dimension of the logits is not the number of labels.
        """
        logits, rows, decider = self._read_logits(logits, subset)
        probabilities, decisions = decider.decide(rows)
        return (
            torch.from_numpy(probabilities).to(logits.device).view(logits.shape),
            torch.from_numpy(decisions).to(logits.device).view(logits.shape),
        )

    def cutoffs(self, logits: Any) -> torch.Tensor:
        """Return the probabilities from which labels are predicted, if no label rule or `min_labels` says otherwise.

        These are the thresholds, the same for all examples; or those that a `decision` amounts to in each example.

        Args:
            logits: (B, L), see `decide`.

        Returns:
            (B, L) float32, on the device of the logits.

        Raises:
            MultiLabelError: As `decide`.
        """
        logits, rows, decider = self._read_logits(logits, None)
        return torch.from_numpy(decider.cutoffs(rows)).to(logits.device).view(logits.shape)

    def _read_logits(self, logits: Any, subset: Any) -> tuple[torch.Tensor, NDArray[np.float32], Decider]:
        """Return logits as a tensor, and as an array (N, L) or (N, S), and what decides on them."""
        logits = torch.as_tensor(logits).detach()
        expected = len(self.label_names) if subset is None else len(subset)
        if logits.dim() == 0 or logits.size(-1) != expected:
            shape = tuple(logits.shape)
            raise MultiLabelError(f"logits have shape {shape}, but there are {expected} labels: pass a subset, if any")
        indices = np.arange(expected) if subset is None else torch.as_tensor(subset).cpu().numpy()
        temperature, threshold = (  # (L,) or (S,) each
            np.broadcast_to(np.asarray(values, np.float64), len(self.label_names))[indices]
            for values in (self.temperature, self.threshold)
        )
        rows = logits.reshape(-1, logits.size(-1)).float().cpu().numpy()  # (N, L) or (N, S)
        return (
            logits,
            rows,
            Decider(
                temperature=temperature,
                threshold=threshold,
                min_labels=min(self.min_labels, expected),
                decision=self.decision,
                label_rules=None if self.label_rules is None else self._read_rules()[1],
                subset=None if subset is None else indices,
            ),
        )

    def _read_rules(self) -> tuple[LabelRules, LikeliestSets]:
        try:
            text = json.dumps(self.label_rules)
        except (TypeError, ValueError) as error:
            raise MultiLabelError(
                f"label_rules must be JSON values ({error}), got {self.label_rules!r:.200}"
            ) from error
        return _read_rules(text, tuple(self.label_names))

    def describe_rules(self) -> str:
        """Say how many label rules there are, and for which labels they are obeyed by approximation."""
        if self.label_rules is None:
            return "no label rules"
        rules, sets = self._read_rules()
        if not sets.inexact:
            return f"{rules}, obeyed exactly"
        names = [self.label_names[label] for label in sets.inexact]
        return (
            f"{rules}, obeyed by approximation for {len(names)} labels, which too many groups connect that overlap or "
            f"implications of several labels: {few(names)}"
        )

    def warn_about_pairs(self, has_pairs: bool) -> None:
        """Log one warning per process if a model of pairs gets single texts, or a model of single texts pairs."""
        if self.trained_on_pairs is not None and self.trained_on_pairs != has_pairs:
            kinds = ("single texts", "pairs of texts")
            trained, got = kinds[self.trained_on_pairs], kinds[has_pairs]
            logger.warning_once(f"The model was trained on {trained}, but gets {got}: its predictions may be poor.")

    def _set_labels(self, num_labels: int | None) -> None:
        """Set `label_names`, `id2label` and `label2id` from those that are set, which must agree."""
        mapped = None
        if self.id2label is not None:
            try:
                by_id = {int(index): name for index, name in self.id2label.items()}  # JSON has strings for keys
            except ValueError as error:
                raise MultiLabelError(f"id2label must have whole numbers as keys, got {[*self.id2label]}") from error
            if sorted(by_id) != list(range(len(by_id))):
                raise MultiLabelError(f"id2label must have the keys 0 to {len(by_id) - 1}, got {sorted(by_id)}")
            mapped = [by_id[index] for index in range(len(by_id))]
        if self.label_names is None:
            self.label_names = mapped or [f"LABEL_{index}" for index in range(2 if num_labels is None else num_labels)]
        self.label_names = read_label_names(self.label_names)
        if mapped not in (None, self.label_names):
            raise MultiLabelError(f"id2label names {mapped} but label_names are {self.label_names}: pass one of them")
        if num_labels not in (None, len(self.label_names)):
            raise MultiLabelError(f"num_labels is {num_labels} but there are {len(self.label_names)} label names")
        label2id = {name: index for index, name in enumerate(self.label_names)}
        if self.label2id not in (None, label2id):
            raise MultiLabelError(f"label2id is {self.label2id} but the order of label_names is {label2id}")
        self.id2label, self.label2id = dict(enumerate(self.label_names)), label2id

    def validate_multilabel(self) -> None:
        """Raise a MultiLabelError if a field is invalid or contradicts another."""
        read_label_names(self.label_names)
        if self.id2label != dict(enumerate(self.label_names)):
            raise MultiLabelError(
                f"id2label is {self.id2label}, but label_names are {self.label_names}: make a new configuration"
            )
        check_strategy(self.strategy)
        if self.label_token_ids is not None:
            self._check_label_token_ids(self.label_token_ids)
        self._check_label_form()
        self._check_per_label("threshold", lambda value: 0 <= value <= 1, "a number from 0 to 1")
        self._check_per_label("temperature", lambda value: 0 < value < math.inf, "a positive number")
        num_labels = len(self.label_names)
        if type(self.min_labels) is not int or not 0 <= self.min_labels <= num_labels:
            limit = f"the number of labels, {num_labels}"
            raise MultiLabelError(f"min_labels must be a whole number from 0 to {limit}, got {self.min_labels!r}")
        self._check_decision()
        self._check_rules()
        if self.trained_on_pairs not in (None, True, False):
            raise MultiLabelError(f"trained_on_pairs must be true, false or null, got {self.trained_on_pairs!r}")
        if not isinstance(self.backbone_model_type, str | None):
            raise MultiLabelError(f"backbone_model_type must be a name or null, got {self.backbone_model_type!r}")
        _check_version(self.bert_multilabel_version)

    def _check_label_token_ids(self, ids: list[int]) -> None:
        num_labels = len(self.label_names)
        if self.strategy != "label_tokens":
            raise MultiLabelError(f"label_token_ids need strategy 'label_tokens', but strategy is {self.strategy!r}")
        if not isinstance(ids, list) or not all(type(index) is int for index in ids):
            raise MultiLabelError(f"label_token_ids must be a list of whole numbers, got {ids!r}")
        if len(ids) != num_labels or len(set(ids)) != len(ids):
            raise MultiLabelError(f"label_token_ids must be {num_labels} different ids, one per label, got {ids}")
        if outside := [index for index in ids if not 0 <= index < self.vocab_size]:
            raise MultiLabelError(f"label_token_ids {outside} are outside the vocabulary of {self.vocab_size} tokens")

    def _check_label_form(self) -> None:
        if self.label_attention not in LABEL_ATTENTIONS:
            expected = " or ".join(map(repr, LABEL_ATTENTIONS))
            raise MultiLabelError(f"label_attention must be {expected}, got {self.label_attention!r}")
        layers = self.label_layers
        if layers is not None and (type(layers) is not int or not 1 <= layers <= self.num_hidden_layers):
            most = self.num_hidden_layers
            raise MultiLabelError(f"label_layers must be a whole number from 1 to {most}, got {layers!r}")
        for field, default in (("label_attention", "full"), ("label_layers", None)):
            value = getattr(self, field)
            if self.strategy != "label_tokens" and value != default:
                raise MultiLabelError(f"{field} is {value!r}, but strategy {self.strategy!r} has no label tokens")

    def _check_decision(self) -> None:
        if self.decision is None:
            return
        numbers = {"temperature": "a positive number", "threshold_weight": "a number", "shift": "a number"}
        fields = ("rule", "score", *numbers)
        if not isinstance(self.decision, dict) or self.decision.keys() != {*fields}:
            raise MultiLabelError(
                f"decision must be null or have the fields {', '.join(fields)}, got {self.decision!r}"
            )
        for field, known in (("rule", RULES), ("score", EXAMPLE_SCORES)):
            if self.decision[field] not in known:
                expected = " or ".join(map(repr, known))
                raise MultiLabelError(f"decision has the {field} {self.decision[field]!r}, but must have {expected}")
        for field, expected in numbers.items():
            number = self.decision[field]
            if not _is_finite(number) or (field == "temperature" and number <= 0):
                raise MultiLabelError(f"the {field} of decision must be {expected}, got {number!r:.200}")

    def _check_rules(self) -> None:
        if self.label_rules is not None and self.min_labels > (most := self._read_rules()[1].most_labels):
            raise MultiLabelError(f"min_labels is {self.min_labels}, but label_rules allow at most {most} labels")

    def _check_per_label(self, field: str, holds: Callable[[float], bool], expected: str) -> None:
        value = getattr(self, field)
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and len(value) != len(self.label_names):
            raise MultiLabelError(f"{field} lists {len(value)} values for {len(self.label_names)} labels")
        for index, number in enumerate(values):
            if not _is_finite(number) or not holds(float(number)):
                where = f" for label {self.label_names[index]!r}" if isinstance(value, list) else ""
                raise MultiLabelError(f"{field} must be {expected}, got {number!r:.200}{where}")


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold: JSON knows whole numbers of any size."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@lru_cache(maxsize=16)
def _read_rules(rules: str, label_names: tuple[str, ...]) -> tuple[LabelRules, LikeliestSets]:
    """Read rules, JSON, once for all decisions."""
    checked = LabelRules(json.loads(rules), label_names)
    return checked, LikeliestSets(**checked.structure())


def check_strategy(strategy: str) -> None:
    """Raise a MultiLabelError if the strategy is unknown."""
    if strategy not in tuple(STRATEGIES):
        raise MultiLabelError(f"strategy must be one of {', '.join(map(repr, STRATEGIES))}, got {strategy!r}")


def check_new_labels(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the names of labels to add; raise a MultiLabelError if there are none, or one is invalid or exists."""
    new = read_label_names(names, "names")
    if known_already := [name for name in new if name in known]:
        raise MultiLabelError(f"the labels {known_already} exist already: add only new ones")
    return new


def read_label_names(names: Iterable[str], argument: str = "label_names") -> list[str]:
    """Return label names as a list of strings; messages call it `argument`.

    Raises:
        MultiLabelError: If it is a single text or a set, or a name is blank, repeated or not a string.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise MultiLabelError(f"{argument} must be a list of names, got {names!r}")
    if isinstance(names, Set) and not isinstance(names, Mapping):
        raise MultiLabelError(f"{argument} is a set, whose order changes from run to run: pass sorted(...) of it")
    values = list(names)
    if not values:
        raise MultiLabelError(f"{argument} is empty: pass at least one label")
    for index, name in enumerate(values):
        if not isinstance(name, str):
            raise MultiLabelError(f"{argument}[{index}] is {name!r}, not a string: convert it, as to {str(name)!r}")
        if not name.strip():
            raise MultiLabelError(f"{argument}[{index}] is {name!r}: a label name must not be blank")
    if repeated := [name for name, count in Counter(values).items() if count > 1]:
        raise MultiLabelError(f"{argument} repeats {repeated}: label names must be unique")
    return [str(name) for name in values]  # arrays of numpy hold strings of a type of their own


def _as_list(value: Any, number_type: type = float) -> Any:
    """Return an array or sequence of numbers as a list of this type; leave other values for the checks."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return value

    def convert(number: Any) -> Any:
        return number_type(number) if _is_finite(number) and (number_type is float or number % 1 == 0) else number

    return [convert(number) for number in value]


def _check_version(version: Any) -> None:
    # Only a minor version may add to what a folder holds, so all patches of one read each other's folders.
    if _minor(version) > _minor(__version__):
        raise MultiLabelError(
            f"config.json was written by bert-multilabel {version}, newer than this {__version__}: upgrade with `pip "
            "install -U bert-multilabel`, or use trust_remote_code=True in a process that does not import the package"
        )


def _minor(version: Any) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})([.+a-z]\S*)?", str(version))
    if found is None:
        raise MultiLabelError(f"bert_multilabel_version must be a version such as {__version__!r}, got {version!r}")
    return int(found[1]), int(found[2])


def _custom_pipelines() -> dict[str, Any]:
    implementation = "pipeline_multilabel.MultiLabelPipeline"
    return {TASK: {"impl": implementation, "pt": ["AutoModelForSequenceClassification"]}}


MultiLabelConfig.register_for_auto_class()
