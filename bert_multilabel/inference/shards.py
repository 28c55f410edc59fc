"""Shards of predictions: files that several processes write, and that survive a call that was killed.

A shard holds the predictions of consecutive examples. Its file is named by its index and a digest of everything that
determines its content, so a file that exists is complete and up to date.
"""

import shutil
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bert_multilabel.errors import FileError
from bert_multilabel.utils.files import atomic_write, explain_write_errors, from_source, fsync, write_json_lines
from bert_multilabel.utils.hashing import json_digest

_AGAIN = "run the same command again"


class Shards:
    """The shards of the predictions of a dataset, in a folder that all processes see; `len()` gives their number.

    The columns `text`, `pair` and `id` of the examples, and the settings, must determine the predictions.
    """

    def __init__(self, folder: Path, examples: Dataset, shard_size: int, settings: str) -> None:
        self.folder, self.examples, self.shard_size, self._settings = folder, examples, shard_size, settings
        self._inputs = examples.select_columns([name for name in ("text", "pair", "id") if name in examples.features])
        self.path = lru_cache(maxsize=None)(self._path)  # the digest is computed once

    def __len__(self) -> int:
        return -(-len(self.examples) // self.shard_size)

    def span(self, index: int) -> range:
        """Return the positions of the examples of a shard, from 0."""
        start = index * self.shard_size
        return range(start, min(start + self.shard_size, len(self.examples)))

    def columns(self, index: int) -> dict[str, list[Any]]:
        """Return the inputs of a shard: `text`, and `pair` and `id` if there are any."""
        columns: dict[str, list[Any]] = self._inputs[self.span(index)]
        return columns

    def is_done(self, index: int) -> bool:
        """Whether a shard is written, perhaps by an earlier call with the same examples and settings."""
        return self.path(index).is_file()

    def unstarted_first(self) -> list[int]:
        """Return all indices, those of shards without any file first: every k-th is a fair share for a process."""
        started = {path.name.rpartition("-")[0] for path in self.folder.glob("part-*.jsonl")}
        return sorted(range(len(self)), key=lambda index: f"part-{index:06}" in started)

    def write(self, index: int, records: Iterable[Any], logits: torch.Tensor | None) -> None:
        """Write the predictions of a shard, and if there will be metrics its logits, (shard size, L)."""
        path = self.path(index)
        with explain_write_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            if logits is not None:
                save_file({"logits": logits}, path.with_suffix(".safetensors"))
                fsync(path.with_suffix(".safetensors"))
        write_json_lines(path, records)  # last: a shard with this file is complete

    def merge(self, target: Path) -> None:
        """Write the lines of all shards, in order, into a file that replaces `target` when it is complete."""
        if missing := [index for index in range(len(self)) if not self.is_done(index)]:
            raise FileError(
                f"{len(missing)} of {len(self)} shards are missing in {self.folder}, the first is {missing[0]}. "
                f"Check that all processes write to the same disk, then {_AGAIN}"
            )
        with atomic_write(target) as file:
            for line in from_source(self._lines()):
                file.write(line)

    def _lines(self) -> Iterator[str]:
        for index in range(len(self)):
            path, count, expected = self.path(index), 0, len(self.span(index))
            with path.open(encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    yield line
                    count += line.endswith("\n")  # a truncated line does not
            if count != expected:
                raise FileError(f"{path} has {count} lines for {expected} examples. Remove it and {_AGAIN}")

    def logits(self) -> torch.Tensor:
        """Return the logits of all shards, (N, L), float32; raise `FileError` if a file is damaged."""
        logits = []
        for index in range(len(self)):
            path = self.path(index).with_suffix(".safetensors")
            try:
                logits.append(load_file(path)["logits"])
            except (OSError, SafetensorError) as error:
                records = path.with_suffix(".jsonl").name
                raise FileError(f"{path} is damaged ({error}). Remove it and {records}, then {_AGAIN}") from error
        return torch.cat(logits)

    def remove(self) -> None:
        """Remove the folder, with the shards of calls with other examples or settings."""
        shutil.rmtree(self.folder)

    def _path(self, index: int) -> Path:
        return self.folder / f"part-{index:06}-{json_digest([self._settings, self.columns(index)])}.jsonl"
