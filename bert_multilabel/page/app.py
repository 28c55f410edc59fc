"""The page as a Gradio application: its layout, and how it answers the actions of a visitor.

This module imports gradio, which is only installed with the extra "page".
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from bert_multilabel.explain.html import STYLE
from bert_multilabel.output_dir.checkpoints import PREDICTIONS_FILE
from bert_multilabel.utils.hosts import HostCheck

from .html import message_html, status_html
from .model import Page, PageModel, View

CLICK = Path(__file__).with_name("page.js").read_text()
COLUMN_WIDTH = 320  # pixels; on narrower screens the columns are stacked
FILE_TYPES = [".csv", ".tsv", ".json", ".jsonl", ".parquet"]
# Only one visitor at a time uses the models.
ALONE: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 1}
INSTANT: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
_html = partial(gr.HTML, elem_classes="part", js_on_load=None)


def make_page(models: Sequence[PageModel]) -> gr.Blocks:
    """Build the page for one model, or for two to compare."""
    page = Page(models)
    actions = _Actions(page)
    blocks: gr.Blocks
    with gr.Blocks(
        analytics_enabled=False, title=f"Labels by {' and '.join(model.name for model in models)}"
    ) as blocks:
        view = gr.State(page.start())
        gr.Markdown("# Labels of a text")
        for model in models:
            _html(model.description)
        text, pair = _text_fields(models)
        find = gr.Button("Find labels", variant="primary")
        hint = _html(visible=False)
        shift = gr.Slider(
            -0.5,
            0.5,
            0.0,
            step=0.01,
            label="Move all thresholds",
            info="A label is predicted if its score is at least its threshold (the tick in its bar). "
            "This also undoes the moves of single thresholds.",
            elem_id="shift",
        )
        with gr.Row():
            bars, sliders, words = zip(*map(_model_column, range(len(models))), strict=True)
        for trigger in (find.click, text.submit, pair.submit):
            shown = [view, *bars, *sliders, *words, hint]
            trigger(actions.score, [view, text, pair], shown, show_progress="minimal", **ALONE)
        for drawing in bars:
            drawing.click(actions.choose, [view], [view, *bars, *sliders, *words], show_progress="minimal", **ALONE)
        shift.change(actions.shift, [view, shift], [view, *bars, *sliders], **INSTANT)
        for number, slider in enumerate(sliders):
            slider.input(partial(actions.move, number), [view, slider], [view, *bars], **INSTANT)
        _file_section(actions, view)
    return blocks


def _text_fields(models: Sequence[PageModel]) -> tuple[gr.Textbox, gr.Textbox]:
    text = gr.Textbox(label="Text", lines=3, placeholder="Type or paste a text", elem_id="text")
    # A model without a record of its training may have been trained on pairs.
    takes_pairs = any(model.pair_column != "" for model in models)
    pair = gr.Textbox(label="Second text (optional)", lines=2, visible=takes_pairs, elem_id="pair")
    examples = list(dict.fromkeys(example for model in models for example in model.examples))
    if examples:
        gr.Examples([[example] for example in examples], [text], label="Examples from the model card")
    return text, pair


def _model_column(number: int) -> tuple[gr.HTML, gr.Slider, gr.HTML]:
    """Add the bars of a model, the threshold of the chosen label, and its words: to the right if there is room."""
    with gr.Column(min_width=COLUMN_WIDTH), gr.Row():
        with gr.Column(min_width=COLUMN_WIDTH):
            bars = _html(elem_id=f"bars-{number}", js_on_load=CLICK)
        with gr.Column(min_width=COLUMN_WIDTH):
            slider = gr.Slider(0, 1, step=0.01, visible=False, buttons=[], elem_id=f"threshold-{number}")
            words = _html(elem_id=f"words-{number}")
    return bars, slider, words


def _file_section(actions: "_Actions", view: gr.State) -> None:
    with gr.Accordion("A file of texts", open=False):
        file = gr.File(label="csv, tsv, json, jsonl or parquet", file_types=FILE_TYPES, elem_id="file")
        predict = gr.Button("Predict its labels by the current thresholds")
        outcome = _html(elem_id="outcome", min_height=40)
        names = [model.name for model in actions.page.models]
        downloads = [gr.DownloadButton(f"Download {PREDICTIONS_FILE} of {name}", visible=False) for name in names]
    predict.click(actions.predict, [view, file], [outcome, *downloads], **ALONE)


@dataclass(frozen=True)
class _Actions:
    """The actions of a visitor: each takes the view and the inputs, and returns the new content of components."""

    page: Page

    def _draw(self, view: View) -> list[Any]:
        """Return the view, and for each model the bars and the threshold of the chosen label."""
        sliders = [
            gr.update(label=f"Threshold of {view.label}", value=value, visible=value is not None)
            for value in self.page.thresholds(view)
        ]
        return [view, *self.page.bars(view), *sliders]

    def score(self, view: View, text: str | None, pair: str | None) -> list[Any]:
        view, message = self.page.score(view, text or "", pair or "")
        return [*self._draw(view), *self.page.words(view), gr.update(value=message, visible=bool(message))]

    def choose(self, view: View, event: gr.EventData) -> Iterator[list[Any]]:
        """Show the words of the label that was clicked."""
        drawn = self._draw(replace(view, label=str(event.label)))
        waiting = status_html(f"Computing which words support and oppose {event.label}…")
        yield [*drawn, *[waiting] * len(self.page.models)]
        yield [*drawn, *self.page.words(drawn[0])]

    def shift(self, view: View, value: float) -> list[Any]:
        """Move all thresholds."""
        return self._draw(replace(view, shift=value, moved=[{} for _ in self.page.models]))

    def move(self, number: int, view: View, value: float) -> list[Any]:
        """Move the threshold of the chosen label in one model."""
        if view.label is not None:
            moved = [*view.moved]
            moved[number] = {**moved[number], view.label: value}
            view = replace(view, moved=moved)
        return [view, *self.page.bars(view)]

    # Gradio recognizes a progress bar by this default value.
    def predict(self, view: View, path: str | None, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        """Predict the labels of a file, and offer the predictions of each model as a download."""
        hidden = [gr.update(visible=False) for _ in self.page.models]
        if path is None:
            return [message_html("Choose a file first."), *hidden]
        folder = Path(tempfile.mkdtemp(dir=Path(path).parent))
        targets = [folder / str(number) / PREDICTIONS_FILE for number in range(len(hidden))]
        total = 0
        try:
            for target in targets:
                target.parent.mkdir()
            for done, total in self.page.predict(view, Path(path), targets):
                progress((done, total), desc="Predicting", unit="texts")
        except ValueError as error:
            return [message_html(str(error).replace(path, Path(path).name)), *hidden]
        message = f"{total // len(targets):,} texts predicted. The predictions are ready to download."
        return [status_html(message), *(gr.update(value=str(target), visible=True) for target in targets)]


def launch(
    blocks: gr.Blocks, host: str | None = None, port: int | None = None, allowed_hosts: Sequence[str] = ()
) -> str:
    """Start to serve a page, without requests to other machines, and return its URL.

    Args:
        blocks: The page, from `make_page`.
        host: Address to listen on; None: GRADIO_SERVER_NAME, or 127.0.0.1.
        port: Port to listen on; None: GRADIO_SERVER_PORT, or the first free one from 7860.
        allowed_hosts: Names under which browsers reach the page, as for `is_own_host`.

    Raises:
        OSError: If the port is in use.
    """
    theme = gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],  # fonts of the system, so that none is downloaded
        font_mono=["ui-monospace", "monospace"],
    ).set(  # for enough contrast
        block_info_text_color="*body_text_color",
        block_info_text_color_dark="*body_text_color",
        button_primary_background_fill="*primary_600",
    )
    _, url, _ = blocks.launch(
        server_name=host,
        server_port=port,
        theme=theme,
        css_paths=[STYLE, Path(__file__).with_name("page.css")],
        footer_links=[],
        app_kwargs={"middleware": [Middleware(HostCheck, allowed_hosts=allowed_hosts)]},
        ssr_mode=False,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    return url
