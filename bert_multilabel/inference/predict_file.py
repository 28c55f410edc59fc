"""Rows in, decisions out, in the order of the input."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
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
from bert_multilabel.errors import DataError
from bert_multilabel.metrics import evaluate
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel, multi_label_loss
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import MultiLabelScorer, texts_at_a_time
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.model.windows import NoRoom, Windows
from bert_multilabel.output_dir.checkpoints import PARTS_FOLDER, PREDICTIONS_FILE
from bert_multilabel.utils.distributed import on_main
from bert_multilabel.utils.hashing import software_digest

from .shards import Parts

logger = logging.get_logger(__name__)

# So many parts or more, that processes may share them evenly and a kill costs little; but of so many rows or more, for
# of fewer, few are of like length.
PARTS = 32
ROWS_PER_PART = 1024


@dataclass(frozen=True)
class PredictionOptions:
    """How rows are scored, and what is written of them.

    Args:
        precision: Of the encoder's matrix products.
        max_length: Longest input in tokens; by default what the model can take.
        windows: How longer texts are read; without them, what is beyond is cut off.
        top_scores: Write only this many of the highest scores; by default all.
    """

    precision: str = "float32"
    max_length: int | None = None
    windows: Windows | None = None
    top_scores: int | None = None


def predict_split(
    model: MultiLabelPreTrainedModel,
    tokenizer: MultiLabelTokenizer,
    rows: Dataset,
    source: str,
    output_dir: Path,
    options: PredictionOptions,
) -> dict[str, float]:
    """Write what a model says of rows, `predictions.jsonl`; all processes of a run call this, and share the work.

    The rows are cut into parts, and each process scores every so many-th of them. A call that was killed left the
    parts that it had finished, and the next one takes them over. The logits of a row do not depend on the number of
    processes, for batches are formed within a part.

    Memory does not grow with the number of rows, if these are memory-mapped and have no labels: metrics need all
    logits and labels at once, for average precision ranks all rows.

    Args:
        model: The same in all processes.
        tokenizer: The model's.
        rows: N clean rows: columns `text`, and `pair`, `labels` and `id` if there are any.
        source: What messages call the rows.
        output_dir: Where all processes write.
        options: How rows are scored.

    Returns:
        In all processes the metrics, whose names begin with `test_`: scores and loss if there are labels, and the
        speed.

    Raises:
        DataError: If the pair of a row leaves windows no room for its text.
        ValueError: If the model cannot take the options.
    """
    state = PartialState()
    scorer = MultiLabelScorer(model, tokenizer, options.precision, options.max_length)
    is_labelled = "labels" in rows.column_names
    rows_per_part = min(max(ROWS_PER_PART, -(-len(rows) // PARTS)), texts_at_a_time(options.windows))
    settings = [is_labelled, options, scorer.max_length, model.device.type, _digest(model, tokenizer)]
    parts = Parts(output_dir / PARTS_FOLDER, rows, rows_per_part, f"{settings} {software_digest()}")
    started = time.perf_counter()
    own = sorted(on_main(parts.least_done_first)[state.process_index :: state.num_processes])
    tally = _score_parts(scorer, parts, own, source, options, is_shown=state.is_main_process)
    tallies = gather_object([tally])  # which waits for all
    metrics: dict[str, float] = {}
    if state.is_main_process:
        scored, long = (sum(counts) for counts in zip(*tallies, strict=True))
        if scored < len(rows):
            logger.warning(f"{len(rows) - scored} of {len(rows)} rows were scored by a call before this one")
        _say_how_many_are_long(long, scored, scorer.max_length, options.windows)
        parts.merge(output_dir / PREDICTIONS_FILE)
        if is_labelled:
            metrics |= _labelled_metrics(parts.logits(), multi_hot(rows), model.config)
        parts.remove()
        seconds = time.perf_counter() - started
        metrics |= {"runtime": seconds, "samples_per_second": scored / seconds}
    metrics = broadcast_object_list([metrics])[0]  # which waits for the main process
    return {f"test_{name}": value for name, value in metrics.items()}


def predict_rows(scorer: MultiLabelScorer, rows: Dataset) -> tuple[torch.Tensor, dict[str, float]]:
    """Run the model over labelled rows, and keep all in memory.

    Args:
        scorer: Holds the model.
        rows: N clean rows: columns `text`, `labels`, and `pair` if there are pairs.

    Returns:
        Logits (N, L), float32, in the order of the rows, and scores and loss.
    """
    size = texts_at_a_time(None)
    logits, longs = [], []
    with _bar(None, len(rows)) as bar:
        for start in range(0, len(rows), size):
            part, long = _score(scorer, rows[start : start + size], None, bar.update)
            logits.append(part)
            longs.append(long)
    _say_how_many_are_long(sum(longs), len(rows), scorer.max_length, None)
    scored = torch.cat(logits)  # (N, L)
    return scored, _labelled_metrics(scored, multi_hot(rows), scorer.config)


def _score_parts(
    scorer: MultiLabelScorer,
    parts: Parts,
    numbers: Iterable[int],
    source: str,
    options: PredictionOptions,
    is_shown: bool,
) -> tuple[int, int]:
    """Score and write those parts of a process that are not done; return how many rows that was, and how many long."""
    waiting = [number for number in numbers if not parts.is_done(number)]
    scored = sum(len(parts.span(number)) for number in waiting)
    long = 0
    with _bar(options.windows, scored, is_shown) as bar:
        for number in waiting:
            columns, first = parts.columns(number), parts.span(number).start
            try:
                logits, more = _score(scorer, columns, options.windows, bar.update)
            except NoRoom as error:
                raise DataError(f"{source}, row {first + error.row + 1}, {error}") from error
            records = prediction_records(logits, scorer.config, columns.get("id"), options.top_scores)
            parts.write(number, records, logits if "labels" in parts.rows.column_names else None)
            long += more
    return scored, long


def _score(
    scorer: MultiLabelScorer,
    columns: Mapping[str, list[Any]],
    windows: Windows | None,
    on_progress: Callable[[int], Any],
) -> tuple[torch.Tensor, int]:
    """Return logits (N, L) of the columns `text` and, if there is one, `pair`; and how many texts are too long."""
    input_ids, token_type_ids = scorer.tokens(columns["text"], columns.get("pair"), windows)
    limit = scorer.max_length if windows is None else scorer.max_length + 1  # what is cut off fills the input
    long = sum(len(ids) >= limit for ids in input_ids)
    return scorer.logits_of_tokens(input_ids, token_type_ids, windows, on_progress), long


def _say_how_many_are_long(long: int, scored: int, max_length: int, windows: Windows | None) -> None:
    if windows is not None:
        logger.info(f"{long} of {scored} texts scored exceed {max_length} tokens: read in windows")
    elif long:
        logger.warning(
            f"{long} of {scored} texts scored fill or exceed {max_length} tokens: what is beyond is cut off"
        )


def _bar(windows: Windows | None, count: int, is_shown: bool = True) -> Any:
    """Return a progress bar over so many rows; over windows, of which nobody knows how many there will be."""
    total, unit = (count, " rows") if windows is None else (None, " windows")
    return logging.tqdm(total=total, unit=unit, desc="Scoring", disable=not is_shown)


def _labelled_metrics(logits: torch.Tensor, labels: NDArray[np.float32], config: MultiLabelConfig) -> dict[str, float]:
    """Score logits (N, L) by labels (N, L), as the configuration decides."""
    loss = float(multi_label_loss(logits, torch.from_numpy(labels)))
    return {"loss": loss, **evaluate(EvalPrediction(logits.numpy(), labels), config)}


def _digest(model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer) -> str:
    """Return what tells a model from others: a digest of its weights, its configuration and its tokenizer."""
    digest = hashlib.sha256(f"{model.config.to_json_string(use_diff=False)} {tokenizer_digest(tokenizer)}".encode())
    for name, weights in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
