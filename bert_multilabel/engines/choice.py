"""Which engines there are, for options that are declared without importing one."""

import os
import shutil
import sys

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.extras import check_installed

ENGINES = ("torch", "compile", "onnx", "openvino")
ENGINE = (
    "What computes: torch; compile: torch.compile, which needs a C++ compiler and a minute or more to begin; onnx: "
    "ONNX Runtime, in float32 on a CPU; openvino: OpenVINO, on a CPU. The last two convert the model once, and keep "
    "the result."
)
# Those that run a graph made of the model, on a CPU; each needs the extra of its name.
GRAPH_ENGINES = ("onnx", "openvino")
_COMPILERS = {"win32": "cl", "darwin": "clang++"}  # that torch calls if `CXX` names none; elsewhere g++


def check_engine(engine: str, precision: str | None = None) -> None:
    """Raise an error if an engine cannot compute in a precision.

    Raises:
        MissingDependencyError: If a package of the engine is not installed.
        MultiLabelError: If the engine is unknown, or has another precision.
    """
    if engine not in ENGINES:
        raise MultiLabelError(f"engine must be one of {', '.join(map(repr, ENGINES))}, got {engine!r}")
    if engine == "onnx" and precision not in (None, "float32"):
        raise MultiLabelError(
            f"engine 'onnx' computes in float32, not in {precision}: choose precision 'float32' or another engine"
        )
    if engine in GRAPH_ENGINES:
        check_installed(f"engine {engine!r}", engine)


def check_device(engine: str, device: str) -> None:
    """Raise a MultiLabelError if an engine cannot compute on a type of device, such as "cpu"."""
    if engine in GRAPH_ENGINES and device != "cpu":
        raise MultiLabelError(
            f"engine {engine!r} computes on the CPU, but the model is on {device}: move it there (--use_cpu), or "
            "choose another engine"
        )
    compiler = os.environ.get("CXX") or _COMPILERS.get(sys.platform, "g++")
    if engine == "compile" and device == "cpu" and shutil.which(compiler) is None:
        raise MultiLabelError(
            f"engine 'compile' needs a C++ compiler, but there is no {compiler!r}: install it, name another in the "
            "variable CXX, or choose another engine"
        )
