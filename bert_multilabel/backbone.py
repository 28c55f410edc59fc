"""A plain BERT checkpoint in, one of our models and its tokenizer out."""

import unicodedata
from collections.abc import Sequence
from dataclasses import fields
from os import PathLike
from typing import Any, cast

import torch
from transformers import AutoConfig, BertModel, PreTrainedConfig

from . import auto as auto  # our own folders load through AutoConfig
from .configuration_multilabel import MultiLabelConfig, check_strategy
from .modeling_multilabel import MODEL_CLASSES, MultiLabelPreTrainedModel
from .tokenization_multilabel import MultiLabelTokenizer

# What a checkpoint says of its old task, its old class or its old storage.
_NOT_INHERITED = {
    *("architectures", "auto_map", "dtype", "id2label", "label2id", "model_type", "problem_type"),
    *("output_attentions", "output_hidden_states"),
}

_NAMES_AT_ONCE = 64  # label names that are encoded in one batch


def from_backbone(
    path: str | PathLike[str], label_names: Sequence[str], strategy: str, **config: Any
) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    """Build a model and its tokenizer from a BERT checkpoint, or take one of ours up again.

    From a plain checkpoint the encoder comes as it is. With `"label_tokens"` the embedding matrix grows by one row
    per label, each starting from the mean of the rows of its name's word pieces; labels that join in deeper layers
    (`label_layers`) start from the encoder's own state of their names there. The dense layer of the head starts
    from the checkpoint's pooler if that was ever trained, and from the identity otherwise. Weights are float32.

    Args:
        path: Folder or Hub name of a BERT checkpoint (`model_type` "bert") or of a model saved by this package.
        label_names: Names of the L labels, in the order of the logits.
        strategy: `"cls"` or `"label_tokens"`.
        **config: Other fields of `MultiLabelConfig`, such as `classifier_dropout=0.1`.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        ValueError: If the checkpoint has another architecture, if it is one of ours with other labels or another
            strategy, if the names are one text, if a field is unknown, or if `MultiLabelConfig` refuses a value.
    """
    source = _read_config(path, label_names, strategy, config)
    if source.model_type == MultiLabelConfig.model_type:
        model = MODEL_CLASSES[strategy].from_pretrained(path, dtype=torch.float32, **config)
        return model, MultiLabelTokenizer.from_pretrained(path)
    return _from_bert(path, *_read_plain(path, source, list(label_names), strategy, config))


def read_tokenizer(
    path: str | PathLike[str], label_names: Sequence[str], strategy: str, **config: Any
) -> tuple[MultiLabelConfig, MultiLabelTokenizer]:
    """Return the tokenizer of the model that `from_backbone` builds, and its configuration, without any weights.

    The label token ids are left to the tokenizer: a configuration has them once the model is built.

    Args:
        path: As in `from_backbone`, and so are the others.
        label_names: Names of the L labels.
        strategy: `"cls"` or `"label_tokens"`.
        **config: Other fields of `MultiLabelConfig`.

    Raises:
        ValueError: As `from_backbone` does.
    """
    source = _read_config(path, label_names, strategy, config)
    if source.model_type == MultiLabelConfig.model_type:
        return cast(MultiLabelConfig, source), MultiLabelTokenizer.from_pretrained(path)
    return _read_plain(path, source, list(label_names), strategy, config)


def _read_config(
    path: str | PathLike[str], label_names: Sequence[str], strategy: str, config: dict[str, Any]
) -> PreTrainedConfig:
    """Read the configuration of a checkpoint that is fit to become the model asked for."""
    if isinstance(label_names, str):
        raise ValueError(f"label_names must be a list of names, got the text {label_names!r}")
    unknown = sorted(set(config) - {field.name for field in fields(MultiLabelConfig)})
    if unknown:
        raise ValueError(f"MultiLabelConfig has no field {', '.join(map(repr, unknown))}: check the spelling")
    check_strategy(strategy)
    source: PreTrainedConfig = AutoConfig.from_pretrained(path)
    if source.model_type == MultiLabelConfig.model_type:
        _check_same_task(path, source, list(label_names), {"strategy": strategy, **config})
    elif source.model_type != "bert":
        raise ValueError(
            f"{path} has model_type {source.model_type!r}, but the backbone must be a BERT: a checkpoint of "
            "model_type 'bert', such as google-bert/bert-base-uncased, or a folder saved by bert-multilabel"
        )
    return source


def _read_plain(
    path: str | PathLike[str], source: PreTrainedConfig, label_names: list[str], strategy: str, config: dict[str, Any]
) -> tuple[MultiLabelConfig, MultiLabelTokenizer]:
    """Make configuration and tokenizer of a plain checkpoint into ours."""
    inherited = {key: value for key, value in source.to_diff_dict().items() if key not in _NOT_INHERITED}
    own_config = MultiLabelConfig(**{**inherited, **config, "label_names": label_names, "strategy": strategy})
    if strategy == "label_tokens" and not own_config.labels_stand_apart:
        _check_room(path, source.max_position_embeddings, len(label_names))
    tokenizer = MultiLabelTokenizer.from_pretrained(path, label_names=label_names, strategy=strategy)
    # Old checkpoints name no limit of their own.
    tokenizer.model_max_length = min(tokenizer.model_max_length, source.max_position_embeddings)
    if own_config.labels_stand_apart:
        # The label tokens take no positions from the text.
        tokenizer.model_max_length += len(label_names)
    return own_config, tokenizer


