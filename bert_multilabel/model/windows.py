# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Cuts texts longer than the model into overlapping windows, and pools their logits.

Shapes: N texts, W windows of all texts, w windows of one text, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from .choices import POOLINGS
from .errors import MultiLabelError
from .input_template import InputTemplate
from .tokenization_multilabel import MultiLabelTokenizer

_Ids = Sequence[Sequence[int]]


class NoRoom(MultiLabelError):
    """A pair leaves no room in the windows for its text, the one with the index `row`."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Windows:
    """How to cut long texts into windows, and how to pool the probabilities of the windows.

    Only the text is cut: every window has the whole pair and all label tokens. A text that fits is one window.

    Args:
        stride: By how many tokens of the text consecutive windows overlap, as in the tokenizers library.
        pooling: A label gets the `"max"` or the `"mean"` of its probabilities in all windows, before calibration:
            the temperature is that of pooled logits.

    Raises:
        MultiLabelError: If the stride is not a whole number from 0 up, or the pooling is unknown.
    """

    stride: int
    pooling: str = "max"

    def __post_init__(self) -> None:
        if type(self.stride) is not int or self.stride < 0:
            raise MultiLabelError(f"stride must be a whole number of tokens from 0 up, got {self.stride!r}")
        if self.pooling not in POOLINGS:
            raise MultiLabelError(f"pooling must be one of {', '.join(map(repr, POOLINGS))}, got {self.pooling!r}")

    @classmethod
    def of(cls, stride: int | None, pooling: str | None) -> "Windows | None":
        """Return the windows that two options ask for, None without a stride; refuse a pooling without one."""
        if stride is None and pooling is not None:
            raise MultiLabelError(f"pooling={pooling!r} is for windows over long texts: pass a stride, too")
        return None if stride is None else cls(stride, pooling or POOLINGS[0])

    def cut(
        self, input_ids: _Ids, token_type_ids: _Ids, tokenizer: MultiLabelTokenizer, max_length: int
    ) -> tuple[list[list[int]], list[list[int]], list[int]]:
        """Cut tokenized texts into windows.

        The tokenizers library can do this, but panics if a pair leaves less room than the stride.

        Args:
            input_ids: Token ids of N texts with their pairs and label tokens, not truncated.
            token_type_ids: Their segment ids.
            tokenizer: Made the ids.
            max_length: Length of a window in tokens.

        Returns:
            Token ids and segment ids of W windows, text by text, and the number of windows of each of the N texts.

        Raises:
            MultiLabelError: If windows have no more room for text than the stride; NoRoom if because of a pair.
        """
        self.check_room(tokenizer, max_length)
        template = InputTemplate.read(tokenizer.backend_tokenizer.post_processor)
        cut_ids, cut_types, counts = [], [], []
        for row, (ids, types) in enumerate(zip(input_ids, token_type_ids, strict=True)):
            begin, end = text = template.find_text(ids)
            spans = [text] if len(ids) <= max_length else self._spans(row, ids, text, tokenizer, max_length)
            for start, stop in spans:
                cut_ids.append([*ids[:begin], *ids[start:stop], *ids[end:]])
                cut_types.append([*types[:begin], *types[start:stop], *types[end:]])
            counts.append(len(spans))
        return cut_ids, cut_types, counts

    def check_room(self, tokenizer: MultiLabelTokenizer, max_length: int) -> None:
        """Raise a MultiLabelError if windows of `max_length` tokens have no more room for text than the stride."""
        room = max_length - int(tokenizer.num_special_tokens_to_add(pair=False))
        if self.stride >= room:
            raise MultiLabelError(
                f"stride={self.stride} must be less than {room}, as a window of {max_length} has {room} tokens of text"
            )

    def _spans(
        self, row: int, ids: Sequence[int], text: tuple[int, int], tokenizer: MultiLabelTokenizer, max_length: int
    ) -> list[tuple[int, int]]:
        """Return start and end of each window of one text, whose own start and end are `text`."""
        begin, end = text
        room = max_length - begin - (len(ids) - end)
        if self.stride >= room:
            # It is the pair: `check_room` has checked the rest.
            pair = str(tokenizer.decode(list(ids[end + 1 :]), skip_special_tokens=True))
            raise NoRoom(
                f"a text of {end - begin} tokens cannot be cut into windows of {max_length}: its pair, "
                f"{pair[:40]!r}..., leaves room for {max(room, 0)} tokens of text: shorten it, or lower "
                f"stride={self.stride}",
                row,
            )
        starts = range(begin, end - self.stride, room - self.stride)
        return [(start, min(start + room, end)) for start in starts]

    def pool(self, logits: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """Pool the logits of the windows of each text.

        Args:
            logits: (W, L), float32, of the windows of N texts, text by text.
            counts: The number of windows of each text, W in total.

        Returns:
            (N, L), float32: logits of the pooled probabilities, for `MultiLabelConfig.decide`.
        """
        texts = logits.split(list(counts))  # (w, L) each
        rows = [own[0] if len(own) == 1 else self._pool_text(own) for own in texts]  # (L,) each
        return torch.stack(rows) if rows else logits  # (N, L)

    def _pool_text(self, logits: torch.Tensor) -> torch.Tensor:
        if self.pooling == "max":
            return logits.amax(0)  # (w, L) -> (L,); probabilities rise with logits
        # The log-odds of the mean: log of the sum of p, minus log of the sum of 1 - p. Logs do not underflow.
        return logsigmoid(logits).logsumexp(0) - logsigmoid(-logits).logsumexp(0)  # (w, L) -> (L,)
