"""Compares an exported model with its original in PyTorch.

Shapes: N texts, L labels.
"""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bert_multilabel.metrics import hamming_score
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

if TYPE_CHECKING:  # what it imports is not part of the plain install
    from .onnx_model import OnnxModel

_BATCH_SIZE = 32
# Number of words of the made-up texts: four texts of each length.
_LENGTHS = 4 * [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610]


@dataclass(frozen=True)
class Sample:
    """Examples on which two models are compared."""

    source: str  # name of their file, or "made-up texts"
    texts: list[str]
    pairs: list[str] | None = None
    labels: NDArray[np.float32] | None = None  # (N, L): 1, 0, or NaN for "not annotated"


@dataclass(frozen=True)
class Parity:
    """Differences between an exported model and its original."""

    largest_logit_difference: float  # absolute
    largest_probability_difference: float  # absolute, after the temperature
    equal_decisions: float  # share of the N * L decisions that are the same
    equal_rows: float  # share of the N examples whose L decisions are all the same
    hamming_score_before: float | None = None  # of the original; None without labels
    hamming_score_after: float | None = None  # of the exported model; None without labels


@torch.inference_mode()
def original_logits(model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer, sample: Sample) -> torch.Tensor:
    """Return the logits, (N, L) float32, in the order of the texts; texts are cut at `model_max_length`."""
    logits = []
    for start in range(0, len(sample.texts), _BATCH_SIZE):
        texts, pairs = (some and some[start : start + _BATCH_SIZE] for some in (sample.texts, sample.pairs))
        model.config.warn_about_pairs(pairs is not None)
        batch = tokenizer(texts, pairs, padding=True, truncation=True, return_tensors="pt")
        logits.append(model(**batch).logits)  # (B, L)
    return torch.cat(logits)


def compare(config: MultiLabelConfig, before: torch.Tensor, exported: "OnnxModel", sample: Sample) -> Parity:
    """Compare an exported model with its original, which has the configuration and the logits `before`, (N, L)."""
    after = exported.logits(sample.texts, sample.pairs)  # (N, L)
    old_probabilities, old = (result.numpy() for result in config.decide(before))  # (N, L) each
    new_probabilities, new = exported.decide(after)  # (N, L) each
    return Parity(
        largest_logit_difference=float(np.abs(after - before.numpy()).max()),
        largest_probability_difference=float(np.abs(new_probabilities - old_probabilities).max()),
        equal_decisions=float((new == old).mean()),
        equal_rows=float((new == old).all(axis=1).mean()),
        hamming_score_before=None if sample.labels is None else hamming_score(old, sample.labels),
        hamming_score_after=None if sample.labels is None else hamming_score(new, sample.labels),
    )


def made_up_sample(tokenizer: MultiLabelTokenizer, with_pairs: bool) -> Sample:
    """Make texts of many lengths from words of the vocabulary; some spell special tokens.

    They have no meaning: they test the arithmetic, but do not show how often decisions change.
    """
    draw = random.Random(0)
    # Ġ and ▁ are the space before a word in byte-level and unigram pieces.
    words = sorted({word for token in tokenizer.get_vocab() if (word := token.lstrip("Ġ▁")).isalpha()})
    special = tokenizer.all_special_tokens  # label tokens are among them

    def make() -> list[str]:
        return [
            " ".join([*draw.choices(words, k=length), *draw.choices(special, k=draw.randrange(2))])
            for length in draw.sample(_LENGTHS, len(_LENGTHS))
        ]

    return Sample("made-up texts", make(), make() if with_pairs else None)
