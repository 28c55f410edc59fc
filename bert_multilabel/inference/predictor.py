"""Columns in, the same columns with labels and scores out: one callable for `datasets` and Ray Data.

Shapes: N rows, L labels.
"""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from bert_multilabel.data.labels import has_lone_surrogate, shorten
from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.pipeline_multilabel import CallArguments
from bert_multilabel.model.scoring import PRECISIONS, MultiLabelScorer
from bert_multilabel.model.windows import NoRoom
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.files import sha256
from bert_multilabel.utils.hashing import json_digest, software_digest

# Given explicitly, for of a batch in which no row has a label nobody could tell the type.
_LABELS = pa.list_(pa.string())
_SCORES = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
_IMPORTED_BY = os.getpid()


class MultiLabelPredictor:
    """Says of each row of a batch which labels a trained model gives it: a callable for whatever engine hands it rows.

    It works unchanged in `dataset.map(MultiLabelPredictor("runs/opinions"), batched=True)` of `datasets`, also with
    `num_proc` or of a stream (without a format, or in that of Arrow or pandas), and in
    `dataset.map_batches(MultiLabelPredictor, fn_constructor_args=["runs/opinions"], ...)` of Ray Data, in any of its
    batch formats. Decisions and scores are those of `predictions.jsonl`.

    The model is loaded at the first call, once per process, by this package's own code. A process that was forked, as
    those of `num_proc` are, computes with one thread. What is pickled is the
    arguments and a digest of the folder: results that were cached for another state of it are not used again.

    Args:
        model_dir: A folder that the script trained, or that `save_pretrained` wrote; all processes see it.
        text_column: Column of the texts.
        pair_column: Column of the second texts, `""` for none; by default the one that the model was trained with.
        precision: Of the encoder's matrix products, one of `PRECISIONS`.
        max_length: Longest input in tokens; by default what the model can take.
        device: Where to compute; by default on the accelerator that the process sees, or else on the CPU.
        prefix: Begins the names of the columns that are added, for batches that have columns of such names.
        **arguments: `CallArguments` of the pipeline: `threshold`, `min_labels`, `return_all_scores`, `top_k`, `stride`
            and `pooling`.

    Raises:
        MultiLabelError: If the folder holds no model of ours, or an argument is refused.
        TypeError: If an argument is unknown.
    """

    def __init__(
        self,
        model_dir: str | PathLike[str],
        text_column: str = "text",
        pair_column: str | None = None,
        precision: str = PRECISIONS[0],
        max_length: int | None = None,
        device: str | None = None,
        prefix: str = "",
        **arguments: Any,
    ) -> None:
        self.model_dir = Path(model_dir).absolute()  # for the processes of an engine may run elsewhere
        if not (self.model_dir / "config.json").is_file():
            raise MultiLabelError(f"{model_dir} is not a model directory: config.json is missing")
        self.text_column = text_column
        self.pair_column = trained_pair_column(self.model_dir) if pair_column is None else pair_column
        self.precision, self.max_length, self.device = precision, max_length, device
        self.labels_column, self.scores_column = f"{prefix}labels", f"{prefix}scores"
        self.asked = CallArguments(**arguments)
        self.digest = _digest(self.model_dir)

    def __call__(
        self, batch: Mapping[str, Sequence[Any]] | pd.DataFrame | pa.Table
    ) -> pa.Table | dict[str, list[Any]]:
        """Predict the rows of a batch.

        Args:
            batch: Columns of N rows by name, as lists or arrays; or a pandas or pyarrow table.

        Returns:
            The columns of the batch, and `labels`, list<string>: the names of the labels that a row is given; and
            `scores`, list<struct<label: string, score: float>>: probabilities as in Transformers' own pipelines, in
            label order, or with `top_k` the highest first. A dictionary of lists comes back as one, for a stream of
            `datasets` takes nothing else. All others come back as an Arrow table: with it the engines take the types,
            also where no row of a batch is given a label. As all columns come back, `remove_columns` of
            `datasets.map` removes none: remove them from what it returns.

        Raises:
            DataError: If a cell is no text, with its column and the number of its row in the batch, from 0; or if
                a column is missing, has the name of one to be added, or cannot be carried along.
            TypeError: If the batch is none.
            MultiLabelError: If the folder was changed since this predictor was made, or an argument is not for this
                model.
        """
        batch = getattr(batch, "pa_table", batch)  # where `datasets` keeps the columns as they are
        if not isinstance(batch, Mapping | pd.DataFrame | pa.Table):
            raise TypeError(f"a batch must be columns by name, got {shorten(batch)} of type {type(batch).__name__}")
        names = batch.column_names if isinstance(batch, pa.Table) else list(batch)
        if repeated := {name for name in names if names.count(name) > 1}:
            raise DataError(f"the batch has several columns {', '.join(map(repr, repeated))}: rename all but one")
        for name in (self.labels_column, self.scores_column):
            if name in names:
                raise DataError(f"the batch has a column {name!r} of its own: rename it, or give a prefix")
        texts = _read_texts(batch, self.text_column, names)
        pairs = _read_texts(batch, self.pair_column, names) if self.pair_column else None
        lengths = {name: len(batch[name]) for name in names}
        if len({*lengths.values()}) > 1:
            raise DataError(f"the columns have different lengths, {lengths}: they must have a cell for each row")
        is_lists = isinstance(batch, dict) and all(isinstance(column, list) for column in batch.values())
        carried = dict(batch) if is_lists else _as_table(batch)
        if os.getpid() != _IMPORTED_BY:
            # A fork has the threads of this process on its books, but not the threads: it would wait for them forever.
            torch.set_num_threads(1)
        scorer = _load_scorer(self.model_dir, self.digest, self.precision, self.max_length, self.device)
        try:
            logits = scorer.logits(texts, pairs, self.asked.windows)  # (N, L)
        except NoRoom as error:
            raise DataError(f"row {error.row} of the batch: {error}") from error
        config = scorer.config.with_decision(self.asked.threshold, self.asked.min_labels)
        answers = list(
            prediction_records(
                logits, config, top_scores=self.asked.top_k, predicted_only=not self.asked.return_all_scores
            )
        )
        labels = [answer["labels"] for answer in answers]
        scores = [[{"label": name, "score": score} for name, score in answer["scores"].items()] for answer in answers]
        if isinstance(carried, dict):
            return {**carried, self.labels_column: labels, self.scores_column: scores}
        carried = carried.append_column(self.labels_column, pa.array(labels, _LABELS))
        return carried.append_column(self.scores_column, pa.array(scores, _SCORES))


