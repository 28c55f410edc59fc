# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""What labels are called, or what is said of them, made into vectors from which they start.

Shapes: B batch, T tokens, S labels that start, V vocabulary, H hidden size.
"""

import unicodedata
from collections.abc import Mapping, Sequence

import torch

from .encoder import MultiLabelBert
from .errors import MultiLabelError
from .tokenization_multilabel import MultiLabelTokenizer

_TEXTS_AT_ONCE = 64  # names or descriptions that are encoded in one batch


def check_label_descriptions(descriptions: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise a ValueError if something is described that is not among these labels, or by a blank."""
    unknown = [name for name in descriptions if name not in names]
    if unknown:
        raise MultiLabelError(f"there are descriptions of {unknown}, which are not among the labels {list(names)}")
    for name, description in descriptions.items():
        if not isinstance(description, str) or not description.strip():
            raise MultiLabelError(
                f"the description of label {name!r} is {description!r}: write a text, or leave it out"
            )


def label_texts(names: Sequence[str], descriptions: Mapping[str, str]) -> list[str]:
    """Return what is read of each label: its description, or else the words of its name."""
    return [descriptions.get(name) or _words_of(name).strip() or name for name in names]


@torch.no_grad()
def mean_of_pieces(rows: torch.Tensor, tokenizer: MultiLabelTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Average the embeddings of the word pieces of each text, without punctuation: (S, H).

    Args:
        rows: (V, H), the word embeddings.
        tokenizer: Cuts the texts into pieces.
        texts: S texts.
    """
    means = []
    for text in texts:
        pieces = [tokenizer(words, add_special_tokens=False)["input_ids"] for words in (_words_of(text), text)]
        # A text may be all punctuation ("..."), or nothing that the tokenizer keeps (a lone accent).
        means.append(rows[pieces[0] or pieces[1] or [tokenizer.unk_token_id]].mean(dim=0))  # (H,)
    return torch.stack(means)


@torch.no_grad()
def mean_of_states(
    encoder: MultiLabelBert, depth: int, tokenizer: MultiLabelTokenizer, texts: Sequence[str]
) -> torch.Tensor:
    """Average the encoder's states of each text after so many layers, [CLS] and [SEP] included: (S, H).

    Args:
        encoder: Reads the texts, without dropout.
        depth: After how many layers.
        tokenizer: The model's tokenizer.
        texts: S texts; what is longer than the encoder is cut off.
    """
    reader = tokenizer.without_label_tokens()
    was_training = encoder.training
    encoder.eval()
    means = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = list(texts[start : start + _TEXTS_AT_ONCE])
        inputs = reader(some, truncation=True, padding=True, return_tensors="pt").to(encoder.device)
        states = encoder(**inputs, output_hidden_states=True).hidden_states[depth]  # (B, T, H)
        is_token = inputs["attention_mask"][:, :, None]  # (B, T, 1)
        means.append((states * is_token).sum(dim=1) / is_token.sum(dim=1))  # (B, H)
    encoder.train(was_training)
    return torch.cat(means)  # (S, H)


def _words_of(text: str) -> str:
    """The text without punctuation: "role::web-server" and "too_expensive" are words with some between them."""
    return "".join(" " if unicodedata.category(letter)[0] in "PS" else letter for letter in text)
