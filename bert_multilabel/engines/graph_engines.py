"""The engines that run a model's graph on a CPU.

Shapes: B batch, T tokens, L labels.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bert_multilabel.model.scoring import Engine

from .graph import INPUTS

_Inputs = dict[str, NDArray[np.int64]]  # (B, T) each
_OPENVINO_TYPES = {"float32": "f32", "bfloat16": "bf16"}


def onnx_engine(graph: Path, precision: str, threads: int) -> Engine:
    """Run a graph with ONNX Runtime, which knows no other precision than float32 on a CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return _engine(lambda inputs: session.run(["logits"], inputs)[0])


def openvino_engine(graph: Path, precision: str, threads: int) -> Engine:
    """Run a graph with OpenVINO; bfloat16 is computed where the processor does, else float32."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[precision], "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(core.read_model(graph), "CPU", {**settings, "NUM_STREAMS": 1})
    # The next batch is written into the same memory.
    return _engine(lambda inputs: np.array(compiled(inputs)["logits"]))


def _engine(run: Callable[[_Inputs], NDArray[np.float32]]) -> Engine:
    """Make an engine of a function that takes and returns arrays: `INPUTS`, and logits (B, L)."""

    def compute(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        # A pipeline may have moved the model, and so its batches, to an accelerator.
        return torch.from_numpy(run({name: batch[name].cpu().numpy() for name in INPUTS}))

    return compute
