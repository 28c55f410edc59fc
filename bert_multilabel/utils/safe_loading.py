"""What a model may make this process read: the files of its own folder, and no pickle.

What stands in a folder was written by whoever made it. Checked are the entries that Transformers follows. Symbolic
links are left alone: the cache of the Hub is made of them.
"""

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from transformers.utils import (
    CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)
from transformers.utils.hub import cached_file
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from bert_multilabel.errors import MultiLabelError

_TOKENIZER_CONFIG_NAME = "tokenizer_config.json"


def check_paths(path: str | PathLike[str]) -> None:
    """Refuse a model whose files name others outside its folder.

    They may name weights, files of the tokenizer, code, and the model that adapters belong to. Code may stand in
    another repository of the Hub: "owner/name--module.Class" is what Transformers writes where a model is saved again
    without its code. Nothing of this package runs it.

    Args:
        path: Folder or Hub name of a model.

    Raises:
        MultiLabelError: If a file names one outside, or holds no JSON of the form that it should.
    """
    if (adapters := _read(path, ADAPTER_CONFIG_NAME)) is not None:
        raise MultiLabelError(
            f"{path} holds adapters ({ADAPTER_CONFIG_NAME}), for which another model would be read, "
            f"{adapters.get('base_model_name_or_path')!r}: merge them into it, and give the folder of that"
        )
    try:
        for name, key, target in _targets(path):
            if _points_outside(target):
                raise MultiLabelError(
                    f"{path} is not whole: {key!r} in {name} points outside of it, to {target!r}: give a folder that "
                    "holds all of its model"
                )
    except (AttributeError, LookupError, TypeError) as error:
        raise MultiLabelError(
            f"{path} is no folder of a model: its files have another form than they should"
        ) from error


def check_is_no_pickle(path: str | PathLike[str]) -> None:
    """Refuse a model whose weights are there as a pickle alone.

    Args:
        path: Folder or Hub name of a model.

    Raises:
        MultiLabelError: If they are.
    """
    named = (_read(path, CONFIG_NAME) or {}).get("transformers_weights")
    names = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
    first = named or next((name for name in names if _find(path, name) is not None), SAFE_WEIGHTS_NAME)
    if ".safetensors" not in first:
        raise MultiLabelError(
            f"{path} holds its weights as a pickle ({first}), which may run code where it is read: take a model with "
            f"{SAFE_WEIGHTS_NAME}, or if you trust this one, convert it by AutoModel.from_pretrained(...)."
            "save_pretrained(...), or allow it here with allow_pickle=True (--allow_pickle)"
        )


def _targets(path: str | PathLike[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what a model names beside itself: the file that does so, its entry, and the target."""
    for name in (SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_INDEX_NAME):
        for shard in set((_read(path, name) or {}).get("weight_map", {}).values()):
            yield name, "weight_map", shard
    for name in (CONFIG_NAME, _TOKENIZER_CONFIG_NAME):
        entries = _read(path, name) or {}
        for reference in _texts(entries.get("auto_map")):
            for part in reference.split("--"):  # a repository, and the code in it
                yield name, "auto_map", part
        for pipeline in entries.get("custom_pipelines", {}).values():
            for part in pipeline["impl"].split("--"):
                yield name, "custom_pipelines", part
        for file in entries.get("fast_tokenizer_files", []):
            yield name, "fast_tokenizer_files", file
        if isinstance(entries.get("transformers_weights"), str):
            yield name, "transformers_weights", entries["transformers_weights"]
        if isinstance(entries.get("vocab"), str):  # looked for in the working directory
            yield name, "vocab", str(Path(entries["vocab"]).absolute())


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _points_outside(name: str) -> bool:
    """Whether a path leaves the folder that it is relative to, on any system."""
    return any(kind(name).anchor or ".." in kind(name).parts for kind in (PurePosixPath, PureWindowsPath))


def _find(path: str | PathLike[str], name: str) -> str | None:
    """Return where a file of a folder, or of a repository of the Hub, is found; None if there is none."""
    found: str | None = cached_file(
        str(path), name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return found


def _read(path: str | PathLike[str], name: str) -> dict[str, Any] | None:
    """Read a JSON object of a folder or repository; None if there is none of that name."""
    found = _find(path, name)
    if found is None:
        return None
    try:
        entries = json.loads(Path(found).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MultiLabelError(f"{found} is broken: {error or 'nested too deeply'}") from error
    if not isinstance(entries, dict):
        raise MultiLabelError(f"{found} must hold one JSON object, got a {type(entries).__name__}")
    return entries
