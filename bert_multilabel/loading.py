"""Load a checkpoint of BERT or one of its relatives, or a model of this package, as a model and its tokenizer."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, PreTrainedConfig

from bert_multilabel.backbones import (
    Backbone,
    bert_fields,
    check_backbone,
    head_decisions,
    head_rows,
    load_backbone,
)
from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig, check_strategy, read_label_names
from bert_multilabel.model.label_init import check_label_descriptions
from bert_multilabel.model.modeling_multilabel import MODEL_CLASSES, MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer, check_tokenizer
from bert_multilabel.utils.files import find_truncated_file
from bert_multilabel.utils.safe_loading import check_is_no_pickle, check_paths, load_weights

from . import auto as auto  # registers our classes with AutoConfig

logger = logging.getLogger(__name__)

_Path = str | PathLike[str]
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # of a model on the Hub, alone or after its owner's


def from_backbone(
    path: str | PathLike[str],
    label_names: Sequence[str],
    strategy: str,
    label_descriptions: Mapping[str, str] | None = None,
    add_labels: bool = False,
    allow_pickle: bool = False,
    keep_head: bool = False,
    **config: Any,
) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    """Build a model and its tokenizer from a checkpoint of BERT or a relative, or load a model of this package.

    The encoder of a checkpoint is used unchanged: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, or ELECTRA whose
    embeddings are as wide as its layers. With `"label_tokens"` each label gets an embedding: the mean of
    the word piece embeddings of its name, or with fewer `label_layers` the hidden state of its name. With `"cls"`
    each label's row of the classifier is initialized with the encoder's output for its name. A description replaces
    the name. The dense layer of the head is initialized with the checkpoint's pooler, or the dense layer of its
    classifier, if that was trained with tanh, and otherwise with the identity. Weights are float32. No code of the
    checkpoint is run.

    Args:
        path: Directory or Hub name of a checkpoint of a known `model_type` (`backbones.FAMILIES`) or of a model saved
            by this package.
        label_names: Names of the L labels, in the order of the logits.
        strategy: `"cls"` or `"label_tokens"`.
        label_descriptions: Descriptions by label name that initialize new labels. They are not stored.
        add_labels: Add the labels that a model of this package lacks (`model.add_labels`). The logits then have the
            order of `config.label_names`: known labels first, new ones in the order of `label_names`.
        allow_pickle: Load tensors from a pickle (`pytorch_model.bin`) if there are no safetensors.
        keep_head: Keep the whole multi-label classifier of a checkpoint of BERT, RoBERTa, XLM-RoBERTa or CamemBERT:
            the logits are those of `AutoModelForSequenceClassification`. Only with `"cls"`; the label names must be
            those of the checkpoint, in any order, or if it has only LABEL_0, LABEL_1, ..., as many in its order. The
            decisions of a model that this package exported are restored.
        **config: Other fields of `MultiLabelConfig`, such as `classifier_dropout=0.1`.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        FileError: If a file of the checkpoint is damaged.
        MultiLabelError: If the checkpoint has another architecture, other labels or another strategy; if a field or a
            description is unknown or invalid; if the weights are incomplete, a pickle, or outside the directory; or
            if the head cannot be kept.
    """
    label_names = read_label_names(label_names)
    source = _read_source(path, strategy, config)
    if not allow_pickle:
        check_is_no_pickle(path)
    descriptions = label_descriptions or {}
    check_label_descriptions(descriptions, label_names)
    if source.model_type == MultiLabelConfig.model_type:
        if keep_head:
            raise MultiLabelError(f"{path} is a model of this package, which keeps its head: leave keep_head out")
        new_labels = _labels_to_add(path, source, label_names, add_labels)
        _check_are_new(path, descriptions, new_labels)
        model, tokenizer = _load_multilabel(path, strategy, config, allow_pickle)
        _add_labels(model, tokenizer, new_labels, descriptions)
        return model, tokenizer
    if add_labels:
        raise MultiLabelError(f"{path} was not trained on labels, so there are none to add to: leave add_labels out")
    rows = _rows_to_keep(path, source, label_names, strategy, descriptions) if keep_head else None
    if rows is not None:
        config = {**head_decisions(path, source, rows), **config}
    own_config, tokenizer = _convert(path, source, label_names, strategy, config)
    backbone = load_backbone(path, source, allow_pickle, keep_head)
    return _build_around(backbone, own_config, tokenizer, descriptions, rows), tokenizer


def load_trained(path: str | PathLike[str]) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    """Load a model, in evaluation mode, and its tokenizer from a directory that training or `save_pretrained` wrote.

    Raises:
        FileError: If a file of the directory is damaged.
        MultiLabelError: If it is not the directory of a trained model, or is incomplete.
    """
    _check_exists(path, "config.json")
    config = read_config(path)
    if config.model_type != MultiLabelConfig.model_type:
        raise MultiLabelError(
            f"{path} is a {config.model_type!r} model without labels: pass a trained model. --keep_head "
            "of the training script makes one of another tool's classifier"
        )
    _check_exists(path, "tokenizer.json")  # Transformers would continue with an empty vocabulary
    check_is_no_pickle(path)
    return _load_multilabel(path, config.strategy, {}, allow_pickle=False)


def read_config(path: str | PathLike[str]) -> PreTrainedConfig:
    """Read the configuration of any model, a directory or Hub name, after checking that its files are safe to read.

    Raises:
        FileError: If a file of the directory is damaged.
        MultiLabelError: If there is no such model, its architecture is unknown, or a file refers to one outside.
    """
    damage = find_truncated_file(Path(path)) if Path(path).is_dir() else None
    if damage is not None:
        raise FileError(f"{path} is damaged ({damage}): copy it again, or use another model")
    if not Path(path).is_dir() and not _HUB_NAME.fullmatch(str(path)):
        raise MultiLabelError(f"there is no folder {path}: check the path of the model")
    check_paths(path)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, HFValidationError) as error:
        if Path(path).is_dir():
            raise MultiLabelError(f"{path} is not a model directory: {error}") from error
        raise MultiLabelError(f"there is no folder {path}, nor a model of the Hub at hand: {error}") from error
    except MultiLabelError:
        raise
    except ValueError as error:
        # Transformers would offer to run the checkpoint's own code.
        raise MultiLabelError(
            f"Transformers does not know the architecture of {path}, and code of a checkpoint is not run: use a BERT"
        ) from error
    return config


def read_tokenizer(
    path: str | PathLike[str], label_names: Sequence[str], strategy: str, **config: Any
) -> tuple[MultiLabelConfig, MultiLabelTokenizer]:
    """Return configuration and tokenizer of the model that `from_backbone` builds, without loading weights.

    Unless the model is one of this package, the configuration has no `label_token_ids` yet. Arguments and errors as in
    `from_backbone`.
    """
    label_names = read_label_names(label_names)
    source = _read_source(path, strategy, config)
    if source.model_type == MultiLabelConfig.model_type:
        _labels_to_add(path, source, label_names, add_labels=False)
        return cast(MultiLabelConfig, source), _load_tokenizer(path)
    own_config, tokenizer = _convert(path, source, label_names, strategy, config)
    if own_config.encodes_text_separately:
        tokenizer.model_max_length += len(label_names)  # as `init_label_embeddings` does
    return own_config, tokenizer


def _check_exists(path: str | PathLike[str], name: str) -> None:
    if not Path(path).is_dir():
        raise MultiLabelError(f"{path} is not a model directory: there is no such folder")
    if not (Path(path) / name).is_file():
        raise MultiLabelError(f"{path} is not a model directory: {Path(path) / name} is missing")


def _read_source(path: str | PathLike[str], strategy: str, config: dict[str, Any]) -> PreTrainedConfig:
    """Read the configuration of a checkpoint and check that it fits the arguments, except for the labels."""
    unknown = sorted(set(config) - {field.name for field in fields(MultiLabelConfig)})
    if unknown:
        raise MultiLabelError(f"MultiLabelConfig has no field {', '.join(map(repr, unknown))}: check the spelling")
    check_strategy(strategy)
    source = read_config(path)
    if source.model_type == MultiLabelConfig.model_type:
        _check_same_form(path, source, {"strategy": strategy, **config})
    else:
        check_backbone(path, source)
    return source


def _check_same_form(path: str | PathLike[str], saved: PreTrainedConfig, asked: dict[str, Any]) -> None:
    for field in ("strategy", "label_attention", "label_layers"):
        trained = getattr(saved, field)
        all_layers = saved.num_hidden_layers if field == "label_layers" and trained is None else trained
        if asked.get(field, trained) not in (trained, all_layers):
            raise MultiLabelError(f"{path} was trained with {field} {trained!r}, not {asked[field]!r}: use its own")


def _labels_to_add(path: _Path, saved: PreTrainedConfig, label_names: list[str], add_labels: bool) -> list[str]:
    """Return the labels that a model of this package lacks; raise a MultiLabelError unless they may be added."""
    left_out = [name for name in saved.label_names if name not in label_names]
    new = [name for name in label_names if name not in saved.label_names]
    if left_out or (new and not add_labels):
        raise MultiLabelError(
            f"{path} was trained with other labels. It has {left_out or 'none'} that are not asked for, and lacks "
            f"{new or 'none'}. Pass its own label names, and new ones only if add_labels=True (--add_labels)"
        )
    if saved.label_names != label_names and not add_labels:
        raise MultiLabelError(f"{path} has the same labels in another order: pass them as {saved.label_names}")
    return new


def _check_are_new(path: _Path, descriptions: Mapping[str, str], new_labels: list[str]) -> None:
    """Refuse descriptions of labels that are trained already, unless new labels are described, too."""
    if descriptions and not set(descriptions) & set(new_labels):
        trained = f"{path} has trained the labels {list(descriptions)} already"
        raise MultiLabelError(f"{trained}, and only new labels need descriptions: leave the descriptions out")


def _load_multilabel(
    path: _Path, strategy: str, config: dict[str, Any], allow_pickle: bool
) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    model: MultiLabelPreTrainedModel = load_weights(MODEL_CLASSES[strategy], path, allow_pickle, **config)
    tokenizer = _load_tokenizer(path)
    check_tokenizer(tokenizer, model.config)
    return model, tokenizer


def _load_tokenizer(path: str | PathLike[str], **options: Any) -> MultiLabelTokenizer:
    tokenizer: MultiLabelTokenizer = MultiLabelTokenizer.from_pretrained(path, trust_remote_code=False, **options)
    return tokenizer


def _add_labels(
    model: MultiLabelPreTrainedModel,
    tokenizer: MultiLabelTokenizer,
    new_labels: list[str],
    descriptions: Mapping[str, str],
) -> None:
    if new_labels:
        _log_undescribed(descriptions, new_labels)
        model.add_labels(
            new_labels, tokenizer, {name: descriptions[name] for name in new_labels if name in descriptions}
        )


def _log_undescribed(descriptions: Mapping[str, str], label_names: list[str]) -> None:
    missing = [name for name in label_names if name not in descriptions]
    if descriptions and missing:
        logger.info("labels without a description, initialized from their names: %s", missing)


def _rows_to_keep(
    path: _Path, source: PreTrainedConfig, label_names: list[str], strategy: str, descriptions: Mapping[str, str]
) -> list[int]:
    """Return the row of the checkpoint's classifier for each label, after checking that they can be kept."""
    if strategy != "cls":
        raise MultiLabelError(f"keep_head needs strategy 'cls', whose head has a checkpoint's form, not {strategy!r}")
    if descriptions:
        raise MultiLabelError(f"the head of {path} is kept, so descriptions have no effect: leave them out")
    return head_rows(path, source, label_names)


