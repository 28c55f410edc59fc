# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""What is said of a text, in one form everywhere: the labels that it is given, and probabilities."""

from collections.abc import Iterator
from typing import Any

import torch

from .configuration_multilabel import MultiLabelConfig


def prediction_records(
    logits: torch.Tensor,
    config: MultiLabelConfig,
    ids: list[Any] | None = None,
    top_scores: int | None = None,
    predicted_only: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield what the model says of each row: `{"id": ..., "labels": [names], "scores": {name: probability}}`.

    Args:
        logits: (N, L).
        config: Names the labels and decides on them.
        ids: Names of the N rows; without them the records have no `id`.
        top_scores: Give only the scores of this many labels, the highest first; by default all, in label order.
        predicted_only: Give only the scores of the labels that the row is given.

    Yields:
        One record per row, in order.
    """
    probabilities, decisions = config.decide(logits)  # (N, L) each
    names = config.label_names
    for row, (scores, given) in enumerate(zip(probabilities.tolist(), decisions.tolist(), strict=True)):
        record: dict[str, Any] = {} if ids is None else {"id": ids[row]}
        record["labels"] = [name for name, is_given in zip(names, given, strict=True) if is_given]
        scored = [
            (name, score)
            for name, score, is_given in zip(names, scores, given, strict=True)
            if is_given or not predicted_only
        ]
        if top_scores is not None:
            scored = sorted(scored, key=lambda pair: -pair[1])[:top_scores]
        record["scores"] = dict(scored)
        yield record