def _from_bert(
    path: str | PathLike[str], own_config: MultiLabelConfig, tokenizer: MultiLabelTokenizer
) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    # At the checkpoint's own vocabulary: loading it into a larger one would fail or lose the rows.
    encoder = BertModel.from_pretrained(path, config=own_config, dtype=torch.float32)
    pooler, encoder.pooler = encoder.pooler, None
    model = MODEL_CLASSES[own_config.strategy](cast(MultiLabelConfig, encoder.config)).eval()
    model.bert.load_state_dict(encoder.state_dict())
    if pooler is not None and pooler.dense.bias.any():
        model.classifier.dense.load_state_dict(pooler.dense.state_dict())
    else:
        # Training moves a pooler's bias off zero. One that is absent or was never trained is noise: passing the
        # encoder's vector through learns much faster.
        torch.nn.init.eye_(model.classifier.dense.weight)
    if tokenizer.label_token_ids:
        # Some vocabularies are padded: the matrix may have room for the label tokens already.
        model.resize_token_embeddings(max(len(tokenizer), model.config.vocab_size), mean_resizing=False)
        model.config.label_token_ids = tokenizer.label_token_ids
        start_label_tokens_from_names(model, tokenizer)
    if model.config.labels_join_late:
        start_label_embeddings_from_names(model, tokenizer)
    return model, tokenizer


@torch.no_grad()
def start_bias_from_frequencies(model: MultiLabelPreTrainedModel, labels: torch.Tensor) -> None:
    """Set the last bias of a new head so that every label begins at its frequency instead of at one half.

    The first steps are then not spent on learning that most labels are rare. One bias shared by all labels
    (`"label_tokens"`) gets their mean frequency.

    Args:
        model: A model whose head is new.
        labels: (N, L) multi-hot, floating; NaN or -100 means "not annotated".
    """
    annotated = ~labels.isnan() & (labels != -100)  # (N, L)
    positives = torch.where(annotated, labels, 0.0).sum(dim=0)  # (L,)
    counts = annotated.sum(dim=0)  # (L,)
    bias = model.classifier.out_proj.bias  # (L,) or (1,)
    if len(bias) == 1:
        positives, counts = positives.sum(dim=0, keepdim=True), counts.sum(dim=0, keepdim=True)  # (1,)
    # One row more of each kind: a label that nobody has still begins somewhere.
    bias.copy_(torch.logit((positives + 1) / (counts + 2)))


@torch.no_grad()
def start_label_embeddings_from_names(model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer) -> None:
    """Set the state with which each label joins to the encoder's own state of its name at that depth.

    That is the mean over the tokens of the name, [CLS] and [SEP] included, in the layer before the label joins.

    Args:
        model: A `label_tokens` model with `label_layers`.
        tokenizer: Its tokenizer.
    """
    depth = model.config.num_hidden_layers - cast(int, model.config.label_layers)
    reader = tokenizer.without_label_tokens()
    embeddings = cast(torch.nn.Embedding, model.label_embeddings).weight  # (L, H)
    names = [_words_of(name).strip() or name for name in model.config.label_names]
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = slice(start, start + _NAMES_AT_ONCE)
        inputs = reader(names[some], truncation=True, padding=True, return_tensors="pt")
        states = model.bert(**inputs, output_hidden_states=True).hidden_states[depth]  # (B, T, H)
        is_token = inputs["attention_mask"][:, :, None]  # (B, T, 1)
        embeddings[some] = (states * is_token).sum(dim=1) / is_token.sum(dim=1)  # (B, H)


@torch.no_grad()
def start_label_tokens_from_names(model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer) -> None:
    """Set the embedding row of each label token to the mean of the rows of its name's word pieces.

    Args:
        model: A `label_tokens` model whose embedding matrix already holds the label tokens.
        tokenizer: Its tokenizer.
    """
    rows = model.bert.embeddings.word_embeddings.weight  # (V, H)
    for token_id, name in zip(tokenizer.label_token_ids, model.config.label_names, strict=True):
        pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (_words_of(name), name)]
        # A name may be all punctuation ("..."), or nothing that the tokenizer keeps (a lone accent).
        rows[token_id] = rows[pieces[0] or pieces[1] or [tokenizer.unk_token_id]].mean(dim=0)  # (H,)


def _words_of(name: str) -> str:
    """The name without punctuation: "role::web-server" and "too_expensive" are words with some between them."""
    return "".join(" " if unicodedata.category(letter)[0] in "PS" else letter for letter in name)


def _check_room(path: str | PathLike[str], positions: int, num_labels: int) -> None:
    needed = num_labels + 5  # [CLS], a token of text, [SEP], a token of the pair, [SEP]
    if needed > positions:
        raise ValueError(
            f"{num_labels} label tokens leave no room for text in the {positions} positions of {path}: use "
            "label_attention='isolated', where they take none, or strategy 'cls'"
        )


def _check_same_task(
    path: str | PathLike[str], saved: PreTrainedConfig, label_names: list[str], asked: dict[str, Any]
) -> None:
    for field in ("strategy", "label_attention", "label_layers"):
        trained = getattr(saved, field)
        same = {trained}
        if field == "label_layers" and trained is None:
            same.add(saved.num_hidden_layers)  # None means all of them
        if asked.get(field, trained) not in same:
            raise ValueError(f"{path} was trained with {field} {trained!r}, not {asked[field]!r}: ask for its own")
    missing = [name for name in saved.label_names if name not in label_names]
    added = [name for name in label_names if name not in saved.label_names]
    if missing or added:
        raise ValueError(
            f"{path} was trained with other labels: it knows {missing or 'none'} that are not asked for, and lacks "
            f"{added or 'none'}: give its own label names, or start from the plain BERT checkpoint"
        )
    if saved.label_names != label_names:
        raise ValueError(f"{path} has the same labels in another order: give them as {saved.label_names}")
