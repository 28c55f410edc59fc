# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""`pipeline("multilabel-classification", ...)`: predicts the labels of texts.

Shapes: N texts, L labels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from typing import Any

import torch
from transformers import Pipeline
from transformers.utils import logging

from .configuration_multilabel import MultiLabelConfig
from .errors import MultiLabelError
from .output_format import prediction_records
from .scoring import TEXTS_AT_A_TIME, Engine, MultiLabelScorer, score_rows
from .tokenization_multilabel import check_tokenizer
from .windows import Windows

logger = logging.get_logger(__name__)

READ_AHEAD = 4096  # texts of an iterator that are sorted by length together


@dataclass(frozen=True, kw_only=True)
class CallArguments:
    """Arguments of a prediction: how to decide, and which scores to return.

    Args:
        threshold: Labels are predicted from this probability on: one number for all labels, one per label, or
            `{name: number}` for some of them. By default the values stored with the model.
        min_labels: At least this many labels are predicted for every text; by default as stored with the model.
        return_all_scores: Return the scores of all labels, in label order; if False, of the predicted labels.
        top_k: Return only this many of these scores, the highest first. It does not change the predicted labels.
        stride: Read long texts in windows that overlap by this many tokens; by default they are cut off.
        pooling: A label gets the `"max"` (default) or `"mean"` of its probabilities in all windows, before
            calibration.

    Raises:
        MultiLabelError: If a value is invalid.
    """

    threshold: float | Sequence[float] | Mapping[str, float] | None = None
    min_labels: int | None = None
    return_all_scores: bool = True
    top_k: int | None = None
    stride: int | None = None
    pooling: str | None = None

    def __post_init__(self) -> None:
        _check_is_positive("top_k", self.top_k)
        if not isinstance(self.return_all_scores, bool):
            raise MultiLabelError(f"return_all_scores must be True or False, got {self.return_all_scores!r}")
        _ = self.windows  # checks its values

    @property
    def windows(self) -> Windows | None:
        """How to cut long texts into windows; None cuts them off."""
        return Windows.of(self.stride, self.pooling)


@dataclass(frozen=True, kw_only=True)
class PipelineArguments(CallArguments):
    """Arguments of a call of the pipeline: `CallArguments`, and those that other pipelines take.

    Args:
        max_length: Longest input in tokens, label tokens included; by default what the model can take.
        truncation: True, the only choice: what exceeds `max_length` is cut off, unless there is a `stride`.
        padding: No effect: each batch is padded to its longest text.
        batch_size: No effect: the pipeline sorts texts by length and forms batches of equally many tokens.
        num_workers: No effect: texts are tokenized in this process.
    """

    max_length: int | None = None
    truncation: bool | str | None = None
    padding: bool | str | None = None
    batch_size: int | None = None
    num_workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_is_positive("max_length", self.max_length)
        if self.truncation not in (None, True, "longest_first"):
            raise MultiLabelError(f"truncation must be True, got {self.truncation!r}: for long texts pass a stride")
        ignored = [name for name in ("batch_size", "num_workers") if getattr(self, name) is not None]
        if self.padding not in (None, True, "longest"):
            ignored.append("padding")
        if ignored:
            logger.warning_once(f"{', '.join(ignored)} has no effect: the pipeline sorts and batches texts itself.")


