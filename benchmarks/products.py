"""The bare matrix products of BERT's layers: the time that they take alone is the limit of every speed here."""

import time
from collections.abc import Sequence

import torch
from transformers import BertConfig

from bert_multilabel.model.scoring import TOKENS_PER_BATCH_ON_CPU


def batches_of(lengths: Sequence[int], rows: int | None = None) -> list[tuple[int, int]]:
    """Return rows and tokens per row of batches of similar length, the longest first.

    Args:
        lengths: Of all rows, in tokens.
        rows: How many a batch has; default: as many as prediction takes.
    """
    batches, rest = [], sorted(lengths, reverse=True)
    while rest:
        size = rows or max(1, TOKENS_PER_BATCH_ON_CPU // rest[0])
        batches.append((len(rest[:size]), rest[0]))
        rest = rest[size:]
    return batches


def seconds_of_products(
    config: BertConfig,
    batches: Sequence[tuple[int, int]],
    dtype: torch.dtype,
    layers: float | None = None,
    device: str = "cpu",
) -> float:
    """Time the products with the weights of the encoder's layers, all else left out.

    Args:
        config: Gives the sizes.
        batches: Rows and tokens per row of each batch.
        dtype: Of the products.
        layers: How many layers to count, where some are computed in part; default: all there are.
        device: Where to compute them.
    """
    hidden, wide = config.hidden_size, config.intermediate_size
    shapes = [(3 * hidden, hidden), (hidden, hidden), (wide, hidden), (hidden, wide)]
    weights = [
        (torch.randn(shape, dtype=dtype, device=device), torch.randn(shape[0], dtype=dtype, device=device))
        for shape in shapes
    ]
    most = max(rows * tokens for rows, tokens in batches)
    vectors = {size: torch.randn(most, size, dtype=dtype, device=device) for size in (hidden, wide)}
    if device != "cpu":
        torch.accelerator.synchronize()
    started = time.perf_counter()
    with torch.inference_mode():
        for rows, tokens in batches:
            for weight, bias in weights * config.num_hidden_layers:
                torch.nn.functional.linear(vectors[weight.size(1)][: rows * tokens], weight, bias)
    if device != "cpu":
        torch.accelerator.synchronize()
    seconds = time.perf_counter() - started
    return seconds * (layers or config.num_hidden_layers) / config.num_hidden_layers
