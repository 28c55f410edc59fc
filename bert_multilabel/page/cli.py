"""Opens a page on which to try a trained model: `bert-multilabel page MODEL_DIR [OTHER_MODEL_DIR]`.

Enter a text and compare the score of each label with its threshold; move a threshold; choose a label and see the words
that support and oppose it; upload a file and download its predictions. Two models are shown side by side. No data
leaves this machine. With --space the page is written to a folder, to push as a Hugging Face Space.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.hosts import ALLOWED_HOSTS
from bert_multilabel.utils.option_parser import OptionParser, option, path_argument

if TYPE_CHECKING:  # takes seconds to import, and is only installed with the extra "page"
    import gradio as gr


@dataclass
class PageArguments:
    """Where to show the page."""

    host: str = option("Address to listen on; 0.0.0.0: all addresses.", "127.0.0.1")
    port: int = option("Port to listen on.", 7860)
    allowed_hosts: list[str] = field(default_factory=list, metadata={"help": ALLOWED_HOSTS})
    space: str | None = option("Write the page to this new folder, to push as a Space, instead of opening it.")

    def __post_init__(self) -> None:
        """Raise a MultiLabelError if the port is out of range."""
        if not 0 < self.port < 65_536:
            raise MultiLabelError(f"--port must be from 1 to 65535, got {self.port}")


def show(
    blocks: "gr.Blocks", host: str | None = None, port: int | None = None, allowed_hosts: Sequence[str] = ()
) -> None:
    """Serve a page, as `launch` does, and print its URL, until Ctrl-C."""
    from .app import launch

    print(f"The page is at {launch(blocks, host, port, allowed_hosts)} (Ctrl-C ends it)", flush=True)
    blocks.block_thread()


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = OptionParser(PageArguments, prog="bert-multilabel page", description=__doc__)
    parser.add_argument("model_dir", type=path_argument, help="Folder of the trained model.")
    parser.add_argument("other_model_dir", type=path_argument, nargs="?", help="Folder of a model to compare it with.")
    options, others = parser.parse(arguments)
    folders = [folder for folder in (others.model_dir, others.other_model_dir) if folder is not None]
    check_installed("the page", "page")
    # Only now what takes seconds to import.
    from .model import PageModel
    from .space import write_space

    models = [PageModel.load(folder) for folder in folders]
    if len({model.name for model in models}) < len(models):
        models = [replace(model, name=str(folder)) for model, folder in zip(models, folders, strict=True)]
    if options.space is not None:
        write_space(
            Path(options.space), [(folder, model.pair_column) for folder, model in zip(folders, models, strict=True)]
        )
        print(f"Written to {options.space}. Push it with `hf upload --repo-type space NAME {options.space}`")
        return
    from .app import make_page

    try:
        show(make_page(models), options.host, options.port, [options.host, *options.allowed_hosts])
    except OSError as error:
        where = f"{options.host}, port {options.port}"
        raise MultiLabelError(f"cannot listen on {where}: choose another --port or --host") from error
