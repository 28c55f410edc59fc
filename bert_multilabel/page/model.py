"""A model on the page: its description, scores, explanations, and predictions for a file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch
from huggingface_hub import ModelCard

from bert_multilabel.data.columns import DataSpec
from bert_multilabel.data.examples import load_splits
from bert_multilabel.explain.explainer import Explainer
from bert_multilabel.loading import load_trained
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import MultiLabelScorer, score_rows
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.files import write_json_lines

# Number of texts of a file between two updates of the progress bar.
BATCH_SIZE = 256
_LABELS_NAMED = 12  # in the description of a model


@dataclass(frozen=True, kw_only=True)
class PageModel:
    """A model on the page.

    Attributes:
        name: The name to show.
        scorer: Computes logits.
        explainer: Computes which words support a label.
        pair_column: Column of the second text in files; "" for a model of single texts, None if unknown.
        examples: Texts from the model card, to try.
    """

    name: str
    scorer: MultiLabelScorer
    explainer: Explainer
    pair_column: str | None
    examples: list[str]

    @classmethod
    def load(cls, folder: Path, pair_column: str | None = None) -> "PageModel":
        """Load a model directory; by default the pair column is that of the training run.

        Raises:
            MissingDependencyError: If Captum is not installed.
            MultiLabelError: If the folder is not a model directory.
        """
        parts = load_trained(folder)
        return cls(
            name=folder.resolve().name,
            scorer=MultiLabelScorer(*parts),
            explainer=Explainer(*parts),
            pair_column=trained_pair_column(folder) if pair_column is None else pair_column,
            examples=card_examples(folder),
        )

    @property
    def config(self) -> MultiLabelConfig:
        """The configuration of the model, with the saved thresholds."""
        return self.scorer.config

    @property
    def description(self) -> str:
        """A sentence on the model, as HTML."""
        names, limit = self.config.label_names, self.scorer.max_length
        shown = ", ".join(names[:_LABELS_NAMED])
        if len(names) > _LABELS_NAMED:
            shown += f" and {len(names) - _LABELS_NAMED} more"
        return (
            f"<p><b>{escape(self.name)}</b> predicts any number of {len(names)} labels for a text of up to {limit} "
            f"tokens: {escape(shown)}.</p>"
        )

    def score(self, text: str, pair: str | None) -> torch.Tensor:
        """Return the logits of a text, (L,), float32."""
        return score_rows(self.scorer.logits, [(text, pair)], len(self.config.label_names))[0]

    def predict_file(self, path: Path, target: Path, config: MultiLabelConfig) -> Iterator[tuple[int, int]]:
        """Predict the texts of a file, read as by --do_predict, by the thresholds of `config`.

        Args:
            path: A csv, tsv, json, jsonl or parquet file.
            target: The JSON lines file to write.
            config: The configuration that decides.

        Yields:
            The number of texts that are scored, and of all texts.

        Raises:
            MultiLabelError: If the file cannot be read, or its data is bad.
        """
        spec = DataSpec(text_pair_column=self.pair_column, label_names=config.label_names)
        rows = load_splits(spec, {"test": str(path)}).splits["test"]
        parts = []
        for start in range(0, len(rows), BATCH_SIZE):
            yield start, len(rows)
            part = rows[start : start + BATCH_SIZE]
            parts.append(self.scorer.logits(part["text"], part.get("pair")))
        ids = list(rows["id"]) if "id" in rows.column_names else None
        write_json_lines(target, prediction_records(torch.cat(parts), config, ids))
        yield len(rows), len(rows)


def card_examples(folder: Path) -> list[str]:
    """Return the example texts in the metadata of the model card of a folder, if it has any."""
    path = folder / "README.md"
    try:
        widget = ModelCard.load(path).data.get("widget") if path.is_file() else None
    except Exception:  # no error in a card may prevent the page
        widget = None
    if not isinstance(widget, list):
        return []
    texts = [example.get("text") for example in widget if isinstance(example, dict)]
    return [text for text in texts if isinstance(text, str)]


def move_thresholds(config: MultiLabelConfig, shift: float, moved: Mapping[str, float]) -> MultiLabelConfig:
    """Return a copy with `shift` added to all thresholds, clipped to 0..1, except the labels of `moved`."""
    shifted = {
        name: min(max(threshold + shift, 0.0), 1.0)
        for name, threshold in zip(config.label_names, config.label_thresholds, strict=True)
    }
    return config.with_decision({**shifted, **moved})
