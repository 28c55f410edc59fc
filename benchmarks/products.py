"""The bare matrix products of BERT's layers: the time that they take alone is the limit of every speed here."""

from collections.abc import Callable, Sequence

import torch
from stopwatch import seconds_of
from transformers import BertConfig

from bert_multilabel.model.scoring import TOKENS_PER_BATCH, TOKENS_PER_BATCH_ON_CPU

Batches = Sequence[tuple[int, int]]  # rows, and tokens per row, of each


def batches_of(lengths: Sequence[int], rows: int | None = None, device: str = "cpu") -> list[tuple[int, int]]:
    """Return rows and tokens per row of batches of similar length, the longest first.

    Args:
        lengths: Of all rows, in tokens.
        rows: How many a batch has; default: as many as prediction takes.
        device: Where prediction computes.
    """
    tokens = TOKENS_PER_BATCH_ON_CPU if device == "cpu" else TOKENS_PER_BATCH
    batches, rest = [], sorted(lengths, reverse=True)
    while rest:
        size = rows or max(1, tokens // rest[0])
        batches.append((len(rest[:size]), rest[0]))
        rest = rest[size:]
    return batches


def seconds_of_products(config: BertConfig, batches: Batches, dtype: torch.dtype, device: str = "cpu") -> float:
    """Time the products of `bare_products`."""
    run = bare_products(config, max(rows * tokens for rows, tokens in batches), dtype, device)
    return seconds_of(lambda: run(batches))


def bare_products(config: BertConfig, most: int, dtype: torch.dtype, device: str = "cpu") -> Callable[[Batches], None]:
    """Prepare the products with the weights of the encoder's layers, all else left out; the result computes them.

    Args:
        config: Gives the sizes.
        most: How many tokens a batch has at most.
        dtype: Of the products.
        device: Where to compute them.
    """
    hidden, wide = config.hidden_size, config.intermediate_size
    shapes = [(3 * hidden, hidden), (hidden, hidden), (wide, hidden), (hidden, wide)]
    weights = [
        (torch.randn(shape, dtype=dtype, device=device), torch.randn(shape[0], dtype=dtype, device=device))
        for shape in shapes
    ]
    vectors = {size: torch.randn(most, size, dtype=dtype, device=device) for size in (hidden, wide)}
    _wait_for(device)

    @torch.inference_mode()
    def run(batches: Batches) -> None:
        for rows, tokens in batches:
            for weight, bias in weights * config.num_hidden_layers:
                torch.nn.functional.linear(vectors[weight.size(1)][: rows * tokens], weight, bias)
        _wait_for(device)

    return run


def _wait_for(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()
