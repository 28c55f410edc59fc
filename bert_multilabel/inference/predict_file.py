"""Predicts the examples of a file, in their order, shared by all processes of a run."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from numpy.typing import NDArray
from transformers import EvalPrediction
from transformers.utils import logging

from bert_multilabel.data.examples import multi_hot
from bert_multilabel.data.tokenizing import tokenizer_digest
from bert_multilabel.engines.scorers import make_scorer
from bert_multilabel.errors import DataError
from bert_multilabel.metrics import evaluate
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel, multi_label_loss
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import MultiLabelScorer, texts_at_a_time
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.model.windows import NoRoom, Windows
from bert_multilabel.output_dir.checkpoints import PREDICTIONS_FILE, SHARDS_FOLDER
from bert_multilabel.utils.distributed import on_main
from bert_multilabel.utils.hashing import software_digest, weights_digest

from .shards import Shards

logger = logging.get_logger(__name__)

MIN_SHARDS = 32  # so that processes share them evenly and a kill loses little
MIN_SHARD_SIZE = 1024  # since batches of similar length are formed within a shard


@dataclass(frozen=True)
class PredictionOptions:
    """How examples are scored, and what is written.

    Attributes:
        engine: What computes, one of `ENGINES`.
        precision: Precision of the encoder's matrix products.
        max_length: Longest input in tokens; default: the model's limit.
        windows: How longer texts are read; default: truncated.
        top_scores: Write only this many of the highest scores; default: all.
    """

    engine: str = "torch"
    precision: str = "float32"
    max_length: int | None = None
    windows: Windows | None = None
    top_scores: int | None = None


def predict_split(
    model: MultiLabelPreTrainedModel,
    tokenizer: MultiLabelTokenizer,
    examples: Dataset,
    source: str,
    output_dir: Path,
    options: PredictionOptions,
) -> dict[str, float]:
    """Write the predictions of a model to `predictions.jsonl`. All processes of a run call this and share the work.

    `examples` are clean: `text`, and `pair`, `labels` and `id` if there are any; `source` names them in messages.
    Each process scores every k-th shard of the examples. Shards that a killed call has finished are reused. Batches
    are formed within a shard, so logits do not depend on the number of processes. Memory does not grow with the number
    of examples if they are memory-mapped and not labelled: metrics need all logits and labels at once.

    Returns:
        In all processes, metrics with the prefix `test_`: the speed, and scores and loss if there are labels.

    Raises:
        DataError: If the pair of an example leaves no room for its text in a window.
        FileError: If the predictions cannot be written.
        MultiLabelError: If the options do not fit the model.
    """
    state = PartialState()
    scorer = make_scorer(model, tokenizer, options.engine, options.precision, options.max_length)
    is_labelled = "labels" in examples.column_names
    shard_size = min(max(MIN_SHARD_SIZE, -(-len(examples) // MIN_SHARDS)), texts_at_a_time(options.windows))
    settings = [is_labelled, options, scorer.max_length, model.device.type]
    settings += [weights_digest(model), tokenizer_digest(tokenizer)]
    shards = Shards(output_dir / SHARDS_FOLDER, examples, shard_size, f"{settings} {software_digest()}")
    started = time.perf_counter()
    own = sorted(on_main(shards.unstarted_first)[state.process_index :: state.num_processes])
    all_counts = gather_object([_score_shards(scorer, shards, own, source, options)])  # waits for all processes
    metrics: dict[str, float] = {}
    if state.is_main_process:
        scored, long = (sum(numbers) for numbers in zip(*all_counts, strict=True))
        if scored < len(examples):
            logger.warning(f"{len(examples) - scored} of {len(examples)} rows were scored by an earlier call")
        _log_long_texts(long, scored, scorer.max_length, options.windows)
        shards.merge(output_dir / PREDICTIONS_FILE)
        if is_labelled:
            metrics |= _labelled_metrics(shards.logits(), multi_hot(examples), model.config)
        shards.remove()
        seconds = time.perf_counter() - started
        metrics |= {"runtime": seconds, "samples_per_second": scored / seconds}
    metrics = broadcast_object_list([metrics])[0]  # waits for the main process
    return {f"test_{name}": value for name, value in metrics.items()}


def predict_rows(
    scorer: MultiLabelScorer, examples: Dataset, source: str, windows: Windows | None = None
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return logits (N, L), float32, of N labelled examples with `text` and perhaps `pair`; and scores and loss.

    Raises:
        DataError: If the pair of an example, named with its `source`, leaves no room for its text in a window.
    """
    size, scored = texts_at_a_time(windows), []
    with _progress_bar(windows, len(examples)) as bar:
        for number, batch in enumerate(examples.iter(batch_size=size)):
            with _naming_rows(source, number * size):
                scored.append(_score(scorer, batch, windows, bar.update))
    _log_long_texts(sum(long for _, long in scored), len(examples), scorer.max_length, windows)
    logits = torch.cat([batch_logits for batch_logits, _ in scored])  # (N, L)
    return logits, _labelled_metrics(logits, multi_hot(examples), scorer.config)


