"""Encoders that compute what BERT computes under other names: RoBERTa and its relatives, DistilBERT and ELECTRA.

Their configuration and weights become those of a BERT that has the same hidden states, bit for bit. What cannot be the
same is refused. The names are those of Transformers 5, `models/*/modeling_*.py`.

Shapes: L labels, H hidden size.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, cast

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedConfig
from transformers.activations import ACT2FN

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.safe_loading import load_weights

logger = logging.getLogger(__name__)

_Path = str | PathLike[str]
_Weights = dict[str, torch.Tensor]
# Where the configuration of a stock classifier that this package exported has the fields of `MultiLabelConfig` that
# decide on its logits. There is no temperature, by which an export has divided them.
DECISION_KEY = "multi_label"
DECISION_FIELDS = ("threshold", "min_labels", "decision", "label_rules", "trained_on_pairs")
# Fields of the configuration that have the same names in all families.
_SHARED_FIELDS = ("vocab_size", "initializer_range", "pad_token_id")
_BERT_FIELDS = {
    name: name
    for name in (
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "type_vocab_size"),
        *("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "layer_norm_eps"),
    )
}
# DistilBERT's layer norm has BERT's default epsilon.
_DISTILBERT_FIELDS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout": "seq_classif_dropout",
}
_DISTILBERT_NAMES = {
    "transformer.layer.": "encoder.layer.",
    "attention.q_lin.": "attention.self.query.",
    "attention.k_lin.": "attention.self.key.",
    "attention.v_lin.": "attention.self.value.",
    "attention.out_lin.": "attention.output.dense.",
    "sa_layer_norm.": "attention.output.LayerNorm.",
    "ffn.lin1.": "intermediate.dense.",
    "ffn.lin2.": "output.dense.",
    "output_layer_norm.": "output.LayerNorm.",
}
# What the weights of an encoder begin with, in any family.
_ENCODER = ("embeddings", "encoder.", "transformer.")
_POOLER = "pooler.dense"
_TOKEN_TYPES, _POSITIONS = (f"embeddings.{kind}_embeddings.weight" for kind in ("token_type", "position"))


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the encoders of one `model_type` become a BERT.

    Attributes:
        title: Its usual name.
        example: A checkpoint on the Hub.
        fields: Their fields of the configuration, by the names of BERT's.
        names: Parts of their weights' names, and what replaces them.
        counts_from_padding: Whether the first position is the one after the id of the padding token.
        head: Names of the dense and the last layer of their sequence classifier, if it computes what `cls` computes.
    """

    title: str
    example: str
    fields: Mapping[str, str] = field(default_factory=lambda: _BERT_FIELDS)
    names: Mapping[str, str] = field(default_factory=dict)
    counts_from_padding: bool = False
    head: tuple[str, str] | None = None


_ROBERTA: dict[str, Any] = {"counts_from_padding": True, "head": ("classifier.dense", "classifier.out_proj")}
FAMILIES = {
    "bert": Family(title="BERT", example="google-bert/bert-base-uncased", head=(_POOLER, "classifier")),
    "roberta": Family(title="RoBERTa", example="FacebookAI/roberta-base", **_ROBERTA),
    "xlm-roberta": Family(title="XLM-RoBERTa", example="FacebookAI/xlm-roberta-base", **_ROBERTA),
    "camembert": Family(title="CamemBERT", example="almanach/camembert-base", **_ROBERTA),
    "distilbert": Family(
        title="DistilBERT",
        example="distilbert/distilbert-base-uncased",
        fields=_DISTILBERT_FIELDS,
        names=_DISTILBERT_NAMES,
    ),
    "electra": Family(title="ELECTRA", example="google/electra-base-discriminator"),
}
# Why other encoders cannot become a BERT, and the nearest checkpoint that can.
_ROTARY = "its positions are rotary"
_NORM_FIRST = "its layers normalize their input and not their output"
_SPARSE = "its attention is sparse"
UNLIKE_BERT = {
    "albert": ("its layers share one set of weights, and its embeddings are factorized", "bert"),
    "big_bird": (_SPARSE, "roberta"),
    "deberta": ("its attention depends on relative positions", "roberta"),
    "deberta-v2": ("its attention depends on relative positions", "xlm-roberta"),
    "eurobert": (_ROTARY, "xlm-roberta"),
    "longformer": (_SPARSE, "roberta"),
    "megatron-bert": (_NORM_FIRST, "bert"),
    "modernbert": (_ROTARY, "roberta"),
    "mpnet": ("its attention depends on relative positions", "roberta"),
    "nomic_bert": (_ROTARY, "bert"),
    "rembert": ("its embeddings are factorized", "xlm-roberta"),
    "roberta-prelayernorm": (_NORM_FIRST, "roberta"),
    "roformer": (_ROTARY, "bert"),
    "xlm-roberta-xl": (_NORM_FIRST, "xlm-roberta"),
    "xmod": ("its layers have an adapter for each language", "xlm-roberta"),
}