def _convert(
    path: _Path, source: PreTrainedConfig, label_names: list[str], strategy: str, config: dict[str, Any]
) -> tuple[MultiLabelConfig, MultiLabelTokenizer]:
    task = {"label_names": label_names, "strategy": strategy, "backbone_model_type": source.model_type}
    own_config = MultiLabelConfig(**{**bert_fields(source), **config, **task})
    if own_config.max_labels is not None and len(label_names) > own_config.max_labels:
        raise MultiLabelError(
            f"{len(label_names)} label tokens leave no room for text in the {own_config.max_position_embeddings} "
            f"positions of {path}: use label_attention='isolated' or strategy 'cls'"
        )
    tokenizer = _load_tokenizer(path, label_names=label_names, strategy=strategy)
    # Old checkpoints set no limit.
    tokenizer.model_max_length = min(tokenizer.model_max_length, own_config.max_position_embeddings)
    # Some checkpoints name another token, whose vector would then not be trained.
    padding = tokenizer.pad_token_id
    own_config.pad_token_id = padding if padding is not None and padding < own_config.vocab_size else None
    return own_config, tokenizer


def _build_around(
    backbone: Backbone,
    config: MultiLabelConfig,
    tokenizer: MultiLabelTokenizer,
    descriptions: Mapping[str, str],
    rows: list[int] | None,
) -> MultiLabelPreTrainedModel:
    model: Any = MODEL_CLASSES[config.strategy](config).eval()
    model.bert.load_state_dict(backbone.encoder)
    _add_missing_rows(model, tokenizer)
    # Training moves a bias off zero. An untrained layer is noise, and the identity learns much faster.
    if backbone.dense is not None and (rows is not None or backbone.dense["bias"].any()):
        model.classifier.dense.load_state_dict(backbone.dense)
    else:
        torch.nn.init.eye_(model.classifier.dense.weight)
    if rows is not None and backbone.out_proj is not None:
        kept = {part: values[rows] for part, values in backbone.out_proj.items()}
        model.classifier.out_proj.load_state_dict(kept)
        return cast(MultiLabelPreTrainedModel, model)
    _log_undescribed(descriptions, config.label_names)
    model.init_label_embeddings(tokenizer, descriptions)
    return cast(MultiLabelPreTrainedModel, model)


def _add_missing_rows(model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer) -> None:
    """Add random vectors of the tokens that the tokenizer has and the checkpoint lacks, apart from label tokens."""
    size = model.config.vocab_size
    labels = {*tokenizer.label_token_ids}
    lacking = {index: token for token, index in tokenizer.get_vocab().items() if index >= size and index not in labels}
    if lacking:
        names = [token for _, token in sorted(lacking.items())]
        logger.warning(f"the checkpoint has no vectors of {len(names)} tokens of its tokenizer, such as {names[:3]}")
        model.resize_token_embeddings(max(lacking) + 1, mean_resizing=False)
