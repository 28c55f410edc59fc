# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Positions of tokens in a sequence: their numbers for BERT, the first token, and the tokens that a mask marks.

Shapes: B batch, T tokens, L labels, H hidden size.
"""

import torch

from .errors import MultiLabelError


def with_positions(inputs: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor | None]:
    """Add `position_ids` (B, T) where none are given but an `attention_mask` (B, T) is."""
    mask = inputs["attention_mask"]
    if inputs["position_ids"] is not None or mask is None or mask.dim() != 2:
        return inputs
    return {**inputs, "position_ids": unpadded_positions(mask)}


def unpadded_positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Count positions from the first token that is not padding, so that padding on the left changes nothing.

    Args:
        attention_mask: (B, T), 1 at tokens.

    Returns:
        Positions (B, T), int64.
    """
    padding_left = attention_mask.ne(0).int().argmax(dim=1, keepdim=True)  # (B, 1)
    positions = torch.arange(attention_mask.size(1), device=attention_mask.device)  # (T,)
    return (positions - padding_left).clamp(min=0)  # (B, T)


def first_token_states(hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Return the vector of each sequence's first token that is not padding: (B, T, H) to (B, H)."""
    if attention_mask is None or attention_mask.dim() != 2:
        return hidden_states[:, 0]
    first = attention_mask.ne(0).int().argmax(dim=1)  # (B,)
    return hidden_states[torch.arange(hidden_states.size(0), device=first.device), first]


def gather_tokens(values: torch.Tensor, mask: torch.Tensor, count: int) -> torch.Tensor:
    """Return the values at the marked tokens of each sequence, in their order.

    Equals `values[mask].view(B, count, ...)` where each sequence marks `count` tokens, but its shapes do not depend on
    the mask, so that a GPU does not wait for the host. On an accelerator, where nothing has checked the mask, vectors
    of a sequence that marks another number of tokens are NaN.

    Args:
        values: (B, T) or (B, T, H).
        mask: (B, T), nonzero at exactly `count` tokens of each sequence.
        count: How many tokens each sequence marks.

    Returns:
        (B, count) or (B, count, H).
    """
    marked = mask.ne(0)  # (B, T)
    rank = marked.long().cumsum(dim=1) - 1  # (B, T): the k-th marked token has rank k, counted from 0
    # Tokens that are not marked go to one more slot, which is dropped.
    slot = torch.where(marked, rank, count).clamp(max=count)  # (B, T)
    tokens = torch.arange(mask.size(1), device=mask.device).expand_as(slot)  # (B, T)
    positions = torch.zeros_like(slot[:, :1]).repeat(1, count + 1).scatter(1, slot, tokens)[:, :count]  # (B, count)
    if values.dim() == 2:
        return values.gather(1, positions)
    gathered = values.gather(1, positions[..., None].expand(-1, -1, values.size(-1)))  # (B, count, H)
    if values.device.type == "cpu":
        return gathered
    return gathered.masked_fill((rank[:, -1] + 1 != count)[:, None, None], torch.nan)


def find_tokens(input_ids: torch.Tensor, token_ids: list[int]) -> torch.Tensor:
    """Return a mask of the tokens that are among `token_ids`: (B, T), bool."""
    mask = torch.zeros_like(input_ids, dtype=torch.bool)  # (B, T)
    # Label tokens are registered together, so this is one comparison, not one per label, and needs no tensor.
    for first, last in _runs(token_ids):
        mask = mask | ((input_ids >= first) & (input_ids <= last))
    return mask


def check_label_mask(label_mask: torch.Tensor, num_labels: int) -> None:
    """Refuse a mask that does not mark exactly `num_labels` tokens of every sequence.

    On an accelerator every step would wait for the host, so there `gather_tokens` returns NaN for such a sequence.

    Args:
        label_mask: (B, T), nonzero at label tokens.
        num_labels: How many each sequence has to mark.

    Raises:
        MultiLabelError: On a CPU, naming the first bad row.
    """
    if label_mask.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_counts(label_mask.ne(0).sum(dim=1), num_labels)


def count_marked(label_mask: torch.Tensor) -> int:
    """Return how many tokens of each sequence a mask (B, T) marks.

    Raises:
        MultiLabelError: If the sequences differ, naming the first that differs from the first of all.
    """
    counts = label_mask.ne(0).sum(dim=1)  # (B,)
    least, most = torch.stack(counts.aminmax()).tolist()  # an accelerator is waited for once
    if least != most:
        _check_counts(counts, int(counts[0]))
    return int(least)


def _check_counts(counts: torch.Tensor, expected: int) -> None:
    right = counts == expected
    if not right.all():
        row = int(right.int().argmin())
        raise MultiLabelError(
            f"label_mask must mark exactly {expected} tokens in every row, but row {row} marks {int(counts[row])}: "
            "tokenize with this model's own tokenizer"
        )


def _runs(ids: list[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers in `ids`."""
    runs: list[tuple[int, int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