@dataclass(frozen=True)
class Backbone:
    """The weights of a checkpoint under BERT's names.

    Attributes:
        encoder: Those of `MultiLabelBert`.
        dense: Weight (H, H) and bias (H,) of a layer that tanh follows: the pooler, or the dense layer of a
            classifier; None if the checkpoint has none.
        out_proj: Weight (L, H) and bias (L,) of its classifier's last layer; None if it is not kept.
    """

    encoder: _Weights
    dense: _Weights | None
    out_proj: _Weights | None


def check_backbone(path: _Path, source: PreTrainedConfig) -> None:
    """Raise a MultiLabelError unless the encoder of this configuration can become a BERT exactly."""
    kind = source.model_type
    if kind not in FAMILIES:
        known = ", ".join(family.title for family in FAMILIES.values())
        reason, nearest = UNLIKE_BERT.get(kind, (f"it is none of {known}", "bert"))
        raise MultiLabelError(
            f"{path} has model_type {kind!r}, which does not compute what BERT computes: {reason}. Use "
            f"{FAMILIES[nearest].example}, another {FAMILIES[nearest].title}, or a model saved by bert-multilabel"
        )
    for reason in _differences(source):
        family = FAMILIES[kind]
        raise MultiLabelError(f"{path} cannot become a BERT exactly: {reason}. Use another, such as {family.example}")


def bert_fields(source: PreTrainedConfig) -> dict[str, Any]:
    """Return the fields of a `BertConfig` of the same encoder.

    Args:
        source: A configuration that `check_backbone` has accepted.
    """
    names = FAMILIES[source.model_type].fields
    fields = {name: getattr(source, name) for name in _SHARED_FIELDS}
    fields |= {name: getattr(source, theirs) for name, theirs in names.items()}
    # Second texts have the token type 1.
    fields["type_vocab_size"] = max(2, fields.get("type_vocab_size", 2))
    return {**fields, "max_position_embeddings": source.max_position_embeddings - _first_position(source)}


