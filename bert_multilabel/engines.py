"""What computes logits behind the server.

Shapes: N texts, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from .backbone import from_backbone
from .configuration_multilabel import MultiLabelConfig
from .scoring_multilabel import MultiLabelScorer

# Of few texts few are of like length: small batches hold less padding.
TOKENS_PER_BATCH_ON_CPU = 512


class Engine(Protocol):
    """Computes logits, on which its configuration decides; `MultiLabelScorer` is one."""

    config: MultiLabelConfig

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> torch.Tensor:
        """Return the logits (N, L), float32, on the CPU, of N texts, all with a second text or all without."""


def load_engine(folder: Path, device: str, precision: str, threads: int | None) -> Engine:
    """Load the model of a folder.

    Args:
        folder: A folder that the script trained, or that `save_pretrained` wrote.
        device: Where torch is to compute.
        precision: One of `PRECISIONS`.
        threads: How many threads compute; None: one for each core.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    config = MultiLabelConfig.from_pretrained(folder)
    model, tokenizer = from_backbone(folder, config.label_names, config.strategy)
    model = model.to(device)  # type: ignore[arg-type]  # the declared type of this method has lost its self
    tokens = TOKENS_PER_BATCH_ON_CPU if model.device.type == "cpu" else None
    return MultiLabelScorer(model, tokenizer, precision, tokens_per_batch=tokens)


def score(engine: Engine, rows: Sequence[tuple[str, str | None]]) -> torch.Tensor:
    """Score texts of which some may have a second text.

    Args:
        engine: Computes.
        rows: N texts, each with its second text or None.

    Returns:
        (N, L), float32, on the CPU, in the order of the rows.
    """
    logits = torch.empty(len(rows), len(engine.config.label_names))  # (N, L)
    for is_pair in (False, True):
        chosen = [index for index, (_, pair) in enumerate(rows) if (pair is not None) == is_pair]
        if chosen:
            texts, pairs = [rows[index][0] for index in chosen], [rows[index][1] or "" for index in chosen]
            logits[chosen] = engine.logits(texts, pairs if is_pair else None)
    return logits
