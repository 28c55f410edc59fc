"""Why a model gives a label to a text: how much each word speaks for or against it.

That is the integrated gradient (https://arxiv.org/abs/1703.01365, equation 1) of the label's logit, along the way on
which the embeddings of all word pieces go from that of [PAD], which says nothing, to their own, while special and
label tokens stay. What the words move the logit by is shared out among them whole; the error says how nearly.

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

# Enough for an error of 1% with few exceptions.
STEPS = 32
# Tokens that go through the model at once, forward and back, so that a CPU's cache holds most of a layer's states, and
# any accelerator the states of all layers.
TOKENS_AT_ONCE = 1024


@dataclass(frozen=True)
class Word:
    """A word that the model has read, as its tokenizer splits texts before it forms word pieces.

    Punctuation marks and Chinese characters are words of their own.

    Attributes:
        text: As it stands in the text.
        start: Where it begins, in characters of the text, or of the pair.
        end: Where it ends, exclusive.
        is_pair: Whether it stands in the pair.
    """

    text: str
    start: int
    end: int
    is_pair: bool


@dataclass(frozen=True)
class LabelExplanation:
    """What speaks for and against one label.

    Attributes:
        name: Of the label.
        given: Whether the model gives the label to the text.
        probability: Of the label, as the model decides on it.
        logit: Of the label.
        baseline_logit: Its logit with [PAD] in place of every word piece.
        attributions: By how much each of the W words moves the logit from there: above 0 it speaks for the label,
            below 0 against it.
        attention: How much of its attention the label's token pays to each of the W words in the last layer, as the
            mean over the heads; the rest goes to special and label tokens. None where there are no label tokens.
        error: By how much the sum of the attributions exceeds `logit - baseline_logit`, which it ought to be.
        relative_error: The size of `error` as a share of that difference; None if there is no difference.
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
        """The attributions as shares of the largest, from -1 to 1."""
        largest = max(map(abs, self.attributions)) or 1.0
        return [attribution / largest for attribution in self.attributions]


@dataclass(frozen=True)
class Explanation:
    """Why a text is given its labels; `dataclasses.asdict` makes it ready for JSON.

    Attributes:
        text: The text.
        pair: The second text, if there is one.
        truncated: Whether the text or the pair goes on where the model stops reading.
        words: The W words that it has read, those of the pair behind those of the text.
        labels: The S labels that are explained.
    """

    text: str
    pair: str | None
    truncated: bool
    words: list[Word]
    labels: list[LabelExplanation]


@dataclass(frozen=True)
class _Reading:
    """A tokenized text.

    Attributes:
        words: The W words.
        truncated: Whether there are more.
        places: (T,) int64, the word of which each token is a piece; W for special and label tokens.
        vectors: (2, T, H) float32, the word embeddings of the tokens, and of the baseline.
        inputs: What else the model is given, (1, T) each.
    """

    words: list[Word]
    truncated: bool
    places: torch.Tensor
    vectors: torch.Tensor
    inputs: dict[str, torch.Tensor]

    def by_word(self, values: torch.Tensor) -> torch.Tensor:
        """Add up what the pieces of each word have: (..., T) to (..., W)."""
        sums = values.new_zeros(*values.shape[:-1], len(self.words) + 1)  # (..., W + 1)
        return sums.index_add(-1, self.places, values)[..., :-1]  # (..., W)


