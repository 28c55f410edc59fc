# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Which special tokens are around a text or a pair, with or without label tokens, for tokenizers of any family.

The tokenizers library calls it a post-processor. Python sees what is in one by its JSON.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE, Unigram
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.pre_tokenizers import Split

from .errors import MultiLabelError

# {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, or {"Sequence": {"id": "A", "type_id": 0}}: a text
_Piece = dict[str, dict[str, Any]]
_SYNTAX = re.compile(r"[\\^$.*+?()\[\]{}|/]")  # of regular expressions, also of JavaScript's


@dataclass(frozen=True)
class InputTemplate:
    """Special tokens and texts in the order of the input.

    Args:
        single: Pieces of an input with one text, such as those of `[CLS] text [SEP]`.
        pair: Pieces of an input with two texts.
        tokens: The ids of each special token, in the form of the library.
        trimming: Steps before that take spaces off the offsets of tokens.
    """

    single: list[_Piece]
    pair: list[_Piece]
    tokens: dict[str, dict[str, Any]]
    trimming: list[dict[str, Any]]

    @classmethod
    def read(cls, post_processor: Any) -> "InputTemplate":
        """Read the post-processor of a backend tokenizer.

        Raises:
            MultiLabelError: If it is of an unknown kind, or does not put special tokens around each input.
        """
        content = _as_json("post_processor", post_processor)
        steps = content["processors"] if content and content["type"] == "Sequence" else [content]
        trimming = [step for step in steps if step and step["type"] == "ByteLevel"]
        others = [step for step in steps if step not in trimming]
        kind = others[0]["type"] if len(others) == 1 and others[0] else None
        if kind not in _READERS:
            raise MultiLabelError(
                f"the post-processor of this tokenizer is {_brief(content)}: it must be one of "
                f"{', '.join(_READERS)}, which put special tokens around a text, so that labels find their place"
            )
        template = _READERS[kind](others[0])
        template._check()
        return replace(template, trimming=[*trimming, *template.trimming])

    def _check(self) -> None:
        for pieces, texts in ((self.single, ["A"]), (self.pair, ["A", "B"])):
            found = [piece["Sequence"]["id"] for piece in pieces if "Sequence" in piece]
            if found != texts or "Sequence" in pieces[0] or "Sequence" in pieces[-1]:
                raise MultiLabelError(
                    f"an input of this tokenizer is {_brief(pieces)}: it must begin and end with a special token, and "
                    f"have the texts {' and '.join(texts)} in between"
                )

    @property
    def first_id(self) -> int:
        """The id of the first token of each input."""
        return self._ids(self.single[0])[0]

    @property
    def last_id(self) -> int:
        """The id of the last token of each input."""
        return self._ids(self.single[-1])[-1]

    def with_tokens(self, tokens: Mapping[str, int]) -> "InputTemplate":
        """Return a template with these tokens, name to id, before the last one, in the segment of the last text."""

        def extend(pieces: list[_Piece]) -> list[_Piece]:
            segment = next(piece["Sequence"]["type_id"] for piece in reversed(pieces) if "Sequence" in piece)
            added: list[_Piece] = [{"SpecialToken": {"id": token, "type_id": segment}} for token in tokens]
            return [*pieces[:-1], *added, pieces[-1]]

        entries = {token: _entry(token, number) for token, number in tokens.items()}
        return replace(self, single=extend(self.single), pair=extend(self.pair), tokens={**self.tokens, **entries})

    def without_tokens(self, names: Collection[str]) -> "InputTemplate":
        """Return a template without these special tokens."""
        single, pair = (
            [piece for piece in pieces if _name(piece) not in names] for pieces in (self.single, self.pair)
        )
        tokens = {name: entry for name, entry in self.tokens.items() if name not in names}
        return replace(self, single=single, pair=pair, tokens=tokens)

    def without_segments(self) -> "InputTemplate":
        """Return a template in which all token types are 0."""
        single, pair = (
            [{kind: {**values, "type_id": 0} for kind, values in piece.items()} for piece in pieces]
            for pieces in (self.single, self.pair)
        )
        return replace(self, single=single, pair=pair)

    def as_post_processor(self) -> Any:
        """Return the post-processor of a backend tokenizer that fills this template."""
        pieces: dict[str, Any] = {"single": self.single, "pair": self.pair, "special_tokens": self.tokens}
        template = {"type": "TemplateProcessing", **pieces}
        steps = {"type": "Sequence", "processors": [*self.trimming, template]}
        # From JSON, because the constructor splits names at colons.
        content = json.loads(Tokenizer(BPE()).to_str())
        content["post_processor"] = steps if self.trimming else template
        return Tokenizer.from_str(json.dumps(content)).post_processor

    def find_text(self, ids: Sequence[int]) -> tuple[int, int]:
        """Return where the first text begins and ends among the ids of an input, in which no text has special ids."""
        start, stops = 0, set()
        for pieces in (self.single, self.pair):
            place = next(place for place, piece in enumerate(pieces) if "Sequence" in piece)
            start = sum(len(self._ids(piece)) for piece in pieces[:place])
            stops.add(self._ids(pieces[place + 1])[0])
        return start, min(ids.index(stop, start) for stop in stops if stop in ids[start:])

    def _ids(self, piece: _Piece) -> list[int]:
        ids: list[int] = self.tokens[piece["SpecialToken"]["id"]]["ids"]
        return ids


