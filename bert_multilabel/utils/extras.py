"""Packages beyond the plain install, and which extra of setup.cfg brings them."""

from collections.abc import Sequence
from importlib.util import find_spec

from bert_multilabel.errors import MissingDependencyError

EXTRAS = {
    "explain": ("captum",),
    "hpo": ("optuna",),
    "lora": ("peft",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "page": ("captum", "gradio"),
    "ray": ("ray",),
    "report": ("cleanlab", "jinja2", "matplotlib"),
    "serve": ("litserve",),
}


def check_installed(asked: str, extra: str, packages: Sequence[str] | None = None) -> None:
    """Refuse what was asked for if packages are missing that an extra installs.

    Args:
        asked: What needs them.
        extra: The name of the extra, one of `EXTRAS`.
        packages: Those needed; by default all of the extra.

    Raises:
        MissingDependencyError: With the missing ones, and what installs them.
    """
    missing = [package for package in packages or EXTRAS[extra] if find_spec(package) is None]
    if missing:
        noun = "package" if len(missing) == 1 else "packages"
        raise MissingDependencyError(
            f"{asked} needs the {noun} {', '.join(missing)}: pip install 'bert-multilabel[{extra}]'"
        )
