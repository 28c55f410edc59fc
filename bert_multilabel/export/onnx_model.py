# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Runs an exported multi-label BERT with only onnxruntime, numpy and tokenizers.

`bert-multilabel export` copies this file into the folder of the model, and the three files that it
imports.

Shapes: N texts, B batch, T tokens, L labels.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

if __name__ == "bert_multilabel.export.onnx_model":
    from bert_multilabel.model.decision import Decider
    from bert_multilabel.model.label_rules import LabelRules
    from bert_multilabel.model.likeliest_sets import LikeliestSets
else:  # the copy in the folder of a model
    from decision import Decider  # type: ignore[no-redef]  # the same class
    from label_rules import LabelRules  # type: ignore[no-redef]  # the same class
    from likeliest_sets import LikeliestSets  # type: ignore[no-redef]  # the same class

MODEL_FILE, QUANTIZED_FILE = "onnx/model.onnx", "onnx/model_quantized.onnx"
_FORMER_FILE = "model.onnx"  # of version 0.1
_MODEL_FILES = (MODEL_FILE, QUANTIZED_FILE, _FORMER_FILE)
TOKENIZER_FILE = "tokenizer.json"
# Metadata of the model's file, each entry as JSON.
_FIELDS = (
    *("label_names", "strategy", "labels_stand_apart", "threshold", "temperature", "min_labels"),
    *("max_length", "truncation_side"),
)
_NEWER_FIELDS = ("decision", "label_rules")  # null where an older version wrote the file
# Number of texts that are sorted by length together, which bounds the memory.
_WINDOW = 16_384
# Tokens in a batch, padding included: enough to keep the matrix products busy, few enough to stay in the cache.
_TOKENS_PER_BATCH = 512
# If both texts of a pair have more characters than this times the tokens of an input, they are cut before truncation.
_FAR_BEYOND = 4
_CUT_TRIALS = 8  # places where to cut it
_SURROGATE = re.compile("[\ud800-\udfff]")


