"""The bars of the labels, and messages, as HTML by `page.html.jinja`."""

from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

_ENVIRONMENT = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
_MACROS: Any = _ENVIRONMENT.get_template("page.html.jinja").module


def message_html(message: str) -> str:
    """Write an error message, which screen readers announce at once."""
    return str(_MACROS.message("alert", message))


def status_html(message: str) -> str:
    """Write a status message, which screen readers announce when idle."""
    return str(_MACROS.message("status", message))


def bars_html(name: str, logits: torch.Tensor, config: MultiLabelConfig, chosen: str | None = None) -> str:
    """Write a bar for each label, the most probable first, with its threshold for this text as a tick.

    Args:
        name: Name of the model.
        logits: (L,).
        config: The configuration that decides.
        chosen: The label whose words are shown.
    """
    probabilities, decisions = (row[0].tolist() for row in config.decide(logits[None]))  # (L,) each
    names, thresholds = config.label_names, config.cutoffs(logits[None])[0].tolist()
    labels = [
        {
            "name": names[label],
            "probability": probabilities[label],
            "threshold": thresholds[label],
            "is_below": probabilities[label] < thresholds[label],
            "predicted": decisions[label],
        }
        for label in logits.argsort(descending=True, stable=True).tolist()  # probabilities may be equal: saturated
    ]
    # Rules act where a decision differs from what its own threshold says.
    by_rules = config.label_rules is not None and any(label["is_below"] == label["predicted"] for label in labels)
    return str(_MACROS.bars(name, labels, chosen, config, by_rules))
