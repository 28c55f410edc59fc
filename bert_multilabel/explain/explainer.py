"""Explains predictions: how much each word of a text supports or opposes a label.

The method is integrated gradients (https://arxiv.org/abs/1703.01365, equation 1) of the logit of the label, along the
path on which the embeddings of all word pieces change from that of [PAD] to their own, while special tokens and label
tokens stay. The attributions of the words add up to the change of the logit, apart from an error that is reported.

Shapes: B batch, T tokens, W words, L labels, S labels that are explained, h heads, H hidden size.
"""

import copy
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from tokenizers import Encoding
from transformers.modeling_outputs import SequenceClassifierOutput

from bert_multilabel.data.labels import has_lone_surrogate, shorten, unknown_label
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.scoring import num_late_label_tokens, scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.extras import check_installed

# Usually enough for an error below 1%.
STEPS = 32
# Tokens in a forward and backward pass: few enough for the cache of a CPU to hold most states of a layer, and for the
# memory of any accelerator to hold those of all layers.
TOKENS_PER_BATCH = 1024


@dataclass(frozen=True)
class Word:
    """A word that the model has read: the tokenizer splits texts into words before it splits words into pieces.

    Each punctuation mark and each Chinese character is a word.

    Attributes:
        text: The word as written in the text.
        start: Its first character, as an index into the text or the second text.
        end: The index after its last character.
        is_pair: Whether it belongs to the second text.
    """

    text: str
    start: int
    end: int
    is_pair: bool


@dataclass(frozen=True)
class LabelExplanation:
    """The words that support and oppose one label.

    Attributes:
        name: Name of the label.
        given: Whether the model predicts the label.
        probability: Probability of the label, after the temperature.
        logit: Logit of the label.
        baseline_logit: Its logit with [PAD] in place of every word piece.
        attributions: How much each of the W words changes the logit from there. Words above 0 support the label, words
            below 0 oppose it.
        attention: The attention of the label token to each of the W words in the last layer, as the mean over the
            heads; special and label tokens get the rest. None for a model without label tokens.
        error: The sum of the attributions minus `logit - baseline_logit`, to which they should add up.
        relative_error: The absolute `error` divided by that difference; None if the difference is 0.
    """

    name: str
    given: bool
    probability: float
    logit: float
    baseline_logit: float
    attributions: list[float]
    attention: list[float] | None
    error: float
    relative_error: float | None

    @property
    def shares(self) -> list[float]:
        """The attributions divided by the largest absolute one, from -1 to 1."""
        largest = max(map(abs, self.attributions)) or 1.0
        return [attribution / largest for attribution in self.attributions]


@dataclass(frozen=True)
class Explanation:
    """The explanation of some labels of a text; `dataclasses.asdict` converts it for JSON.

    Attributes:
        text: The text.
        pair: The second text, or None.
        truncated: Whether the input was truncated.
        words: The W words that the model has read, first those of the text.
        labels: The S labels that are explained.
    """

    text: str
    pair: str | None
    truncated: bool
    words: list[Word]
    labels: list[LabelExplanation]


@dataclass(frozen=True)
class _Encoded:
    """A tokenized text.

    Attributes:
        words: The W words.
        truncated: Whether the text has more words.
        word_of_token: (T,) int64, the index of the word of each token; W for special and label tokens.
        embeddings: (2, T, H) float32, the word embeddings of the tokens, and of the baseline.
        inputs: The other inputs of the model, (1, T) each.
    """

    words: list[Word]
    truncated: bool
    word_of_token: torch.Tensor
    embeddings: torch.Tensor
    inputs: dict[str, torch.Tensor]

    def by_word(self, values: torch.Tensor) -> torch.Tensor:
        """Sum the values of the pieces of each word: (..., T) to (..., W)."""
        sums = values.new_zeros(*values.shape[:-1], len(self.words) + 1)  # (..., W + 1)
        return sums.index_add(-1, self.word_of_token, values)[..., :-1]  # (..., W)


