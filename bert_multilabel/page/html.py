"""The bars of the labels and the words that support or oppose a label, as HTML.

Gradio's own components show neither thresholds nor numbers on words. All content from texts and models is escaped.
Colours are never the only sign: numbers and symbols say the same.
"""

from collections.abc import Iterator
from html import escape

import torch

from bert_multilabel.explain.cli import LEAST_COLOURED, describe_sum
from bert_multilabel.explain.explainer import Explanation, LabelExplanation
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

LABELS_VISIBLE = 9  # without scrolling
CSS = """
.part h2 { font-size: 1.05rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
.part p { margin: .3rem 0; overflow-wrap: anywhere; }
.part ol { list-style: none; margin: 0; padding: 0; max-height: 470px; overflow-y: scroll;
  border: 1px solid var(--border-color-primary); border-radius: 8px; scrollbar-gutter: stable; }
.part ol::-webkit-scrollbar { width: 12px; }
.part ol::-webkit-scrollbar-thumb { background: color-mix(in srgb, currentColor 45%, transparent);
  border-radius: 6px; }
.part li { margin: 0; padding: 0; }
.part .label { display: grid; grid-template-columns: 1.4rem 1fr auto; gap: 0 .4rem; width: 100%; padding: .4rem .5rem;
  text-align: left; font: inherit; color: inherit; background: none; border: 2px solid transparent; border-radius: 8px;
  cursor: pointer; min-height: 44px; }
.part .label:hover { background: var(--background-fill-secondary); }
.part .label:focus-visible { outline: 3px solid var(--color-accent); outline-offset: -2px; }
.part .label[aria-pressed=true] { border-color: var(--color-accent); }
.part .predicted .name, .part .predicted .sign { font-weight: 700; }
.part .name { overflow-wrap: anywhere; min-width: 0; }
.part .number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.part .track { grid-column: 2 / 4; position: relative; height: .55rem; margin-top: .25rem; border-radius: 3px;
  background: color-mix(in srgb, currentColor 12%, transparent); }
.part .bar { position: absolute; inset: 0 auto 0 0; border-radius: 3px;
  background: color-mix(in srgb, currentColor 40%, transparent); }
.part .predicted .bar { background: #0072b2; }
.dark .part .predicted .bar { background: #56b4e9; }
.part .tick { position: absolute; top: -.2rem; bottom: -.2rem; width: 3px; margin-left: -1.5px;
  background: currentColor; border-radius: 1px; }
.part .words { white-space: pre-wrap; line-height: 2.1; }
.part mark { color: inherit; padding: .1rem .15rem; border-radius: 4px; }
.part .supports { background: rgb(0 114 178 / var(--weight)); border-bottom: 2px solid #0072b2; }
.part .opposes { background: rgb(213 94 0 / var(--weight)); border-bottom: 2px dashed #d55e00; }
.part small { font-size: .72em; margin-left: .2em; font-variant-numeric: tabular-nums; white-space: nowrap; }
.part .note { font-size: .9rem; }
.part [role=alert] { border-left: 4px solid #d55e00; padding-left: .6rem; white-space: pre-wrap; }
.part .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""
# A label is a button in the bars: the browser makes keys and screen readers work with it.
JS_CLICK = """
element.addEventListener("click", event => {
  const button = event.target.closest("button[data-label]");
  if (button) trigger("click", {label: button.dataset.label});
});
"""


def message_html(message: str) -> str:
    """Write an error message, which screen readers announce at once."""
    return f'<p role="alert">{escape(message)}</p>'


def status_html(message: str) -> str:
    """Write a status message, which screen readers announce when idle."""
    return f'<p role="status">{escape(message)}</p>'


def bars_html(name: str, logits: torch.Tensor, config: MultiLabelConfig, chosen: str | None = None) -> str:
    """Write a bar for each label, the most probable first, with its threshold as a tick.

    Args:
        name: Name of the model.
        logits: (L,).
        config: The configuration that decides.
        chosen: The label whose words are shown.
    """
    probabilities, decisions = (row[0].tolist() for row in config.decide(logits[None]))  # (L,) each
    names, thresholds = config.label_names, config.label_thresholds
    order = logits.argsort(descending=True, stable=True).tolist()  # by logit: saturated probabilities would be equal
    predicted = [names[label] for label in order if decisions[label]]
    bars = (
        _bar(names[label], probabilities[label], thresholds[label], decisions[label], names[label] == chosen)
        for label in order
    )
    below = any(decisions[label] and probabilities[label] < thresholds[label] for label in order)
    note = f" (at least {config.min_labels} for every text)" if below else ""
    hint = f"All {len(names)} labels, the most probable first{'; scroll for more' * (len(names) > LABELS_VISIBLE)}. "
    hint += "Select one to see the words behind it."
    return (
        f"<h2>{escape(name)}</h2>"
        f'<p role="status">Predicted: <b>{escape(", ".join(predicted)) or "no label"}</b>{note}</p>'
        f'<p class="note">{hint}</p>'
        f'<ol aria-label="Labels, the most probable first">{"".join(bars)}</ol>'
    )


def _bar(name: str, probability: float, threshold: float, is_predicted: bool, is_chosen: bool) -> str:
    decision = "predicted" if is_predicted else "not predicted"
    # If both look equal, more digits show which is larger.
    digits = 2 if f"{probability:.2f}" != f"{threshold:.2f}" else 4
    compared = f"{probability:.{digits}f} {'≥' if probability >= threshold else '&lt;'} {threshold:.{digits}f}"
    return (
        f'<li><button type="button" class="label{" predicted" * is_predicted}" data-label="{escape(name)}" '
        f'aria-pressed="{str(is_chosen).lower()}">'
        f'<span class="sign" aria-hidden="true">{"✓" if is_predicted else "–"}</span>'
        f'<span class="name" dir="auto">{escape(name)}</span>'
        f'<span class="number"><span class="unseen">, {decision}, </span>{compared}</span>'
        f'<span class="track" aria-hidden="true"><span class="bar" style="width:{probability:.1%}"></span>'
        f'<span class="tick" style="left:{threshold:.1%}"></span></span></button></li>'
    )


def words_html(explanation: Explanation) -> str:
    """Write a text with the contribution of each word to its one explained label."""
    (label,) = explanation.labels
    parts = [f"<h2>Words that support (+) and oppose (−) {escape(label.name)}</h2>"]
    for heading, text, is_pair in (("Text", explanation.text, False), ("Pair", explanation.pair, True)):
        if text is not None:
            before = f"<b>{heading}:</b> " if explanation.pair is not None else ""
            words = "".join(_words(explanation, label, text, is_pair))
            parts.append(f'<p class="words" dir="auto">{before}{words}</p>')
    if explanation.truncated:
        parts.append('<p class="note">The text is too long for the model, which has not read its end.</p>')
    parts.append(
        '<p class="note">The numbers show how much each word raises (+) or lowers (−) the logit of the label. Words '
        "with less than a tenth of the largest effect are not marked.</p>"
    )
    parts.append(f'<p class="note">{escape(describe_sum(label))}</p>')
    return "".join(parts)


def _words(explanation: Explanation, label: LabelExplanation, text: str, is_pair: bool) -> Iterator[str]:
    done = 0
    for word, share, attribution in zip(explanation.words, label.shares, label.attributions, strict=True):
        if word.is_pair == is_pair:
            yield escape(text[done : word.start])
            yield _word(word.text, share, attribution)
            done = word.end
    yield escape(text[done:])


def _word(text: str, share: float, attribution: float) -> str:
    if abs(share) < LEAST_COLOURED:
        return escape(text)
    side = "supports" if share > 0 else "opposes"
    number = f"{attribution:+.2f}".replace("-", "−")
    return f'<mark class="{side}" style="--weight:{abs(share) / 2:.2f}">{escape(text)}<small>{number}</small></mark>'
