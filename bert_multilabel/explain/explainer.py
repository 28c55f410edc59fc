"""Explains predictions: how much each word of a text supports or opposes a label.

The method is integrated gradients (https://arxiv.org/abs/1703.01365, equation 1) of the logit of the label, along the
path on which the embeddings of all word pieces change from that of the padding token to their own, while special
tokens, label tokens and pieces of nothing but spaces stay. The attributions of the words add up to the change of the
logit, apart from an error that is reported.

Shapes: B batch, T tokens, W words, L labels, S labels that are explained, h heads, H hidden size.
"""

import copy
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Encoding

from bert_multilabel.data.values import has_lone_surrogate, shorten, unknown_label
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.scoring import num_late_label_tokens, scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.extras import check_installed

from .arguments import STEPS

# Tokens in a forward and backward pass: few enough for the cache of a CPU and the memory of any accelerator.
TOKENS_PER_BATCH = 1024
_JOINING = "\u200d\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # within one emoji: joiner, colours of skin
# Scripts that have no spaces between words, by the beginning of the names of their letters: each piece is a word.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


@dataclass(frozen=True)
class Word:
    """A word that the model has read; each punctuation mark is one, and each piece of Chinese, Japanese or Thai."""

    text: str  # as written in the input
    start: int  # index of its first character in the text or the second text
    end: int  # index after its last character
    is_pair: bool  # whether it belongs to the second text


@dataclass(frozen=True)
class LabelExplanation:
    """The words that support and oppose one label."""

    name: str
    given: bool  # whether the model predicts the label
    probability: float  # after the temperature
    logit: float
    baseline_logit: float  # the logit with [PAD] in place of every word piece
    attributions: list[float]  # how much each of the W words raises (> 0, supports) or lowers (< 0, opposes) the logit
    # Attention of the label token to each of the W words in the last layer, mean of the heads; None for `cls`.
    attention: list[float] | None
    error: float  # the sum of the attributions minus `logit - baseline_logit`
    relative_error: float | None  # the absolute error divided by this difference; None if it is 0
    cutoff: float  # the probability from which the decision rule predicts the label for this text

    @property
    def shares(self) -> list[float]:
        """The attributions divided by the largest absolute one, from -1 to 1."""
        largest = max(map(abs, self.attributions)) or 1.0
        return [attribution / largest for attribution in self.attributions]


@dataclass(frozen=True)
class Explanation:
    """The explanation of some labels of a text; `dataclasses.asdict` converts it for JSON."""

    text: str
    pair: str | None
    truncated: bool  # whether the input was truncated
    words: list[Word]  # the W words that the model has read, first those of the text
    labels: list[LabelExplanation]  # the S labels that are explained

    def parts(self, label: LabelExplanation, is_pair: bool) -> Iterator[tuple[str, float, float]]:
        """Split the text, or the second text: each word with its share and attribution, the rest with zeros."""
        text, done = (self.pair or "" if is_pair else self.text), 0
        for word, share, attribution in zip(self.words, label.shares, label.attributions, strict=True):
            if word.is_pair == is_pair:
                yield text[done : word.start], 0.0, 0.0
                yield word.text, share, attribution
                done = word.end
        yield text[done:], 0.0, 0.0

    def _repr_html_(self) -> str:
        """Show the words in colours in a notebook, with their numbers."""
        from .html import output_html  # it needs this module

        return output_html(self)


@dataclass(frozen=True)
class _Encoded:
    """A tokenized text."""

    words: list[Word]  # W
    truncated: bool
    word_of_token: torch.Tensor  # (T,) int64: the index of the word of each token; W for special and label tokens
    embeddings: torch.Tensor  # (2, T, H) float32: the word embeddings of the tokens, and of the baseline
    inputs: dict[str, torch.Tensor]  # the other inputs of the model, (1, T) each

    def by_word(self, values: torch.Tensor) -> torch.Tensor:
        """Sum the values of the pieces of each word: (..., T) to (..., W)."""
        sums = values.new_zeros(*values.shape[:-1], len(self.words) + 1)  # (..., W + 1)
        return sums.index_add(-1, self.word_of_token, values)[..., :-1]  # (..., W)