class Explainer:
    """Explains which words support and oppose a label, for any model of this package.

    Args:
        model: Any of this package's models; it is copied, and the copy put into evaluation mode and float32.
        tokenizer: The model's tokenizer.
        steps: Number of points on the path from the baseline at which gradients are computed: more are slower and more
            exact.

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
        self.model.set_attn_implementation("eager")  # the implementation that returns attention weights

    def explain(self, text: str, pair: str | None = None, labels: Sequence[str] | None = None) -> Explanation:
        """Explain some labels of a text.

        Args:
            text: A text; it is truncated to the length of the model.
            pair: The second text, for a model trained on pairs.
            labels: Names of the labels to explain; by default the predicted ones, the most probable first, or the most
                probable label if none is predicted.

        Returns:
            The words, and the explanation of each label, in the order of `labels`.

        Raises:
            MultiLabelError: If a text is invalid or has no words, or if `labels` is empty, a single text, or contains
                an unknown label.
        """
        self.config.warn_about_pairs(pair is not None)
        encoded = self._read(text, pair)
        logits, baseline_logits = self._logits(encoded.embeddings, encoded)  # (L,) each
        probabilities, decisions = (row[0] for row in self.config.decide(logits[None]))  # (L,) each
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
        """Look up labels by their names."""
        if isinstance(labels, str) or not labels:
            raise MultiLabelError(f"labels must be a list of label names, got {labels!r}")
        names = self.config.label_names
        for label in labels:
            if label not in names:
                raise MultiLabelError(unknown_label(label, names))
        return [names.index(label) for label in labels]

    def _logits(self, embeddings: torch.Tensor, encoded: _Encoded, **asked: Any) -> torch.Tensor:
        """Return the logits, (B, L) or (B, S), for word embeddings (B, T, H)."""
        return cast(torch.Tensor, self._forward(embeddings, encoded, **asked).logits)

    def _forward(self, embeddings: torch.Tensor, encoded: _Encoded, **asked: Any) -> SequenceClassifierOutput:
        inputs = {name: tensor.expand(len(embeddings), -1) for name, tensor in encoded.inputs.items()}  # (B, T) each
        output: SequenceClassifierOutput = self.model(inputs_embeds=embeddings, **inputs, **asked)
        return output

    def _ask_for(self, labels: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Return the arguments that restrict the model to some labels, if it can, and their columns in its output."""
        if self.config.label_attention == "isolated":
            return {"subset": torch.tensor(labels)}, list(range(len(labels)))
        return {}, labels

    def _attribute(self, label: int, encoded: _Encoded) -> torch.Tensor:
        """Return the integrated gradient of a label's logit for each word, (W,)."""
        # Captum takes seconds to import, and is only installed with the extra "explain".
        from captum.attr import IntegratedGradients

        asked, (column,) = self._ask_for([label])
        num_tokens = len(encoded.word_of_token) + num_late_label_tokens(self.config)
        by_token = IntegratedGradients(
            lambda embeddings: self._logits(embeddings, encoded, **asked)[:, column]  # (B, T, H) -> (B,)
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
        output = self._forward(encoded.embeddings[:1], encoded, output_attentions=True, **asked)
        attentions = cast(tuple[torch.Tensor, ...], output.attentions)
        weights = attentions[-1][0].mean(0)  # (1, h, T, T) -> (T, T), with separate labels larger than T
        tokens = len(encoded.word_of_token)
        if self.config.encodes_text_separately:
            of_labels = weights[tokens:, :tokens]  # (L, T) or (S, T)
        else:
            of_labels = weights[encoded.inputs["label_mask"][0].bool()]  # (L, T)
        return encoded.by_word(of_labels[rows])  # (S, T) -> (S, W)


def find_words(encoding: Encoding, text: str, pair: str | None) -> tuple[list[Word], list[int]]:
    """Group tokens by the words that they are pieces of.

    Args:
        encoding: The encoding of a text, or of a text and its second text; T tokens.
        text: The text.
        pair: The second text, if there is one.

    Returns:
        The W words, and for each of the T tokens the index of its word, or W for a token outside of words.
    """
    keys = list(zip(encoding.sequence_ids, encoding.word_ids, strict=True))  # (text, word in it) of each token
    spans: dict[tuple[int | None, int | None], tuple[int, int]] = {}
    for key, (start, end) in zip(keys, encoding.offsets, strict=True):
        if key[1] is not None:
            first, last = spans.get(key, (start, end))
            spans[key] = min(first, start), max(last, end)
    starts = {(sequence, start) for (sequence, _), (start, _) in spans.items()}
    words = []
    for (sequence, _), (start, end) in spans.items():
        source = pair or "" if sequence else text
        # An accent that the tokenizer has stripped from the last letter still belongs to the word.
        while end < len(source) and unicodedata.category(source[end]) == "Mn" and (sequence, end) not in starts:
            end += 1
        words.append(Word(source[start:end], start, end, is_pair=sequence == 1))
    numbers = {key: number for number, key in enumerate(spans)}
    return words, [numbers.get(key, len(words)) for key in keys]


def check_text(name: str, text: Any) -> None:
    """Raise a MultiLabelError if a value is not a valid text; `name` is its name in the message."""
    if not isinstance(text, str):
        raise MultiLabelError(f"the {name} must be a text, got {shorten(text)}")
    if has_lone_surrogate(text):
        raise MultiLabelError(f"the {name} {shorten(text)} holds a lone surrogate, which is no valid text; remove it")
