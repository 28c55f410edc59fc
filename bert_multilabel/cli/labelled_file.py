"""A trained folder and a file of labelled rows in, what the model says of them out: for the commands that judge it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from numpy.typing import NDArray

from bert_multilabel.data.arguments import ColumnArguments
from bert_multilabel.data.examples import load_splits, multi_hot
from bert_multilabel.inference.predict_file import predict_rows
from bert_multilabel.loading import load_trained
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import PRECISIONS, MultiLabelScorer
from bert_multilabel.output_dir.checkpoints import trained_pair_column


@dataclass
class LabelledFile(ColumnArguments):
    """A file of labelled rows, and how to score them."""

    file: str = field(kw_only=True, metadata={"help": "csv, tsv, json, jsonl or parquet with labels, not trained on."})
    precision: str = field(
        default="float32",
        metadata={"help": "Precision of the encoder's matrix products.", "choices": list(PRECISIONS)},
    )


@dataclass(frozen=True)
class ScoredFile:
    """What a model says of N labelled rows.

    Attributes:
        config: The model's.
        rows: Columns `text`, and `pair` and `id` if there are any; in the order of the file.
        logits: (N, L), float32.
        labels: (N, L), 0 or 1; NaN where not annotated.
        metrics: Scores and loss as the model decides, by the names of `metrics.evaluate`.
    """

    config: MultiLabelConfig
    rows: Dataset
    logits: NDArray[Any]
    labels: NDArray[Any]
    metrics: dict[str, float]


def score_labelled_file(model_dir: Path, source: LabelledFile) -> ScoredFile:
    """Run a trained model over a file of labelled rows.

    Args:
        model_dir: A folder that the script trained, or that `save_pretrained` wrote.
        source: Where the rows are, and how to read them.

    Raises:
        ValueError: If the folder holds no model of ours, or if the rows are bad or have no labels.
    """
    model, tokenizer = load_trained(model_dir)
    config = model.config
    if source.text_pair_column is None:
        source = replace(source, text_pair_column=trained_pair_column(model_dir))
    rows = load_splits(source.spec(config.label_names), {"validation": source.file}).splits["validation"]
    scorer = MultiLabelScorer(model, tokenizer, source.precision, source.max_seq_length)
    logits, metrics = predict_rows(scorer, rows)  # (N, L)
    return ScoredFile(config, rows, logits.numpy(), multi_hot(rows), metrics)
