"""Writes a model's tokenizer as one that any tool loads without code of ours."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from bert_multilabel.data.tokenizing import check_max_length
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.input_template import InputTemplate
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.files import write_json

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
# What Transformers' class for BERT builds from a vocabulary, whatever tokenizer.json says.
_BERT_MODEL = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}


def limit_tokenizer(
    tokenizer: MultiLabelTokenizer, config: MultiLabelConfig, max_length: int | None
) -> MultiLabelTokenizer:
    """Return the tokenizer of a model's texts, which truncates them at `max_length`; default: the model's limit.

    Raises:
        MultiLabelError: If `max_length` exceeds the model's limit, or leaves no room for text.
    """
    tokenizer = scoring_tokenizer(tokenizer, config)
    tokenizer.model_max_length = check_max_length(tokenizer, max_length)
    tokenizer("", truncation=True)  # refuses a length without room for text
    return tokenizer


def save_stock_tokenizer(tokenizer: MultiLabelTokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, which name a class of Transformers.

    The class is `BertTokenizer` where that builds the same tokenizer, because other tools give second texts their
    token type by this name. It is `PreTrainedTokenizerFast` elsewhere, which takes `tokenizer.json` as it is.

    Texts that spell special tokens are read as plain characters, as everywhere: `tokenizer.json` does not list those
    among the tokens to look for that the vocabulary has, and `split_special_tokens` keeps Transformers from it.

    Args:
        tokenizer: One without label tokens; its `model_max_length` is stored.
        folder: An existing folder.
    """
    names = {name: token for name in tokenizer.SPECIAL_TOKENS_ATTRIBUTES if (token := getattr(tokenizer, name))}
    backend = _plain_backend(tokenizer.backend_tokenizer, names.values())
    backend.save(str(folder / TOKENIZER_FILE))
    template = InputTemplate.read(backend.post_processor)
    is_berts = _is_berts(backend, template, tokenizer)
    write_json(
        folder / TOKENIZER_CONFIG_FILE,
        {
            **names,
            **(_bert_settings(tokenizer) if is_berts else {}),
            "tokenizer_class": "BertTokenizer" if is_berts else "PreTrainedTokenizerFast",
            "model_input_names": _input_names(template),
            "model_max_length": tokenizer.model_max_length,
            "padding_side": "right",  # stock models classify from the first token of a row
            "truncation_side": tokenizer.truncation_side,
            "split_special_tokens": True,
        },
    )


def _plain_backend(backend: Tokenizer, named: Collection[str]) -> Tokenizer:
    """Return a copy that neither truncates nor pads, and finds no special token in a text that it can do without.

    It keeps those among the `named` ones that have their id from being added to the vocabulary.
    """
    content = json.loads(backend.to_str())
    content["truncation"] = content["padding"] = None
    content["added_tokens"] = [
        token
        for token in content["added_tokens"]
        if not token["special"]
        or (token["content"] in named and backend.model.token_to_id(token["content"]) != token["id"])
    ]
    return Tokenizer.from_str(json.dumps(content))


def _is_berts(backend: Tokenizer, template: InputTemplate, tokenizer: MultiLabelTokenizer) -> bool:
    """Whether Transformers' class for BERT builds this tokenizer from its vocabulary."""
    model, normalizer = backend.model, backend.normalizer
    if not (isinstance(model, WordPiece) and isinstance(normalizer, BertNormalizer) and normalizer.clean_text):
        return False
    ends: Any = [(token, backend.token_to_id(token)) for token in (tokenizer.sep_token, tokenizer.cls_token)]
    usual = InputTemplate.read(BertProcessing(*ends))
    special = {getattr(tokenizer, name) for name in tokenizer.SPECIAL_TOKENS_ATTRIBUTES}
    return (
        isinstance(backend.pre_tokenizer, BertPreTokenizer)
        and all(getattr(model, name) == value for name, value in _BERT_MODEL.items())
        and (template.single, template.pair, template.trimming) == (usual.single, usual.pair, [])
        and special.issuperset(token.content for token in backend.get_added_tokens_decoder().values())
    )


def _bert_settings(tokenizer: Any) -> dict[str, Any]:
    return {name: getattr(tokenizer, name) for name in ("do_lower_case", "strip_accents", "tokenize_chinese_chars")}


def _input_names(template: InputTemplate) -> list[str]:
    """Return what a model reads: with token types where second texts have another than first ones."""
    types = {entry["type_id"] for piece in template.pair for entry in piece.values()}
    return ["input_ids", *(["token_type_ids"] if len(types) > 1 else []), "attention_mask"]
