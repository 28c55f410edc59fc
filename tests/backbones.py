"""Tiny checkpoints of BERT and its relatives, made here by the classes of Transformers."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertTokenizer, PreTrainedModel

from tests import families
from tests.conftest import SIZES, VOCABULARIES

# RoBERTa's padding token is not the first token, and it has two positions more than a text has tokens.
SIZES_OF: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "xlm-roberta": {"max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "camembert": {"max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "distilbert": {},
    "electra": {"embedding_size": 32},
}


def new_model(model_type: str, auto_class: Any = AutoModel, seed: int = 0, **config: Any) -> PreTrainedModel:
    """Make a model whose biases and norms have left their initial values, as training does."""
    torch.manual_seed(seed)
    settings = {"vocab_size": 140, **SIZES, **SIZES_OF[model_type], **config}
    if model_type == "distilbert":
        settings["hidden_dim"] = settings.pop("intermediate_size")
    model: PreTrainedModel = auto_class.from_config(AutoConfig.for_model(model_type, **settings))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def save_word_pieces(folder: Path, model_type: str = "bert") -> None:
    """Save a WordPiece tokenizer whose padding token is that of the family."""
    vocabulary = VOCABULARIES["uncased"]
    if SIZES_OF[model_type].get("pad_token_id") == 1:
        vocabulary = [vocabulary[1], vocabulary[0], *vocabulary[2:]]
    BertTokenizer({token: index for index, token in enumerate(vocabulary)}).save_pretrained(folder)


def save_backbone(folder: Path, model_type: str, auto_class: Any = AutoModel, **config: Any) -> PreTrainedModel:
    """Save a new model and a WordPiece tokenizer in a folder, and return the model."""
    model = new_model(model_type, auto_class, **config)
    model.save_pretrained(folder)
    save_word_pieces(folder, model_type)
    return model


def save_family(folder: Path, family: str, **config: Any) -> Path:
    """Save a new model with a tokenizer of its family, one of `families.FAMILIES`, in a folder."""
    families.save_tokenizer(family, folder)
    model_type = families.FAMILIES[family]
    # Some vocabularies are padded.
    sizes = {"vocab_size": len(AutoTokenizer.from_pretrained(folder)) + 5}
    new_model(model_type, **sizes, **config).save_pretrained(folder)
    return folder