def keep_texts_from_special_tokens(backend: Tokenizer) -> None:
    """Let the model of a backend tokenizer make no special token of a text that spells one.

    `encode_special_tokens` keeps the library from it, but not the model: unigram models have special tokens among
    their pieces. Their first letters are split off, so that only texts which spell them are tokenized differently.
    """
    tokens = [token.content for _, token in sorted(backend.get_added_tokens_decoder().items()) if token.special]
    spelled = [token for token in tokens if len(token) > 1 and _is_spelled(token, backend)]
    if not spelled:
        return
    pattern = "|".join(f"{_escape(token[0])}(?={_escape(token[1:])})" for token in spelled)
    current = _as_json("pre_tokenizer", backend.pre_tokenizer)
    first = current["pretokenizers"][0] if current and current["type"] == "Sequence" else current
    if first is None or first.get("pattern") != {"Regex": pattern}:
        split = Split(Regex(pattern), "isolated")
        backend.pre_tokenizer = Steps([split] if current is None else [split, backend.pre_tokenizer])


def _is_spelled(token: str, backend: Tokenizer) -> bool:
    number = backend.model.token_to_id(token)
    if number is None or isinstance(backend.model, Unigram):
        return number is not None
    backend.encode_special_tokens = True
    encoding = backend.encode(token, add_special_tokens=False)
    whole = [(0, len(token))]  # not one letter that is unknown
    return encoding.ids == [number] and encoding.offsets == whole


def _escape(text: str) -> str:
    return _SYNTAX.sub(lambda match: "\\" + match[0], text)


def _as_json(part: str, value: Any) -> Any:
    """Return the JSON of a part of a backend tokenizer, None if it has none, without that of its vocabulary."""
    carrier = Tokenizer(BPE())
    if value is not None:
        setattr(carrier, part, value)
    return json.loads(carrier.to_str())[part]


def _read_template(content: dict[str, Any]) -> InputTemplate:
    return InputTemplate(content["single"], content["pair"], content["special_tokens"], [])


def _read_bert(content: dict[str, Any]) -> InputTemplate:
    return _frame(content, ["cls:0", "A:0", "sep:0"], ["B:1", "sep:1"])


def _read_roberta(content: dict[str, Any]) -> InputTemplate:
    template = _frame(content, ["cls:0", "A:0", "sep:0"], ["sep:0", "B:0", "sep:0"])
    if not content["trim_offsets"]:
        return template
    step = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return replace(template, trimming=[{**step, "add_prefix_space": content["add_prefix_space"]}])


def _frame(content: dict[str, Any], single: list[str], rest: list[str]) -> InputTemplate:
    def read(place: str) -> _Piece:
        name, segment = place.split(":")
        if name in ("A", "B"):
            return {"Sequence": {"id": name, "type_id": int(segment)}}
        return {"SpecialToken": {"id": content[name][0], "type_id": int(segment)}}

    tokens = {content[name][0]: _entry(*content[name]) for name in ("cls", "sep")}
    return InputTemplate(list(map(read, single)), list(map(read, [*single, *rest])), tokens, [])


_READERS = {"TemplateProcessing": _read_template, "BertProcessing": _read_bert, "RobertaProcessing": _read_roberta}


def _entry(token: str, number: int) -> dict[str, Any]:
    return {"id": token, "ids": [number], "tokens": [token]}


def _name(piece: _Piece) -> str | None:
    """Return the name of a special token, None of a text."""
    return piece["SpecialToken"]["id"] if "SpecialToken" in piece else None


def _brief(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)[:160]
