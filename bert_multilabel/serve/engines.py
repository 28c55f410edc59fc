"""What computes logits behind the server: torch or onnxruntime.

Shapes: N texts, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import PRECISIONS, MultiLabelScorer
from bert_multilabel.utils.extras import check_installed

# Of few texts few are of like length: small batches hold less padding.
TOKENS_PER_BATCH_ON_CPU = 512


class Engine(Protocol):
    """Computes logits, on which its configuration decides; `MultiLabelScorer` is one."""

    config: MultiLabelConfig

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> torch.Tensor:
        """Return the logits (N, L), float32, on the CPU, of N texts, all with a second text or all without."""


class OnnxEngine:
    """Computes by onnxruntime what `python -m bert_multilabel.export` wrote.

    Args:
        folder: Of the export.
        threads: How many threads compute; None: one for each core.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        # What this imports is not part of the plain install.
        from bert_multilabel.export.onnx_model import OnnxModel

        self._model = OnnxModel(folder, threads)
        self.config = MultiLabelConfig(
            label_names=self._model.label_names,
            threshold=self._model.threshold.tolist(),
            temperature=self._model.temperature.tolist(),
            min_labels=self._model.min_labels,
        )

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> torch.Tensor:
        """Return the logits (N, L), float32, of N texts, all with a second text or all without."""
        return torch.from_numpy(self._model.logits(texts, pairs))


def is_export(folder: Path) -> bool:
    """Whether a folder holds an ONNX export in place of a model."""
    return (folder / "model.onnx").is_file()


def load_engine(folder: Path, device: str, precision: str | None, threads: int | None) -> Engine:
    """Load the model of a folder, or its export.

    Args:
        folder: A folder that the script trained, that `save_pretrained` wrote, or that was exported to.
        device: Where torch is to compute; an export runs on the CPU.
        precision: One of `PRECISIONS`; None: float32, or what an export was written in.
        threads: How many threads compute; None: one for each core.

    Raises:
        ImportError: If what runs an export is not installed.
        MultiLabelError: If the folder holds no model of ours, or an export is to have another precision.
    """
    if is_export(folder):
        check_installed("an export", "onnx", ["onnxruntime"])
        if precision is not None:
            raise MultiLabelError(
                f"{folder} is an export, whose precision is fixed: leave --precision {precision} out"
            )
        return OnnxEngine(folder, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    model, tokenizer = load_trained(folder)
    model = model.to(device)  # type: ignore[arg-type]  # the declared type of this method has lost its self
    tokens = TOKENS_PER_BATCH_ON_CPU if model.device.type == "cpu" else None
    return MultiLabelScorer(model, tokenizer, precision or PRECISIONS[0], tokens_per_batch=tokens)