class Explainer:
    """Explains which words support and oppose a label, for any model of this package.

    Args:
        model: Any model of this package; a copy is used, in evaluation mode and float32.
        tokenizer: The model's tokenizer.
        steps: Number of gradients on the path from the baseline: more are slower and more exact.

    Raises:
        MissingDependencyError: If Captum is not installed.
        MultiLabelError: If `steps` is not a positive integer.
    """

    def __init__(self, model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer, steps: int = STEPS) -> None:
        check_installed("explaining", "explain")
        if type(steps) is not int or steps < 1:
            raise MultiLabelError(f"steps must be a positive integer, got {steps!r}")
        self.steps = steps
        self.tokenizer = scoring_tokenizer(tokenizer, model.config)
        self.model = copy.deepcopy(model).float().eval().requires_grad_(False)
        self.config = self.model.config
        self.config.output_attentions = self.config.output_hidden_states = False
        self.model.set_attn_implementation("eager")  # it returns attention weights

    def explain(self, text: str, pair: str | None = None, labels: Sequence[str] | None = None) -> Explanation:
        """Explain some labels of a text.

        Args:
            text: A text; the input is truncated to the length of the model.
            pair: The second text, for a model trained on pairs.
            labels: Names of the labels to explain; by default the predicted ones, the most probable first, or the most
                probable label if none is predicted.

        Raises:
            MultiLabelError: If a text is invalid or has no words, or `labels` is not a list of known labels.
        """
        self.config.warn_about_pairs(pair is not None)
        encoded = self._read(text, pair)
        logits, baseline_logits = self._forward(encoded.embeddings, encoded).logits  # (L,) each
        probabilities, decisions = (row[0] for row in self.config.decide(logits[None]))  # (L,) each
        cutoffs = self.config.cutoffs(logits[None])[0]  # (L,)
        if labels is None:
            likeliest = probabilities.argsort(descending=True, stable=True).tolist()
            chosen = [label for label in likeliest if decisions[label]] or likeliest[:1]
        else:
            chosen = self._find(labels)
        attributions = torch.stack([self._attribute(label, encoded) for label in chosen])  # (S, W)
        attention = [None] * len(chosen) if self.config.strategy == "cls" else self._attend(chosen, encoded).tolist()
        differences = logits - baseline_logits  # (L,)
        errors = attributions.sum(1) - differences[chosen]  # (S,)
        explained = [
            LabelExplanation(
                name=self.config.label_names[label],
                given=bool(decisions[label]),
                probability=float(probabilities[label]),
                logit=float(logits[label]),
                baseline_logit=float(baseline_logits[label]),
                attributions=attributions[row].tolist(),
                attention=attention[row],
                error=float(errors[row]),
                relative_error=float((errors[row] / differences[label]).abs()) if differences[label] else None,
                cutoff=float(cutoffs[label]),
            )
            for row, label in enumerate(chosen)
        ]
        return Explanation(text, pair, encoded.truncated, encoded.words, explained)

    def _read(self, text: str, pair: str | None) -> _Encoded:
        check_text("text", text)
        if pair is not None:
            check_text("pair", pair)
        encoded = self.tokenizer(
            [text],
            None if pair is None else [pair],
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_attention_mask=False,
            return_tensors="pt",
        ).to(self.model.device)  # (1, T) each
        encoding = encoded[0]
        words, word_indices = find_words(encoding, text, pair)
        if not words:
            raise MultiLabelError(f"the text {shorten(text)} has no words to explain")
        input_ids = encoded.pop("input_ids")  # (1, T)
        word_of_token = torch.tensor(word_indices, device=input_ids.device)  # (T,)
        baseline_ids = input_ids.masked_fill(word_of_token < len(words), self.tokenizer.pad_token_id)  # (1, T)
        embeddings = self.model.get_input_embeddings()(torch.cat([input_ids, baseline_ids]))  # (2, T, H)
        return _Encoded(words, bool(encoding.overflowing), word_of_token, embeddings, dict(encoded))

    def _find(self, labels: Sequence[str]) -> list[int]:
        if isinstance(labels, str) or not labels:
            raise MultiLabelError(f"labels must be a list of label names, got {labels!r}")
        names = self.config.label_names
        for label in labels:
            if label not in names:
                raise MultiLabelError(unknown_label(label, names))
        return [names.index(label) for label in labels]

    def _forward(self, embeddings: torch.Tensor, encoded: _Encoded, **asked: Any) -> Any:
        """Return the output of the model for word embeddings (B, T, H): logits (B, L), or (B, S) for a subset."""
        inputs = {name: tensor.expand(len(embeddings), -1) for name, tensor in encoded.inputs.items()}  # (B, T) each
        return self.model(inputs_embeds=embeddings, **inputs, **asked)

    def _ask_for(self, labels: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Return the arguments that restrict the model to some labels, if it can, and their columns in its output."""
        if self.config.label_attention == "isolated":
            return {"subset": torch.tensor(labels)}, list(range(len(labels)))
        return {}, labels

    def _attribute(self, label: int, encoded: _Encoded) -> torch.Tensor:
        """Return the integrated gradient of a label's logit for each word, (W,)."""
        # It takes seconds to import, and is only installed with the extra "explain".
        from captum.attr import IntegratedGradients

        asked, (column,) = self._ask_for([label])
        num_tokens = len(encoded.word_of_token) + num_late_label_tokens(self.config)
        by_token = IntegratedGradients(
            lambda embeddings: self._forward(embeddings, encoded, **asked).logits[:, column]  # (B, T, H) -> (B,)
        ).attribute(
            encoded.embeddings[:1],
            encoded.embeddings[1:],
            n_steps=self.steps,
            internal_batch_size=max(1, TOKENS_PER_BATCH // num_tokens),
        )  # (1, T, H)
        return encoded.by_word(by_token[0].sum(-1))

    def _attend(self, labels: list[int], encoded: _Encoded) -> torch.Tensor:
        """Return the attention of the labels' tokens to each word in the last layer, (S, W)."""
        asked, rows = self._ask_for(labels)
        attentions = self._forward(encoded.embeddings[:1], encoded, output_attentions=True, **asked).attentions
        weights = attentions[-1][0].mean(0)  # (1, h, T, T) -> (T, T), with separate labels larger than T
        tokens = len(encoded.word_of_token)
        if self.config.encodes_text_separately:
            of_labels = weights[tokens:, :tokens]  # (L, T) or (S, T)
        else:
            of_labels = weights[encoded.inputs["label_mask"][0].bool()]  # (L, T)
        return encoded.by_word(of_labels[rows])  # (S, T) -> (S, W)


def find_words(encoding: Encoding, text: str, pair: str | None) -> tuple[list[Word], list[int]]:
    """Return the W words of an encoded input, and for each of its T tokens the index of its word, W if it has none."""
    spans: list[tuple[int | None, int, int]] = []  # text, start and end of each word
    indices: list[int | None] = []
    last = None  # text and word of the token before
    for sequence, word, (start, end) in zip(encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True):
        source = pair or "" if sequence else text
        start, end = _without_spaces(source, start, end)
        if word is None or start == end:
            indices.append(None)
            continue
        if last is not None and last[0] == sequence and not _is_boundary(source, spans[-1][2], start, last[1] == word):
            spans[-1] = sequence, min(spans[-1][1], start), max(spans[-1][2], end)
        else:
            spans.append((sequence, start, end))
        indices.append(len(spans) - 1)
        last = sequence, word
    starts = {(sequence, start) for sequence, start, _ in spans}
    words = []
    for sequence, start, end in spans:
        source = pair or "" if sequence else text
        # An accent that the tokenizer has removed from the last letter belongs to the word.
        while end < len(source) and unicodedata.category(source[end]) == "Mn" and (sequence, end) not in starts:
            end += 1
        words.append(Word(source[start:end], start, end, is_pair=sequence == 1))
    return words, [len(words) if index is None else index for index in indices]


def _without_spaces(source: str, start: int, end: int) -> tuple[int, int]:
    """Shorten a span by the spaces around it, which belong to byte-level and unigram pieces."""
    piece = source[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


def _is_boundary(source: str, end: int, start: int, is_one: bool) -> bool:
    """Whether a word ends between two pieces, from `end` to `start`; `is_one`: they are one word to the tokenizer."""
    if start < end:  # two pieces of one letter
        return False
    before, after = source[end - 1], source[start]
    is_mark = unicodedata.category(after)[0] == "M"
    if not is_one:  # byte-level tokenizers divide a letter from its accent
        return not (is_mark and start == end)
    if is_mark or after in _JOINING or before == _JOINING[0]:
        return False
    is_within = all(unicodedata.category(letter)[0] in "LMN" for letter in (before, after))
    return not is_within or any(unicodedata.name(letter, "").startswith(_UNSPACED) for letter in (before, after))


def check_text(name: str, text: Any) -> None:
    """Raise a MultiLabelError about `name` if a value is not a valid text."""
    if not isinstance(text, str):
        raise MultiLabelError(f"the {name} must be a text, got {shorten(text)}")
    if has_lone_surrogate(text):
        raise MultiLabelError(
            f"the {name} {shorten(text)} has a lone surrogate, which is not valid Unicode; remove it"
        )
