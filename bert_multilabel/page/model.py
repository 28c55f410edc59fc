"""What the page asks of a model: scores, thresholds that move, words behind labels, predictions for a file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bert_multilabel.data.columns import DataSpec
from bert_multilabel.data.examples import load_splits
from bert_multilabel.explain.explainer import Explainer
from bert_multilabel.loading import load_trained
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import MultiLabelScorer, score_rows
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.files import write_json_lines

# Rows of a file that are scored before the progress bar moves.
ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class PageModel:
    """A model on the page.

    Attributes:
        name: Under which it is shown.
        scorer: Scores texts.
        explainer: Says which words speak for a label.
        pair_column: Column of the second text in files; "" for a model of single texts, None if nothing is known.
    """

    name: str
    scorer: MultiLabelScorer
    explainer: Explainer
    pair_column: str | None

    @classmethod
    def load(cls, folder: Path, pair_column: str | None = None) -> "PageModel":
        """Load a folder of ours.

        Args:
            folder: Of the trained model.
            pair_column: As the attribute; by default what the folder says of its training.

        Raises:
            ImportError: If Captum is not installed.
            ValueError: If the folder holds no model of ours.
        """
        parts = load_trained(folder)
        if pair_column is None:
            pair_column = trained_pair_column(folder)
        return cls(folder.resolve().name, MultiLabelScorer(*parts), Explainer(*parts), pair_column)

    @property
    def config(self) -> MultiLabelConfig:
        """Names the labels, and decides on them as the model was saved."""
        return self.scorer.config

    def score(self, text: str, pair: str | None) -> torch.Tensor:
        """Return the logits of a text, (L,), float32."""
        return score_rows(self.scorer.logits, [(text, pair)], len(self.config.label_names))[0]

    def predict_file(self, path: Path, target: Path, config: MultiLabelConfig) -> Iterator[tuple[int, int]]:
        """Read a file as --do_predict does, and write what the model says of its rows.

        Args:
            path: csv, tsv, json, jsonl or parquet.
            target: The JSON lines file to write.
            config: Decides.

        Yields:
            How many rows are scored, and how many there are.

        Raises:
            ValueError: If the file cannot be read, or rows are bad.
        """
        spec = DataSpec(text_pair_column=self.pair_column, label_names=config.label_names)
        rows = load_splits(spec, {"test": str(path)}).splits["test"]
        parts = []
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            yield start, len(rows)
            part = rows[start : start + ROWS_AT_A_TIME]
            parts.append(self.scorer.logits(part["text"], part.get("pair")))
        ids = list(rows["id"]) if "id" in rows.column_names else None
        write_json_lines(target, prediction_records(torch.cat(parts), config, ids))
        yield len(rows), len(rows)


def moving_thresholds(config: MultiLabelConfig, shift: float, own: Mapping[str, float]) -> MultiLabelConfig:
    """Return a copy of a configuration that decides by other thresholds.

    Args:
        config: Holds the thresholds to begin with.
        shift: Added to all of them, as far as they stay in 0..1.
        own: In place of that, thresholds of single labels, by name.
    """
    shifted = {
        name: min(max(threshold + shift, 0.0), 1.0)
        for name, threshold in zip(config.label_names, config.label_thresholds, strict=True)
    }
    return config.with_decision({**shifted, **own})
