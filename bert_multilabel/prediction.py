"""Rows in, decisions out, in the order of the input."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import EvalPrediction
from transformers.utils import logging

from .files import replacing
from .metrics import evaluate
from .modeling_multilabel import multi_label_loss
from .scoring_multilabel import MultiLabelScorer, texts_at_a_time
from .windows_multilabel import Windows


def predict_rows(
    scorer: MultiLabelScorer, encoded_rows: Dataset, windows: Windows | None = None
) -> tuple[np.ndarray, dict[str, float]]:
    """Run the model over a data set, by length inside and in the input's order outside.

    Args:
        scorer: Holds the model.
        encoded_rows: N rows, as `encode_rows` made them with the scorer's tokenizer, with or without labels.
        windows: How rows longer than the scorer's `max_length` are read, if `encode_rows` was given windows, too.

    Returns:
        Logits (N, L), float32, and metrics whose names begin with `test_`: scores and loss if there are labels, and
        the speed.
    """
    started = time.perf_counter()
    size = texts_at_a_time(windows)
    parts = (encoded_rows[start : start + size] for start in range(0, len(encoded_rows), size))
    total, unit = (len(encoded_rows), " rows") if windows is None else (None, " windows")
    with logging.tqdm(total=total, unit=unit, desc="Scoring") as bar:
        logits = torch.cat(
            [scorer.logits_of_tokens(rows["input_ids"], rows["token_type_ids"], windows, bar.update) for rows in parts]
        )
    seconds = time.perf_counter() - started
    metrics: dict[str, float] = {}
    if "labels" in encoded_rows.column_names:
        labels = torch.tensor(list(encoded_rows["labels"]))  # (N, L)
        metrics["loss"] = float(multi_label_loss(logits, labels))
        metrics |= evaluate(EvalPrediction(logits.numpy(), labels.numpy()), scorer.config)
    metrics |= {"runtime": seconds, "samples_per_second": len(encoded_rows) / seconds}
    return logits.numpy(), {f"test_{name}": value for name, value in metrics.items()}


def write_predictions(path: Path, records: Iterator[dict[str, Any]]) -> None:
    """Write records as JSON lines, all of them or none."""
    with replacing(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
