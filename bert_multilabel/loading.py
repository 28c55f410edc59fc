"""A plain BERT checkpoint in, one of our models and its tokenizer out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, BertModel, PreTrainedConfig
from transformers.utils import logging

from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig, check_strategy, read_label_names
from bert_multilabel.model.label_init import check_label_descriptions
from bert_multilabel.model.modeling_multilabel import MODEL_CLASSES, MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.files import find_truncated_file
from bert_multilabel.utils.safe_loading import check_is_no_pickle, check_paths

from . import auto as auto  # our own folders load through AutoConfig

logger = logging.get_logger(__name__)

# What a checkpoint says of its old task, its old class or its old storage.
_NOT_INHERITED = {
    *("architectures", "auto_map", "dtype", "id2label", "label2id", "model_type", "problem_type"),
    *("output_attentions", "output_hidden_states"),
}


def from_backbone(
    path: str | PathLike[str],
    label_names: Sequence[str],
    strategy: str,
    label_descriptions: Mapping[str, str] | None = None,
    add_labels: bool = False,
    allow_pickle: bool = False,
    **config: Any,
) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    """Build a model and its tokenizer from a BERT checkpoint, or take one of ours up again.

    From a plain checkpoint the encoder comes as it is. With `"label_tokens"` the embedding matrix grows by one row
    per label, each starting from the mean of the rows of its name's word pieces; labels that join in deeper layers
    (`label_layers`) start from the encoder's own state of their names there. With `"cls"` each label's row of the
    classifier starts from the encoder's reading of its name. Where a label is described, the description is read in
    place of the name. The dense layer of the head starts from the checkpoint's pooler if that was ever trained, and
    from the identity otherwise. Weights are float32.

    Args:
        path: Folder or Hub name of a BERT checkpoint (`model_type` "bert") or of a model saved by this package.
        label_names: Names of the L labels, in the order of the logits.
        strategy: `"cls"` or `"label_tokens"`.
        label_descriptions: What is said of labels, by name. It says where labels start and is not stored; labels that
            a model of ours has trained have started, so theirs are not read.
        add_labels: Let a model of ours know the labels that it lacks, too: `model.add_labels`. Its own keep their
            places and the others follow in the order given, so the logits have the order of `config.label_names`.
        allow_pickle: Take weights from a pickle (`pytorch_model.bin`) where there are no safetensors. PyTorch then
            admits tensors and nothing else.
        **config: Other fields of `MultiLabelConfig`, such as `classifier_dropout=0.1`.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        FileError: If a file of the checkpoint is damaged.
        MultiLabelError: If the checkpoint has another architecture, if it is one of ours with other labels or another
            strategy, if the names are one text, if a field is unknown, if nothing would read the descriptions, if
            there is nothing to which labels could be added, if `MultiLabelConfig` refuses a value, if the weights are
            not whole or a pickle, or if a file of the checkpoint names others outside its folder.
    """
    source = _read_config(path, label_names, strategy, config)
    if not allow_pickle:
        check_is_no_pickle(path)
    descriptions = label_descriptions or {}
    check_label_descriptions(descriptions, label_names)
    if source.model_type == MultiLabelConfig.model_type:
        added = _find_added(path, source, list(label_names), add_labels)
        _check_are_read(path, descriptions, added)
        model = _take_up(path, strategy, config, allow_pickle)
        tokenizer = MultiLabelTokenizer.from_pretrained(path)
        if added:
            _note_undescribed(descriptions, added)
            model.add_labels(added, tokenizer, {name: descriptions[name] for name in added if name in descriptions})
        return model, tokenizer
    if add_labels:
        raise MultiLabelError(f"{path} was not trained on labels to which others could be added: leave add_labels out")
    own_config, tokenizer = _read_plain(path, source, list(label_names), strategy, config)
    with _loading(path):
        # At the checkpoint's own vocabulary: loading it into a larger one would fail or lose the rows.
        encoder = BertModel.from_pretrained(
            path, config=own_config, dtype=torch.float32, use_safetensors=not allow_pickle or None
        )
    return _from_bert(encoder, tokenizer, descriptions), tokenizer


def load_trained(path: str | PathLike[str]) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    """Load a folder of ours with its own labels.

    Args:
        path: A folder that the script trained, or that `save_pretrained` wrote.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        FileError: If a file of the folder is damaged.
        MultiLabelError: If the folder holds no model of ours, or not all of it.
    """
    _check_is_there(path, "config.json")
    config = read_config(path)
    if config.model_type != MultiLabelConfig.model_type:
        raise MultiLabelError(
            f"{path} is a {config.model_type!r} model without labels: give a folder that was trained"
        )
    _check_is_there(path, "tokenizer.json")  # Transformers would go on with an empty vocabulary
    return from_backbone(path, config.label_names, config.strategy)


def read_config(path: str | PathLike[str]) -> PreTrainedConfig:
    """Read the configuration of a model, and see that none of its files is damaged.

    Args:
        path: Folder or Hub name of a model of any kind.

    Raises:
        FileError: If a file of the folder is cut short, or cannot be read; the libraries would not say which.
        MultiLabelError: If there is no such model.
    """
    damage = find_truncated_file(Path(path)) if Path(path).is_dir() else None
    if damage is not None:
        raise FileError(f"{path} is not whole ({damage}): copy it again, or take another model")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path)
    except (OSError, HFValidationError) as error:
        raise MultiLabelError(
            f"{path} is no folder of a model here, and no model that the Hub gives: {error}"
        ) from error
    return config


@contextmanager
def _loading(path: str | PathLike[str]) -> Iterator[None]:
    """Say of weights that cannot be loaded where they are, and what to do about it."""
    try:
        yield
    except UnpicklingError as error:
        raise MultiLabelError(
            f"the weights in {path} are a pickle with more in it than tensors, which was not read: take the model "
            "from a source that you trust"
        ) from error


def _check_is_there(path: str | PathLike[str], name: str) -> None:
    if not (Path(path) / name).is_file():
        raise MultiLabelError(f"{path} is no folder of a model: there is no {Path(path) / name}")


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
        MultiLabelError: As `from_backbone` does.
    """
    source = _read_config(path, label_names, strategy, config)
    if source.model_type == MultiLabelConfig.model_type:
        _find_added(path, source, list(label_names), add_labels=False)
        return cast(MultiLabelConfig, source), MultiLabelTokenizer.from_pretrained(path)
    own_config, tokenizer = _read_plain(path, source, list(label_names), strategy, config)
    if own_config.encodes_text_separately:
        tokenizer.model_max_length += len(label_names)  # as `init_label_embeddings` does
    return own_config, tokenizer


