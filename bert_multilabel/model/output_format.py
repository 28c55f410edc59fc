# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""The form of predictions, the same everywhere: predicted labels and probabilities."""

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
    predicted_too: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield one record per example: `{"id": ..., "labels": [names], "scores": {name: probability}}`.

    Args:
        logits: (N, L).
        config: Names of the labels and the decision rule.
        ids: Ids of the N examples; without them the records have no `id`.
        top_scores: Only this many scores, the highest first; by default all, in label order.
        predicted_only: Only the scores of the predicted labels.
        predicted_too: The scores of predicted labels follow those of `top_scores`, if they are not among them.

    Examples:
        >>> config = MultiLabelConfig(label_names=["price", "quality"])
        >>> list(prediction_records(torch.tensor([[0.0, -1000.0]]), config))
        [{'labels': ['price'], 'scores': {'price': 0.5, 'quality': 0.0}}]
    """
    probabilities, decisions = config.decide(logits)  # (N, L) each
    for index, (scores, predicted) in enumerate(zip(probabilities.tolist(), decisions.tolist(), strict=True)):
        record: dict[str, Any] = {} if ids is None else {"id": ids[index]}
        scored = list(zip(config.label_names, scores, predicted, strict=True))
        record["labels"] = [name for name, _, is_predicted in scored if is_predicted]
        kept = [row for row in scored if row[2] or not predicted_only]
        if top_scores is not None:
            kept = sorted(kept, key=lambda row: -row[1])
            kept = [row for rank, row in enumerate(kept) if rank < top_scores or predicted_too and row[2]]
        record["scores"] = {name: score for name, score, _ in kept}
        yield record
