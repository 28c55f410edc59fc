"""Rows in, decisions out, in the order of the input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import Trainer
from transformers.trainer_utils import PredictionOutput

from .configuration_multilabel import MultiLabelConfig
from .encoding import longest_first
from .files import replacing


def predict_rows(trainer: Trainer, encoded_rows: Dataset) -> PredictionOutput:
    """Run the model over a data set, by length inside and in the input's order outside.

    Args:
        trainer: Holds the model; evaluates in the order of its data set.
        encoded_rows: Output of `encode_rows`, with or without labels.

    Returns:
        Logits (N, L), labels (N, L) if there are any, and metrics, whose names begin with `test_`.
    """
    order = longest_first(encoded_rows)
    output = trainer.predict(encoded_rows.select(order))
    input_order = np.argsort(order)
    labels = None if output.label_ids is None else output.label_ids[input_order]
    return PredictionOutput(output.predictions[input_order], labels, output.metrics)


def prediction_records(
    logits: np.ndarray, config: MultiLabelConfig, ids: list[Any] | None = None, top_scores: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what the model says of each row: `{"id": ..., "labels": [names], "scores": {name: probability}}`.

    Args:
        logits: (N, L).
        config: Names the labels and decides on them.
        ids: Names of the N rows; without them the records have no `id`.
        top_scores: Give only the scores of this many labels, the highest first; by default all, in label order.

    Yields:
        One record per row, in order.
    """
    probabilities, decisions = config.decide(torch.as_tensor(logits))  # (N, L) each
    names = config.label_names
    for row, (scores, given) in enumerate(zip(probabilities.tolist(), decisions.tolist(), strict=True)):
        record: dict[str, Any] = {} if ids is None else {"id": ids[row]}
        record["labels"] = [name for name, is_given in zip(names, given, strict=True) if is_given]
        scored = list(zip(names, scores, strict=True))
        if top_scores is not None:
            scored = sorted(scored, key=lambda pair: -pair[1])[:top_scores]
        record["scores"] = dict(scored)
        yield record


def write_predictions(path: Path, records: Iterator[dict[str, Any]]) -> None:
    """Write records as JSON lines, all of them or none."""
    with replacing(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
