# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""`pipeline("multilabel-classification", ...)`: texts in, the labels that the model decides on out.

Shapes: N texts, L labels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from itertools import islice
from typing import Any

import torch
from transformers import Pipeline

from .configuration_multilabel import MultiLabelConfig
from .errors import MultiLabelError
from .output_format import prediction_records
from .scoring import TEXTS_AT_A_TIME, MultiLabelScorer, score_rows
from .windows import Windows

# Of an iterator, this many texts are read ahead of their answers and sorted by length.
READ_AHEAD = 4096


@dataclass(frozen=True)
class CallArguments:
    """What a call of the pipeline, or its construction for all calls, may ask for.

    Args:
        threshold: Labels are given from this probability on: one number for all, or `{name: number}` for some labels,
            whereupon the others keep what is stored with the model, as all do by default.
        min_labels: Every text gets at least this many labels; by default as stored with the model.
        return_all_scores: Give the scores of all labels, in label order; if False, of the labels that a text is given.
        top_k: Of these, give this many scores only, the highest first. It has no say in which labels are given.
        stride: Read texts longer than the model in overlapping windows, this many tokens in two of them; by default,
            what is beyond its limit is cut off.
        pooling: With `stride`: a label gets the highest probability of all windows, `"max"`, the default, or the
            `"mean"`.

    Raises:
        MultiLabelError: If a value is refused.
    """

    threshold: float | Mapping[str, float] | None = None
    min_labels: int | None = None
    return_all_scores: bool = True
    top_k: int | None = None
    stride: int | None = None
    pooling: str | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise MultiLabelError(f"top_k must be a whole number from 1 up, got {self.top_k!r}")
        if not isinstance(self.return_all_scores, bool):
            raise MultiLabelError(f"return_all_scores must be True or False, got {self.return_all_scores!r}")
        if self.pooling is not None and self.stride is None:
            raise MultiLabelError(f"pooling={self.pooling!r} is for windows over long texts: give a stride, too")
        _ = self.windows

    @property
    def windows(self) -> Windows | None:
        """How texts that are too long are read, if they are not cut off."""
        return None if self.stride is None else Windows(self.stride, self.pooling or "max")


