"""Scores a file of labelled examples with a trained model, for the commands that evaluate it."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from numpy.typing import NDArray

from bert_multilabel.data.examples import load_splits, multi_hot
from bert_multilabel.data.sources import content_digest
from bert_multilabel.inference.predict_file import predict_rows
from bert_multilabel.loading import load_trained
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import Windows
from bert_multilabel.output_dir.checkpoints import CONTENT, read_run, trained_pair_column

from .labelled_file import LabelledFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredFile:
    """N labelled examples, their logits and scores.

    Attributes:
        config: The model's.
        rows: Columns `text`, and `pair` and `id` if there are any; in the order of the file.
        logits: (N, L), float32.
        labels: (N, L), 0 or 1; NaN where not annotated.
        metrics: Loss and scores of the model's decisions, by the names of `metrics.evaluate`.
    """

    config: MultiLabelConfig
    rows: Dataset
    logits: NDArray[Any]
    labels: NDArray[Any]
    metrics: dict[str, float]


def score_labelled_file(model_dir: Path, source: LabelledFile) -> ScoredFile:
    """Run a trained model over a file of labelled examples, and warn if it was trained on this file.

    Raises:
        MultiLabelError: If the folder holds no model of ours, if the examples are bad or have no labels, or if one
            does not fit into windows.
    """
    windows = Windows.of(source.stride, source.pooling)
    model, tokenizer = load_trained(model_dir)
    config = model.config
    if source.text_pair_column is None:
        source = replace(source, text_pair_column=trained_pair_column(model_dir))
    rows = load_splits(source.spec(config.label_names), {"validation": source.file}).splits["validation"]
    _warn_if_trained_on(source.file, model_dir)
    scorer = MultiLabelScorer(model, tokenizer, source.precision, source.max_seq_length)
    logits, metrics = predict_rows(scorer, rows, source.file, windows)  # (N, L)
    return ScoredFile(config, rows, logits.numpy(), multi_hot(rows), metrics)


def _warn_if_trained_on(file: str, model_dir: Path) -> None:
    run = read_run(model_dir)
    if run is not None and run["arguments"].get("train_file" + CONTENT) == content_digest(file):
        logger.warning(
            f"{model_dir} was trained on {file}: scores of examples that a model was trained on flatter it, and "
            "decisions that are fitted to them do not hold for others: name a file that it was not trained on"
        )