class MultiLabelPipeline(Pipeline):
    """Predicts the labels of texts, and their probabilities.

    `pipeline("multilabel-classification", model=folder, trust_remote_code=True)` loads it. An answer is
    `{"labels": [names], "scores": {name: probability}}`. The model computes in the dtype with which it was loaded.

    Args:
        model: Any of this package's models.
        tokenizer: The model's tokenizer.
        engine: What computes the logits of batches in place of the model, such as the `engine` of a scorer that
            `bert_multilabel.engines.scorers.make_scorer` made of the same model.
        **kwargs: What every pipeline takes, such as `device`, and defaults of `PipelineArguments` for all calls.

    Raises:
        MultiLabelError: If the model is not one of this package, the tokenizer not its own, or an argument invalid.
    """

    model: Any
    tokenizer: Any
    _load_tokenizer: Any = True
    _load_processor: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False

    def __init__(self, model: Any, tokenizer: Any = None, engine: Engine | None = None, **kwargs: Any) -> None:
        if model.config.model_type != MultiLabelConfig.model_type:
            raise MultiLabelError(
                f"the model is a {type(model).__name__} of model_type {model.config.model_type!r}: pass one of "
                f"model_type {MultiLabelConfig.model_type!r}"
            )
        check_tokenizer(tokenizer, model.config)
        # The base class would make a data loader of them.
        PipelineArguments(**{name: kwargs.pop(name) for name in ("batch_size", "num_workers") if name in kwargs})
        super().__init__(model=model, tokenizer=tokenizer, **kwargs)
        self.engine = engine
        self._scored_by: tuple[Any, MultiLabelScorer] | None = None

    @property
    def scorer(self) -> MultiLabelScorer:
        """What scores texts with the pipeline's model and tokenizer."""
        current = (self.model, self.tokenizer, self.engine)
        if self._scored_by is None or self._scored_by[0] != current:
            self._scored_by = current, MultiLabelScorer(self.model, self.tokenizer, engine=self.engine)
        return self._scored_by[1]

    def __call__(self, inputs: Any, **arguments: Any) -> Any:  # type: ignore[override]  # it batches by itself
        """Predict the labels of texts.

        Args:
            inputs: A text; a pair as `{"text": ..., "text_pair": ...}`; a list, array, column or map-style data set
                of those; a table with the column `text`, and optionally `text_pair`; or an iterator or generator.
            **arguments: `PipelineArguments`.

        Returns:
            One answer for one text or pair; a list for inputs with a length; otherwise an iterator, which reads
            `READ_AHEAD` texts at a time. Answers have the order of the inputs.

        Raises:
            MultiLabelError: If an argument is unknown or invalid, or an input is neither a text nor a pair.
        """
        _check_names(arguments)
        asked = PipelineArguments(**{**self.defaults, **arguments})
        config = self.model.config.with_decision(asked.threshold, asked.min_labels)
        if not isinstance(inputs, Mapping) and hasattr(inputs, "columns"):
            inputs = _rows_of_table(inputs)
        can_be_indexed = hasattr(inputs, "__getitem__")  # torch data sets cannot do more
        if isinstance(inputs, (str, Mapping)) or not (can_be_indexed or isinstance(inputs, Iterable)):
            return next(self._answers([inputs], 1, asked, config))
        if can_be_indexed and hasattr(inputs, "__len__"):
            if not isinstance(inputs, Iterable):  # Python would read it until an IndexError, which need not come
                inputs = map(inputs.__getitem__, range(len(inputs)))
            return list(self._answers(inputs, TEXTS_AT_A_TIME, asked, config))
        return self._answers(inputs, READ_AHEAD, asked, config)

    def _answers(
        self, inputs: Iterable[Any], at_a_time: int, asked: PipelineArguments, config: MultiLabelConfig
    ) -> Iterator[dict[str, Any]]:
        numbered = enumerate(inputs)
        while texts := [self.preprocess(item, number=number) for number, item in islice(numbered, at_a_time)]:
            logits = self.forward(texts, windows=asked.windows, max_length=asked.max_length)  # (N, L)
            yield from self.postprocess(logits, config=config, asked=asked)

    def _sanitize_parameters(self, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Check the arguments of the construction, and keep them as defaults of all calls."""
        _check_names(arguments)
        asked = PipelineArguments(**arguments)
        self.model.config.with_decision(asked.threshold, asked.min_labels)
        self.defaults = arguments
        return {}, {}, {}

    # No tensors yet, because batches are formed of many texts.
    def preprocess(self, item: Any, number: int = 0) -> tuple[str, str | None]:  # type: ignore[override]
        """Return text and pair of one input; errors name its number."""
        pair = item if isinstance(item, Mapping) else {"text": item}
        text, text_pair = pair.get("text"), pair.get("text_pair")
        if unknown := [key for key in pair if key not in ("text", "text_pair")]:
            raise MultiLabelError(f"input {number} has the key {unknown[0]!r}: pass 'text' and 'text_pair' only")
        if not isinstance(text, str) or not isinstance(text_pair, str | None):
            pair_form = '{"text": ..., "text_pair": ...}'
            raise MultiLabelError(f"input {number} must be a text, or a pair as {pair_form}, got {repr(item)[:80]}")
        try:
            (text + (text_pair or "")).encode()
        except UnicodeEncodeError as error:
            quoted = repr(item)[:80]
            raise MultiLabelError(f"input {number} has a lone surrogate (invalid Unicode): {quoted}") from error
        return text, text_pair

    def _forward(  # type: ignore[override]  # of texts, for the same reason
        self, inputs: Sequence[tuple[str, str | None]], windows: Windows | None = None, max_length: int | None = None
    ) -> torch.Tensor:
        """Return logits (N, L), float32, of N texts, some of which may have pairs."""
        scorer = self.scorer
        if max_length:
            scorer = MultiLabelScorer(self.model, self.tokenizer, max_length=max_length, engine=self.engine)
        return score_rows(partial(scorer.logits, windows=windows), inputs, len(self.model.config.label_names))

    def postprocess(  # type: ignore[override]  # of many texts at once
        self, logits: torch.Tensor, config: MultiLabelConfig, asked: CallArguments
    ) -> Iterator[dict[str, Any]]:
        """Yield the answers to N texts from their logits (N, L)."""
        return prediction_records(logits, config, top_scores=asked.top_k, predicted_only=not asked.return_all_scores)


def _rows_of_table(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table of pandas, polars or pyarrow."""
    names = [str(name) for name in getattr(table, "column_names", table.columns)]
    if "text" not in names or not {*names} <= {"text", "text_pair"}:
        raise MultiLabelError(
            f"the table has the columns {names}, but needs 'text' and may have 'text_pair': pass one column of texts"
        )
    columns = [table[name] for name in names]
    values = [column.to_pylist() if hasattr(column, "to_pylist") else list(column) for column in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _check_is_positive(name: str, value: int | None) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise MultiLabelError(f"{name} must be a whole number from 1 up, got {value!r}")


def _check_names(arguments: Iterable[str]) -> None:
    known = [field.name for field in fields(PipelineArguments)]
    if unknown := [name for name in arguments if name not in known]:
        raise MultiLabelError(f"unknown arguments: {', '.join(unknown)}; this pipeline takes {', '.join(known)}")