def _score_shards(
    scorer: MultiLabelScorer, shards: Shards, indices: Iterable[int], source: str, options: PredictionOptions
) -> tuple[int, int]:
    """Score and write the shards of a process that are not done; return the numbers of scored and of long texts."""
    waiting = [index for index in indices if not shards.is_done(index)]
    scored = sum(len(shards.span(index)) for index in waiting)
    long = 0
    with _progress_bar(options.windows, scored, PartialState().is_main_process) as bar:
        for index in waiting:
            columns, first = shards.columns(index), shards.span(index).start
            with _naming_rows(source, first):
                logits, shard_long = _score(scorer, columns, options.windows, bar.update)
            records = prediction_records(logits, scorer.config, columns.get("id"), options.top_scores)
            shards.write(index, records, logits if "labels" in shards.examples.column_names else None)
            long += shard_long
    return scored, long


@contextmanager
def _naming_rows(source: str, first: int) -> Iterator[None]:
    """Turn NoRoom in rows of a source, whose first has the index `first`, into a DataError that names its row."""
    try:
        yield
    except NoRoom as error:
        raise DataError(f"{source}, row {first + error.row + 1}, {error}") from error


def _score(
    scorer: MultiLabelScorer, columns: Mapping[str, list[Any]], windows: Windows | None, update: Callable[[int], Any]
) -> tuple[torch.Tensor, int]:
    """Return the logits (N, L) of the columns `text` and, if there is one, `pair`; and the number of long texts."""
    input_ids, token_type_ids = scorer.tokens(columns["text"], columns.get("pair"), windows)
    limit = scorer.max_length if windows is None else scorer.max_length + 1  # truncated texts have the full length
    long = sum(len(ids) >= limit for ids in input_ids)
    return scorer.logits_of_tokens(input_ids, token_type_ids, windows, update), long


def _log_long_texts(long: int, scored: int, max_length: int, windows: Windows | None) -> None:
    if windows is not None:
        logger.info(f"{long} of {scored} texts exceed {max_length} tokens and were read in windows")
    elif long:
        logger.warning(f"{long} of {scored} texts fill or exceed {max_length} tokens; longer ones were truncated")


def _progress_bar(windows: Windows | None, count: int, is_shown: bool = True) -> Any:
    """Return a progress bar over texts, or over windows, whose number is not known in advance."""
    total, unit = (count, " rows") if windows is None else (None, " windows")
    return logging.tqdm(total=total, unit=unit, desc="Scoring", disable=not is_shown)


def _labelled_metrics(logits: torch.Tensor, labels: NDArray[np.float32], config: MultiLabelConfig) -> dict[str, float]:
    """Return loss and scores of logits (N, L) for labels (N, L), with the thresholds of the configuration."""
    loss = float(multi_label_loss(logits, torch.from_numpy(labels)))
    return {"loss": loss, **evaluate(EvalPrediction(logits.numpy(), labels), config)}
