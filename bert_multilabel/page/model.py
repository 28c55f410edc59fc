"""The models on the page, the state of the page for one visitor, and its content as HTML; without Gradio."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import torch

from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.explain.explainer import Explainer, check_text
from bert_multilabel.explain.html import words_html
from bert_multilabel.hub.read_card import card_examples
from bert_multilabel.loading import load_trained
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.files import write_json_lines

from .html import bars_html, message_html

BATCH_SIZE = 256  # texts of a file between two updates of the progress bar
NO_TEXT = "Enter a text first."
_LABELS_NAMED = 12  # in the description of a model


@dataclass(frozen=True, kw_only=True)
class PageModel:
    """A model on the page."""

    name: str
    scorer: MultiLabelScorer
    explainer: Explainer
    pair_column: str | None  # of the second text in files; "" for a model of single texts, None if unknown
    examples: list[str]  # texts from the model card, to try

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

    def words(self, text: str, pair: str | None, label: str) -> str:
        """Return the words that support and oppose a label, or an error message, as HTML."""
        try:
            return words_html(self.explainer.explain(text, pair, [label]))
        except ValueError as error:  # the text has no words, or only the other model has this label
            return message_html(str(error))

    def predict_file(self, path: Path, target: Path, config: MultiLabelConfig) -> Iterator[tuple[int, int]]:
        """Predict the texts of a file, read as by --do_predict, and write JSON lines to `target`.

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


def move_thresholds(config: MultiLabelConfig, shift: float, moved: Mapping[str, float]) -> MultiLabelConfig:
    """Return a copy with `shift` added to all thresholds, clipped to 0..1, except the labels of `moved`.

    If nothing is moved, a stored `decision` decides; else the thresholds do.
    """
    if not shift and not moved:
        return config.with_decision()
    shifted = [min(max(threshold + shift, 0.0), 1.0) for threshold in config.label_thresholds]
    return config.with_decision({**dict(zip(config.label_names, shifted, strict=True)), **moved})


@dataclass(frozen=True, kw_only=True)
class View:
    """The state of the page for one visitor."""

    text: str  # the text that was scored
    pair: str | None
    logits: list[torch.Tensor]  # (L,) for each model; empty before a text was scored
    label: str | None  # the chosen label, whose words are shown
    shift: float  # added to all thresholds
    moved: list[dict[str, float]]  # for each model, the thresholds of single labels that were moved, by name


@dataclass(frozen=True)
class Page:
    """Computes the content of the page for one model, or for two to compare."""

    models: Sequence[PageModel]

    def start(self) -> View:
        """Return the view of a new visitor."""
        return View(text="", pair=None, logits=[], label=None, shift=0.0, moved=[{} for _ in self.models])

    def score(self, view: View, text: str, pair: str) -> tuple[View, str]:
        """Score a text, whose second text may be blank; return the new view, and an error message as HTML or ""."""
        second = pair if pair.strip() else None
        try:
            if not text.strip():
                raise MultiLabelError(NO_TEXT)
            check_text("text", text)
            check_text("pair", pair)
        except ValueError as error:
            return replace(view, logits=[], label=None), message_html(str(error))
        logits = [model.scorer.logits([text], None if second is None else [second])[0] for model in self.models]
        return replace(view, text=text, pair=second, logits=logits, label=None), ""

    def configs(self, view: View) -> list[MultiLabelConfig]:
        """Return the configuration of each model, with the current thresholds."""
        return [
            move_thresholds(model.config, view.shift, moved)
            for model, moved in zip(self.models, view.moved, strict=True)
        ]

    def bars(self, view: View) -> list[str]:
        """Return the bars of each model, by the current thresholds."""
        return [
            bars_html(model.name, logits, config, view.label)
            for model, logits, config in zip(self.models, view.logits, self.configs(view), strict=False)
        ] or [""] * len(self.models)

    def words(self, view: View) -> list[str]:
        """Return the words that support and oppose the chosen label, for each model."""
        if view.label is None:
            return [""] * len(self.models)
        return [model.words(view.text, view.pair, view.label) for model in self.models]

    def thresholds(self, view: View) -> list[float | None]:
        """Return the threshold of the chosen label in each model, rounded; None if the model lacks the label."""
        by_name = [
            dict(zip(config.label_names, config.label_thresholds, strict=True)) for config in self.configs(view)
        ]
        return [round(named[view.label], 2) if view.label in named else None for named in by_name]

    def predict(self, view: View, path: Path, targets: Sequence[Path]) -> Iterator[tuple[int, int]]:
        """Write the predictions of each model for a file to its target; see `PageModel.predict_file`."""
        for number, (model, target, config) in enumerate(zip(self.models, targets, self.configs(view), strict=True)):
            for done, rows in model.predict_file(path, target, config):
                yield number * rows + done, len(self.models) * rows