class MultiLabelPipeline(Pipeline):
    """Says of each text which labels the model gives it, and their probabilities.

    `pipeline("multilabel-classification", model=folder, trust_remote_code=True)` makes one of a saved folder or a
    repository. An answer is `{"labels": [names], "scores": {name: probability}}`, in the form of `predictions.jsonl`.

    Texts are sorted by length and batched inside, so there is no `batch_size`. The weights are copied and packed at
    the first call. They are multiplied in float32, or in bfloat16 if the model was loaded with `dtype=torch.bfloat16`.

    Args:
        model: Any of this package's models.
        tokenizer: The model's tokenizer.
        **kwargs: What every pipeline takes, such as `device`, and `CallArguments` that hold where a call says nothing.

    Raises:
        MultiLabelError: If the model or an argument is refused.
    """

    model: Any
    tokenizer: Any
    # What is loaded with the model: a tokenizer, and nothing else.
    _load_tokenizer: Any = True
    _load_processor: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False

    def __init__(self, model: Any, tokenizer: Any = None, **kwargs: Any) -> None:
        if model.config.model_type != MultiLabelConfig.model_type:
            raise MultiLabelError(
                f"the model is a {type(model).__name__} of model_type {model.config.model_type!r}, which does not "
                f"decide on labels: give one of model_type {MultiLabelConfig.model_type!r}"
            )
        # The base class would take these in silence.
        _check_names(name for name in ("batch_size", "num_workers") if name in kwargs)
        super().__init__(model=model, tokenizer=tokenizer, **kwargs)

    @cached_property
    def scorer(self) -> MultiLabelScorer:
        """What scores texts, made at the first call."""
        precision = "bfloat16" if self.model.dtype == torch.bfloat16 else "float32"
        return MultiLabelScorer(self.model, self.tokenizer, precision)

    def __call__(self, inputs: Any, **arguments: Any) -> Any:  # type: ignore[override]  # it batches by itself
        """Answer texts.

        Args:
            inputs: A text; a pair as `{"text": ..., "text_pair": ...}`; a list, or another sequence such as a column
                of a data set, of those; or an iterator, generator or torch data set of those.
            **arguments: `CallArguments`.

        Returns:
            One answer for one text or pair; a list for a sequence; for anything else an iterator, which reads as many
            texts ahead as are sorted by length together, all in the order of the inputs.

        Raises:
            MultiLabelError: If an argument is unknown or refused, or an input is neither text nor pair.
        """
        _check_names(arguments)
        asked = CallArguments(**{**self._postprocess_params, **arguments})
        config = self.model.config.with_decision(asked.threshold, asked.min_labels)
        are_many = isinstance(inputs, Iterable) or hasattr(inputs, "__getitem__")  # torch data sets have only that
        if isinstance(inputs, (str, Mapping)) or not are_many:
            return next(self._answers([inputs], 1, asked, config))
        if isinstance(inputs, Sequence):
            return list(self._answers(inputs, TEXTS_AT_A_TIME, asked, config))
        return self._answers(inputs, READ_AHEAD, asked, config)

    def _answers(
        self, inputs: Iterable[Any], at_a_time: int, asked: CallArguments, config: MultiLabelConfig
    ) -> Iterator[dict[str, Any]]:
        numbered = enumerate(inputs)
        while part := [self.preprocess(given, number=number) for number, given in islice(numbered, at_a_time)]:
            logits = self.forward(part, windows=asked.windows)  # (N, L)
            yield from self.postprocess(logits, config=config, asked=asked)

    def _sanitize_parameters(self, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Check what is given at construction, and keep it for all calls."""
        _check_names(arguments)
        asked = CallArguments(**arguments)
        self.model.config.with_decision(asked.threshold, asked.min_labels)
        return {}, {}, arguments

    def preprocess(  # type: ignore[override]  # no tensors yet: batches are formed of many texts
        self, given: Any, number: int = 0
    ) -> tuple[str, str | None]:
        """Return text and pair of one input, or refuse it by its number."""
        pair = given if isinstance(given, Mapping) else {"text": given}
        unknown = [key for key in pair if key not in ("text", "text_pair")]
        text, text_pair = pair.get("text"), pair.get("text_pair")
        if unknown:
            raise MultiLabelError(
                f"input {number} has the key {unknown[0]!r}: a pair has 'text' and 'text_pair' alone"
            )
        if not isinstance(text, str) or not isinstance(text_pair, str | None):
            raise MultiLabelError(
                f"input {number} must be a text, or a pair such as "
                f'{{"text": ..., "text_pair": ...}}, got {repr(given)[:80]}'
            )
        try:
            (text + (text_pair or "")).encode()
        except UnicodeEncodeError as error:
            raise MultiLabelError(
                f"input {number} holds a lone surrogate, which is no valid text: {repr(given)[:80]}; remove it"
            ) from error
        return text, text_pair

    def _forward(  # type: ignore[override]  # of texts, for the same reason
        self, inputs: Sequence[tuple[str, str | None]], windows: Windows | None = None
    ) -> torch.Tensor:
        """Return logits (N, L), float32, of N texts, some of which may have pairs."""
        score = partial(self.scorer.logits, windows=windows)
        return score_rows(score, inputs, len(self.model.config.label_names))

    def postprocess(  # type: ignore[override]  # of many texts at once
        self, logits: torch.Tensor, config: MultiLabelConfig, asked: CallArguments
    ) -> Iterator[dict[str, Any]]:
        """Yield the answers to N texts, of whose logits (N, L) the configuration decides."""
        return prediction_records(logits, config, top_scores=asked.top_k, predicted_only=not asked.return_all_scores)


def _check_names(arguments: Iterable[str]) -> None:
    known = [field.name for field in fields(CallArguments)]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise MultiLabelError(
            f"unknown arguments: {', '.join(unknown)}; this pipeline takes {', '.join(known)}, and by itself it forms "
            "batches and cuts off what is too long"
        )
