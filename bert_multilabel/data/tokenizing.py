"""Tokenizes clean examples, and collates them into batches."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Features, List, Value
from numpy.typing import NDArray
from transformers.utils import logging

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.scoring import pad_batch
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.hashing import json_digest

from .cache import cached_examples, column_batches, dataset_digest, reopen_memory_map
from .table import BATCH_SIZE

logger = logging.get_logger(__name__)

_FEATURES = {"input_ids": List(Value("int32")), "token_type_ids": List(Value("int8")), "length": Value("int32")}


def encode_rows(rows: Dataset, tokenizer: MultiLabelTokenizer, max_length: int | None = None) -> Dataset:
    """Tokenize the columns `text` and, if there are pairs, `pair`; truncate them to at most `max_length` tokens.

    Returns:
        `input_ids`, `token_type_ids`, `length` (in tokens) and the other columns, cached on disk.

    Raises:
        MultiLabelError: If `max_length` exceeds the model's limit, or leaves no room for text.
    """
    max_length = check_max_length(tokenizer, max_length)
    passed = {name: kind for name, kind in rows.features.items() if name not in ("text", "pair")}
    features = Features({**_FEATURES, **passed})

    def encode() -> Iterator[dict[str, Any]]:
        with logging.tqdm(total=len(rows), unit=" rows", desc="Tokenizing") as bar:
            for part in reopen_memory_map(rows).with_format("arrow").iter(batch_size=BATCH_SIZE):
                # Columns that are passed through stay in Arrow: their values would take longer than the tokens.
                texts = part["text"].to_pylist()
                pairs = part["pair"].to_pylist() if "pair" in part.column_names else None
                ids, types = tokenizer.token_ids(texts, pairs, max_length)
                lengths = np.fromiter(map(len, ids), np.int32, len(ids))
                yield {
                    "input_ids": _lists(ids, lengths, pa.int32()),
                    "token_type_ids": _lists(types, lengths, pa.int8()),
                    "length": pa.array(lengths),
                    **{name: part[name].combine_chunks() for name in passed},
                }
                bar.update(len(lengths))

    digests = {"examples": dataset_digest(rows), "tokenizer": tokenizer_digest(tokenizer)}
    encoded_rows = cached_examples(digests | {"max_length": max_length}, encode(), features)
    if full := int(np.sum(lengths_of(encoded_rows) == max_length)):
        logger.warning(f"{full} of {len(rows)} texts fill or exceed {max_length} tokens; longer ones were truncated")
    return encoded_rows


class Collator:
    """Collates examples into a batch, after tokenizing them to at most `max_length` tokens if necessary."""

    def __init__(self, tokenizer: MultiLabelTokenizer, max_length: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = check_max_length(tokenizer, max_length)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad B examples to the longest, and add their `labels` (B, L), float32, if they have some."""
        if "text" in rows[0]:
            pairs = [row["pair"] for row in rows] if "pair" in rows[0] else None
            ids, types = self.tokenizer.token_ids([row["text"] for row in rows], pairs, self.max_length)
            if any(len(row) == self.max_length for row in ids):
                # Once: their number is unknown before all are read.
                logger.warning_once(f"some texts fill or exceed {self.max_length} tokens; longer ones are truncated")
        else:
            ids, types = ([row[name] for row in rows] for name in ("input_ids", "token_type_ids"))
        batch = pad_batch(ids, types, self.tokenizer.pad_token_id)
        if "labels" in rows[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in rows])
        return batch


def _lists(rows: list[list[int]], lengths: NDArray[np.int32], kind: pa.DataType) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)], dtype=np.int32)
    values = np.fromiter(chain.from_iterable(rows), kind.to_pandas_dtype(), int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def tokenizer_digest(tokenizer: MultiLabelTokenizer) -> str:
    """Return a digest of everything in a tokenizer that changes the tokens of a text."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend["truncation"] = backend["padding"] = None  # left over from the last call
    settings = [type(tokenizer).__name__, tokenizer.split_special_tokens, tokenizer.truncation_side]
    return json_digest([backend, settings])


def lengths_of(encoded_rows: Dataset) -> NDArray[np.int64]:
    """Return the number of tokens of each example, (N,)."""
    return np.concatenate([np.zeros(0, np.int64), *column_batches(encoded_rows, "length")])


def longest_first(encoded_rows: Dataset) -> np.ndarray:
    """Return the order (N,), int64, by decreasing length: too little memory then shows at once."""
    return np.argsort(-lengths_of(encoded_rows), kind="stable")


def check_max_length(tokenizer: MultiLabelTokenizer, max_length: int | None) -> int:
    """Return the length in tokens, which must not exceed the model's limit; default: that limit."""
    limit = int(tokenizer.model_max_length)
    if max_length is not None and max_length > limit:
        raise MultiLabelError(f"max_seq_length={max_length} is more than the {limit} tokens that this model can take")
    return limit if max_length is None else max_length
