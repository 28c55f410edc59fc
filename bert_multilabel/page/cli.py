"""Opens a page on which to try a trained model: `python -m bert_multilabel.page MODEL_DIR [OTHER_MODEL_DIR]`.

Type a text and see what each label scores against its threshold; move a threshold; choose a label and see the words
that speak for and against it; give a file and take its predictions. Two folders are shown side by side. Nothing leaves
this machine. With --space the page is written as a folder to push as a Hugging Face Space instead.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.explain.explainer import check_text
from bert_multilabel.output_dir.checkpoints import PREDICTIONS_FILE
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import OptionParser

from .html import CSS, JS_CLICK, bars_html, message_html, status_html, words_html
from .model import PageModel, moving_thresholds
from .space import write_space

if TYPE_CHECKING:
    import gradio as gr

BARS_HEIGHT = 450  # pixels; what is beyond scrolls
COLUMN_WIDTH = 320  # pixels; less makes columns stand below each other
FILE_TYPES = [".csv", ".tsv", ".json", ".jsonl", ".parquet"]
NO_TEXT = "Type a text first: there is nothing to score yet."


@dataclass
class PageArguments:
    """Where the page is to be seen."""

    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on; 0.0.0.0: every one it has."})
    port: int = field(default=7860, metadata={"help": "Port to listen on."})
    space: str | None = field(
        default=None, metadata={"help": "Write the page to this new folder, to push as a Space, and open none."}
    )

    def __post_init__(self) -> None:
        """Refuse a port that there is not."""
        if not 0 < self.port < 65_536:
            raise MultiLabelError(f"--port must be from 1 to 65535, got {self.port}")


@dataclass(frozen=True)
class View:
    """What one visitor sees.

    Attributes:
        text: The text that was scored.
        pair: Its second text, if there is one.
        logits: (L,) of each model; none before a text was scored.
        label: The chosen one, whose words are shown.
        shift: Added to all thresholds.
        own: For each model, thresholds of single labels that were moved, by name.
    """

    text: str
    pair: str | None
    logits: list[torch.Tensor]
    label: str | None
    shift: float
    own: list[dict[str, float]]


class Page:
    """Answers what visitors do: each answer is a new view, and what changes in each model's column.

    Args:
        models: One, or two to compare.
    """

    def __init__(self, models: Sequence[PageModel]) -> None:
        self.models = models

    def start(self) -> View:
        """Return the view of a visitor who comes."""
        return View("", None, [], None, 0.0, [{} for _ in self.models])

    def score(self, view: View, text: str, pair: str) -> tuple[View, str, list[str]]:
        """Score a text.

        Args:
            view: The one before.
            text: What stands in the field of the text.
            pair: What stands in the field of the second text.

        Returns:
            The view, a hint if the text is none, and the bars of each model.
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
        """Return the bars of each model, by the thresholds as they stand; the text is not scored again."""
        return [
            bars_html(model.name, logits, moving_thresholds(model.config, view.shift, own), view.label)
            for model, logits, own in zip(self.models, view.logits, view.own, strict=False)
        ] or [""] * len(self.models)

    def words(self, view: View) -> list[str]:
        """Return, for each model, what speaks for and against the chosen label."""
        if view.label is None:
            return [""] * len(self.models)
        return [self._words(model, view, view.label) for model in self.models]

    def _words(self, model: PageModel, view: View, label: str) -> str:
        try:
            return words_html(model.explainer.explain(view.text, view.pair, [label]))
        except ValueError as error:  # a text without words, or a label that only the other model has
            return message_html(str(error))

    def threshold(self, number: int, view: View) -> float | None:
        """Return the threshold of the chosen label in a model as a slider shows it, if it has that label."""
        config, own = self.models[number].config, view.own[number]
        if view.label not in config.label_names:
            return None
        thresholds = moving_thresholds(config, view.shift, own).label_thresholds
        return round(thresholds[config.label_names.index(view.label)], 2)

    def predict(self, view: View, path: Path, targets: Sequence[Path]) -> Iterator[tuple[int, int]]:
        """Write each model's predictions for a file, by the thresholds as they stand.

        Args:
            view: Whose thresholds count.
            path: The file.
            targets: Where the predictions of each model go.

        Yields:
            How much is done, and how much there is to do.

        Raises:
            MultiLabelError: If the file cannot be read, or rows are bad.
        """
        for number, (model, target) in enumerate(zip(self.models, targets, strict=True)):
            config = moving_thresholds(model.config, view.shift, view.own[number])
            for done, rows in model.predict_file(path, target, config):
                yield number * rows + done, len(self.models) * rows


