# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Runs an exported multi-label BERT with onnxruntime, numpy and tokenizers alone.

`python -m bert_multilabel.export` puts a copy of this file beside the model, so that nothing else has to be installed.

Shapes: N texts, B batch, T tokens, L labels.
"""

import json
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
# What the exporter stores in the model's file, each as JSON under its own name.
_FIELDS = (
    *("label_names", "strategy", "labels_stand_apart", "threshold", "temperature", "min_labels"),
    *("max_length", "truncation_side"),
)

# Texts that are sorted by length together, which bounds what is held at a time.
_WINDOW = 16_384
# Tokens in a batch, padding included: enough to keep the matrix products busy, few enough to stay in the cache.
_TOKENS_PER_BATCH = 512
# Two texts of which each has this many times as many characters as an input has tokens are cut before that.
_FAR_BEYOND = 4
_SURROGATE = re.compile("[\ud800-\udfff]")


class OnnxModel:
    """A model that the exporter wrote: texts in, logits, probabilities and labels out.

    Args:
        folder: What the exporter wrote.
        threads: How many threads compute one batch; by default as many as the machine has cores.

    Attributes:
        label_names: Names of the L labels, in the order of the logits.
        strategy: `"cls"` or `"label_tokens"`.
        max_length: Longest input in tokens; what is beyond is cut off.
        threshold: A label is given when its probability is at least this, () or (L,), float32.
        temperature: What logits are divided by, () or (L,), float32.
        min_labels: At least this many labels are given to every text.

    Raises:
        ValueError: If the folder is none that the exporter wrote, or one of its files is broken or names others
            outside of it, or if there cannot be so many threads.
    """

    def __init__(self, folder: str | PathLike[str], threads: int | None = None) -> None:
        model_file, tokenizer_file = (Path(folder) / name for name in (MODEL_FILE, TOKENIZER_FILE))
        for path in (model_file, tokenizer_file):
            if not path.is_file():
                raise ValueError(f"{folder} is no folder of an exported model: there is no {path}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # onnxruntime's own way of saying "as many as there are cores"
        try:
            self._session = onnxruntime.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # neither library has a class for all that it raises
            raise ValueError(f"{folder} does not hold a whole export ({error}): export the model again") from error
        stored = self._session.get_modelmeta().custom_metadata_map
        missing = [name for name in _FIELDS if name not in stored]
        if missing:
            raise ValueError(
                f"{model_file} does not say its {', '.join(missing)}: write it with python -m bert_multilabel.export"
            )
        fields = {name: json.loads(stored[name]) for name in _FIELDS}
        self.label_names: list[str] = fields["label_names"]
        self.strategy: str = fields["strategy"]
        self.max_length: int = fields["max_length"]
        self.threshold = np.asarray(fields["threshold"], np.float32)  # () or (L,)
        self.temperature = np.asarray(fields["temperature"], np.float32)  # () or (L,)
        self.min_labels: int = fields["min_labels"]
        # Labels that stand apart from the text are not in its length, but are computed with it.
        self._beside_text = len(self.label_names) if fields["labels_stand_apart"] else 0
        # The file cannot say so: a text that spells a special token, or a label's, must not become one.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._truncation_side: str = fields["truncation_side"]
        self._tokenizer.enable_truncation(self.max_length, direction=self._truncation_side)

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Score texts: in batches of like length inside, in the order of the texts outside.

        Args:
            texts: N texts.
            pairs: N second texts, for a model trained on pairs.

        Returns:
            (N, L), float32.

        Raises:
            ValueError: If the texts are one text, there are not as many pairs, or one of them is no valid text.
        """
        _check_texts(texts, pairs)
        logits = np.empty((len(texts), len(self.label_names)), np.float32)  # (N, L)
        for start in range(0, len(texts), _WINDOW):
            window = slice(start, start + _WINDOW)
            some: list[Any] = list(texts[window])
            if pairs is not None:
                some = [self._cut_pair(*pair) for pair in zip(some, pairs[window], strict=True)]
            encodings = self._tokenizer.encode_batch_fast(some)
            for rows in self._batches([len(encoding) for encoding in encodings]):
                batch = _pad([encodings[row] for row in rows])
                logits[start + rows] = self._session.run(["logits"], batch)[0]  # (B, L)
        return logits

    def decide(self, logits: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Turn logits into probabilities and labels, as `MultiLabelConfig.decide` does.

        Args:
            logits: (N, L), of all labels.

        Returns:
            Probabilities (N, L), float32, after the temperature; and decisions (N, L), bool, by the thresholds and
            `min_labels`.

        Raises:
            ValueError: If there are not as many logits per row as labels.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.label_names):
            raise ValueError(
                f"logits have the shape {logits.shape}, but there are {len(self.label_names)} labels to decide on"
            )
        scaled = logits.astype(np.float32) / self.temperature  # (N, L)
        with np.errstate(over="ignore"):  # exp then gives inf, and the probability is 0, as it should be
            probabilities = 1 / (1 + np.exp(-scaled))  # (N, L)
        decisions = probabilities >= self.threshold  # (N, L)
        if self.min_labels:
            # By logit: saturated probabilities would tie.
            likeliest = np.argsort(-scaled, axis=1, kind="stable")[:, : self.min_labels]  # (N, min_labels)
            at_least = np.zeros_like(decisions)  # (N, L)
            np.put_along_axis(at_least, likeliest, True, axis=1)
            lacking = decisions.sum(axis=1, keepdims=True) < self.min_labels  # (N, 1)
            decisions |= at_least & lacking
        return probabilities, decisions

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Say of each text which labels it gets and how probable each label is.

        Args:
            texts: As for `logits`.
            pairs: As for `logits`.

        Returns:
            One `{"labels": [names], "scores": {name: probability}}` per text, in order.

        Raises:
            ValueError: As `logits` does.
        """
        probabilities, decisions = self.decide(self.logits(texts, pairs))  # (N, L) each
        return [
            {
                "labels": [name for name, is_given in zip(self.label_names, given, strict=True) if is_given],
                "scores": dict(zip(self.label_names, scores, strict=True)),
            }
            for scores, given in zip(probabilities.tolist(), decisions.tolist(), strict=True)
        ]

    def _cut_pair(self, first: str, second: str) -> tuple[str, str]:
        """Cut long texts so that truncation has less to throw away, as `MultiLabelTokenizer` does, and says why."""
        texts = [first, second]
        if min(map(len, texts)) <= _FAR_BEYOND * self.max_length:
            return first, second
        self._tokenizer.no_truncation()
        encodings = [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        self._tokenizer.enable_truncation(self.max_length, direction=self._truncation_side)
        shorter = 1 if len(encodings[0]) > len(encodings[1]) else 0
        longer = 1 - shorter
        texts[shorter], kept = self._cut(texts[shorter], encodings[shorter], self.max_length)
        texts[longer], _ = self._cut(texts[longer], encodings[longer], max(self.max_length, kept + 1))
        return texts[0], texts[1]

    def _cut(self, text: str, encoding: Encoding, enough: int) -> tuple[str, int]:
        """Cut a text between two words so that `enough` tokens are left, and say how many are."""
        words, count, is_left = encoding.word_ids, len(encoding), self._truncation_side == "left"
        places = range(count - enough, 0, -1) if is_left else range(enough, count)
        place = next((place for place in places if words[place] != words[place - 1]), None)
        if place is None:
            return text, count
        start = encoding.offsets[place][0]
        return (text[start:], count - place) if is_left else (text[:start], place)

    def _batches(self, lengths: list[int]) -> Iterator[NDArray[np.intp]]:
        """Yield the numbers of texts that go together: of like length, the longest first, as memory shows at once."""
        order = np.argsort(-np.asarray(lengths), kind="stable")  # (N,)
        start = 0
        while start < len(order):
            size = max(1, _TOKENS_PER_BATCH // (lengths[order[start]] + self._beside_text))
            yield order[start : start + size]
            start += size


def _check_texts(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    for name, given in (("texts", texts), ("pairs", [] if pairs is None else pairs)):
        if isinstance(given, str):
            raise ValueError(f"{name} must be a list of texts, got the text {given!r}")
        for row, text in enumerate(given):
            if not isinstance(text, str) or _SURROGATE.search(text):
                raise ValueError(f"{name}[{row}] must be a valid text, got {text!r:.80}")
    if pairs is not None and len(pairs) != len(texts):
        raise ValueError(f"there are {len(texts)} texts, but {len(pairs)} pairs: give one for each text")


def _pad(encodings: list[Encoding]) -> dict[str, NDArray[np.int64]]:
    """Make one batch of B tokenized texts, (B, T) each; what is padding is masked, so its ids do not matter."""
    shape = (len(encodings), max(map(len, encodings)))
    batch = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, encoding in enumerate(encodings):
        tokens = slice(len(encoding))
        batch["input_ids"][row, tokens] = encoding.ids
        batch["attention_mask"][row, tokens] = 1
        batch["token_type_ids"][row, tokens] = encoding.type_ids
    return batch
