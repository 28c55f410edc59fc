# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Texts longer than the model: cut into overlapping windows, whose logits become one row per text.

Legend: N texts, W windows of all texts, w windows of one text, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from .errors import MultiLabelError
from .tokenization_multilabel import MultiLabelTokenizer

POOLINGS = ("max", "mean")
# Of a pair that is quoted in a message, in characters.
_QUOTED = 40


class NoRoom(ValueError):
    """A pair that leaves windows no room for its text.

    Args:
        message: Says so.
        row: Which of the texts that were cut together it is, from 0.
    """

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Windows:
    """How a text that is too long is cut, and how the probabilities of its windows become one.

    The text alone is cut: a pair, whole, and the label tokens stand in every window. A text that fits is one window.

    Args:
        stride: How many tokens of the text a window has in common with the next one, as in the tokenizers library.
        pooling: A label gets the highest probability of all windows (`"max"`), or the mean (`"mean"`).

    Raises:
        MultiLabelError: If the stride is no whole number from 0 up, or there is no such pooling.
    """

    stride: int
    pooling: str = "max"

    def __post_init__(self) -> None:
        if type(self.stride) is not int or self.stride < 0:
            raise MultiLabelError(f"stride must be a whole number of tokens from 0 up, got {self.stride!r}")
        if self.pooling not in POOLINGS:
            raise MultiLabelError(f"pooling must be one of {', '.join(map(repr, POOLINGS))}, got {self.pooling!r}")

    def cut(
        self,
        input_ids: Sequence[Sequence[int]],
        token_type_ids: Sequence[Sequence[int]],
        tokenizer: MultiLabelTokenizer,
        max_length: int,
    ) -> tuple[list[list[int]], list[list[int]], list[int]]:
        """Cut tokenized texts into windows.

        The tokenizers library can do so itself, but it panics where a pair leaves less room than the stride.

        Args:
            input_ids: Token ids of N texts with their pairs and label tokens, not truncated.
            token_type_ids: Segment ids of the same tokens.
            tokenizer: Made them.
            max_length: Of a window, in tokens.

        Returns:
            Token ids and segment ids of W windows, text by text, and how many windows each of the N texts has.

        Raises:
            NoRoom: If a window has no more room for text, beside a certain pair, than the stride.
            MultiLabelError: If it has not even without a pair.
        """
        self.check_room(tokenizer, max_length)
        cut_ids, cut_types, counts = [], [], []
        for row, (ids, types) in enumerate(zip(input_ids, token_type_ids, strict=True)):
            end = _end_of_text(ids, tokenizer)
            spans = [(1, end)] if len(ids) <= max_length else self._spans(row, ids, end, tokenizer, max_length)
            for start, stop in spans:
                cut_ids.append([*ids[:1], *ids[start:stop], *ids[end:]])
                cut_types.append([*types[:1], *types[start:stop], *types[end:]])
            counts.append(len(spans))
        return cut_ids, cut_types, counts

    def check_room(self, tokenizer: MultiLabelTokenizer, max_length: int) -> None:
        """Refuse windows that have no more room for text than the stride, even without a pair.

        Args:
            tokenizer: That of the model.
            max_length: Of a window, in tokens.

        Raises:
            MultiLabelError: If it is so.
        """
        room = max_length - int(tokenizer.num_special_tokens_to_add(pair=False))
        if self.stride >= room:
            raise MultiLabelError(
                f"stride={self.stride} must be less than the {room} tokens of text for which windows of {max_length} "
                "tokens have room"
            )

    def _spans(
        self, row: int, ids: Sequence[int], end: int, tokenizer: MultiLabelTokenizer, max_length: int
    ) -> list[tuple[int, int]]:
        """Return from where to where the windows of one text go; its tokens stand from 1 to `end`."""
        room = max_length - 1 - (len(ids) - end)
        if self.stride >= room:
            # Without a pair there is room, as was checked before.
            pair = str(tokenizer.decode(list(ids[end + 1 :]), skip_special_tokens=True))
            raise NoRoom(
                f"a text of {end - 1} tokens cannot be cut into windows of {max_length}: beside its pair, which "
                f"begins {pair[:_QUOTED]!r}, they have room for {max(room, 0)} tokens of it, and that must be more "
                f"than stride={self.stride}: shorten the pair, or lower the stride",
                row,
            )
        starts = range(1, end - self.stride, room - self.stride)
        return [(start, min(start + room, end)) for start in starts]

    def pool(
        self, logits: torch.Tensor, counts: Sequence[int], temperature: float | Sequence[float] = 1.0
    ) -> torch.Tensor:
        """Make one row of logits of the windows of each text.

        Args:
            logits: (W, L), float32, of the windows of N texts, text by text.
            counts: How many windows each text has, W in all.
            temperature: Of the model's configuration, one or L: the logits are divided by it before the sigmoid.

        Returns:
            (N, L), float32: from these, `MultiLabelConfig.decide` finds the pooled probabilities.
        """
        scale = torch.as_tensor(temperature, dtype=logits.dtype, device=logits.device)  # () or (L,)
        rows = [
            own[0] if len(own) == 1 else self._pool_text(own, scale)  # (w, L) -> (L,)
            for own in logits.split(list(counts))
        ]
        return torch.stack(rows) if rows else logits  # (N, L)

    def _pool_text(self, logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        if self.pooling == "max":
            return logits.amax(0)  # (w, L) -> (L,), as probabilities rise with logits
        # The log-odds of the mean: log of the sum of p, minus that of 1 - p, neither of which vanishes as log.
        scaled = logits / temperature  # (w, L)
        return (logsigmoid(scaled).logsumexp(0) - logsigmoid(-scaled).logsumexp(0)) * temperature  # (L,)


def _end_of_text(ids: Sequence[int], tokenizer: MultiLabelTokenizer) -> int:
    """Return where the text ends that begins behind [CLS]: no text holds the id of [SEP] or of a label token."""
    first_sep = ids.index(tokenizer.sep_token_id)
    is_pair = first_sep < len(ids) - 1
    return first_sep if is_pair else first_sep - len(tokenizer.label_token_ids)
