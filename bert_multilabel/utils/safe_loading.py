"""Loads weights, after checks on a model directory: no pickles, no code, no files of other directories.

Symbolic links are allowed, because the cache of the Hub consists of them.
"""

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
from transformers.utils import (
    CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from bert_multilabel.errors import MultiLabelError


def check_paths(path: str | PathLike[str]) -> None:
    """Raise a MultiLabelError if files of a model, a directory or Hub name, refer to files outside its directory.

    Code may be in another repository of the Hub: Transformers writes "owner/name--module.Class" when it saves a model
    without its code. This package never runs such code.
    """
    if (adapters := _read(path, ADAPTER_CONFIG_NAME)) is not None:
        base = adapters.get("base_model_name_or_path")
        raise MultiLabelError(f"{path} holds adapters ({ADAPTER_CONFIG_NAME}) of {base!r}: merge them into that model")
    try:
        for name, key, target in _references(path):
            if _is_outside(target):
                outside = f"{key!r} in {name} points outside the directory, to {target!r}"
                raise MultiLabelError(f"{path} is incomplete: {outside}: pass a directory with the whole model")
    except (AttributeError, LookupError, TypeError) as error:
        raise MultiLabelError(f"{path} is not a model directory: its JSON files have an unexpected form") from error


def check_is_no_pickle(path: str | PathLike[str]) -> None:
    """Raise a MultiLabelError if the weights of a model, a directory or Hub name, are only available as a pickle."""
    named = (_read(path, CONFIG_NAME) or {}).get("transformers_weights")
    names = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
    first = named or next((name for name in names if _find(path, name) is not None), SAFE_WEIGHTS_NAME)
    if ".safetensors" not in first:
        raise MultiLabelError(
            f"The weights in {path} are a pickle ({first}), which can run code when it is loaded. Use a model with "
            f"{SAFE_WEIGHTS_NAME}, or if you trust this one, pass allow_pickle=True (--allow_pickle)"
        )


def load_weights(model_class: Any, path: str | PathLike[str], allow_pickle: bool, **options: Any) -> Any:
    """Return what `from_pretrained` of a class returns, in float32 by default. No code of the model is run.

    Args:
        model_class: A model class or Auto class of Transformers.
        path: Directory or Hub name of the model, which the checks above have accepted.
        allow_pickle: Load a pickle if there are no safetensors.
        **options: Other arguments of `from_pretrained`.

    Raises:
        MultiLabelError: If a pickle holds more than tensors.
    """
    options = {"dtype": torch.float32, "use_safetensors": not allow_pickle or None, **options}
    try:
        return model_class.from_pretrained(path, trust_remote_code=False, **options)
    except UnpicklingError as error:
        raise MultiLabelError(
            f"the weights in {path} are a pickle that holds more than tensors, so it was not loaded: use safetensors"
        ) from error


def _references(path: str | PathLike[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, key and target of each reference in the files of a model."""
    for name in (SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_INDEX_NAME):
        for shard in set((_read(path, name) or {}).get("weight_map", {}).values()):
            yield name, "weight_map", shard
    for name in (CONFIG_NAME, "tokenizer_config.json"):
        entries = _read(path, name) or {}
        code = [("auto_map", reference) for reference in _strings(entries.get("auto_map"))]
        code += [("custom_pipelines", entry["impl"]) for entry in entries.get("custom_pipelines", {}).values()]
        for key, reference in code:
            for part in reference.split("--"):  # a repository, and the code in it
                yield name, key, part
        for file in entries.get("fast_tokenizer_files", []):
            yield name, "fast_tokenizer_files", file
        if isinstance(entries.get("transformers_weights"), str):
            yield name, "transformers_weights", entries["transformers_weights"]
        if isinstance(entries.get("vocab"), str):  # read relative to the working directory
            yield name, "vocab", str(Path(entries["vocab"]).absolute())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _is_outside(name: str) -> bool:
    """Whether a path leads out of the directory that it is relative to, on any system."""
    return any(kind(name).anchor or ".." in kind(name).parts for kind in (PurePosixPath, PureWindowsPath))


def _find(path: str | PathLike[str], name: str) -> Path | None:
    """Return a file of a directory, or of a repository of the Hub; None if there is no such file."""
    if Path(path).is_dir():
        file = Path(path) / name
        return file if file.is_file() else None
    try:
        return Path(hf_hub_download(str(path), name))
    except (EntryNotFoundError, HFValidationError, RepositoryNotFoundError):
        return None


def _read(path: str | PathLike[str], name: str) -> dict[str, Any] | None:
    file = _find(path, name)
    if file is None:
        return None
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MultiLabelError(f"{file} is damaged: {error or 'nested too deeply'}") from error
    if not isinstance(entries, dict):
        raise MultiLabelError(f"{file} must hold one JSON object, got a {type(entries).__name__}")
    return entries
