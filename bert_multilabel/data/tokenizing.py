"""Tokenizes clean examples, and collates them into batches."""

import json
import zlib
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
from bert_multilabel.model.windows import NoRoom, Windows
from bert_multilabel.utils.hashing import json_digest

from .cache import cached_examples, column_batches, dataset_digest, reopen_memory_map
from .table import BATCH_SIZE

logger = logging.get_logger(__name__)

_FEATURES = {"input_ids": List(Value("int32")), "token_type_ids": List(Value("int8")), "length": Value("int32")}
_TEXT = "window_of"  # column of windows: the index of their text


def encode_rows(
    rows: Dataset, tokenizer: MultiLabelTokenizer, max_length: int | None = None, windows: Windows | None = None
) -> Dataset:
    """Tokenize the columns `text` and, if there are pairs, `pair`.

    Inputs are truncated to at most `max_length` tokens; with `windows` they stay whole, to be cut into windows.

    Returns:
        `input_ids`, `token_type_ids`, `length` (in tokens) and the other columns, cached on disk.

    Raises:
        MultiLabelError: If `max_length` exceeds the model's limit, or leaves no room for text.
        NoRoom: If a pair leaves windows no room for its text.
    """
    max_length = check_max_length(tokenizer, max_length)
    passed = {name: kind for name, kind in rows.features.items() if name not in ("text", "pair")}
    features = Features({**_FEATURES, **passed})

    def encode() -> Iterator[dict[str, Any]]:
        first = 0
        with logging.tqdm(total=len(rows), unit=" rows", desc="Tokenizing") as bar:
            for part in reopen_memory_map(rows).with_format("arrow").iter(batch_size=BATCH_SIZE):
                # Columns that are passed through stay in Arrow: their values would take longer than the tokens.
                texts = part["text"].to_pylist()
                pairs = part["pair"].to_pylist() if "pair" in part.column_names else None
                ids, types = tokenizer.token_ids(texts, pairs, max_length if windows is None else None)
                if windows is not None and pairs is not None:
                    _check_room(windows, ids, types, tokenizer, max_length, first)
                yield {**_tokens(ids, types), **{name: part[name].combine_chunks() for name in passed}}
                first += len(ids)
                bar.update(len(ids))

    digests = {"examples": dataset_digest(rows), "tokenizer": tokenizer_digest(tokenizer)}
    settings = {"max_length": max_length, "stride": None if windows is None else windows.stride}
    encoded_rows = cached_examples(digests | settings, encode(), features)
    lengths = lengths_of(encoded_rows)  # (N,)
    if windows is not None:
        logger.info(f"{np.sum(lengths > max_length)} of {len(rows)} texts exceed {max_length} tokens: read in windows")
    elif full := int(np.sum(lengths == max_length)):
        logger.warning(f"{full} of {len(rows)} texts fill or exceed {max_length} tokens; longer ones were truncated")
    return encoded_rows


def cut_rows(
    encoded_rows: Dataset, tokenizer: MultiLabelTokenizer, max_length: int | None, windows: Windows
) -> Dataset:
    """Cut tokenized texts, which `encode_rows` left whole, into windows.

    Returns:
        One row for each window with the columns of its text, except that `length` is its own, and with
        `window_of`, the index of the text; cached on disk.
    """
    max_length = check_max_length(tokenizer, max_length)

    def cut() -> Iterator[dict[str, Any]]:
        first = 0
        for part in reopen_memory_map(encoded_rows).with_format("arrow").iter(batch_size=BATCH_SIZE):
            whole, whole_types = (part[name].to_pylist() for name in ("input_ids", "token_type_ids"))
            ids, types, counts = windows.cut(whole, whole_types, tokenizer, max_length)
            rows = np.repeat(np.arange(len(counts)), counts)  # (W,)
            passed = {
                name: part[name].combine_chunks().take(rows) for name in part.column_names if name not in _FEATURES
            }
            yield {**passed, **_tokens(ids, types), _TEXT: pa.array(first + rows)}
            first += len(counts)

    digests = {"encoded": dataset_digest(encoded_rows), "tokenizer": tokenizer_digest(tokenizer)}
    settings = {"max_length": max_length, "stride": windows.stride}
    return cached_examples(digests | settings, cut(), Features({**encoded_rows.features, _TEXT: Value("int64")}))


