"""The parts of the page as HTML: bars of labels, and words that speak for and against one.

Whatever comes from a text or a model is escaped. Nothing is said by colour alone: signs and numbers say it too.
"""

from collections.abc import Iterator
from html import escape

import torch

from bert_multilabel.explain.cli import LEAST_COLOURED, describe_sum
from bert_multilabel.explain.explainer import Explanation, LabelExplanation
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

CSS = """
.part h2 { font-size: 1.05rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
.part p { margin: .3rem 0; overflow-wrap: anywhere; }
.part ol { list-style: none; margin: 0; padding: 0; }
.part li { margin: 0; padding: 0; }
.part .label { display: grid; grid-template-columns: 1.4rem 1fr auto; gap: 0 .4rem; width: 100%; padding: .4rem .5rem;
  text-align: left; font: inherit; color: inherit; background: none; border: 2px solid transparent; border-radius: 8px;
  cursor: pointer; min-height: 44px; }
.part .label:hover { background: var(--background-fill-secondary); }
.part .label:focus-visible { outline: 3px solid var(--color-accent); outline-offset: -2px; }
.part .label[aria-pressed=true] { border-color: var(--color-accent); }
.part .given .name, .part .given .sign { font-weight: 700; }
.part .name { overflow-wrap: anywhere; min-width: 0; }
.part .number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.part .track { grid-column: 2 / 4; position: relative; height: .55rem; margin-top: .25rem; border-radius: 3px;
  background: color-mix(in srgb, currentColor 12%, transparent); }
.part .bar { position: absolute; inset: 0 auto 0 0; border-radius: 3px;
  background: color-mix(in srgb, currentColor 40%, transparent); }
.part .given .bar { background: #0072b2; }
.dark .part .given .bar { background: #56b4e9; }
.part .tick { position: absolute; top: -.2rem; bottom: -.2rem; width: 3px; margin-left: -1.5px;
  background: currentColor; border-radius: 1px; }
.part .words { white-space: pre-wrap; line-height: 2.1; }
.part mark { color: inherit; padding: .1rem .15rem; border-radius: 4px; }
.part .for { background: rgb(0 114 178 / var(--weight)); border-bottom: 2px solid #0072b2; }
.part .against { background: rgb(213 94 0 / var(--weight)); border-bottom: 2px dashed #d55e00; }
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
    """Write what the user is to know, such as an error; screen readers say it at once."""
    return f'<p role="alert">{escape(message)}</p>'


def status_html(message: str) -> str:
    """Write what has come of something the user asked for."""
    return f'<p role="status">{escape(message)}</p>'


def bars_html(name: str, logits: torch.Tensor, config: MultiLabelConfig, chosen: str | None = None) -> str:
    """Write all labels as bars, the most probable first, with the threshold as a tick in each.

    Args:
        name: Of the model.
        logits: (L,).
        config: Decides on the labels.
        chosen: The label whose words are shown.
    """
    probabilities, decisions = (row[0].tolist() for row in config.decide(logits[None]))  # (L,) each
    names, thresholds = config.label_names, config.label_thresholds
    given = [names[label] for label in _likeliest_first(logits) if decisions[label]]
    bars = (
        _bar(names[label], probabilities[label], thresholds[label], decisions[label], names[label] == chosen)
        for label in _likeliest_first(logits)
    )
    below = any(
        is_given and score < limit for is_given, score, limit in zip(decisions, probabilities, thresholds, strict=True)
    )
    note = f" (every text is given at least {config.min_labels})" if below else ""
    return (
        f'<h2>{escape(name)}</h2><p role="status">Given: <b>{escape(", ".join(given)) or "no label"}</b>{note}</p>'
        f'<ol aria-label="Labels, the most probable first">{"".join(bars)}</ol>'
    )


def _likeliest_first(logits: torch.Tensor) -> list[int]:
    # By logit: saturated probabilities would tie.
    order: list[int] = logits.argsort(descending=True, stable=True).tolist()
    return order


def _bar(name: str, probability: float, threshold: float, given: bool, is_chosen: bool) -> str:
    decision = "given" if given else "not given"
    # Where both would read alike, more digits show which is larger.
    digits = 2 if f"{probability:.2f}" != f"{threshold:.2f}" else 4
    compared = f"{probability:.{digits}f} {'≥' if probability >= threshold else '&lt;'} {threshold:.{digits}f}"
    return (
        f'<li><button type="button" class="label{" given" * given}" data-label="{escape(name)}" '
        f'aria-pressed="{str(is_chosen).lower()}">'
        f'<span class="sign" aria-hidden="true">{"✓" if given else "–"}</span>'
        f'<span class="name" dir="auto">{escape(name)}</span>'
        f'<span class="number"><span class="unseen">, {decision}, </span>{compared}</span>'
        f'<span class="track" aria-hidden="true"><span class="bar" style="width:{probability:.1%}"></span>'
        f'<span class="tick" style="left:{threshold:.1%}"></span></span></button></li>'
    )


def words_html(explanation: Explanation) -> str:
    """Write the words of a text, with what they weigh for its one explained label."""
    (label,) = explanation.labels
    parts = [f"<h2>Words for (+) and against (−) {escape(label.name)}</h2>"]
    for heading, text, is_pair in (("Text", explanation.text, False), ("Pair", explanation.pair, True)):
        if text is not None:
            before = f"<b>{heading}:</b> " if explanation.pair is not None else ""
            words = "".join(_words(explanation, label, text, is_pair))
            parts.append(f'<p class="words" dir="auto">{before}{words}</p>')
    if explanation.truncated:
        parts.append('<p class="note">The text is longer than the model reads: its end was not read.</p>')
    parts.append('<p class="note">Numbers: by how much a word moves the logit, from a tenth of the heaviest up.</p>')
    parts.append(f'<p class="note">All words move the logit by {escape(describe_sum(label))}.</p>')
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
    side = "for" if share > 0 else "against"
    number = f"{attribution:+.2f}".replace("-", "−")
    return f'<mark class="{side}" style="--weight:{abs(share) / 2:.2f}">{escape(text)}<small>{number}</small></mark>'
