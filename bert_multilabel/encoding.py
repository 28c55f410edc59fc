"""Clean rows in, token ids out: what Trainer reads."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers.utils import logging

from .scoring_multilabel import cutting, pad_batch
from .tokenization_multilabel import MultiLabelTokenizer
from .windows_multilabel import Windows

logger = logging.get_logger(__name__)


def encode_rows(
    rows: Dataset, tokenizer: MultiLabelTokenizer, max_length: int | None = None, windows: Windows | None = None
) -> Dataset:
    """Tokenize the texts of a data set, cut to the longest input allowed; or whole, if there are to be windows.

    Masks are left out: they come when a batch is padded.

    Args:
        rows: Columns `text`, and `pair` if there are pairs; `labels` and `id` are passed through.
        tokenizer: The model's tokenizer.
        max_length: Longest input in tokens, label tokens included; by default what the model can take.
        windows: Into which longer texts will be cut before they are scored.

    Returns:
        The columns `input_ids`, `token_type_ids`, `length` (in tokens), and what was passed through.

    Raises:
        ValueError: If `max_length` is more than the model can take, or leaves no room beside the label tokens, or, in
            windows, beside the pair of a text.
    """
    limit = tokenizer.model_max_length
    max_length = limit if max_length is None else max_length
    if max_length > limit:
        raise ValueError(f"max_seq_length={max_length} is more than the {limit} tokens that this model can take")

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(
            batch["text"], batch.get("pair"), return_attention_mask=False, **cutting(max_length, windows)
        )
        input_ids = encoded["input_ids"]
        if windows is not None:
            # Now, and not hours later when the rows are scored, is the time to refuse one.
            windows.cut(input_ids, encoded["token_type_ids"], tokenizer, max_length)
        return {
            "input_ids": input_ids,
            "token_type_ids": encoded["token_type_ids"],
            "length": [len(ids) for ids in input_ids],
        }

    texts = [name for name in ("text", "pair") if name in rows.column_names]
    encoded_rows = rows.map(encode, batched=True, remove_columns=texts, desc="Tokenizing")
    lengths = np.asarray(encoded_rows["length"])
    if windows is not None:
        logger.info(f"{np.sum(lengths > max_length)} of {len(rows)} texts exceed {max_length} tokens: read in windows")
    elif full := int(np.sum(lengths == max_length)):
        logger.warning(f"{full} of {len(rows)} texts fill or exceed {max_length} tokens: what is beyond was cut off")
    return encoded_rows


class Collator:
    """Makes a batch of encoded rows; the model finds label tokens in it by itself.

    Args:
        pad_token_id: Of the tokenizer that encoded the rows.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad B rows to the longest, and put their `labels` (B, L), float32, beside them if they have some."""
        batch = pad_batch(
            [row["input_ids"] for row in rows], [row["token_type_ids"] for row in rows], self.pad_token_id
        )
        if "labels" in rows[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in rows])
        return batch


def longest_first(encoded_rows: Dataset) -> np.ndarray:
    """Return the order (N,), int64, that puts rows of like length together, the longest first.

    Batches then carry little padding, and too little memory shows at once instead of at the end.
    """
    return np.argsort(-np.asarray(encoded_rows["length"]), kind="stable")