def texts_of(examples: Any) -> NDArray[np.int64] | None:
    """Return the index (W,) of the text of each window that `cut_rows` made; None if the examples are no windows."""
    if not isinstance(examples, Dataset) or _TEXT not in examples.column_names:
        return None
    return np.concatenate([np.zeros(0, np.int64), *column_batches(examples, _TEXT)])


class Collator:
    """Collates examples into a batch, after tokenizing them to at most `max_length` tokens if necessary.

    With `windows`, a batch has one window of each text that is longer: in each `epoch` the next one, beginning with
    one that the `seed` and the text choose. All windows are then seen in as many epochs as a text has windows, and a
    run that is resumed, or has other processes, reads the same ones.
    """

    def __init__(
        self,
        tokenizer: MultiLabelTokenizer,
        max_length: int | None = None,
        windows: Windows | None = None,
        seed: int = 0,
    ) -> None:
        self.tokenizer, self.windows, self.seed, self.epoch = tokenizer, windows, seed, 0
        self.max_length = check_max_length(tokenizer, max_length)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad B examples to the longest, and add `labels` (B, L) and `weight` (B,), float32, if they have them."""
        if "text" in rows[0]:
            ids, types = self._tokenize(rows)
        else:
            ids, types = ([row[name] for row in rows] for name in ("input_ids", "token_type_ids"))
        if self.windows is not None:
            ids, types = self._draw(ids, types, self.windows)
        batch = pad_batch(ids, types, self.tokenizer.pad_token_id)
        if "labels" in rows[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in rows])
        if "weight" in rows[0]:
            batch["weight"] = torch.tensor([row["weight"] for row in rows])
        return batch

    def _tokenize(self, rows: list[dict[str, Any]]) -> tuple[list[list[int]], list[list[int]]]:
        pairs = [row["pair"] for row in rows] if "pair" in rows[0] else None
        limit = self.max_length if self.windows is None else None
        ids, types = self.tokenizer.token_ids([row["text"] for row in rows], pairs, limit)
        if any(len(row) == limit for row in ids):
            # Once: their number is unknown before all are read.
            logger.warning_once(f"some texts fill or exceed {limit} tokens; longer ones are truncated")
        return ids, types

    def _draw(
        self, ids: list[list[int]], types: list[list[int]], windows: Windows
    ) -> tuple[list[list[int]], list[list[int]]]:
        cut_ids, cut_types, counts = windows.cut(ids, types, self.tokenizer, self.max_length)
        starts = np.cumsum([0, *counts])
        drawn = [
            # A checksum of the text and not its place among the examples, which a stream does not know.
            start if count == 1 else start + (zlib.crc32(np.array([self.seed, *own]).tobytes()) + self.epoch) % count
            for start, count, own in zip(starts, counts, ids, strict=False)
        ]
        return [cut_ids[index] for index in drawn], [cut_types[index] for index in drawn]


def _check_room(
    windows: Windows,
    ids: list[list[int]],
    types: list[list[int]],
    tokenizer: MultiLabelTokenizer,
    max_length: int,
    first: int,
) -> None:
    """Refuse texts, the first of which has the index `first`, that cannot be cut: before anything is trained.

    Only pairs can leave too little room: what else does, is refused for all texts together.
    """
    try:
        windows.cut(ids, types, tokenizer, max_length)
    except NoRoom as error:
        raise NoRoom(str(error), first + error.row) from error


def _tokens(ids: list[list[int]], types: list[list[int]]) -> dict[str, pa.Array]:
    lengths = np.fromiter(map(len, ids), np.int32, len(ids))
    return {
        "input_ids": _lists(ids, lengths, pa.int32()),
        "token_type_ids": _lists(types, lengths, pa.int8()),
        "length": pa.array(lengths),
    }


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
