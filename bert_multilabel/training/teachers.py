"""Teachers: trained models, and files of scores, whose probabilities become part of the targets of training.

Shapes: N examples, L labels.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from transformers.utils import logging

from bert_multilabel.data.arrow import as_lists
from bert_multilabel.data.cache import cached_examples, dataset_digest
from bert_multilabel.data.sources import content_digest
from bert_multilabel.data.table import BATCH_SIZE
from bert_multilabel.data.values import few, shorten
from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.loading import load_trained, read_config
from bert_multilabel.model.scoring import MultiLabelScorer, store_in_bfloat16, texts_at_a_time
from bert_multilabel.model.windows import NoRoom, Windows
from bert_multilabel.utils.files import explain_read_errors, sha256
from bert_multilabel.utils.hashing import model_digest

logger = logging.get_logger(__name__)

# Position of a training example among all of its source, from 0, before others are split off or left out.
ROW = "row"
_SCORES = {"scores": List(Value("float32"))}
_LINE_FORM = '{"scores": {"label": probability, …}}'


class Teacher(Protocol):
    """Gives probabilities of labels for examples."""

    def probabilities(self, examples: Dataset) -> Dataset:
        """Return the column `scores`, L probabilities of each of N examples, memory-mapped from the cache."""


def read_teachers(
    paths: Sequence[str], label_names: list[str], examples: Dataset, reading: "Reading"
) -> list[Teacher]:
    """Check teachers and how they fit the training examples; no model is loaded yet.

    Args:
        paths: Folders of trained models, and files of scores.
        label_names: The L labels, in the order of the probabilities.
        examples: All training examples of their source, before others are split off or left out.
        reading: How models read texts.

    Raises:
        DataError: If a file of scores is damaged, or has other labels or rows.
        FileError: If a file of a model is damaged.
        MultiLabelError: If there is no such folder or file, a folder is no trained model, or has other labels.
    """
    teachers: list[Teacher] = []
    for path in map(Path, paths):
        if path.is_file():
            teachers.append(ScoreFile.of(path, label_names, examples))
        elif path.is_dir():
            _check_labels(path, label_names)
            teachers.append(ModelTeacher(path, label_names, reading))
        else:
            raise MultiLabelError(f"--teacher {path}: there is no such folder of a trained model, or file of scores")
    return teachers


def teacher_digest(path: str) -> str:
    """Return a digest of everything in a teacher that decides its probabilities."""
    return model_digest(Path(path)) if Path(path).is_dir() else content_digest(path)


def _check_labels(folder: Path, label_names: list[str]) -> None:
    if not (folder / "config.json").is_file():
        raise MultiLabelError(f"--teacher {folder} is not the folder of a trained model: config.json is missing")
    names = getattr(read_config(folder), "label_names", None)
    if names is None:
        raise MultiLabelError(f"--teacher {folder} was never trained on labels: pass a trained model")
    if difference := _difference(names, label_names):
        advice = "give them with --label_names_file if the training rows only lack some"
        raise MultiLabelError(f"--teacher {folder} was trained with other labels: {difference}; {advice}")


def _difference(names: Sequence[str], label_names: Sequence[str]) -> str:
    """Describe how the labels of a teacher differ from those of the training; empty if they do not."""
    known, missing = set(label_names), set(label_names) - set(names)
    parts = {
        "it lacks": [name for name in label_names if name in missing],
        "it also has": [name for name in names if name not in known],
    }
    return "; ".join(f"{what} {few(found)}" for what, found in parts.items() if found)


@dataclass(frozen=True)
class Reading:
    """How models read texts: each up to its own limit.

    Attributes:
        precision: Precision of the matrix products.
        device: Where to compute.
        windows: How longer texts are read; default: truncated.
    """

    precision: str
    device: torch.device
    windows: Windows | None = None


@dataclass(frozen=True)
class ModelTeacher:
    """A trained model of this package, of any strategy, size and backbone.

    Attributes:
        path: Its folder.
        label_names: The L labels, in the order of the probabilities.
        reading: How it reads texts.
    """

    path: Path
    label_names: list[str]
    reading: Reading

    def probabilities(self, examples: Dataset) -> Dataset:
        """Return calibrated probabilities of texts and pairs, computed once."""
        texts = examples.select_columns([name for name in ("text", "pair") if name in examples.features])
        computed_from = {
            "teacher": model_digest(self.path),
            "examples": dataset_digest(texts),
            "labels": self.label_names,
            "precision": self.reading.precision,
            "device": self.reading.device.type,
            "windows": None if self.reading.windows is None else asdict(self.reading.windows),
        }
        return cached_examples(computed_from, self._compute(texts), Features(_SCORES))

    def _compute(self, texts: Dataset) -> Iterator[dict[str, Any]]:
        model, tokenizer = load_trained(self.path)
        model.to(self.reading.device)  # type: ignore[arg-type]  # the declared type of this method has lost its self
        if self.reading.precision == "bfloat16":
            store_in_bfloat16(model)
        scorer, windows = MultiLabelScorer(model, tokenizer, self.reading.precision), self.reading.windows
        order = [scorer.config.label_names.index(name) for name in self.label_names]
        size, total = texts_at_a_time(windows), len(texts) if windows is None else None
        with logging.tqdm(total=total, unit=" rows", desc=f"Teacher {self.path.name}") as bar:
            for start in range(0, len(texts), size):
                part = texts[start : start + size]
                try:
                    tokens = scorer.tokens(part["text"], part.get("pair"), windows)
                    logits = scorer.logits_of_tokens(*tokens, windows, bar.update)
                except NoRoom as error:
                    raise DataError(f"--teacher {self.path}, text {start + error.row + 1}: {error}") from error
                except MultiLabelError as error:  # its own limit leaves no room for the stride
                    raise MultiLabelError(f"--teacher {self.path}: {error}") from error
                probabilities, _ = scorer.config.decide(logits)
                if bad := probabilities.isnan().any(dim=1).nonzero().flatten().tolist():
                    # As targets they would mean "not annotated".
                    where = f"--teacher {self.path}, text {start + bad[0] + 1}"
                    raise MultiLabelError(f"{where}: its logits are not numbers, so it has diverged")
                yield {"scores": as_lists(probabilities[:, order].numpy())}


@dataclass(frozen=True)
class ScoreFile:
    """Probabilities for the training examples in a file of the form of `predictions.jsonl`.

    Attributes:
        path: The file.
        label_names: The L labels, in the order of the probabilities.
        stored: What the file holds, in its order: `scores`, and `id` as text, or None.
        by_id: The line of each id, from 0; None: lines are in the order of the rows.
    """

    path: Path
    label_names: list[str]
    stored: Dataset
    by_id: dict[str, int] | None

    @classmethod
    def of(cls, path: Path, label_names: list[str], examples: Dataset) -> "ScoreFile":
        """Read a file, and check that it has scores for all training examples.

        Raises:
            DataError: If a line is damaged or has other labels, only some have ids, or they do not fit the rows.
        """
        with explain_read_errors(path):
            computed_from = {"scores": sha256(path), "labels": label_names}
            batches = _read_lines(path, label_names)
            stored = cached_examples(computed_from, batches, Features({**_SCORES, "id": Value("string")}))
        lines = list(stored["id"])
        if 0 < (without := lines.count(None)) < len(lines):
            raise DataError(
                f"--teacher {path}: {without} of {len(lines)} lines have no id, but the others have one: write the id "
                "of each row, or of none if the lines are in the order of the rows"
            )
        ids = [*map(str, examples["id"])] if "id" in examples.features and None not in lines else lines
        if lines != ids:  # those in the same order may repeat some
            return cls(path, label_names, stored, _lines_of_ids(path, lines, ids))
        if len(stored) != len(examples):
            advice = "write one line per row, in the order of the rows, or with the id of each"
            raise DataError(
                f"--teacher {path} has {len(stored)} lines, but there are {len(examples)} training rows: {advice}"
            )
        return cls(path, label_names, stored, None)

    def probabilities(self, examples: Dataset) -> Dataset:
        """Return the probabilities of training examples, which have the column `ROW`."""
        if self.by_id is None:
            return self.stored.select(examples[ROW])
        return self.stored.select([self.by_id[str(row_id)] for row_id in examples["id"]])


def _lines_of_ids(path: Path, lines: list[str], ids: list[str]) -> dict[str, int]:
    by_id = {row_id: line for line, row_id in enumerate(lines)}
    if len(by_id) < len(lines):
        repeated = next(row_id for line, row_id in enumerate(lines) if by_id[row_id] != line)
        raise DataError(f"--teacher {path} has several lines with the id {shorten(repeated)}: keep one")
    if missing := [row_id for row_id in ids if row_id not in by_id]:
        raise DataError(
            f"--teacher {path} has no line for {len(missing)} of {len(ids)} training rows, among them the id "
            f"{shorten(missing[0])}: score them, too, or leave out the ids if the lines are in the order of the rows"
        )
    return by_id


def _read_lines(path: Path, label_names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the columns `scores` and `id` of a file of scores in batches."""
    known = set(label_names)
    with path.open("rb") as file:
        lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        while part := list(islice(lines, BATCH_SIZE)):
            records = [_read_line(f"--teacher {path}, line {number}", line, known) for number, line in part]
            scores = np.array([[record["scores"][name] for name in label_names] for record in records], np.float32)
            ids = [None if record["id"] is None else str(record["id"]) for record in records]
            yield {"scores": as_lists(scores), "id": ids}


def _read_line(where: str, line: bytes, known: set[str]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}): each line must be like {_LINE_FORM}") from error
    scores = record.get("scores") if isinstance(record, dict) else None
    if not isinstance(scores, dict):
        raise DataError(f"{where} has no scores ({shorten(record)}): it must be like {_LINE_FORM}")
    if scores.keys() != known:
        difference = _difference([*scores], sorted(known))
        raise DataError(f"{where} must have a score of each label, as predictions without --top_scores: {difference}")
    for name, score in scores.items():
        if type(score) not in (float, int) or not 0 <= score <= 1:  # NaN, too
            raise DataError(f"{where}: {shorten(score)} of {name!r} is no probability: write a number from 0 to 1")
    return {"id": record.get("id"), "scores": scores}