def _read_config(
    path: str | PathLike[str], label_names: Sequence[str], strategy: str, config: dict[str, Any]
) -> PreTrainedConfig:
    """Read the configuration of a checkpoint that is fit to become the model asked for, but perhaps for its labels."""
    read_label_names(label_names)
    unknown = sorted(set(config) - {field.name for field in fields(MultiLabelConfig)})
    if unknown:
        raise MultiLabelError(f"MultiLabelConfig has no field {', '.join(map(repr, unknown))}: check the spelling")
    check_strategy(strategy)
    source = read_config(path)
    check_paths(path)
    if source.model_type == MultiLabelConfig.model_type:
        _check_same_form(path, source, {"strategy": strategy, **config})
    elif source.model_type != "bert":
        raise MultiLabelError(
            f"{path} has model_type {source.model_type!r}, but the backbone must be a BERT: a checkpoint of "
            "model_type 'bert', such as google-bert/bert-base-uncased, or a folder saved by bert-multilabel"
        )
    return source


def _read_plain(
    path: str | PathLike[str], source: PreTrainedConfig, label_names: list[str], strategy: str, config: dict[str, Any]
) -> tuple[MultiLabelConfig, MultiLabelTokenizer]:
    """Make configuration and tokenizer of a plain checkpoint into ours, but for the weights of the labels."""
    inherited = {key: value for key, value in source.to_diff_dict().items() if key not in _NOT_INHERITED}
    own_config = MultiLabelConfig(**{**inherited, **config, "label_names": label_names, "strategy": strategy})
    if own_config.max_labels is not None and len(label_names) > own_config.max_labels:
        raise MultiLabelError(
            f"{len(label_names)} label tokens leave no room for text in the {source.max_position_embeddings} "
            f"positions of {path}: use label_attention='isolated', where they take none, or strategy 'cls'"
        )
    tokenizer = MultiLabelTokenizer.from_pretrained(path, label_names=label_names, strategy=strategy)
    # Old checkpoints name no limit of their own.
    tokenizer.model_max_length = min(tokenizer.model_max_length, source.max_position_embeddings)
    return own_config, tokenizer


