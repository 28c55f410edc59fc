# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Initial vectors of labels, computed from their names or descriptions.

Shapes: B batch, T tokens, S new labels, V vocabulary, H hidden size.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from .encoder import MultiLabelBert
from .errors import MultiLabelError
from .tokenization_multilabel import MultiLabelTokenizer

_BATCH_SIZE = 64  # names or descriptions that are encoded together


def check_label_descriptions(descriptions: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise a MultiLabelError if a description is blank or belongs to none of these labels."""
    if unknown := [name for name in descriptions if name not in names]:
        raise MultiLabelError(f"Unknown labels in descriptions: {unknown}. Known labels: {list(names)}")
    for name, description in descriptions.items():
        if not isinstance(description, str) or not description.strip():
            raise MultiLabelError(f"the description of label {name!r} is {description!r}: it must be a text")


def label_texts(names: Sequence[str], descriptions: Mapping[str, str]) -> list[str]:
    """Return the text from which each label is initialized: its description, or the words of its name.

    A name keeps its punctuation if it would otherwise equal another one.

    Examples:
        >>> label_texts(["too_expensive", "c", "c++"], {})
        ['too expensive', 'c', 'c++']
    """
    words = [_without_punctuation(name).strip() for name in names]
    counts = Counter(word.lower() for word in words)
    return [
        descriptions.get(name) or (word if word and counts[word.lower()] == 1 else name)
        for name, word in zip(names, words, strict=True)
    ]


@torch.no_grad()
def mean_of_pieces(embeddings: torch.Tensor, tokenizer: MultiLabelTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return the mean embedding of each text's word pieces, (S, H).

    Punctuation is left out, unless the text has nothing else or would then equal another one. The word embeddings are
    (V, H).
    """
    options = []  # for each text, its word pieces without and with punctuation
    for text in texts:
        whole = _pieces(text, tokenizer) or [tokenizer.unk_token_id]  # a lone accent
        words = _pieces(_without_punctuation(text), tokenizer)
        options.append((tuple(words or whole), whole))
    counts = Counter(words for words, _ in options)
    chosen = [list(words) if counts[words] == 1 else whole for words, whole in options]
    return _make_distinct(torch.stack([embeddings[pieces].mean(dim=0) for pieces in chosen]))


def _pieces(text: str, tokenizer: MultiLabelTokenizer) -> list[int]:
    """Return the word pieces of a text, as they are within a sentence: byte-level ones depend on the space before."""
    words = text.split()
    ids: list[int] = tokenizer(" " + " ".join(words), add_special_tokens=False)["input_ids"] if words else []
    return ids


@torch.no_grad()
def mean_of_states(
    encoder: MultiLabelBert, depth: int, tokenizer: MultiLabelTokenizer, texts: Sequence[str]
) -> torch.Tensor:
    """Return the mean hidden state (S, H) of S texts, [CLS] and [SEP] included, after `depth` layers, without dropout.

    Texts longer than the encoder allows are cut off.
    """
    text_tokenizer = tokenizer.without_label_tokens()
    was_training = encoder.training
    encoder.eval()
    means = []
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = list(texts[start : start + _BATCH_SIZE])
        inputs = text_tokenizer(batch, truncation=True, padding=True, return_tensors="pt").to(encoder.device)
        states = encoder(**inputs, output_hidden_states=True).hidden_states[depth]  # (B, T, H)
        is_token = inputs["attention_mask"][:, :, None]  # (B, T, 1)
        means.append((states * is_token).sum(dim=1) / is_token.sum(dim=1))  # (B, H)
    encoder.train(was_training)
    return _make_distinct(torch.cat(means))  # (S, H)


def _make_distinct(vectors: torch.Tensor) -> torch.Tensor:
    """Add a little fixed noise to each of the vectors (S, H) that equals an earlier one."""
    # Padding in a batch moves states by less than a ten-thousandth.
    groups = torch.unique(vectors.float().round(decimals=4), dim=0, return_inverse=True)[1].tolist()
    is_repeated = torch.tensor([group in groups[:index] for index, group in enumerate(groups)], device=vectors.device)
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0)).to(vectors)
    return torch.where(is_repeated[:, None], vectors + 0.1 * vectors.std() * noise, vectors)


def _without_punctuation(text: str) -> str:
    """Replace punctuation and symbols by spaces: "role::web-server" becomes "role  web server"."""
    return "".join(" " if unicodedata.category(letter)[0] in "PS" else letter for letter in text)
