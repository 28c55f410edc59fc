"""A callable that adds predictions to batches of columns, for `datasets` and Ray Data.

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

from bert_multilabel.data.values import shorten, text_problem
from bert_multilabel.engines.choice import ENGINES, check_engine
from bert_multilabel.engines.scorers import load_scorer
from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.model.choices import PRECISIONS
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.pipeline_multilabel import CallArguments
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import NoRoom
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.hashing import json_digest, model_digest, software_digest

# Explicit types: in a batch without predicted labels, Arrow cannot infer them.
_LABELS = pa.list_(pa.string())
_SCORES = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
_IMPORTED_BY = os.getpid()


class MultiLabelPredictor:
    """Adds labels and scores to batches of columns: a callable for `datasets`, Ray Data and similar libraries.

    Use it in `dataset.map(MultiLabelPredictor("runs/opinions"), batched=True)` of `datasets`, also with `num_proc` and
    with streams (without a format, or in that of Arrow or pandas), and in
    `dataset.map_batches(MultiLabelPredictor, fn_constructor_args=["runs/opinions"], ...)` of Ray Data, in all its
    batch formats. Labels and scores are those of `predictions.jsonl`.

    The model is loaded at the first call, once per process. A forked process, as with `num_proc`, computes with one
    thread. Engines reuse their cached results only for the same arguments, model and software.

    Args:
        model_dir: Directory of a trained model; all processes must see it.
        text_column: Column of the texts.
        pair_column: Column of the second texts, `""` for none; default: the column used in training.
        precision: Precision of the encoder's matrix products, one of `PRECISIONS`.
        max_length: Longest input in tokens; default: the model's limit.
        device: Device to compute on; default: an accelerator if the process sees one, else the CPU.
        prefix: Prefix of the added columns.
        engine: What computes: `"torch"`, `"compile"`, `"onnx"` or `"openvino"`; see `docs/scoring.md`.
        **arguments: `threshold`, `min_labels`, `return_all_scores`, `top_k`, `stride` and `pooling` of the pipeline.

    Raises:
        MultiLabelError: If the directory has no config.json, or an argument is refused.
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
        engine: str = ENGINES[0],
        **arguments: Any,
    ) -> None:
        self.model_dir = Path(model_dir).absolute()  # the processes that call may have another working directory
        if not (self.model_dir / "config.json").is_file():
            raise MultiLabelError(f"{model_dir} is not a model directory: config.json is missing")
        self.text_column = text_column
        self.pair_column = trained_pair_column(self.model_dir) if pair_column is None else pair_column
        check_engine(engine, precision)
        self.engine, self.precision, self.max_length, self.device = engine, precision, max_length, device
        self.labels_column, self.scores_column = f"{prefix}labels", f"{prefix}scores"
        self.arguments = CallArguments(**arguments)
        self.digest = _digest(self.model_dir)

    def __call__(
        self, batch: Mapping[str, Sequence[Any]] | pd.DataFrame | pa.Table
    ) -> pa.Table | dict[str, list[Any]]:
        """Predict the rows of a batch.

        Args:
            batch: Columns of N rows by name, as lists or arrays; or a pandas or pyarrow table.

        Returns:
            The columns of the batch, and `labels`, list<string>: the names of the predicted labels; and `scores`,
            list<struct<label: string, score: float>>: probabilities in label order, or with `top_k` the highest first.
            A dictionary of lists is returned as one, since streams of `datasets` accept nothing else; all others
            become an Arrow table, for its types. `remove_columns` of `datasets.map` removes none of these columns:
            remove them from its result.

        Raises:
            DataError: If a cell is not text, or a column is missing, has the name of an added one, or cannot be
                converted to Arrow.
            TypeError: If the batch has another type.
            MultiLabelError: If the model was changed since this predictor was made, or an argument does not fit it.
        """
        batch = getattr(batch, "pa_table", batch)  # the columns of a lazy batch of `datasets`
        names = self._check_columns(batch)
        texts = _read_texts(batch, self.text_column, names)
        pairs = _read_texts(batch, self.pair_column, names) if self.pair_column else None
        is_lists = isinstance(batch, dict) and all(isinstance(column, list) for column in batch.values())
        columns = dict(batch) if is_lists else _as_table(batch)
        labels, scores = self._predict(texts, pairs)
        if isinstance(columns, dict):
            return {**columns, self.labels_column: labels, self.scores_column: scores}
        columns = columns.append_column(self.labels_column, pa.array(labels, _LABELS))
        return columns.append_column(self.scores_column, pa.array(scores, _SCORES))

    def _check_columns(self, batch: Any) -> list[str]:
        if not isinstance(batch, Mapping | pd.DataFrame | pa.Table):
            raise TypeError(f"a batch must be columns by name, got {shorten(batch)} of type {type(batch).__name__}")
        names = batch.column_names if isinstance(batch, pa.Table) else list(batch)
        if repeated := [name for name in names if names.count(name) > 1]:
            raise DataError(f"the batch has several columns {repeated[0]!r}: rename all but one")
        for name in (self.labels_column, self.scores_column):
            if name in names:
                raise DataError(f"the batch has a column {name!r} already: rename it, or pass a prefix")
        lengths = {name: len(batch[name]) for name in names}
        if len({*lengths.values()}) > 1:
            raise DataError(f"the columns have different lengths: {lengths}")
        return names

    def _predict(
        self, texts: list[str], pairs: list[str] | None
    ) -> tuple[list[list[str]], list[list[dict[str, Any]]]]:
        if os.getpid() != _IMPORTED_BY:
            # A forked process inherits torch's record of its threads but not the threads, and would wait for them.
            torch.set_num_threads(1)
        scorer = _load_scorer(self.model_dir, self.digest, self.engine, self.precision, self.max_length, self.device)
        try:
            logits = scorer.logits(texts, pairs, self.arguments.windows)  # (N, L)
        except NoRoom as error:
            raise DataError(f"row {error.row} of the batch: {error}") from error
        config = scorer.config.with_decision(self.arguments.threshold, self.arguments.min_labels)
        only_predicted = not self.arguments.return_all_scores
        records = list(prediction_records(logits, config, None, self.arguments.top_k, only_predicted))
        scores = [[{"label": name, "score": score} for name, score in record["scores"].items()] for record in records]
        return [record["labels"] for record in records], scores


