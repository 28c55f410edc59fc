"""Writes the README.md of a stock folder: how to run it in other tools, and what of our decisions they do not know."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from bert_multilabel.hub.model_card import markdown_environment
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.files import atomic_write

_CARD = "README.md"
# From where on the card of the original is about the model, and not about how to load it.
_FIRST_KEPT = "\n## Scores\n"


def left_behind(config: MultiLabelConfig, tokenizer: MultiLabelTokenizer, decide_at_half: bool) -> Iterator[str]:
    """Say in sentences what other tools do not know of a model's decisions and inputs.

    Args:
        config: The model's.
        tokenizer: The model's; its `model_max_length` is the limit of the export.
        decide_at_half: Whether the thresholds are folded in.
    """
    if config.decision is not None:
        score = config.decision["score"].replace("_", " ")
        yield f"The set with the highest expected {score} is not predicted: the thresholds alone decide."
    if config.min_labels:
        yield f"min_labels {config.min_labels} is not obeyed: a text may get fewer labels."
    if config.label_rules is not None:
        yield f"The label rules ({config.checked_rules}) are not obeyed."
    if decide_at_half:
        yield "The thresholds are folded in: 0.5, or a raw score of 0, decides, and scores are not probabilities."
    yield (
        f"Long texts are cut at {tokenizer.model_max_length} tokens where the tool cuts them: none reads them in "
        "windows (--stride)."
    )


def write_stock_card(
    folder: Path, model_dir: Path, config: MultiLabelConfig, tokenizer: MultiLabelTokenizer, decide_at_half: bool
) -> None:
    """Write the README.md of an export, which ends with what the card of the original says about the model.

    Args:
        folder: The export.
        model_dir: The original.
        config: Its configuration.
        tokenizer: Its tokenizer, see `left_behind`.
        decide_at_half: Whether the thresholds are folded in.
    """
    original = model_dir / _CARD
    card = ModelCard.load(original) if original.is_file() else None
    text = (
        markdown_environment(Path(__file__).parent)
        .get_template("stock_card.md.jinja")
        .render(
            metadata=_metadata(card).to_yaml(),
            title=model_dir.resolve().name,
            labels=list(zip(config.label_names, config.label_thresholds, strict=True)),
            left_behind=left_behind(config, tokenizer, decide_at_half),
            max_length=tokenizer.model_max_length,
            decide_at_half=decide_at_half,
            on_pairs=bool(config.trained_on_pairs),
            about="" if card is None else "".join(card.text.partition(_FIRST_KEPT)[1:]).strip(),
        )
    )
    with atomic_write(folder / _CARD) as file:
        file.write(text)


def _metadata(card: ModelCard | None) -> ModelCardData:
    """Return the metadata of the original's card, as those of a folder that needs no code of ours."""
    fields = {"pipeline_tag": "text-classification"} if card is None else card.data.to_dict()
    tags = [tag for tag in fields.get("tags") or ["multi-label"] if tag != "bert_multilabel"]
    return ModelCardData(**{**fields, "library_name": "transformers", "tags": tags})