def load_backbone(path: _Path, source: PreTrainedConfig, allow_pickle: bool, keep_head: bool) -> Backbone:
    """Load the weights of a checkpoint, as float32, under BERT's names. All that are left over are named in the log.

    Args:
        path: Directory or Hub name of the checkpoint.
        source: Its configuration, which `check_backbone` has accepted, and `check_head` if the head is kept.
        allow_pickle: Load a pickle if there are no safetensors.
        keep_head: Load the last layer of the classifier, too.

    Raises:
        MultiLabelError: If weights of the encoder, or of the head to keep, are missing, unknown or of other shapes.
    """
    model_class: Any = AutoModelForSequenceClassification if _has_classifier(source) else AutoModel
    options = {"config": source, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, info = load_weights(model_class, path, allow_pickle, **options)
    prefix = f"{model.base_model_prefix}."
    mismatched = [name for name, *_ in info["mismatched_keys"]]
    missing, unexpected = info["missing_keys"], info["unexpected_keys"]
    problems = {"lacks": missing, "has other shapes of": mismatched, "has, beyond its configuration,": unexpected}
    _check_encoder(path, prefix, problems)
    weights = {name.removeprefix(prefix): tensor for name, tensor in model.state_dict().items()}
    for name in (*missing, *mismatched):
        weights.pop(name.removeprefix(prefix), None)  # Transformers has drawn it at random
    family = FAMILIES[source.model_type]
    dense_name, out_proj_name = family.head or (_POOLER, "")
    dense = _take(weights, dense_name) or _take(weights, _POOLER)
    out_proj = _take(weights, out_proj_name) if keep_head else None
    if keep_head and (dense is None or out_proj is None):
        raise MultiLabelError(f"{path} has no head to keep: its weights lack {dense_name} or {out_proj_name}")
    encoder = {_rename(name, family): weights.pop(name) for name in [*weights] if name.startswith(_ENCODER)}
    if left_over := sorted([*weights, *unexpected]):
        logger.info("left over from %s: %s", path, ", ".join(left_over))
    return Backbone(_as_embeddings_of_bert(encoder, source), dense, out_proj)


def head_label_names(source: PreTrainedConfig) -> list[str] | None:
    """Return the label names of a classifier in the order of its logits, or None if they are LABEL_0, LABEL_1, ..."""
    names = [str(name) for _, name in sorted(cast(dict[int, str], source.id2label).items())]
    return None if names == [f"LABEL_{index}" for index in range(len(names))] else names


def head_decisions(path: _Path, source: PreTrainedConfig, rows: Sequence[int]) -> dict[str, Any]:
    """Return the fields of `MultiLabelConfig` that decide on the logits of a classifier that this package exported.

    Args:
        path: The checkpoint.
        source: Its configuration.
        rows: The row of its last layer for each label, as `head_rows` returns them.

    Returns:
        The fields, none if another tool has written the configuration.

    Raises:
        MultiLabelError: If they are not those of an export, or have another number of thresholds than labels.
    """
    stored = getattr(source, DECISION_KEY, None)
    if not isinstance(stored, dict):  # a word that others use, too
        return {}
    if unknown := [name for name in stored if name not in DECISION_FIELDS]:
        raise MultiLabelError(
            f"{DECISION_KEY} in config.json of {path} has {', '.join(map(repr, unknown))}, which this version does "
            f"not export: it knows {', '.join(DECISION_FIELDS)}. Remove {DECISION_KEY} to do without its decisions"
        )
    threshold = stored.get("threshold")
    if not isinstance(threshold, list):
        return dict(stored)
    if len(threshold) != source.num_labels:
        raise MultiLabelError(
            f"{DECISION_KEY} in config.json of {path} lists {len(threshold)} thresholds for {source.num_labels} labels"
        )
    return {**stored, "threshold": [threshold[row] for row in rows]}


def check_head(path: _Path, source: PreTrainedConfig) -> None:
    """Raise a MultiLabelError unless the checkpoint has a multi-label classifier that computes what `cls` computes."""
    family = FAMILIES[source.model_type]
    advice = "Leave keep_head out (--keep_head) to train a new head"
    if not _has_classifier(source):
        raise MultiLabelError(f"{path} has no head to keep: its architecture is {source.architectures}. {advice}")
    if family.head is None:
        raise MultiLabelError(f"the head of {path} cannot be kept: that of {family.title} has no tanh. {advice}")
    if source.problem_type not in (None, "multi_label_classification"):
        raise MultiLabelError(
            f"the head of {path} cannot be kept: it was trained for {source.problem_type}, so that its logits are no "
            f"independent decisions. {advice}"
        )


def head_rows(path: _Path, source: PreTrainedConfig, label_names: Sequence[str]) -> list[int]:
    """Return the row of a classifier's last layer for each label, L numbers.

    The names must be those of the checkpoint, in any order. If these are LABEL_0, LABEL_1, ..., as many other names
    may be given, in the order of the logits.

    Raises:
        MultiLabelError: If the head cannot be kept, or the labels are others.
    """
    check_head(path, source)
    if source.problem_type is None:
        logger.warning(f"{path} does not say whether its head was trained on several labels: check its scores")
    theirs, count = head_label_names(source), source.num_labels
    if theirs is None and len(label_names) == count:
        logger.warning(f"{path} does not name its labels: they are taken to be {list(label_names)}, in this order")
        return list(range(count))
    if sorted(theirs or []) != sorted(label_names):
        known = f"labels {theirs}" if theirs else f"{count} labels without names"
        raise MultiLabelError(f"the head of {path} has the {known}, but {list(label_names)} were given: pass its own")
    return [(theirs or []).index(name) for name in label_names]


def _differences(source: PreTrainedConfig) -> Iterable[str]:
    """Yield each reason why an encoder of a known family cannot become a BERT."""
    names = FAMILIES[source.model_type].fields
    activation = getattr(source, names["hidden_act"])
    if activation not in ACT2FN:
        yield f"its activation is {activation!r}, which Transformers does not know by name"
    positions = getattr(source, "position_embedding_type", "absolute")
    if positions != "absolute":
        yield f"its position_embedding_type is {positions!r}, not 'absolute'"
    for name in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        if getattr(source, name, False):
            yield f"{name} is true, but an encoder reads the text alone, in both directions"
    width, embedded = getattr(source, names["hidden_size"]), getattr(source, "embedding_size", None)
    if source.model_type == "electra" and embedded != width:
        yield f"its embeddings have {embedded} dimensions and its layers {width}, with a projection between them"
    if FAMILIES[source.model_type].counts_from_padding and source.pad_token_id is None:
        yield "pad_token_id, from which its positions are counted, is missing"
    if getattr(source, "quantization_config", None) is not None:
        yield "its weights are quantized"


def _first_position(source: PreTrainedConfig) -> int:
    return source.pad_token_id + 1 if FAMILIES[source.model_type].counts_from_padding else 0


def _has_classifier(source: PreTrainedConfig) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in source.architectures or [])


def _check_encoder(path: _Path, prefix: str, problems: Mapping[str, Iterable[str]]) -> None:
    """Refuse a checkpoint if problems concern weights of its encoder."""
    for problem, names in problems.items():
        found = sorted(name for name in names if name.removeprefix(prefix).startswith(_ENCODER))
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise MultiLabelError(
                f"{path} {problem} {', '.join(found[:3])}{more}: its weights and config.json do not belong together"
            )


def _take(weights: _Weights, name: str) -> _Weights | None:
    """Remove weight and bias of a linear layer from the weights, and return them; None if they are not there."""
    if f"{name}.weight" not in weights or f"{name}.bias" not in weights:
        return None
    return {part: weights.pop(f"{name}.{part}") for part in ("weight", "bias")}


def _rename(name: str, family: Family) -> str:
    for theirs, ours in family.names.items():
        name = name.replace(theirs, ours)
    return name


def _as_embeddings_of_bert(encoder: _Weights, source: PreTrainedConfig) -> _Weights:
    """Return an encoder's weights with the rows of position and token type embeddings that BERT has."""
    positions = encoder[_POSITIONS][_first_position(source) :]  # (P, H)
    types = encoder.get(_TOKEN_TYPES, positions.new_zeros(1, positions.size(1)))
    if len(types) == 1:
        types = types.repeat(2, 1)  # (2, H)
    return {**encoder, _POSITIONS: positions, _TOKEN_TYPES: types}
