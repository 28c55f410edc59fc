"""The page as a Gradio application: its layout, and which action updates which component."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_multilabel.output_dir.checkpoints import PREDICTIONS_FILE

from .html import CSS, JS_CLICK, message_html, status_html
from .model import PageModel
from .view import Page, View

if TYPE_CHECKING:  # takes seconds to import, and is only installed with the extra "page"
    import gradio as gr

COLUMN_WIDTH = 320  # pixels; on narrower screens the columns are stacked
FILE_TYPES = [".csv", ".tsv", ".json", ".jsonl", ".parquet"]
# Only one visitor at a time uses the models.
ALONE: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 1, "show_progress": "minimal"}
INSTANT: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}


@dataclass
class Columns:
    """The components that exist once per model."""

    bars: list["gr.HTML"]
    sliders: list["gr.Slider"]
    words: list["gr.HTML"]


def make_page(models: Sequence[PageModel]) -> "gr.Blocks":
    """Build the page.

    Args:
        models: One model, or two to compare.

    Returns:
        The page, for `launch`.
    """
    import gradio as gr

    page = Page(models)
    title = f"Labels by {' and '.join(model.name for model in models)}"
    blocks: gr.Blocks
    with gr.Blocks(analytics_enabled=False, title=title) as blocks:
        view = gr.State(page.start())
        gr.Markdown("# Labels of a text")
        for model in models:
            gr.HTML(model.description, elem_classes="part", js_on_load=None)
        text, pair = _text_fields(models)
        find = gr.Button("Find labels", variant="primary")
        hint = gr.HTML(elem_classes="part", js_on_load=None, visible=False)
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
            columns = _model_columns(len(models))
        _connect_texts(page, view, (text, pair), find, hint, columns)
        _connect_thresholds(page, view, shift, columns)
        _file_section(page, view)
    return blocks


def _text_fields(models: Sequence[PageModel]) -> tuple["gr.Textbox", "gr.Textbox"]:
    import gradio as gr

    text = gr.Textbox(label="Text", lines=3, placeholder="Type or paste a text", elem_id="text")
    # A model without a record of its training may have been trained on pairs.
    takes_pairs = any(model.pair_column != "" for model in models)
    pair = gr.Textbox(label="Second text (optional)", lines=2, visible=takes_pairs, elem_id="pair")
    examples = list(dict.fromkeys(example for model in models for example in model.examples))
    if examples:
        gr.Examples([[example] for example in examples], [text], label="Examples from the model card")
    return text, pair


def _model_columns(count: int) -> Columns:
    import gradio as gr

    columns = Columns([], [], [])
    for number in range(count):
        # The words are to the right of the bars if the screen is wide enough, else below.
        with gr.Column(min_width=COLUMN_WIDTH), gr.Row():
            with gr.Column(min_width=COLUMN_WIDTH):
                columns.bars.append(gr.HTML(elem_classes="part", elem_id=f"bars-{number}", js_on_load=JS_CLICK))
            with gr.Column(min_width=COLUMN_WIDTH):
                columns.sliders.append(
                    gr.Slider(0, 1, step=0.01, visible=False, buttons=[], elem_id=f"threshold-{number}")
                )
                columns.words.append(gr.HTML(elem_classes="part", elem_id=f"words-{number}", js_on_load=None))
    return columns


def _connect_texts(
    page: Page,
    view: "gr.State",
    texts: tuple["gr.Textbox", "gr.Textbox"],
    find: "gr.Button",
    hint: "gr.HTML",
    columns: Columns,
) -> None:
    """Score a text when the visitor asks for it, and explain the label that the visitor chooses."""
    import gradio as gr

    def sliders(seen: View) -> list[Any]:
        thresholds = [page.threshold(number, seen) for number in range(len(page.models))]
        return [
            gr.update(label=f"Threshold of {seen.label}", value=value, visible=value is not None)
            for value in thresholds
        ]

    def on_score(seen: View, text: str, pair: str) -> list[Any]:
        seen, message, bars = page.score(seen, text or "", pair or "")
        return [seen, gr.update(value=message, visible=bool(message)), *bars, *sliders(seen), *page.words(seen)]

    def on_choose(seen: View, event: gr.EventData) -> Iterator[list[Any]]:
        seen = replace(seen, label=str(event.label))
        shown = [seen, *page.bars(seen), *sliders(seen)]
        yield [*shown, *[status_html(f"Computing which words support and oppose {seen.label}…")] * len(page.models)]
        yield [*shown, *page.words(seen)]

    per_model = [*columns.bars, *columns.sliders, *columns.words]
    for trigger in (find.click, texts[0].submit, texts[1].submit):
        trigger(on_score, [view, *texts], [view, hint, *per_model], **ALONE)
    for drawing in columns.bars:
        drawing.click(on_choose, [view], [view, *per_model], **ALONE)


def _connect_thresholds(page: Page, view: "gr.State", shift: "gr.Slider", columns: Columns) -> None:
    """Draw the bars again when a threshold moves."""
    import gradio as gr

    def on_shift(seen: View, value: float) -> list[Any]:
        seen = replace(seen, shift=value, moved=[{} for _ in page.models])
        thresholds = [page.threshold(number, seen) for number in range(len(page.models))]
        return [
            *[seen, *page.bars(seen)],
            *(gr.update() if value is None else gr.update(value=value) for value in thresholds),
        ]

    def on_threshold(number: int, seen: View, value: float) -> list[Any]:
        if seen.label is not None:
            moved = [*seen.moved]
            moved[number] = {**moved[number], seen.label: value}
            seen = replace(seen, moved=moved)
        return [seen, *page.bars(seen)]

    shift.change(on_shift, [view, shift], [view, *columns.bars, *columns.sliders], **INSTANT)
    for number, slider in enumerate(columns.sliders):
        slider.input(partial(on_threshold, number), [view, slider], [view, *columns.bars], **INSTANT)


def _file_section(page: Page, view: "gr.State") -> None:
    """Add the part of the page that predicts the texts of a file."""
    import gradio as gr

    with gr.Accordion("A file of texts", open=False):
        file = gr.File(label="csv, tsv, json, jsonl or parquet", file_types=FILE_TYPES, elem_id="file")
        predict = gr.Button("Predict its labels by the current thresholds")
        outcome = gr.HTML(elem_classes="part", elem_id="outcome", js_on_load=None, min_height=40)
        downloads = [
            gr.DownloadButton(f"Download {PREDICTIONS_FILE} of {model.name}", visible=False) for model in page.models
        ]

    # Gradio recognizes a progress bar by this default value.
    def on_predict(seen: View, path: str | None, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        hidden = [gr.update(visible=False)] * len(downloads)
        if path is None:
            return [message_html("Choose a file first."), *hidden]
        folder = Path(tempfile.mkdtemp(dir=Path(path).parent))
        targets = [folder / str(number) / PREDICTIONS_FILE for number in range(len(downloads))]
        total = 0
        try:
            for target in targets:
                target.parent.mkdir()
            for done, total in page.predict(seen, Path(path), targets):
                progress((done, total), desc="Predicting", unit="texts")
        except ValueError as error:
            return [message_html(str(error).replace(path, Path(path).name)), *hidden]
        message = f"{total // len(targets):,} texts predicted. The predictions are ready to download."
        return [status_html(message), *(gr.update(value=str(target), visible=True) for target in targets)]

    predict.click(on_predict, [view, file], [outcome, *downloads], concurrency_id="models", concurrency_limit=1)


def launch(blocks: "gr.Blocks", host: str | None = None, port: int | None = None) -> str:
    """Start to serve a page, without any request to other machines from it or from the browser.

    Args:
        blocks: The page, from `make_page`.
        host: Address to listen on; None: GRADIO_SERVER_NAME, or 127.0.0.1.
        port: Port to listen on; None: GRADIO_SERVER_PORT, or the first free one from 7860.

    Returns:
        The URL of the page.

    Raises:
        OSError: If the port is in use.
    """
    import gradio as gr

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
        css=CSS,
        footer_links=[],
        ssr_mode=False,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    return url
