"""Predictions in parts, which several processes share and which outlive a call that was killed: names and files.

A part is some rows in the order of the input. Its file is named by its number and a digest of everything that decides
what stands in it. So a file that is there already is as good as one written now, and nothing else needs remembering.
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


class Parts:
    """The parts of a data set's predictions, `len()` of them.

    Args:
        folder: Where they lie until all are merged; all processes see it.
        rows: N clean rows; their columns `text`, `pair` and `id`, if there, decide on what is written.
        rows_per_part: How many rows a part has; the last one may have fewer.
        settings: All else that decides on it.
    """

    def __init__(self, folder: Path, rows: Dataset, rows_per_part: int, settings: str) -> None:
        self.folder = folder
        self.rows = rows
        self.rows_per_part = rows_per_part
        self._settings = settings
        self._read = rows.select_columns([name for name in ("text", "pair", "id") if name in rows.column_names])
        self.path = lru_cache(maxsize=None)(self._path)  # what is digested once is known

    def __len__(self) -> int:
        return -(-len(self.rows) // self.rows_per_part)

    def span(self, number: int) -> range:
        """Return the numbers of the rows of a part, from 0."""
        start = number * self.rows_per_part
        return range(start, min(start + self.rows_per_part, len(self.rows)))

    def columns(self, number: int) -> dict[str, list[Any]]:
        """Return the rows of a part: `text`, and `pair` and `id` if there are any."""
        span = self.span(number)
        columns: dict[str, list[Any]] = self._read[span.start : span.stop]
        return columns

    def is_done(self, number: int) -> bool:
        """Whether a part is written, by this call or by one before with the same rows and settings."""
        return self.path(number).is_file()

    def least_done_first(self) -> list[int]:
        """Return the numbers of all parts, those first of which no call has left anything.

        Dealt out in this order, what is left to do falls to all processes alike.
        """
        begun = {path.name.rpartition("-")[0] for path in self.folder.glob("part-*.jsonl")}
        return sorted(range(len(self)), key=lambda number: _stem(number) in begun)

    def write(self, number: int, records: Iterable[Any], logits: torch.Tensor | None) -> None:
        """Write a part.

        Args:
            number: Of the part, from 0.
            records: What is predicted of its rows, to be merged.
            logits: (rows of the part, L), for scores over all rows; None if there will be none.

        Raises:
            FileError: If it cannot be written.
        """
        path = self.path(number)
        with explain_write_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            if logits is not None:
                save_file({"logits": logits}, path.with_suffix(".safetensors"))
                fsync(path.with_suffix(".safetensors"))
            write_json_lines(path, records)  # last, for where this file is, the part is done

    def merge(self, target: Path) -> None:
        """Write the lines of all parts, in order, into one file that takes the place of `target` once all are in it.

        Raises:
            FileError: If a part is missing, or has not as many lines as rows; or if `target` cannot be written.
        """
        missing = [number for number in range(len(self)) if not self.is_done(number)]
        if missing:
            raise FileError(
                f"of {len(self)} parts in {self.folder}, {len(missing)} are missing, the first {missing[0]}: do all "
                "processes write to the same disk? Call again to go on"
            )
        with atomic_write(target) as file:
            for line in from_source(self._lines()):
                file.write(line)

    def _lines(self) -> Iterator[str]:
        for number in range(len(self)):
            path, count = self.path(number), 0
            with path.open(encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    yield line
                    count += line.endswith("\n")  # one that was cut does not
            if count != len(self.span(number)):
                raise FileError(
                    f"{path} has {count} lines for {len(self.span(number))} rows: remove it, and call again to go on"
                )

    def logits(self) -> torch.Tensor:
        """Return the logits of all parts, (N, L), float32.

        Raises:
            FileError: If those of a part cannot be read.
        """
        logits = []
        for number in range(len(self)):
            path = self.path(number).with_suffix(".safetensors")
            try:
                logits.append(load_file(path)["logits"])
            except (OSError, SafetensorError) as error:
                raise FileError(
                    f"{path} is damaged ({error}): remove it and {path.with_suffix('.jsonl').name}, and call again to "
                    "go on"
                ) from error
        return torch.cat(logits)

    def remove(self) -> None:
        """Remove the folder, and with it what calls with other rows or settings have left."""
        shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        digest = json_digest([self._settings, self.columns(number)])
        return self.folder / f"{_stem(number)}-{digest}.jsonl"


def _stem(number: int) -> str:
    """Return what the name of a part's file begins with, before the digest."""
    return f"part-{number:06}"
