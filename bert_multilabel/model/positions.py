# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Where tokens stand in a row: their positions, the first one, and those that a mask marks.

Shapes: B batch, T tokens, L labels, H hidden size.
"""

import torch

from .errors import MultiLabelError


def with_positions(inputs: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor | None]:
    """Fill in `position_ids` (B, T) where none are given but an `attention_mask` (B, T) is."""
    mask = inputs["attention_mask"]
    if inputs["position_ids"] is not None or mask is None or mask.dim() != 2:
        return inputs
    return {**inputs, "position_ids": unpadded_positions(mask)}


def unpadded_positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Count positions from the first token that is attended, so that padding on the left changes nothing.

    Args:
        attention_mask: (B, T), 1 at tokens.

    Returns:
        Positions (B, T), int64.
    """
    padding_left = attention_mask.ne(0).int().argmax(dim=1, keepdim=True)  # (B, 1)
    positions = torch.arange(attention_mask.size(1), device=attention_mask.device)  # (T,)
    return (positions - padding_left).clamp(min=0)  # (B, T)


def first_states(hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Take the vector of each row's first token that is attended: (B, T, H) to (B, H)."""
    if attention_mask is None or attention_mask.dim() != 2:
        return hidden_states[:, 0]
    first = attention_mask.ne(0).int().argmax(dim=1)  # (B,)
    return hidden_states[torch.arange(hidden_states.size(0), device=first.device), first]


def gather_tokens(values: torch.Tensor, mask: torch.Tensor, count: int) -> torch.Tensor:
    """Collect what stands at the marked tokens, row by row, in the order in which they stand.

    Equals `values[mask].view(B, count, ...)` wherever each row marks `count` tokens, but its shapes do not depend on
    the mask, so no device has to wait for the host.

    Args:
        values: (B, T) or (B, T, H).
        mask: (B, T), nonzero at exactly `count` tokens of each row.
        count: How many tokens each row marks.

    Returns:
        (B, count) or (B, count, H).
    """
    marked = mask.ne(0)  # (B, T)
    rank = marked.long().cumsum(dim=1) - 1  # (B, T): the k-th marked token holds k, counted from 0
    # What is not marked goes to a spare slot behind the wanted ones, and is dropped with it.
    slot = torch.where(marked, rank, count).clamp(max=count)  # (B, T)
    tokens = torch.arange(mask.size(1), device=mask.device).expand_as(slot)  # (B, T)
    places = torch.zeros_like(slot[:, :1]).repeat(1, count + 1).scatter(1, slot, tokens)[:, :count]  # (B, count)
    if values.dim() == 2:
        return values.gather(1, places)
    return values.gather(1, places[..., None].expand(-1, -1, values.size(-1)))  # (B, count, H)


def find_tokens(input_ids: torch.Tensor, token_ids: list[int]) -> torch.Tensor:
    """Mark the tokens that are among `token_ids`: (B, T), bool."""
    mask = torch.zeros_like(input_ids, dtype=torch.bool)  # (B, T)
    # Label tokens are registered together, so this is one comparison, not one per label, and needs no tensor.
    for first, last in _runs(token_ids):
        mask = mask | ((input_ids >= first) & (input_ids <= last))
    return mask


def check_label_mask(label_mask: torch.Tensor, num_labels: int) -> None:
    """Refuse rows that do not mark exactly `num_labels` tokens: their vectors would mix up.

    On a CPU the bad row is named. On an accelerator that would make every step wait for the host, so there the
    check is an assertion on the device, and a compiled graph has none.

    Args:
        label_mask: (B, T), nonzero at label tokens.
        num_labels: How many each row has to mark.

    Raises:
        MultiLabelError: On CPU, naming the first bad row.
    """
    if torch.compiler.is_compiling():
        return
    counts = label_mask.ne(0).sum(dim=1)  # (B,)
    right = counts == num_labels
    if label_mask.device.type != "cpu":
        torch._assert_async(right.all())
    elif not right.all():
        row = int(right.int().argmin())
        raise MultiLabelError(
            f"label_mask must mark exactly {num_labels} tokens in every row, but row {row} marks {int(counts[row])}: "
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
