"""The words that support or oppose a label as HTML, by `words.html.jinja`: for the page and for notebooks."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .explainer import Explanation, LabelExplanation
from .render import LEAST_COLOURED, describe_decision, describe_sum

STYLE = Path(__file__).with_name("words.css")  # for elements in one of the class `part`
_ENVIRONMENT = Environment(loader=FileSystemLoader(STYLE.parent), autoescape=True, undefined=StrictUndefined)
_MACROS: Any = _ENVIRONMENT.get_template("words.html.jinja").module


def words_html(explanation: Explanation) -> str:
    """Write a text with the contribution of each word to the labels that are explained."""
    labels = [_described(explanation, label, decision="") for label in explanation.labels]
    return str(_MACROS.words(labels, explanation.truncated, LEAST_COLOURED))


def output_html(explanation: Explanation) -> str:
    """Write what `words_html` writes, with the decisions of the model and the style, as the output of a notebook."""
    labels = [_described(explanation, label, describe_decision(label)) for label in explanation.labels]
    style = Markup(STYLE.read_text(encoding="utf-8"))
    return str(_MACROS.output(labels, explanation.truncated, LEAST_COLOURED, style))


def _described(explanation: Explanation, label: LabelExplanation, decision: str) -> dict[str, Any]:
    headings = ["Text"] if explanation.pair is None else ["Text", "Pair"]
    texts = [(heading, explanation.parts(label, heading == "Pair")) for heading in headings]
    return {"name": label.name, "decision": decision, "texts": texts, "sum": describe_sum(label)}
