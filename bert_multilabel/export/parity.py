"""Compares an exported model with its original in PyTorch.

Shapes: N texts, B batch, L labels.
"""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bert_multilabel.data.examples import load_splits, multi_hot
from bert_multilabel.errors import ParityError
from bert_multilabel.metrics import hamming_score
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.output_dir.checkpoints import trained_pair_column

from .arguments import LARGEST_SCORE_LOSS, LEAST_EQUAL_ROWS, ExportArguments

if TYPE_CHECKING:
    from .onnx_model import OnnxModel  # what it imports is not part of the plain install

PARITY_FILE = "parity.json"
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

    def batches(self) -> Iterator[tuple[list[str], list[str] | None]]:
        """Yield texts and second texts, B of each."""
        for start in range(0, len(self.texts), _BATCH_SIZE):
            batch = slice(start, start + _BATCH_SIZE)
            yield self.texts[batch], None if self.pairs is None else self.pairs[batch]


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for a sample, (N, L) each."""

    logits: NDArray[Any]  # divided by the temperature
    probabilities: NDArray[Any]
    decisions: NDArray[np.bool_]


@dataclass(frozen=True)
class Parity:
    """Differences between an exported model and its original."""

    largest_logit_difference: float  # absolute, after the temperature
    largest_probability_difference: float  # absolute
    equal_decisions: float  # share of the N * L decisions that are the same
    equal_rows: float  # share of the N examples whose L decisions are all the same
    hamming_score_before: float | None = None  # of the original; None without labels
    hamming_score_after: float | None = None  # of the exported model; None without labels


def export_sample(
    model_dir: Path, options: ExportArguments, config: MultiLabelConfig, tokenizer: MultiLabelTokenizer
) -> Sample:
    """Read the examples of `--file`, or make some up.

    Raises:
        MultiLabelError: If there is no such file, or its data is bad.
    """
    file = options.file
    if file is None:
        on_pairs = config.trained_on_pairs
        return made_up_sample(tokenizer, bool(trained_pair_column(model_dir)) if on_pairs is None else on_pairs)
    if options.text_pair_column is None:
        options = replace(options, text_pair_column=trained_pair_column(model_dir))
    spec = options.spec(config.label_names)
    rows = load_splits(spec, {"test": file}).splits["test"]  # "test": texts may be empty, and labels missing
    return Sample(
        source=Path(file).name,
        texts=list(rows["text"]),
        pairs=list(rows["pair"]) if "pair" in rows.column_names else None,
        labels=multi_hot(rows) if "labels" in rows.column_names else None,
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


@torch.inference_mode()
def original_logits(model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer, sample: Sample) -> torch.Tensor:
    """Return the logits, (N, L) float32, in the order of the texts; texts are cut at `model_max_length`."""
    logits = []
    for texts, pairs in sample.batches():
        model.config.warn_about_pairs(pairs is not None)
        batch = tokenizer(texts, pairs, padding=True, truncation=True, return_tensors="pt")
        logits.append(model(**batch).logits)  # (B, L)
    return torch.cat(logits)


def compare(config: MultiLabelConfig, before: torch.Tensor, exported: "OnnxModel", sample: Sample) -> Parity:
    """Compare an exported model with its original, which has the configuration and the logits `before`, (N, L)."""
    after = exported.logits(sample.texts, sample.pairs)  # (N, L), calibrated
    calibrated = before / torch.tensor(config.temperature)  # (N, L)
    decided = (result.numpy() for result in config.decide(before))  # (N, L) each
    return measure_parity(
        Predictions(calibrated.numpy(), *decided), Predictions(after, *exported.decide(after)), sample
    )


def measure_parity(before: Predictions, after: Predictions, sample: Sample) -> Parity:
    """Compare the predictions of an exported model with those before the export."""
    is_equal = after.decisions == before.decisions  # (N, L)
    scores = [
        None if sample.labels is None else hamming_score(some.decisions, sample.labels) for some in (before, after)
    ]
    return Parity(
        largest_logit_difference=float(np.abs(after.logits - before.logits).max()),
        largest_probability_difference=float(np.abs(after.probabilities - before.probabilities).max()),
        equal_decisions=float(is_equal.mean()),
        equal_rows=float(is_equal.all(axis=1).mean()),
        hamming_score_before=scores[0],
        hamming_score_after=scores[1],
    )


def check_parity(parity: Parity, sample: Sample, tolerance: float) -> None:
    """Raise a ParityError if a probability in float32 differs by more than the tolerance."""
    difference = parity.largest_probability_difference
    if not difference <= tolerance:  # also if it is NaN
        raise ParityError(
            f"the exported model differs from the original: probabilities by up to {difference:.2g} on "
            f"{len(sample.texts)} examples of {sample.source}, where {tolerance:.0e} is allowed. Nothing was written. "
            "Please report this with the versions of torch, transformers, onnxscript and onnxruntime"
        )


def check_quantized(parity: Parity, precision: str) -> None:
    """Raise a ParityError if too many examples get other labels, or the hamming score falls too much."""
    before, after = parity.hamming_score_before, parity.hamming_score_after
    loss = 0.0 if before is None or after is None else before - after
    if parity.equal_rows < LEAST_EQUAL_ROWS or loss > LARGEST_SCORE_LOSS:
        raise ParityError(
            f"{precision} changes this model too much: {describe_parity(parity)}. The limits are "
            f"{LEAST_EQUAL_ROWS:.1%} of the examples and a loss of {LARGEST_SCORE_LOSS}. Nothing was written. Export "
            "in float32 (without --quantize), or accept these changes with --allow_changes"
        )


def describe_parity(parity: Parity) -> str:
    """Describe a comparison in a sentence.

    Examples:
        >>> describe_parity(Parity(0.4, 0.08, 0.998, 0.944, 0.536, 0.524))  # doctest: +ELLIPSIS
        '94.40% of the examples keep all their labels (99.80% of all decisions stay), ..., 0.5240 after'
    """
    kept = f"{parity.equal_rows:.2%} of the examples keep all their labels"
    kept += f" ({parity.equal_decisions:.2%} of all decisions stay)"
    if parity.hamming_score_before is None:
        return kept
    return f"{kept}, hamming score {parity.hamming_score_before:.4f} before, {parity.hamming_score_after:.4f} after"


def parity_report(sample: Sample, num_labels: int, parities: dict[str, Parity], tolerance: float) -> dict[str, Any]:
    """Return the content of `parity.json`.

    Args:
        sample: N examples.
        num_labels: L.
        parities: A comparison on them by precision, such as `"float32"`.
        tolerance: How much probabilities in float32 may differ.

    Returns:
        The `source` of the texts, the number of `rows` and `decisions`, the `tolerance` in float32, and for each
        precision the fields of `Parity` that are known.
    """
    known = {
        precision: {name: value for name, value in asdict(parity).items() if value is not None}
        for precision, parity in parities.items()
    }
    rows = len(sample.texts)
    return {
        "source": sample.source,
        "rows": rows,
        "decisions": rows * num_labels,
        "tolerance": tolerance,
        **known,
    }