def make_page(models: Sequence[PageModel]) -> "gr.Blocks":
    """Lay out the page.

    Args:
        models: One, or two to compare.

    Returns:
        The page, for `launch`.
    """
    import gradio as gr  # seconds to import, and there only with the extra "page"

    page = Page(models)
    numbers = range(len(models))
    names = " and ".join(model.name for model in models)
    blocks: gr.Blocks
    # Its analytics would tell Gradio's makers of each start.
    with gr.Blocks(analytics_enabled=False, title=f"Labels by {names}") as blocks:
        view = gr.State(page.start())
        gr.Markdown("# Labels of a text")
        text = gr.Textbox(label="Text", lines=3, placeholder="Type or paste a text", elem_id="text")
        # A model that knows nothing of its training may have seen pairs.
        takes_pairs = any(model.pair_column != "" for model in models)
        pair = gr.Textbox(label="Second text (may stay empty)", lines=2, visible=takes_pairs, elem_id="pair")
        find = gr.Button("Find labels", variant="primary")
        hint = gr.HTML(elem_classes="part", js_on_load=None, visible=False)
        shift = gr.Slider(
            -0.5,
            0.5,
            0.0,
            step=0.01,
            label="Move all thresholds",
            info="A label is given when its score reaches its threshold, the tick in its bar. "
            "Moving all takes back what was moved for one label.",
            elem_id="shift",
        )
        bars, sliders, words = [], [], []
        with gr.Row():
            for number in numbers:
                # Words stand beside the bars where there is room, and below them where there is not.
                with gr.Column(min_width=COLUMN_WIDTH), gr.Row():
                    with gr.Column(min_width=COLUMN_WIDTH):
                        drawing = gr.HTML(
                            elem_classes="part", elem_id=f"bars-{number}", max_height=BARS_HEIGHT, js_on_load=JS_CLICK
                        )
                        bars.append(drawing)
                    with gr.Column(min_width=COLUMN_WIDTH):
                        sliders.append(
                            gr.Slider(0, 1, step=0.01, visible=False, buttons=[], elem_id=f"threshold-{number}")
                        )
                        words.append(gr.HTML(elem_classes="part", elem_id=f"words-{number}", js_on_load=None))
        with gr.Accordion("A file of texts", open=False):
            file = gr.File(label="csv, tsv, json, jsonl or parquet", file_types=FILE_TYPES, elem_id="file")
            predict = gr.Button("Predict its labels, by the thresholds as they stand")
            outcome = gr.HTML(elem_classes="part", elem_id="outcome", js_on_load=None, min_height=40)
            downloads = [
                gr.DownloadButton(f"Download {PREDICTIONS_FILE} of {model.name}", visible=False) for model in models
            ]

        def show_words(seen: View) -> list[Any]:
            moved = [page.threshold(number, seen) for number in numbers]
            shown = [
                gr.update(label=f"Threshold of {seen.label}", value=value, visible=value is not None)
                for value in moved
            ]
            return [*shown, *page.words(seen)]

        def on_score(seen: View, first: str, second: str) -> list[Any]:
            seen, said, drawn = page.score(seen, first or "", second or "")
            return [seen, gr.update(value=said, visible=bool(said)), *drawn, *show_words(seen)]

        def on_choose(seen: View, event: gr.EventData) -> list[Any]:
            seen = replace(seen, label=str(event.label))
            return [seen, *page.bars(seen), *show_words(seen)]

        def on_shift(seen: View, value: float) -> list[Any]:
            seen = replace(seen, shift=value, own=[{} for _ in models])
            drawn = page.bars(seen)
            moved = [page.threshold(number, seen) for number in numbers]
            return [seen, *drawn, *(gr.update() if value is None else gr.update(value=value) for value in moved)]

        def on_threshold(number: int, seen: View, value: float) -> list[Any]:
            if seen.label is not None:
                own = [*seen.own]
                own[number] = {**own[number], seen.label: value}
                seen = replace(seen, own=own)
            return [seen, *page.bars(seen)]

        # Gradio finds out by the default that there is a progress bar to move.
        def on_predict(seen: View, path: str | None, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
            hidden = [gr.update(visible=False)] * len(models)
            if path is None:
                return [message_html("Choose a file first."), *hidden]
            folder = Path(tempfile.mkdtemp(dir=Path(path).parent))
            targets = [folder / str(number) / PREDICTIONS_FILE for number in numbers]
            rows = 0
            try:
                for target in targets:
                    target.parent.mkdir()
                for done, rows in page.predict(seen, Path(path), targets):
                    progress((done, rows), desc="Scoring", unit="rows")
            except ValueError as error:
                return [message_html(str(error).replace(path, Path(path).name)), *hidden]
            said = f"{rows // len(models):,} rows scored: the predictions are ready to download."
            return [status_html(said), *(gr.update(value=str(target), visible=True) for target in targets)]

        scored: dict[str, Any] = {
            "fn": on_score,
            "inputs": [view, text, pair],
            "outputs": [view, hint, *bars, *sliders, *words],
        }
        # One at a time goes through the models.
        alone: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 1, "show_progress": "minimal"}
        find.click(**scored, **alone)
        text.submit(**scored, **alone)
        pair.submit(**scored, **alone)
        instant: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
        shift.change(on_shift, [view, shift], [view, *bars, *sliders], **instant)
        for number in numbers:
            bars[number].click(on_choose, [view], [view, *bars, *sliders, *words], **alone)
            sliders[number].input(partial(on_threshold, number), [view, sliders[number]], [view, *bars], **instant)
        predict.click(on_predict, [view, file], [outcome, *downloads], concurrency_id="models", concurrency_limit=1)
    return blocks


