# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Tokenizer of a multi-label BERT: puts one label token per label behind the text and marks them in `label_mask`."""

import copy
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from tokenizers import AddedToken, Encoding
from tokenizers.normalizers import BertNormalizer
from tokenizers.processors import TemplateProcessing
from transformers import BatchEncoding, BertTokenizer
from transformers.tokenization_utils_base import TruncationStrategy

from .configuration_multilabel import MultiLabelConfig, check_new_labels, check_strategy, read_label_names
from .errors import MultiLabelError
from .hub_readme import PushedInParts

_NORMALIZER_FIELDS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


# Two texts of which each has this many times as many characters as an input has tokens are cut before that.
_FAR_BEYOND = 4
_SURROGATE = re.compile("[\ud800-\udfff]")
_FOREIGN, _USE_OWN = "The tokenizer does not belong to the model", "Use the tokenizer saved with the model."


class MultiLabelTokenizer(PushedInParts, BertTokenizer):
    """A `BertTokenizer` that knows the labels of its model.

    With strategy `"cls"` it reads like BERT's own: `[CLS] text [SEP]`, `[CLS] text [SEP] pair [SEP]`. With
    `"label_tokens"` it registers the special tokens `[OPINION1]` ... `[OPINIONL]`, puts all of them before the last
    `[SEP]`, in label order and with the token type of the segment they follow, and adds `label_mask` to what it
    returns: 1 at the L label tokens, 0 elsewhere. Truncation never touches a label token, and text never becomes
    one: in a text, `[OPINION1]` and `[SEP]` are read as plain characters.

    Build one from any BERT checkpoint: `MultiLabelTokenizer.from_pretrained(path, label_names=[...], strategy=...)`.

    Args:
        vocab: Path of a `vocab.txt`, or a mapping from token to id; not needed where a `tokenizer.json` is loaded.
        label_names: Names of the L labels; needed for `"label_tokens"`.
        strategy: `"cls"` or `"label_tokens"`.
        **kwargs: Whatever `BertTokenizer` takes.

    Raises:
        MultiLabelError: If the strategy is unknown, if it needs label names and has none, if there is no vocabulary,
            or on calls that would break the promises above: a `max_length` with no room for text, or
            `split_special_tokens=False`; or where a text holds half of a surrogate pair.
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
            raise MultiLabelError(
                "there is no vocabulary: the folder lacks its tokenizer.json, or vocab must be given"
            )
        label_names = None if label_names is None else read_label_names(label_names)
        self.label_names = label_names
        self.strategy = strategy
        self.label_token_ids: list[int] = []
        # Without this, a text that spells a special token would add one.
        kwargs["split_special_tokens"] = True
        super().__init__(vocab=vocab, label_names=label_names, strategy=strategy, **kwargs)
        self._forget_saved_truncation()
        self._align_normalizer(kwargs)
        if strategy == "label_tokens":
            self._register_label_tokens(len(label_names or []))

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Load a `tokenizer.json` as it stands.

        The base class would rebuild the backend from its vocabulary and lose the file's own normalizer.
        """
        if kwargs.get("tokenizer_file"):
            return kwargs
        native: dict[str, Any] = super().convert_to_native_format(trust_remote_code=trust_remote_code, **kwargs)
        return native

    def _forget_saved_truncation(self) -> None:
        """Checkpoints saved for another task may carry a truncation or padding of their own."""
        self.backend_tokenizer.no_truncation()
        self.backend_tokenizer.no_padding()
        for name in ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of"):
            self.init_kwargs.pop(name, None)

    def _align_normalizer(self, given: dict[str, Any]) -> None:
        """Let what was asked for hold, and else what the file says: `tokenizer.json` and arguments may differ."""
        normalizer = self.backend_tokenizer.normalizer
        if isinstance(normalizer, BertNormalizer):
            for argument, field in _NORMALIZER_FIELDS.items():
                if argument in given:
                    setattr(normalizer, field, given[argument])
                setattr(self, argument, getattr(normalizer, field))
            self.backend_tokenizer.normalizer = normalizer

    def add_labels(self, names: Sequence[str]) -> None:
        """Register the tokens of more labels, behind those that are there; `model.add_labels` calls this.

        Args:
            names: Names of the new labels.

        Raises:
            MultiLabelError: If there are no label tokens to add to, or a name is blank, repeated or taken.
        """
        if not self.label_token_ids:
            raise MultiLabelError(
                f"this tokenizer (strategy {self.strategy!r}) has no label tokens to which to add some"
            )
        known = self.label_names or []
        self.label_names = [*known, *check_new_labels(names, known)]
        self._register_label_tokens(len(self.label_names))

    def _register_label_tokens(self, count: int) -> None:
        tokens = [f"[OPINION{number}]" for number in range(1, count + 1)]
        special = [AddedToken(token, special=True, normalized=False) for token in tokens]
        self.add_special_tokens({"extra_special_tokens": special}, replace_extra_special_tokens=False)
        vocabulary = self.get_vocab()
        self.label_token_ids = [vocabulary[token] for token in tokens]
        self._label_token_id_set = frozenset(self.label_token_ids)
        self._put_before_last_sep(tokens)
        if "label_mask" not in self.model_input_names:
            self.model_input_names = [*self.model_input_names, "label_mask"]

    def without_label_tokens(self) -> "MultiLabelTokenizer":
        """Return a copy that adds no label tokens and no `label_mask`, for models in which labels stand apart.

        It reads texts as this tokenizer does, and takes texts that are as long. Save this tokenizer, not the copy.
        """
        reader = copy.deepcopy(self)
        reader.model_max_length -= len(self.label_token_ids)
        reader.label_token_ids = []
        reader.model_input_names = [name for name in self.model_input_names if name != "label_mask"]
        reader._put_before_last_sep([])
        return reader

    def _put_before_last_sep(self, tokens: list[str]) -> None:
        cls, sep = self.cls_token, self.sep_token
        labels = {segment: "".join(f"{token}:{segment} " for token in tokens) for segment in (0, 1)}
        self.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{cls}:0 $A:0 {labels[0]}{sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {labels[1]}{sep}:1",
            special_tokens=[
                (cls, self.cls_token_id),
                (sep, self.sep_token_id),
                *zip(tokens, self.label_token_ids, strict=True),
            ],
        )

    def _label_mask(self, input_ids: list[int]) -> list[int]:
        # Exact, because no text can produce a label token's id.
        return [int(token_id in self._label_token_id_set) for token_id in input_ids]

    def _encode_plus(  # type: ignore[override]  # the other options pass through
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **kwargs: Any
    ) -> BatchEncoding:
        if kwargs.get("split_special_tokens") is False:
            raise MultiLabelError(
                "split_special_tokens=False would let a text add label tokens of its own: leave it out"
            )
        if text_pair == "":
            # The backend would drop an empty pair of a single text, though not one in a batch. A blank has no tokens.
            text_pair = " "
        truncates = kwargs.get("truncation_strategy") not in (None, TruncationStrategy.DO_NOT_TRUNCATE)
        max_length = kwargs.get("max_length")
        if truncates and add_special_tokens and max_length is not None:
            # Below the number of special tokens the backend would return the text uncut, without a word.
            is_pair = text_pair is not None or (_holds_pairs(text) and not kwargs.get("is_split_into_words"))
            needed = int(self.num_special_tokens_to_add(pair=is_pair)) + (2 if is_pair else 1)
            if max_length < needed:
                raise MultiLabelError(
                    f"max_length={max_length} leaves no room for text beside {len(self.label_token_ids)} label "
                    f"tokens: it must be at least {needed}"
                )
            cuts_both = kwargs.get("truncation_strategy") == TruncationStrategy.LONGEST_FIRST
            if is_pair and cuts_both and not kwargs.get("return_overflowing_tokens"):
                are_words = bool(kwargs.get("is_split_into_words"))
                text, text_pair = self._cut_long_pairs(text, text_pair, max_length, are_words)
        try:
            return super()._encode_plus(text, text_pair, add_special_tokens=add_special_tokens, **kwargs)
        except TypeError as error:
            # Of what is no valid Unicode the backend says that it is no text.
            for given in _texts_in([text, text_pair]):
                if _SURROGATE.search(given):
                    raise MultiLabelError(
                        f"a text holds a lone surrogate, which is no valid text: {repr(given)[:80]}; remove it"
                    ) from error
            raise

    def _cut_long_pairs(self, text: Any, text_pair: Any, max_length: int, are_words: bool) -> tuple[Any, Any]:
        """Cut pairs of long texts so that truncation has less to throw away; what it keeps stays the same.

        The backend stores what it throws away: of a pair, every piece of one text with every piece of the other. Two
        texts of 100 KB would take all memory.

        Args:
            text: A text, texts, or pairs of texts.
            text_pair: A text, texts, or None where `text` holds pairs.
            max_length: Of an input, in tokens.
            are_words: Whether each text is a list of words.
        """
        if text_pair is None:
            return [self._cut_pair(pair[0], pair[1], max_length) if len(pair) == 2 else pair for pair in text], None
        if isinstance(text, str) or are_words and not isinstance(text[0], (list, tuple)):
            return self._cut_pair(text, text_pair, max_length)
        if len(text) != len(text_pair):
            return text, text_pair  # which the base class refuses
        pairs = [self._cut_pair(*pair, max_length) for pair in zip(text, text_pair, strict=True)]
        return [first for first, _ in pairs], [second for _, second in pairs]

    def _cut_pair(self, first: Any, second: Any, max_length: int) -> tuple[Any, Any]:
        texts = [first, second]
        if not all(isinstance(text, (str, list, tuple)) and len(text) > _FAR_BEYOND * max_length for text in texts):
            return first, second
        backend = self.backend_tokenizer
        backend.no_truncation()  # the call that comes sets it anew
        backend.encode_special_tokens = True
        encodings = [
            backend.encode(text, is_pretokenized=not isinstance(text, str), add_special_tokens=False) for text in texts
        ]
        # The longer one must stay the longer: it keeps a token more where their number is odd.
        shorter = 1 if len(encodings[0]) > len(encodings[1]) else 0
        longer = 1 - shorter
        texts[shorter], kept = self._cut(texts[shorter], encodings[shorter], max_length)
        texts[longer], _ = self._cut(texts[longer], encodings[longer], max(max_length, kept + 1))
        return texts[0], texts[1]

    def _cut(self, text: Any, encoding: Encoding, enough: int) -> tuple[Any, int]:
        """Cut a text, or a list of words, between words so that `enough` tokens are left; and say how many are."""
        words, count, is_left = encoding.word_ids, len(encoding), self.truncation_side == "left"
        places = range(count - enough, 0, -1) if is_left else range(enough, count)
        place = next((place for place in places if words[place] != words[place - 1]), None)
        if place is None:
            return text, count
        start = encoding.offsets[place][0] if isinstance(text, str) else words[place]
        return (text[start:], count - place) if is_left else (text[:start], place)

    def _convert_encoding(
        self, encoding: Encoding, *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], list[Encoding]]:
        data, encodings = super()._convert_encoding(encoding, *args, **kwargs)
        if self.label_token_ids:
            data["label_mask"] = [self._label_mask(input_ids) for input_ids in data["input_ids"]]
        return data, encodings

    def _pad(self, encoded_inputs: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        mask = encoded_inputs.get("label_mask")
        padded: dict[str, Any] = super()._pad(encoded_inputs, *args, **kwargs)
        if self.label_token_ids:
            input_ids = padded["input_ids"]
            if mask is None:
                padded["label_mask"] = self._label_mask(input_ids)
            else:
                padding = [0] * (len(input_ids) - len(mask))
                right = (kwargs.get("padding_side") or self.padding_side) == "right"
                padded["label_mask"] = [*mask, *padding] if right else [*padding, *mask]
        return padded


def check_tokenizer(tokenizer: Any, config: MultiLabelConfig) -> None:
    """Refuse a tokenizer that does not belong to a model.

    Args:
        tokenizer: Any tokenizer. A model with strategy "cls" also takes the one of its backbone, which has no labels.
        config: Configuration of the model.

    Raises:
        MultiLabelError: If labels or label tokens differ, or the tokenizer has tokens that the model lacks.
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


def _texts_in(given: Any) -> Iterator[str]:
    """Yield all texts of what a tokenizer is called with."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, (list, tuple)):
        for item in given:
            yield from _texts_in(item)


def _holds_pairs(text: Any) -> bool:
    """Whether a batch is given as a list of (text, pair)."""
    return isinstance(text, (list, tuple)) and len(text) > 0 and isinstance(text[0], (list, tuple))


MultiLabelTokenizer.register_for_auto_class()
