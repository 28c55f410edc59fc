"""Optional dependencies, and the extras of setup.cfg that install them."""

from collections.abc import Sequence
from importlib.util import find_spec

from bert_multilabel.errors import MissingDependencyError

EXTRAS = {
    "explain": ("captum",),
    "hpo": ("optuna",),
    "lora": ("peft",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "page": ("captum", "gradio"),
    "ray": ("ray",),
    "report": ("cleanlab", "jinja2", "matplotlib"),
    "serve": ("prometheus_client", "pydantic", "starlette", "uvicorn"),
    "xlsx": ("openpyxl",),
}


def check_installed(asked: str, extra: str, packages: Sequence[str] | None = None) -> None:
    """Raise a MissingDependencyError if a package is missing that a feature, named by `asked`, needs.

    Args:
        asked: The feature, for the message.
        extra: One of `EXTRAS`.
        packages: By default all packages of the extra.
    """
    if missing := [package for package in packages or EXTRAS[extra] if find_spec(package) is None]:
        needed = f"{'package' if len(missing) == 1 else 'packages'} {', '.join(missing)}"
        raise MissingDependencyError(f"{asked} needs the {needed}: pip install 'bert-multilabel[{extra}]'")
