"""Digests that name what is cached: of JSON values, and of the software that computes the cached values."""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The packages whose versions may change examples, tokens or logits.
_PACKAGES = ("datasets", "numpy", "pyarrow", "tokenizers", "torch", "transformers")


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal.

    Example:
        >>> json_digest({"a": 1, "b": None}) == json_digest({"b": None, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def software_digest() -> str:
    """Return a digest of this package's code and of the versions of Python and of the packages it computes with.

    The code is read, not its version number, since a checkout may have been edited.
    """
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(path.read_bytes())
    versions = {package: version(package) for package in _PACKAGES}
    return json_digest({"code": code.hexdigest(), "python": platform.python_version(), **versions})
