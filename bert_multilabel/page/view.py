"""The state of the page for one visitor, and its content as HTML; without Gradio."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.explain.explainer import check_text

from .html import bars_html, message_html, words_html
from .model import PageModel, move_thresholds

NO_TEXT = "Enter a text first."


@dataclass(frozen=True, kw_only=True)
class View:
    """The state of the page for one visitor.

    Attributes:
        text: The text that was scored.
        pair: Its second text, or None.
        logits: (L,) for each model; empty before a text was scored.
        label: The chosen label, whose words are shown.
        shift: Added to all thresholds.
        moved: For each model, the thresholds of single labels that were moved, by name.
    """

    text: str
    pair: str | None
    logits: list[torch.Tensor]
    label: str | None
    shift: float
    moved: list[dict[str, float]]


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
        logits = [model.score(text, second) for model in self.models]
        return replace(view, text=text, pair=second, logits=logits, label=None), ""

    def bars(self, view: View) -> list[str]:
        """Return the bars of each model, by the current thresholds."""
        return [
            bars_html(model.name, logits, move_thresholds(model.config, view.shift, moved), view.label)
            for model, logits, moved in zip(self.models, view.logits, view.moved, strict=False)
        ] or [""] * len(self.models)

    def words(self, view: View) -> list[str]:
        """Return the words that support and oppose the chosen label, for each model."""
        if view.label is None:
            return [""] * len(self.models)
        return [self._words(model, view, view.label) for model in self.models]

    def _words(self, model: PageModel, view: View, label: str) -> str:
        try:
            return words_html(model.explainer.explain(view.text, view.pair, [label]))
        except ValueError as error:  # the text has no words, or only the other model has this label
            return message_html(str(error))

    def threshold(self, number: int, view: View) -> float | None:
        """Return the threshold of the chosen label in a model, rounded, or None if the model lacks the label."""
        config, moved = self.models[number].config, view.moved[number]
        if view.label not in config.label_names:
            return None
        thresholds = move_thresholds(config, view.shift, moved).label_thresholds
        return round(thresholds[config.label_names.index(view.label)], 2)

    def predict(self, view: View, path: Path, targets: Sequence[Path]) -> Iterator[tuple[int, int]]:
        """Write the predictions of each model for a file to its target; see `PageModel.predict_file`."""
        for number, (model, target) in enumerate(zip(self.models, targets, strict=True)):
            config = move_thresholds(model.config, view.shift, view.moved[number])
            for done, rows in model.predict_file(path, target, config):
                yield number * rows + done, len(self.models) * rows