@lru_cache(maxsize=2)  # two, for whoever compares models
def _load_scorer(
    model_dir: Path, digest: str, precision: str, max_length: int | None, device: str | None
) -> MultiLabelScorer:
    """Load the model, once per process: an engine may unpickle a predictor for each of its tasks."""
    if _digest(model_dir) != digest:
        raise MultiLabelError(f"{model_dir} was changed since this predictor was made: make a new one")
    model, tokenizer = load_trained(model_dir)
    if device is None and torch.accelerator.is_available():
        device = str(torch.accelerator.current_accelerator())
    model.to(device or "cpu")  # type: ignore[arg-type]  # the declared type of this method has lost its self
    return MultiLabelScorer(model, tokenizer, precision, max_length)


def _digest(model_dir: Path) -> str:
    """Return a digest of the model in a folder and of the software that runs it."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    paths = [path for name in names if (path := model_dir / name).is_file()]
    contents = [[path.name, sha256(path)] for path in [*paths, *sorted(model_dir.glob("*.safetensors"))]]
    return json_digest([software_digest(), contents])


def _read_texts(batch: Any, column: str, names: list[str]) -> list[str]:
    if column not in names:
        raise DataError(f"the batch has no column {column!r}; it has {', '.join(map(repr, names))}")
    cells = batch[column]
    if isinstance(cells, str):
        raise DataError(f"column {column!r} is one text, {shorten(cells)}, and no column: add batched=True")
    # Of a pyarrow table, or of numpy or pandas.
    own = getattr(cells, "to_pylist", None) or getattr(cells, "tolist", None)
    texts: list[Any] = own() if own is not None else list(cells)
    for row, text in enumerate(texts):
        where = f"row {row} of the batch, column {column!r}"
        if not isinstance(text, str):
            raise DataError(f"{where}: {shorten(text)} is no text but of type {type(text).__name__}; write it as text")
        if has_lone_surrogate(text):
            raise DataError(f"{where}: {shorten(text)} holds a lone surrogate, which is no valid text; remove it")
    return texts


def _as_table(batch: Any) -> pa.Table:
    if isinstance(batch, pa.Table):
        return batch
    columns = {}
    for name in list(batch):
        column = batch[name]
        try:
            if isinstance(column, torch.Tensor):
                column = column.numpy(force=True)
            # Of an array with a vector in each row, pyarrow takes the rows only.
            columns[str(name)] = pa.array(column if getattr(column, "ndim", 1) == 1 else list(column))
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            raise DataError(
                f"column {name!r} is none that Arrow can hold ({error}): leave it out, or hand over Arrow tables, in "
                "Ray with batch_format='pyarrow'"
            ) from error
    return pa.table(columns)
