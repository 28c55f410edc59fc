"""What a visitor of the page sees, and how each action changes it; without Gradio."""

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


class Page:
    """Computes what changes when a visitor does something.

    Args:
        models: One model, or two to compare.
    """

    def __init__(self, models: Sequence[PageModel]) -> None:
        self.models = models

    def start(self) -> View:
        """Return the view of a new visitor."""
        return View(text="", pair=None, logits=[], label=None, shift=0.0, moved=[{} for _ in self.models])

    def score(self, view: View, text: str, pair: str) -> tuple[View, str, list[str]]:
        """Score a text.

        Args:
            view: The view before.
            text: The text.
            pair: The second text; blank for none.

        Returns:
            The new view, an error message as HTML if the text cannot be scored, and the bars of each model.
        """
        second = pair if pair.strip() else None
        try:
            if not text.strip():
                raise MultiLabelError(NO_TEXT)
            check_text("text", text)
            check_text("pair", pair)
        except ValueError as error:
            view = replace(view, logits=[], label=None)
            return view, message_html(str(error)), self.bars(view)
        logits = [model.score(text, second) for model in self.models]
        view = replace(view, text=text, pair=second, logits=logits, label=None)
        return view, "", self.bars(view)

    def bars(self, view: View) -> list[str]:
        """Return the bars of each model by the current thresholds, without scoring the text again."""
        return [
            bars_html(model.name, logits, move_thresholds(model.config, view.shift, moved), view.label)
            for model, logits, moved in zip(self.models, view.logits, view.moved, strict=False)
        ] or [""] * len(self.models)

    def words(self, view: View) -> list[str]:
        """Return, for each model, the words that support and oppose the chosen label."""
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
        """Write the predictions of each model for a file, by the current thresholds.

        Args:
            view: Has the thresholds.
            path: The file.
            targets: The file to write for each model.

        Yields:
            The number of texts that are scored, and of all texts to score.

        Raises:
            MultiLabelError: If the file cannot be read, or its data is bad.
        """
        for number, (model, target) in enumerate(zip(self.models, targets, strict=True)):
            config = move_thresholds(model.config, view.shift, view.moved[number])
            for done, rows in model.predict_file(path, target, config):
                yield number * rows + done, len(self.models) * rows
