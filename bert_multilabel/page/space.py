"""Writes the page to a folder that can be pushed as a Hugging Face Space."""

import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from huggingface_hub import SpaceCardData
from packaging.requirements import Requirement

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.hub.push import NOT_PUSHED
from bert_multilabel.utils.files import atomic_folder

_APP = '''"""Shows the page of the models in this folder: `pip install -r requirements.txt`, then `python app.py`."""

import os
from pathlib import Path

from bert_multilabel.page.app import make_page
from bert_multilabel.page.cli import show
from bert_multilabel.page.model import PageModel

MODELS = Path(__file__).parent / "models"
# Folder of each model, and the column of the second text in files: "" for none, None if unknown.
page = make_page([{models}])

if __name__ == "__main__":
    show(page, allowed_hosts=["*"] if "SPACE_ID" in os.environ else [])  # a Space is public, whatever its name is
'''


def write_space(target: Path, models: Sequence[tuple[Path, str | None]]) -> None:
    """Write a folder that shows the page, locally or as a Space: the models and the source of this package.

    Args:
        target: The folder to write; it must not exist, or be empty.
        models: The folder of each model, and its pair column as in `PageModel`.

    Raises:
        MultiLabelError: If `target` exists already, or this package is not installed.
    """
    requirements = _requirements()
    names = [folder.resolve().name for folder, _ in models]
    if len(set(names)) < len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    with atomic_folder(target) as space:
        package = Path(__file__).parents[1]
        shutil.copytree(package, space / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        for name, (folder, _) in zip(names, models, strict=True):
            shutil.copytree(folder, space / "models" / name, ignore=shutil.ignore_patterns(*NOT_PUSHED))
        loaded = (
            f"PageModel.load(MODELS / {name!r}, {pair_column!r})"
            for name, (_, pair_column) in zip(names, models, strict=True)
        )
        files = {
            "app.py": _APP.format(models=", ".join(loaded)),
            "requirements.txt": "".join(f"{line}\n" for line in requirements),
            "README.md": _readme(names),
            ".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        }
        for name, content in files.items():
            (space / name).write_text(content, encoding="utf-8")


def _requirements() -> list[str]:
    """Return the requirements of this package with the extra "page"."""
    try:
        declared = [Requirement(line) for line in requires("bert-multilabel") or []]
    except PackageNotFoundError as error:
        raise MultiLabelError(
            "--space reads the requirements of the installed package: install bert-multilabel with pip first"
        ) from error
    needed = []
    for requirement in declared:
        if requirement.marker is None or requirement.marker.evaluate({"extra": "page"}):
            requirement.marker = None
            needed.append(str(requirement))
    return needed


def _readme(names: Sequence[str]) -> str:
    metadata = SpaceCardData(
        title=f"Labels by {' and '.join(names)}",
        sdk="gradio",
        sdk_version=version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        emoji="🏷️",
        colorFrom="blue",
        colorTo="yellow",
    )
    return (
        f"---\n{metadata}\n---\n\nEnter a text and see its labels, their scores, and the words behind them.\n"
        "\nHere: `pip install -r requirements.txt`, then `python app.py`. As a Space:"
        " `hf upload --repo-type space NAME .`\n"
    )
