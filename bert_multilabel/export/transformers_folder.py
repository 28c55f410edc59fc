"""Writes a model that classifies from [CLS] as a folder that any tool loads without code of ours.

It is a stock `BertForSequenceClassification`: our head is its pooler and its classifier under other names. The
temperatures are folded into the classifier, so that a sigmoid gives our probabilities. What decides on them is in
`config.json` and in the card, and with `--decide_at_half` the thresholds are folded in, too.

Shapes: N texts, B batch, L labels, H hidden size.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    PreTrainedTokenizerBase,
)

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.utils.files import atomic_folder, write_json

from .arguments import ExportArguments
from .logit_thresholds import logit_thresholds
from .parity import (
    PARITY_FILE,
    Parity,
    Predictions,
    Sample,
    check_parity,
    export_sample,
    measure_parity,
    original_logits,
    parity_report,
)
from .stock_card import left_behind, write_stock_card
from .stock_config import stock_config
from .stock_tokenizer import limit_tokenizer, save_stock_tokenizer

# Of probabilities. Rounding explains up to about 1e-6, and what is folded in wrongly differs by far more.
TOLERANCE = 1e-5
HALF = 0.5
_report = partial(print, flush=True)
# Our names of the weights that have others in the stock class.
_STOCK_NAMES = {"classifier.dense.": "bert.pooler.dense.", "classifier.out_proj.": "classifier."}


@dataclass(frozen=True)
class _Fold:
    """What is folded into the last layer: logits become logits / temperature - shift."""

    temperature: NDArray[np.float64]  # (L,)
    shift: NDArray[np.float64]  # (L,)
    threshold: NDArray[np.float32]  # (L,), of the probabilities afterwards

    @classmethod
    def of(cls, config: MultiLabelConfig, decide_at_half: bool) -> "_Fold":
        size = len(config.label_names)
        threshold = np.array(config.label_thresholds)  # (L,)
        temperature = np.broadcast_to(np.asarray(config.temperature, np.float64), size)
        if not decide_at_half:
            return cls(temperature, np.zeros(size), threshold.astype(np.float32))
        return cls(temperature, logit_thresholds(threshold).astype(np.float64), np.full(size, HALF, np.float32))

    def apply(self, logits: Any) -> Any:
        """Fold logits, (N, L)."""
        return logits / self.temperature - self.shift


def export_transformers(model_dir: Path, options: ExportArguments) -> dict[str, Any]:
    """Export a trained model, completely or not at all.

    Args:
        model_dir: A folder that a training run or `save_pretrained` wrote, of a model with strategy `"cls"`.
        options: Where to write it, whether to fold the thresholds in, and the examples to compare on.

    Returns:
        The content of `parity.json`, as `parity_report` describes it. Its decisions are those of the thresholds alone,
        compared with all rules of the original.

    Raises:
        MultiLabelError: If `model_dir` is not a model directory, the model has label tokens, or a decision that cannot
            be folded in; if the output exists already, or the data is bad.
        ParityError: If the export differs too much from the original; nothing is written then.
    """
    with atomic_folder(Path(options.output)) as folder:
        model, tokenizer = load_trained(model_dir)
        _check_exportable(model_dir, model.config, options.decide_at_half)
        tokenizer = limit_tokenizer(tokenizer, model.config, options.max_seq_length)
        fold = _Fold.of(model.config, options.decide_at_half)
        sample = export_sample(model_dir, options, model.config, tokenizer)
        _report(f"Predicting {len(sample.texts):,} texts with the original model ({sample.source})...")
        before = original_logits(model, tokenizer, sample)  # (N, L)
        stored = stock_config(model.config, HALF if options.decide_at_half else None)
        _save_weights(folder, BertForSequenceClassification(stored), model, fold)
        save_stock_tokenizer(tokenizer, folder)

        _report("Predicting them with the export...")
        parity = _compare(model.config, before, _stock_logits(folder, sample), fold, sample)
        check_parity(parity, sample, TOLERANCE)
        report = parity_report(sample, len(model.config.label_names), {"float32": parity}, TOLERANCE)
        write_json(folder / PARITY_FILE, report)
        write_stock_card(folder, model_dir, model.config, tokenizer, options.decide_at_half)
    _report("What stock tools do otherwise than the original:")
    for line in left_behind(model.config, tokenizer, options.decide_at_half):
        _report(f"  - {line}")
    return report


def _check_exportable(path: Path, config: MultiLabelConfig, decide_at_half: bool) -> None:
    if config.strategy != "cls":
        raise MultiLabelError(
            f"{path} has label tokens (strategy {config.strategy!r}), which no stock class of Transformers has: "
            "export it with --format onnx, which every runtime of ONNX takes, or train with --strategy cls"
        )
    if decide_at_half and config.decision is not None:
        raise MultiLabelError(
            f"{path} predicts the set with the highest expected {config.decision['score']}, which no thresholds do: "
            "store some first, with `bert-multilabel tune` and --thresholds per_label --force, or leave "
            "--decide_at_half out"
        )


def _save_weights(
    folder: Path, stock: BertForSequenceClassification, model: MultiLabelPreTrainedModel, fold: _Fold
) -> None:
    """Write a model's weights as those of a stock class."""
    weights = {}
    for name, values in model.state_dict().items():
        for ours, theirs in _STOCK_NAMES.items():
            name = name.replace(ours, theirs) if name.startswith(ours) else name
        weights[name] = values
    temperature, shift = torch.from_numpy(fold.temperature.copy()), torch.from_numpy(fold.shift)  # (L,) each
    rows, bias = weights["classifier.weight"].double(), weights["classifier.bias"].double()  # (L, H), (L,)
    weights["classifier.weight"] = (rows / temperature[:, None]).float()
    weights["classifier.bias"] = (bias / temperature - shift).float()
    stock.load_state_dict(weights)
    stock.save_pretrained(folder)


@torch.inference_mode()
def _stock_logits(folder: Path, sample: Sample) -> NDArray[np.float32]:
    """Return the logits, (N, L), that Transformers computes without code of ours."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False).eval()
    logits = []
    for texts, pairs in sample.batches():
        batch = tokenizer(texts, pairs, padding=True, truncation=True, return_tensors="pt")
        logits.append(model(**batch).logits.numpy())  # (B, L)
    return np.concatenate(logits)


def _compare(
    config: MultiLabelConfig, before: torch.Tensor, after: NDArray[np.float32], fold: _Fold, sample: Sample
) -> Parity:
    """Compare the logits (N, L) before the export, which the configuration decides on, with those after it."""
    expected = fold.apply(before.numpy().astype(np.float64))  # (N, L)
    old = config.decide(before)[1].numpy()  # (N, L)
    new = torch.from_numpy(after).sigmoid().numpy() >= fold.threshold  # (N, L), as another tool decides
    before_export = Predictions(expected, expit(expected), old)
    return measure_parity(before_export, Predictions(after, expit(after.astype(np.float64)), new), sample)
