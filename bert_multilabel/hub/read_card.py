"""Reads what pages show of a model card."""

from pathlib import Path

from huggingface_hub import ModelCard


def card_examples(folder: Path) -> list[str]:
    """Return the example texts in the metadata of the model card of a folder, if it has any."""
    path = folder / "README.md"
    try:
        widget = ModelCard.load(path).data.get("widget") if path.is_file() else None
    except Exception:  # no error in a card may prevent a page
        widget = None
    if not isinstance(widget, list):
        return []
    texts = [example.get("text") for example in widget if isinstance(example, dict)]
    return [text for text in texts if isinstance(text, str)]