def launch(blocks: "gr.Blocks", host: str | None = None, port: int | None = None) -> str:
    """Start to show a page, so that neither it nor the browser asks anything of another machine.

    Args:
        blocks: What `make_page` made.
        host: Address to listen on; None: what GRADIO_SERVER_NAME says, or 127.0.0.1.
        port: Port to listen on; None: what GRADIO_SERVER_PORT says, or the first that is free from 7860.

    Returns:
        The page's URL.

    Raises:
        OSError: If the port is taken.
    """
    import gradio as gr

    theme = gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],  # by name, so that none is loaded
        font_mono=["ui-monospace", "monospace"],
    ).set(  # so that all can read it
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


def show(blocks: "gr.Blocks", host: str | None = None, port: int | None = None) -> None:
    """Show a page until Ctrl-C, as `launch` does, and say where it is."""
    print(f"the page is at {launch(blocks, host, port)} (Ctrl-C ends it)", flush=True)
    blocks.block_thread()


def main(arguments: list[str] | None = None) -> None:
    """Open the page, or write it as a Space, for the models that the command line names."""
    parser = OptionParser(PageArguments, prog="bert-multilabel page", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model.")
    parser.add_argument("other_model_dir", type=Path, nargs="?", help="Folder of a model to compare it with.")
    options, others = parser.parse(arguments)
    folders = [folder for folder in (others.model_dir, others.other_model_dir) if folder is not None]
    check_installed("the page", "page")
    models = [PageModel.load(folder) for folder in folders]
    if len({model.name for model in models}) < len(models):
        models = [replace(model, name=str(folder)) for model, folder in zip(models, folders, strict=True)]
    if options.space is not None:
        write_space(
            Path(options.space),
            [(model_dir, model.pair_column) for model_dir, model in zip(folders, models, strict=True)],
        )
        print(f"written to {options.space}: push it with `hf upload --repo-type space NAME {options.space}`")
        return
    try:
        show(make_page(models), options.host, options.port)
    except OSError as error:
        raise OSError(
            f"cannot listen on {options.host}, port {options.port}: choose another --port or --host"
        ) from error