class Explainer:
    """Says which words speak for a label and which against it, in any form of our models.

    Args:
        model: Any of this package's models; it is copied, and the copy put into evaluation mode and float32.
        tokenizer: The model's tokenizer.
        steps: In how many points of the way from the baseline gradients are taken: time grows with them, and the error
            falls.

    Raises:
        ImportError: If Captum is not installed.
        MultiLabelError: If `steps` is no whole number from 1 up.
    """

    def __init__(self, model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer, steps: int = STEPS) -> None:
        check_installed("explaining", "explain")
        if type(steps) is not int or steps < 1:
            raise MultiLabelError(f"steps must be a whole number from 1 up, got {steps!r}")
        self.steps = steps
        self.tokenizer = scoring_tokenizer(tokenizer, model.config)
        self.model = copy.deepcopy(model).float().eval().requires_grad_(False)
        self.config = self.model.config
        self.config.output_attentions = self.config.output_hidden_states = False
        self.model.set_attn_implementation("eager")  # the one that tells its weights

    def explain(self, text: str, pair: str | None = None, labels: Sequence[str] | None = None) -> Explanation:
        """Explain some labels of a text.

        Args:
            text: A text; what the model cannot take of it is cut off.
            pair: The second text, for a model trained on pairs.
            labels: Names of the labels to explain; by default those that the model gives to the text, the most
                probable first, or the most probable one if it gives none.

        Returns:
            The words, and what each says of the labels, in the order asked for.

        Raises:
            MultiLabelError: If a text is none or has no words, or if the labels are a text, none, or not the model's.
        """
        self.config.warn_about_pairs(pair is not None)
        reading = self._read(text, pair)
        logits, baseline_logits = self._logits(reading.vectors, reading)  # (L,) each
        probabilities, decisions = (row[0] for row in self.config.decide(logits[None]))  # (L,) each
        if labels is None:
            likeliest = probabilities.argsort(descending=True, stable=True).tolist()
            chosen = [label for label in likeliest if decisions[label]] or likeliest[:1]
        else:
            chosen = self._find(labels)
        attributions = torch.stack([self._attribute(label, reading) for label in chosen])  # (S, W)
        attention = [None] * len(chosen) if self.config.strategy == "cls" else self._attend(chosen, reading).tolist()
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
        return Explanation(text, pair, reading.truncated, reading.words, explained)

    def _read(self, text: str, pair: str | None) -> _Reading:
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
        words, places = find_words(encoding, text, pair)
        if not words:
            raise MultiLabelError(f"the text {shorten(text)} has no words that could be explained: give one that has")
        input_ids = encoded.pop("input_ids")  # (1, T)
        word_of_token = torch.tensor(places, device=input_ids.device)  # (T,)
        baseline_ids = input_ids.masked_fill(word_of_token < len(words), self.tokenizer.pad_token_id)  # (1, T)
        vectors = self.model.get_input_embeddings()(torch.cat([input_ids, baseline_ids]))  # (2, T, H)
        return _Reading(words, bool(encoding.overflowing), word_of_token, vectors, dict(encoded))

    def _find(self, labels: Sequence[str]) -> list[int]:
        """Look up labels by their names."""
        if isinstance(labels, str) or not labels:
            raise MultiLabelError(f"labels must be a list of the names of labels, got {labels!r}")
        names = self.config.label_names
        for label in labels:
            if label not in names:
                raise MultiLabelError(unknown_label(label, names))
        return [names.index(label) for label in labels]

    def _logits(self, vectors: torch.Tensor, reading: _Reading, **asked: Any) -> torch.Tensor:
        """Return the logits (B, L) or (B, S) of word embeddings (B, T, H) in place of the text's own."""
        return cast(torch.Tensor, self._forward(vectors, reading, **asked).logits)

    def _forward(self, vectors: torch.Tensor, reading: _Reading, **asked: Any) -> SequenceClassifierOutput:
        inputs = {name: tensor.expand(len(vectors), -1) for name, tensor in reading.inputs.items()}  # (B, T) each
        output: SequenceClassifierOutput = self.model(inputs_embeds=vectors, **inputs, **asked)
        return output

    def _ask_for(self, labels: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Return how to ask the model for some labels alone, if it can do that, and where they are in its answer."""
        if self.config.label_attention == "isolated":
            return {"subset": torch.tensor(labels)}, list(range(len(labels)))
        return {}, labels

    def _attribute(self, label: int, reading: _Reading) -> torch.Tensor:
        """Return the integrated gradient of a label's logit for each word, (W,)."""
        # Captum takes seconds to import, and is there only with the extra "explain".
        from captum.attr import IntegratedGradients

        asked, (column,) = self._ask_for([label])
        by_token = IntegratedGradients(
            lambda vectors: self._logits(vectors, reading, **asked)[:, column]  # (B, T, H) -> (B,)
        ).attribute(
            reading.vectors[:1],
            reading.vectors[1:],
            n_steps=self.steps,
            internal_batch_size=max(1, TOKENS_AT_ONCE // (len(reading.places) + num_late_label_tokens(self.config))),
        )  # (1, T, H)
        return reading.by_word(by_token[0].sum(-1))

    def _attend(self, labels: list[int], reading: _Reading) -> torch.Tensor:
        """Return the attention of the labels' tokens to each word in the last layer, (S, W)."""
        asked, rows = self._ask_for(labels)
        output = self._forward(reading.vectors[:1], reading, output_attentions=True, **asked)
        attentions = cast(tuple[torch.Tensor, ...], output.attentions)
        weights = attentions[-1][0].mean(0)  # (1, h, T, T) -> (T, T), larger by the labels that stand apart behind T
        tokens = len(reading.places)
        if self.config.encodes_text_separately:
            of_labels = weights[tokens:, :tokens]  # (L, T) or (S, T)
        else:
            of_labels = weights[reading.inputs["label_mask"][0].bool()]  # (L, T)
        return reading.by_word(of_labels[rows])  # (S, T) -> (S, W)


def find_words(encoding: Encoding, text: str, pair: str | None) -> tuple[list[Word], list[int]]:
    """Put word pieces together into the words of which they are.

    Args:
        encoding: Of a text, or of a text and its pair, by the tokenizers library; T tokens.
        text: The text.
        pair: The second text, if there is one.

    Returns:
        The W words, and for each of the T tokens its word, or W for a token that is of none.
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
        # An accent that the tokenizer has stripped from the last letter belongs to the word all the same.
        while end < len(source) and unicodedata.category(source[end]) == "Mn" and (sequence, end) not in starts:
            end += 1
        words.append(Word(source[start:end], start, end, is_pair=sequence == 1))
    numbers = {key: number for number, key in enumerate(spans)}
    return words, [numbers.get(key, len(words)) for key in keys]


def check_text(name: str, text: Any) -> None:
    """Raise a ValueError if something is no text that could be read; `name` says what it is."""
    if not isinstance(text, str):
        raise MultiLabelError(f"the {name} must be a text, got {shorten(text)}")
    if has_lone_surrogate(text):
        raise MultiLabelError(f"the {name} {shorten(text)} holds a lone surrogate, which is no valid text; remove it")
