"""The engines of the server, which compute logits: torch or onnxruntime.

Shapes: N texts, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.choices import PRECISIONS
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import MultiLabelScorer, store_in_bfloat16
from bert_multilabel.model.windows import Windows
from bert_multilabel.utils.extras import check_installed


class Engine(Protocol):
    """Computes logits; its configuration decides on them. `MultiLabelScorer` is an engine."""

    config: MultiLabelConfig
    max_length: int  # of an input, in tokens

    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, windows: Windows | None = None
    ) -> torch.Tensor:
        """Return the logits, (N, L), float32, on the CPU, of N texts, all with a second text or all without."""

    def are_cut(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """Return for each of N texts whether it is too long, so that without windows it is cut off."""


class OnnxEngine:
    """Runs a model exported by `python -m bert_multilabel.export` with onnxruntime."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        from bert_multilabel.export.onnx_model import OnnxModel

        self._model = OnnxModel(folder, threads)
        self.max_length = self._model.max_length
        self.config = MultiLabelConfig(
            label_names=self._model.label_names,
            threshold=self._model.threshold.tolist(),
            temperature=self._model.temperature.tolist(),
            min_labels=self._model.min_labels,
            decision=self._model.decision,
            label_rules=self._model.label_rules,
        )

    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, windows: Windows | None = None
    ) -> torch.Tensor:
        """See `Engine`.

        Raises:
            MultiLabelError: If there are windows, which an export does not read.
        """
        if windows is not None:
            raise MultiLabelError("an export cuts long texts off: remove stride, or serve the trained folder")
        return torch.from_numpy(self._model.logits(texts, pairs))

    def are_cut(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """See `Engine`."""
        return self._model.are_cut(texts, pairs)


def is_export(folder: Path) -> bool:
    """Whether a folder is an ONNX export; those of version 0.1 have the model at the top."""
    return any(folder.glob("onnx/*.onnx")) or (folder / "model.onnx").is_file()


def load_engine(folder: Path, device: str, precision: str | None, threads: int | None) -> Engine:
    """Load a model, or an export, which always runs on the CPU in its own precision.

    Raises:
        MissingDependencyError: If the folder is an export and onnxruntime is not installed.
        MultiLabelError: If the folder is not a model directory, or a precision is named for an export.
    """
    if is_export(folder):
        check_installed("an export", "onnx", ["onnxruntime"])
        if precision is not None:
            raise MultiLabelError(f"{folder} is an export, whose precision is fixed: remove --precision {precision}")
        return OnnxEngine(folder, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    model, tokenizer = load_trained(folder)
    model = model.to(device)  # type: ignore[arg-type]  # its declared type lacks self
    if precision == "bfloat16":
        store_in_bfloat16(model)
    return MultiLabelScorer(model, tokenizer, precision or PRECISIONS[0])