@lru_cache(maxsize=2)  # two, so that two models can be compared
def _load_scorer(
    model_dir: Path, digest: str, engine: str, precision: str, max_length: int | None, device: str | None
) -> MultiLabelScorer:
    """Load the model, once per process: Ray, for one, may unpickle a predictor for each of its tasks."""
    if _digest(model_dir) != digest:
        raise MultiLabelError(f"{model_dir} was changed since this predictor was made: make a new one")
    return load_scorer(model_dir, engine, precision, max_length, device)


def _digest(model_dir: Path) -> str:
    return json_digest([software_digest(), model_digest(model_dir)])


def _read_texts(batch: Any, column: str, names: list[str]) -> list[str]:
    if column not in names:
        raise DataError(f"the batch has no column {column!r}; its columns are {', '.join(map(repr, names))}")
    cells = batch[column]
    if isinstance(cells, str):
        raise DataError(f"column {column!r} is one text, {shorten(cells)}, not a column: add batched=True")
    to_list = getattr(cells, "to_pylist", None) or getattr(cells, "tolist", None)  # of pyarrow, numpy and pandas
    texts: list[Any] = to_list() if to_list is not None else list(cells)
    for row, text in enumerate(texts):
        if problem := text_problem(text):
            raise DataError(f"row {row} of the batch, column {column!r}: {problem}")
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
            # pyarrow converts an array of more dimensions only row by row.
            columns[str(name)] = pa.array(column if getattr(column, "ndim", 1) == 1 else list(column))
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            advice = "leave it out, or pass Arrow tables, in Ray with batch_format='pyarrow'"
            raise DataError(f"column {name!r} cannot be converted to Arrow ({error}): {advice}") from error
    return pa.table(columns)
