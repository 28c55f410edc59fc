"""What computes the logits of the server: a trained model, by any engine, or an export.

Shapes: N texts, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from bert_multilabel.engines.choice import ENGINES
from bert_multilabel.engines.scorers import load_scorer
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.choices import PRECISIONS
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.windows import Windows
from bert_multilabel.utils.extras import check_installed


class Scorer(Protocol):
    """Computes logits; its configuration decides on them. `MultiLabelScorer` is one."""

    config: MultiLabelConfig
    max_length: int  # of an input, in tokens

    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, windows: Windows | None = None
    ) -> torch.Tensor:
        """Return the logits, (N, L), float32, on the CPU, of N texts, all with a second text or all without."""

    def are_cut(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """Return for each of N texts whether it is too long, so that without windows it is cut off."""


class ExportScorer:
    """Runs a model exported by `bert-multilabel export` with onnxruntime."""

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
        """See `Scorer`.

        Raises:
            MultiLabelError: If there are windows, which an export does not read.
        """
        if windows is not None:
            raise MultiLabelError("an export cuts long texts off: remove stride, or serve the trained folder")
        return torch.from_numpy(self._model.logits(texts, pairs))

    def are_cut(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """See `Scorer`."""
        return self._model.are_cut(texts, pairs)


def is_export(folder: Path) -> bool:
    """Whether a folder is an ONNX export; those of version 0.1 have the model at the top."""
    return any(folder.glob("onnx/*.onnx")) or (folder / "model.onnx").is_file()


def load_served(
    folder: Path, precision: str | None = None, threads: int | None = None, engine: str = ENGINES[0]
) -> Scorer:
    """Load a model, or an export, which always runs on the CPU in its own precision.

    Args:
        folder: Of the model, or the export.
        precision: Precision of the matrix products, one of `PRECISIONS`; default: float32.
        threads: How many threads compute; default: one per core.
        engine: One of `ENGINES`. An export runs by ONNX Runtime.

    Raises:
        MissingDependencyError: If a package is not installed.
        MultiLabelError: If the folder is not a model directory, the engine cannot compute as asked, or a precision or
            an engine is named for an export.
    """
    if is_export(folder):
        check_installed("an export", "onnx", ["onnxruntime"])
        if precision is not None:
            raise MultiLabelError(f"{folder} is an export, whose precision is fixed: remove --precision {precision}")
        if engine not in (ENGINES[0], "onnx"):
            raise MultiLabelError(f"{folder} is an export, which ONNX Runtime runs: remove --engine {engine}")
        return ExportScorer(folder, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    return load_scorer(folder, engine, precision or PRECISIONS[0])
