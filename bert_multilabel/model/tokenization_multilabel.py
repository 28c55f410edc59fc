# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Tokenizer of a multi-label model: adds one label token per label to the text, and marks them in `label_mask`."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, zip_longest
from typing import Any, cast

import torch
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.normalizers import BertNormalizer
from transformers import AutoTokenizer, BatchEncoding, BertTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from .configuration_multilabel import MultiLabelConfig, check_new_labels, check_strategy, read_label_names
from .errors import MultiLabelError
from .hub_readme import PushedInParts
from .input_template import InputTemplate, keep_texts_from_special_tokens

_NORMALIZER_FIELDS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# A pair is cut before it is tokenized if both texts have more characters than this times `max_length`.
_CUT_FACTOR = 4
_CUT_TRIALS = 8  # places where to cut it
_SURROGATE = re.compile("[\ud800-\udfff]")
_OWN = ("label_names", "strategy")  # arguments that no other tokenizer has
_FOREIGN, _USE_OWN = "The tokenizer does not belong to the model", "Use the tokenizer saved with the model."


class MultiLabelTokenizer(PushedInParts, BertTokenizer):
    """The tokenizer of a backbone, which also knows the labels of its model.

    With strategy `"cls"` it encodes as the backbone's own; for BERT `[CLS] text [SEP]`, `[CLS] text [SEP] pair [SEP]`.
    With `"label_tokens"` it registers the special tokens `[OPINION1]` ... `[OPINIONL]`, inserts all of them before the
    last separator, in label order and with the token type of the preceding segment, and adds `label_mask` to its
    output: 1 at the L label tokens, 0 elsewhere. Truncation never removes a label token. In a text, `[OPINION1]`,
    `[SEP]` and `</s>` are plain characters.

    Build one from any checkpoint: `MultiLabelTokenizer.from_pretrained(path, label_names=[...], strategy=...)`. The
    tokenizer may be of any kind (WordPiece, byte-level BPE, unigram) that the tokenizers library runs.

    Args:
        vocab: Path of a `vocab.txt`, or a mapping from token to id; not needed if a `tokenizer.json` is loaded.
        label_names: Names of the L labels; required for `"label_tokens"`.
        strategy: `"cls"` or `"label_tokens"`.
        **kwargs: Other arguments of `BertTokenizer`.

    Raises:
        MultiLabelError: If the strategy is unknown, label names or a vocabulary are missing or invalid, or the special
            tokens around a text are unknown. In calls, if `max_length` leaves no room for text, for
            `split_special_tokens=False`, or for a lone surrogate.
    """

    def __init__(
        self,
        vocab: str | dict[str, int] | None = None,
        label_names: list[str] | None = None,
        strategy: str = "cls",
        **kwargs: Any,
    ) -> None:
        check_strategy(strategy)
        if strategy == "label_tokens" and label_names is None:
            raise MultiLabelError(f"strategy 'label_tokens' needs label_names, got {label_names!r}")
        if vocab is None and kwargs.get("tokenizer_object") is None and kwargs.get("tokenizer_file") is None:
            raise MultiLabelError("there is no vocabulary: tokenizer.json is missing, or pass vocab")
        label_names = None if label_names is None else read_label_names(label_names)
        self.label_names, self.strategy = label_names, strategy
        self.label_token_ids: list[int] = []
        # Otherwise a text that spells a special token would add one.
        kwargs["split_special_tokens"] = True
        if file := kwargs.pop("tokenizer_file", None):
            kwargs.setdefault("tokenizer_object", _load_backend(file))
        super().__init__(vocab=vocab, label_names=label_names, strategy=strategy, **kwargs)
        self._keep_template(kwargs.get("tokenizer_object"))
        keep_texts_from_special_tokens(self.backend_tokenizer)
        self._align_normalizer(kwargs)
        if strategy == "label_tokens":
            self._register_label_tokens(len(label_names or []))

    @classmethod
    def from_pretrained(cls, path: Any, *inputs: Any, **kwargs: Any) -> "MultiLabelTokenizer":  # type: ignore[override]
        """Load a tokenizer that this class saved, or make one of the tokenizer of any checkpoint.

        Args:
            path: A folder, or a name on the Hub.
            *inputs: As in the base class.
            **kwargs: Arguments of this class, and those of `AutoTokenizer.from_pretrained`. No code of the checkpoint
                is run.

        Raises:
            MultiLabelError: If Transformers cannot load the checkpoint's tokenizer, or only one written in Python, or
                it has no special tokens around each text; or as for the class.
        """
        source = _load_source(path, kwargs)
        if source is not None and not isinstance(source, BertTokenizer):
            return cls(**{**_settings_of(source, path), **{name: kwargs[name] for name in _OWN if name in kwargs}})
        tokenizer: MultiLabelTokenizer = super().from_pretrained(path, *inputs, **kwargs)
        if source is not None and "token_type_ids" not in source.model_input_names:  # a DistilBERT
            backend = tokenizer.backend_tokenizer
            backend.post_processor = InputTemplate.read(backend.post_processor).without_segments().as_post_processor()
        return tokenizer

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Load a `tokenizer.json` with its own normalizer, without truncation and padding saved for other tasks."""
        # The base class would rebuild the backend from its vocabulary and lose the normalizer.
        if file := kwargs.pop("tokenizer_file", None):
            return {**kwargs, "tokenizer_object": _load_backend(file)}
        return dict(super().convert_to_native_format(trust_remote_code=trust_remote_code, **kwargs))

    def _keep_template(self, source: Tokenizer | None) -> None:
        """Keep the template of the backend that the base class was given, which it has replaced by BERT's."""
        backend = self.backend_tokenizer
        if source is not None and source.post_processor is not None:
            backend.post_processor = source.post_processor
        template = InputTemplate.read(backend.post_processor)
        for name, number in (("cls_token", template.first_id), ("sep_token", template.last_id)):
            if number != backend.token_to_id(getattr(self, name)):
                raise MultiLabelError(
                    f"{name} is {getattr(self, name)!r}, but the inputs of this tokenizer begin with "
                    f"{backend.id_to_token(template.first_id)!r} and end with "
                    f"{backend.id_to_token(template.last_id)!r}: pass {name}"
                )

    def _align_normalizer(self, arguments: dict[str, Any]) -> None:
        """Set BERT's normalizer to the arguments, and other attributes to the values of `tokenizer.json`."""
        normalizer = self.backend_tokenizer.normalizer
        if not isinstance(normalizer, BertNormalizer):
            for argument in _NORMALIZER_FIELDS:  # would be saved, though nothing reads them
                self.init_kwargs.pop(argument, None)
            return
        for argument, field in _NORMALIZER_FIELDS.items():
            if argument in arguments:
                setattr(normalizer, field, arguments[argument])
            setattr(self, argument, getattr(normalizer, field))
        self.backend_tokenizer.normalizer = normalizer

    def add_labels(self, names: Sequence[str]) -> None:
        """Append label tokens for new labels; `model.add_labels` calls this.

        Raises:
            MultiLabelError: If the strategy is not `"label_tokens"`, or a name is invalid or exists already.
        """
        if not self.label_token_ids:
            raise MultiLabelError(f"this tokenizer (strategy {self.strategy!r}) has no label tokens to add to")
        known = self.label_names or []
        self.label_names = [*known, *check_new_labels(names, known)]
        self._register_label_tokens(len(self.label_names))

    def _register_label_tokens(self, count: int) -> None:
        tokens = [f"[OPINION{number}]" for number in range(1, count + 1)]
        special = [AddedToken(token, special=True, normalized=False) for token in tokens]
        self.add_special_tokens({"extra_special_tokens": special}, replace_extra_special_tokens=False)
        self.label_token_ids = [cast(int, self.backend_tokenizer.token_to_id(token)) for token in tokens]
        self._label_token_id_set = frozenset(self.label_token_ids)
        self._put_before_last_sep(tokens)
        if "label_mask" not in self.model_input_names:
            self.model_input_names = [*self.model_input_names, "label_mask"]

    def without_label_tokens(self) -> "MultiLabelTokenizer":
        """Return a copy that adds no label tokens and no `label_mask`, for models that encode the text separately.

        It truncates texts to the same length. Save this tokenizer, not the copy.
        """
        tokenizer = copy.deepcopy(self)
        tokenizer.model_max_length -= len(self.label_token_ids)
        tokenizer._put_before_last_sep([])
        tokenizer.label_token_ids = []
        tokenizer.model_input_names = [name for name in self.model_input_names if name != "label_mask"]
        return tokenizer

    def _put_before_last_sep(self, tokens: list[str]) -> None:
        """Replace the label tokens in the template by these."""
        backend = self.backend_tokenizer
        own = {token for number in self.label_token_ids if (token := backend.id_to_token(number)) is not None}
        template = InputTemplate.read(backend.post_processor).without_tokens(own)
        backend.post_processor = template.with_tokens(
            {token: cast(int, backend.token_to_id(token)) for token in tokens}
        ).as_post_processor()

    def __call__(self, text: Any = None, text_pair: Any = None, *targets: Any, **kwargs: Any) -> BatchEncoding:
        """Tokenize as the base class does, and add `label_mask`; for errors see the class."""
        options = {**kwargs, **(kwargs.pop("tokenizer_kwargs", None) or {})}
        if options.get("split_special_tokens") is False:
            raise MultiLabelError("split_special_tokens=False would let a text add label tokens: leave it out")
        if text is not None:
            text, text_pair = self._check_room(text, text_pair, options)
        with _explained_surrogates([text, text_pair]):
            if isinstance(text, str) and text_pair == "":
                encoding = self._call_with_empty_pair(text, *targets, **options)
            else:
                encoding = super().__call__(text, text_pair, *targets, **options)
        if self.label_token_ids and "input_ids" in encoding:
            self._add_label_mask(encoding)
        return encoding

    def _call_with_empty_pair(self, text: str, *targets: Any, **options: Any) -> BatchEncoding:
        # The base class drops an empty pair of a single text, though not one in a batch.
        batch: BatchEncoding = super().__call__([text], [""], *targets, **options)
        if options.get("return_tensors") is not None or options.get("return_overflowing_tokens"):
            return batch
        return BatchEncoding({name: rows[0] for name, rows in batch.items()}, batch.encodings)

    def token_ids(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, max_length: int | None = None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Tokenize a batch as a call does, but only into ids: twice as fast.

        Args:
            texts: B texts.
            pairs: The second text of each; it may be empty.
            max_length: Longer inputs are truncated to this number of tokens; default: not truncated.

        Returns:
            `input_ids` and `token_type_ids` of B texts.

        Raises:
            MultiLabelError: If `max_length` leaves no room for text, or a text has a lone surrogate.
        """
        backend = self.backend_tokenizer
        backend.no_truncation()
        if max_length is not None:
            options = {"truncation": True, "max_length": max_length}
            texts, pairs = self._check_room(list(texts), pairs if pairs is None else list(pairs), options)
            backend.enable_truncation(max_length, direction=self.truncation_side)
        backend.no_padding()
        backend.encode_special_tokens = self.split_special_tokens
        inputs = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        with _explained_surrogates(inputs):
            encodings = backend.encode_batch_fast(inputs)
        return [encoding.ids for encoding in encodings], [encoding.type_ids for encoding in encodings]

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **kwargs: Any) -> Any:
        """Return the `input_ids` of a call."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **kwargs)["input_ids"]

    def tokenize(self, text: str, pair: Any = None, add_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """Return the tokens of a text."""
        return self(text, pair, add_special_tokens=add_special_tokens, **kwargs).tokens()

    def pad(  # type: ignore[override]  # the other options pass through
        self,
        encoded_inputs: Any,
        padding: Any = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Pad as the base class does, and add or pad `label_mask`."""
        if isinstance(encoded_inputs, (list, tuple)) and encoded_inputs and isinstance(encoded_inputs[0], Mapping):
            encoded_inputs = {name: [row[name] for row in encoded_inputs] for name in encoded_inputs[0]}
        inputs = dict(encoded_inputs)
        masks = inputs.pop("label_mask", None) if self.label_token_ids else None
        padded = super().pad(inputs, padding, max_length, pad_to_multiple_of, padding_side, **kwargs)
        if self.label_token_ids:
            self._add_label_mask(padded, masks, padding_side or self.padding_side)
        return padded

    def _add_label_mask(self, encoding: BatchEncoding, masks: Any = None, padding_side: str = "right") -> None:
        """Add `label_mask` in the form of `input_ids`; without `masks` label tokens are found by their ids."""
        ids = encoding["input_ids"]
        rows = ids if isinstance(ids, list) else ids.tolist()
        is_batch = bool(rows) and isinstance(rows[0], list)
        rows, masks = (rows, masks) if is_batch else ([rows], None if masks is None else [masks])
        if masks is None:
            found = [[int(i in self._label_token_id_set) for i in row] for row in rows]
        else:
            found = []
            for mask, row in zip(masks, rows, strict=True):
                padding = [0] * (len(row) - len(mask))
                values = mask.tolist() if hasattr(mask, "tolist") else mask
                found.append([*values, *padding] if padding_side == "right" else [*padding, *values])
        mask = found if is_batch else found[0]
        if not isinstance(ids, list):
            kind = "pt" if isinstance(ids, torch.Tensor) else "np"
            mask = BatchEncoding({"label_mask": mask}, tensor_type=kind)["label_mask"]
        encoding["label_mask"] = mask

    def _check_room(self, text: Any, text_pair: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        """Check that `max_length` leaves room for text; return text and pair, cut if they are far too long."""
        truncation, max_length = options.get("truncation"), options.get("max_length")
        if truncation is None:  # as the base class understands it
            truncation = max_length is not None and options.get("padding", False) is False
        strategy = getattr(truncation, "value", truncation)
        if strategy in (False, "do_not_truncate") or not options.get("add_special_tokens", True):
            return text, text_pair
        max_length = self.model_max_length if max_length is None else max_length
        are_words = options.get("is_split_into_words", False)
        # Below the number of special tokens the backend would return the text uncut.
        is_batch_of_lists = isinstance(text, (list, tuple)) and len(text) > 0 and isinstance(text[0], (list, tuple))
        is_pair = text_pair is not None or (is_batch_of_lists and not are_words)
        needed = int(self.num_special_tokens_to_add(pair=is_pair)) + (2 if is_pair else 1)
        if max_length < needed:
            room = f"leaves no room for text besides {len(self.label_token_ids)} label tokens"
            raise MultiLabelError(f"max_length={max_length} {room}: it must be at least {needed}")
        if is_pair and strategy in (True, "longest_first") and not options.get("return_overflowing_tokens"):
            return self._cut_long_pairs(text, text_pair, max_length, are_words)
        return text, text_pair

    def _cut_long_pairs(self, text: Any, text_pair: Any, max_length: int, are_words: bool) -> tuple[Any, Any]:
        """Cut pairs of long texts so that truncation has less to remove; it keeps the same tokens."""
        # The backend stores each removed piece of one text with each of the other: 100 KB each would need all memory.
        if text_pair is None:
            return [self._cut_pair(pair[0], pair[1], max_length) if len(pair) == 2 else pair for pair in text], None
        if isinstance(text, str) or are_words and not isinstance(text[0], (list, tuple)):
            return self._cut_pair(text, text_pair, max_length)
        if len(text) != len(text_pair):
            return text, text_pair  # the base class raises an error
        pairs = [self._cut_pair(*pair, max_length) for pair in zip(text, text_pair, strict=True)]
        return [first for first, _ in pairs], [second for _, second in pairs]

    def _cut_pair(self, first: Any, second: Any, max_length: int) -> tuple[Any, Any]:
        texts = [first, second]
        if not all(isinstance(text, (str, list, tuple)) and len(text) > _CUT_FACTOR * max_length for text in texts):
            return first, second
        backend = self.backend_tokenizer
        backend.no_truncation()  # the next call sets it
        backend.encode_special_tokens = True
        encodings = [
            backend.encode(text, is_pretokenized=not isinstance(text, str), add_special_tokens=False) for text in texts
        ]
        # The longer one must stay the longer: it keeps a token more if their number is odd.
        shorter = 1 if len(encodings[0]) > len(encodings[1]) else 0
        longer = 1 - shorter
        texts[shorter], kept = self._cut(texts[shorter], encodings[shorter], max_length)
        texts[longer], _ = self._cut(texts[longer], encodings[longer], max(max_length, kept + 1))
        return texts[0], texts[1]

    def _cut(self, text: Any, encoding: Encoding, enough: int) -> tuple[Any, int]:
        """Cut a text, or a list of words, between words so that at least `enough` tokens are left; count them."""
        words, count, is_left = encoding.word_ids, len(encoding), self.truncation_side == "left"
        positions = range(count - enough, 0, -1) if is_left else range(enough, count)
        kept = slice(-enough, None) if is_left else slice(enough)
        between = (position for position in positions if words[position] != words[position - 1])
        for position in islice(between, _CUT_TRIALS):
            # Spaces belong to what follows, as in byte-level pieces.
            place = encoding.offsets[position - 1][1] if isinstance(text, str) else words[position]
            rest = text[place:] if is_left else text[:place]
            alone = self.backend_tokenizer.encode(
                rest, is_pretokenized=not isinstance(text, str), add_special_tokens=False
            )
            # Some tokenizers read a text differently without what was next to it.
            if len(alone) >= enough and alone.ids[kept] == encoding.ids[kept]:
                return rest, len(alone)
        return text, count


def check_tokenizer(tokenizer: Any, config: MultiLabelConfig) -> None:
    """Raise a MultiLabelError if labels or label tokens differ, or the tokenizer has tokens that the model lacks.

    A model with strategy "cls" also takes the tokenizer of its backbone, which has no labels.
    """
    names, ids = getattr(tokenizer, "label_names", None), list(getattr(tokenizer, "label_token_ids", []))
    own_ids = config.label_token_ids or []
    is_unfinished = config.strategy == "label_tokens" and not own_ids  # while a model is being built
    if names is None and config.strategy == "cls":
        names = config.label_names
    if is_unfinished or (config.encodes_text_separately and not ids):
        ids = own_ids  # `without_label_tokens` has none
    for field, theirs, own in (("label_names", names or [], config.label_names), ("label_token_ids", ids, own_ids)):
        for index, (one, other) in enumerate(zip_longest(theirs, own)):
            if one != other:
                raise MultiLabelError(
                    f"{_FOREIGN}: its {field}[{index}] is {one!r}, the model's {other!r}. {_USE_OWN}"
                )
    size = len(tokenizer) if hasattr(tokenizer, "__len__") else 0
    if not size or (size > config.vocab_size and not is_unfinished):
        raise MultiLabelError(f"{_FOREIGN}: it has {size} tokens, the model {config.vocab_size}. {_USE_OWN}")


def _load_source(path: Any, arguments: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer of a checkpoint; None if this class saved it, or Transformers needs to be told its class."""
    options = {name: value for name, value in arguments.items() if name not in _OWN}
    if "_from_auto" in options or "strategy" in get_tokenizer_config(path, **options):
        return None
    options.pop("trust_remote_code", None)
    try:
        source: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **options)
    except OSError:  # no config.json
        return None
    except (ImportError, ValueError) as error:
        raise MultiLabelError(
            f"Transformers cannot load the tokenizer of {path}: {error} If it is a file of sentencepiece and not a "
            "tokenizer.json, install sentencepiece"
        ) from error
    if not source.is_fast:
        raise MultiLabelError(
            f"the tokenizer of {path} is a {type(source).__name__}, which is written in Python and has no "
            "tokenizer.json: labels can only be added to one that the tokenizers library runs"
        )
    return source


def _settings_of(source: Any, path: Any) -> dict[str, Any]:
    """Return the arguments of a tokenizer like that of a checkpoint, which is not a `BertTokenizer`."""
    backend = source.backend_tokenizer
    template = InputTemplate.read(backend.post_processor)
    names = {name: getattr(source, name) for name in source.SPECIAL_TOKENS_ATTRIBUTES}
    names["cls_token"], names["sep_token"] = map(backend.id_to_token, (template.first_id, template.last_id))
    for name, usual in (("pad_token", "[PAD]"), ("unk_token", "[UNK]"), ("mask_token", "[MASK]")):
        if names[name] is None and backend.token_to_id(usual) is not None:
            names[name] = usual
    if names["pad_token"] is None:
        raise MultiLabelError(f"the tokenizer of {path} has no pad_token: name it in its tokenizer_config.json")
    kept = ("model_max_length", "padding_side", "truncation_side", "extra_special_tokens", "add_prefix_space")
    settings = {name: getattr(source, name) for name in kept}
    return {**names, **settings, "tokenizer_object": backend, "name_or_path": str(path)}


def _load_backend(file: str) -> Tokenizer:
    """Load a `tokenizer.json`, without truncation and padding saved for other tasks."""
    backend = Tokenizer.from_file(file)
    backend.no_truncation()
    backend.no_padding()
    return backend


@contextmanager
def _explained_surrogates(inputs: Any) -> Iterator[None]:
    """Name the text with half of a UTF-16 pair, which the backend calls no string."""
    try:
        yield
    except TypeError as error:
        invalid = next((item for item in _texts_in(inputs) if _SURROGATE.search(item)), None)
        if invalid is None:
            raise
        raise MultiLabelError(f"a text has a lone surrogate (invalid Unicode): {repr(invalid)[:80]}") from error


def _texts_in(inputs: Any) -> Iterator[str]:
    if isinstance(inputs, str):
        yield inputs
    elif isinstance(inputs, (list, tuple)):
        for item in inputs:
            yield from _texts_in(item)


MultiLabelTokenizer.register_for_auto_class()