def _from_bert(
    encoder: BertModel, tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str]
) -> MultiLabelPreTrainedModel:
    """Build a model around an encoder that was loaded by the configuration of the model."""
    config = cast(MultiLabelConfig, encoder.config)
    pooler, encoder.pooler = encoder.pooler, None
    model: Any = MODEL_CLASSES[config.strategy](config).eval()
    model.bert.load_state_dict(encoder.state_dict())
    if pooler is not None and pooler.dense.bias.any():
        model.classifier.dense.load_state_dict(pooler.dense.state_dict())
    else:
        # Training moves a pooler's bias off zero. One that is absent or was never trained is noise: passing the
        # encoder's vector through learns much faster.
        torch.nn.init.eye_(model.classifier.dense.weight)
    _note_undescribed(descriptions, config.label_names)
    model.init_label_embeddings(tokenizer, descriptions)
    return cast(MultiLabelPreTrainedModel, model)


def _take_up(
    path: str | PathLike[str], strategy: str, config: dict[str, Any], allow_pickle: bool
) -> MultiLabelPreTrainedModel:
    with _loading(path):
        loaded: Any = MODEL_CLASSES[strategy].from_pretrained(
            path, dtype=torch.float32, output_loading_info=True, use_safetensors=not allow_pickle or None, **config
        )
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:  # these would begin at random
        raise MultiLabelError(
            f"{path} lacks {len(missing)} weights, such as {missing[0]}: a checkpoint of a run with --lora_rank is "
            "for going on with that run; the model is the folder that the run leaves"
        )
    return cast(MultiLabelPreTrainedModel, model)


def _note_undescribed(descriptions: Mapping[str, str], started: list[str]) -> None:
    missing = [name for name in started if name not in descriptions]
    if descriptions and missing:
        logger.info("labels without a description, which start from their names: %s", missing)


def _check_are_read(path: str | PathLike[str], descriptions: Mapping[str, str], added: list[str]) -> None:
    """Refuse descriptions of labels that are all trained already: nothing would read them."""
    if descriptions and not set(descriptions) & set(added):
        raise MultiLabelError(
            f"{path} has trained the labels {list(descriptions)} already, and a description says only where a label "
            "starts: leave the descriptions out, or start from the plain BERT checkpoint"
        )


def _check_same_form(path: str | PathLike[str], saved: PreTrainedConfig, asked: dict[str, Any]) -> None:
    for field in ("strategy", "label_attention", "label_layers"):
        trained = getattr(saved, field)
        same = {trained}
        if field == "label_layers" and trained is None:
            same.add(saved.num_hidden_layers)  # None means all of them
        if asked.get(field, trained) not in same:
            raise MultiLabelError(
                f"{path} was trained with {field} {trained!r}, not {asked[field]!r}: ask for its own"
            )


def _find_added(
    path: str | PathLike[str], saved: PreTrainedConfig, label_names: list[str], add_labels: bool
) -> list[str]:
    """Return the labels to add to those of a folder of ours, or refuse other labels than its own."""
    missing = [name for name in saved.label_names if name not in label_names]
    added = [name for name in label_names if name not in saved.label_names]
    if missing or (added and not add_labels):
        raise MultiLabelError(
            f"{path} was trained with other labels: it knows {missing or 'none'} that are not asked for, and lacks "
            f"{added or 'none'}: give its own label names, and new ones behind them with add_labels=True "
            "(--add_labels), or start from the plain BERT checkpoint"
        )
    if saved.label_names != label_names and not add_labels:
        raise MultiLabelError(f"{path} has the same labels in another order: give them as {saved.label_names}")
    return added