class OnnxModel:
    """An exported model: takes texts, returns logits, probabilities and labels.

    Args:
        folder: A folder that `bert-multilabel export` wrote.
        threads: Number of threads; None: one per core.

    Raises:
        ValueError: If the folder is not an exported model, a file is damaged or refers to files outside of the folder,
            or `threads` is less than 1.
    """

    def __init__(self, folder: str | PathLike[str], threads: int | None = None) -> None:
        model_file, tokenizer_file = (_find(Path(folder), names) for names in (_MODEL_FILES, (TOKENIZER_FILE,)))
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: one per core
        try:
            self._session = onnxruntime.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # neither library has a base class for its errors
            raise ValueError(f"The exported model in {folder} is damaged ({error}): export it again") from error
        stored = self._session.get_modelmeta().custom_metadata_map
        missing = [name for name in _FIELDS if name not in stored]
        if missing:
            lacking = ", ".join(missing)
            raise ValueError(f"{model_file} lacks {lacking}: write it with bert-multilabel export")
        fields = {name: json.loads(stored.get(name, "null")) for name in _FIELDS + _NEWER_FIELDS}
        self.label_names: list[str] = fields["label_names"]  # L, in the order of the logits
        self.strategy: str = fields["strategy"]  # "cls" or "label_tokens"
        self.max_length: int = fields["max_length"]  # in tokens; longer inputs are truncated
        self.threshold = np.asarray(fields["threshold"], np.float32)  # () or (L,), of the probability
        self.temperature = np.asarray(fields["temperature"], np.float32)  # () or (L,), divides the logits
        self.min_labels: int = fields["min_labels"]  # at least this many are predicted for every text
        self.decision: dict[str, Any] | None = fields["decision"]  # None: by the thresholds
        self.label_rules: dict[str, Any] | None = fields["label_rules"]  # None: there are none
        checked = None if self.label_rules is None else LabelRules(self.label_rules, self.label_names)
        self._decider = Decider(
            temperature=self.temperature,
            threshold=self.threshold,
            min_labels=self.min_labels,
            decision=self.decision,
            label_rules=None if checked is None else LikeliestSets(**checked.structure()),
        )
        # Label tokens that the graph adds do not count toward max_length, but are computed as well.
        self._label_tokens = len(self.label_names) if fields["labels_stand_apart"] else 0
        # tokenizer.json cannot store this: a special token or label token in a text is read as plain characters.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._truncation_side: str = fields["truncation_side"]
        self._tokenizer.enable_truncation(self.max_length, direction=self._truncation_side)

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Compute the logits, (N, L) float32, of N texts, in batches of similar length.

        Args:
            texts: N texts.
            pairs: N second texts, for a model trained on pairs.

        Raises:
            ValueError: If `texts` or `pairs` is a single text, their numbers differ, or one is not a valid text.
        """
        _check_texts(texts, pairs)
        logits = np.empty((len(texts), len(self.label_names)), np.float32)  # (N, L)
        for start in range(0, len(texts), _WINDOW):
            window = slice(start, start + _WINDOW)
            encodings = self._encode(texts[window], None if pairs is None else pairs[window])
            for rows in self._batches([len(encoding) for encoding in encodings]):
                batch = _pad([encodings[row] for row in rows])
                logits[start + rows] = self._session.run(["logits"], batch)[0]  # (B, L)
        return logits

    def are_cut(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """Return for each of N texts whether it, with its pair, is longer than `max_length`: `logits` cuts it off."""
        _check_texts(texts, pairs)
        return [bool(encoding.overflowing) for encoding in self._encode(texts, pairs)]

    def decide(self, logits: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Turn logits into probabilities and labels, as `MultiLabelConfig.decide` does.

        Args:
            logits: (N, L).

        Returns:
            Probabilities, (N, L) float32, after the temperature; and decisions, (N, L) bool.

        Raises:
            ValueError: If `logits` does not have one column per label.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.label_names):
            raise ValueError(f"logits have the shape {logits.shape}, but there are {len(self.label_names)} labels")
        return self._decider.decide(logits)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Predict labels: one `{"labels": [names], "scores": {name: probability}}` per text. See `logits`."""
        probabilities, decisions = self.decide(self.logits(texts, pairs))  # (N, L) each
        return [
            {
                "labels": [name for name, is_predicted in zip(self.label_names, decided, strict=True) if is_predicted],
                "scores": dict(zip(self.label_names, scores, strict=True)),
            }
            for scores, decided in zip(probabilities.tolist(), decisions.tolist(), strict=True)
        ]

    def _encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Encoding]:
        inputs: list[Any] = list(texts)
        if pairs is not None:
            inputs = [self._cut_pair(*pair) for pair in zip(inputs, pairs, strict=True)]
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(inputs)
        return encodings

    def _cut_pair(self, first: str, second: str) -> tuple[str, str]:
        """Cut long texts, as `MultiLabelTokenizer` does: truncating a pair takes quadratic time."""
        texts = [first, second]
        if min(map(len, texts)) <= _FAR_BEYOND * self.max_length:
            return first, second
        self._tokenizer.no_truncation()
        encodings = [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        shorter = 1 if len(encodings[0]) > len(encodings[1]) else 0
        longer = 1 - shorter
        texts[shorter], kept = self._cut(texts[shorter], encodings[shorter], self.max_length)
        texts[longer], _ = self._cut(texts[longer], encodings[longer], max(self.max_length, kept + 1))
        self._tokenizer.enable_truncation(self.max_length, direction=self._truncation_side)
        return texts[0], texts[1]

    def _cut(self, text: str, encoding: Encoding, enough: int) -> tuple[str, int]:
        """Cut a text between two words so that at least `enough` tokens are left; return it and their number."""
        words, count, is_left = encoding.word_ids, len(encoding), self._truncation_side == "left"
        positions = range(count - enough, 0, -1) if is_left else range(enough, count)
        kept = slice(-enough, None) if is_left else slice(enough)
        between = (position for position in positions if words[position] != words[position - 1])
        for position in islice(between, _CUT_TRIALS):
            place = encoding.offsets[position - 1][1]  # spaces belong to what follows, as in byte-level pieces
            rest = text[place:] if is_left else text[:place]
            alone = self._tokenizer.encode(rest, add_special_tokens=False)
            # Some tokenizers read a text differently without what was next to it.
            if len(alone) >= enough and alone.ids[kept] == encoding.ids[kept]:
                return rest, len(alone)
        return text, count

    def _batches(self, lengths: list[int]) -> Iterator[NDArray[np.intp]]:
        """Yield the indices of the texts of each batch, the longest first, so that memory peaks at the start."""
        order = np.argsort(-np.asarray(lengths), kind="stable")  # (N,)
        start = 0
        while start < len(order):
            size = max(1, _TOKENS_PER_BATCH // (lengths[order[start]] + self._label_tokens))
            yield order[start : start + size]
            start += size


def _find(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the first of these files that is there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} is not an exported model: {' or '.join(names)} is missing")


def _check_texts(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    for name, values in (("texts", texts), ("pairs", [] if pairs is None else pairs)):
        if isinstance(values, str):
            raise ValueError(f"{name} must be a list of texts, got the text {values!r}")
        for row, text in enumerate(values):
            if not isinstance(text, str) or _SURROGATE.search(text):
                raise ValueError(f"{name}[{row}] must be a valid text, got {text!r:.80}")
    if pairs is not None and len(pairs) != len(texts):
        raise ValueError(f"there are {len(texts)} texts, but {len(pairs)} pairs: give one for each text")


def _pad(encodings: list[Encoding]) -> dict[str, NDArray[np.int64]]:
    """Make a batch of B tokenized texts, (B, T) each; padding is masked, so its ids have no effect."""
    shape = (len(encodings), max(map(len, encodings)))
    batch = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, encoding in enumerate(encodings):
        tokens = slice(len(encoding))
        batch["input_ids"][row, tokens] = encoding.ids
        batch["attention_mask"][row, tokens] = 1
        batch["token_type_ids"][row, tokens] = encoding.type_ids
    return batch
