"""Digests that name what is cached: of JSON values, and of the software that computes the cached values."""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The packages whose versions may change examples, tokens or logits.
_PACKAGES = ("datasets", "numpy", "pyarrow", "tokenizers", "torch", "transformers")


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def model_digest(model_dir: Path) -> str:
    """Return a digest of the files of a model directory that decide its logits and decisions."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    paths = [path for name in names if (path := model_dir / name).is_file()]
    return json_digest([[path.name, sha256(path)] for path in [*paths, *sorted(model_dir.glob("*.safetensors"))]])


def weights_digest(model: "PreTrainedModel") -> str:
    """Return a digest of the configuration and the weights of a model in memory."""
    import torch  # only for those who have a model

    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, weights in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@cache
def software_digest() -> str:
    """Return a digest of this package's code and of the versions of Python and of the packages it computes with."""
    # Not of the version of this package, since a checkout may have been edited.
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(path.read_bytes())
    versions = {package: version(package) for package in _PACKAGES}
    return json_digest({"code": code.hexdigest(), "python": platform.python_version(), **versions})
