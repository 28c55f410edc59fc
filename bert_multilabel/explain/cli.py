"""Says why a text is given its labels: `python -m bert_multilabel.explain MODEL_DIR --text "..."`.

For each label, the words that speak for it (+) and against it (-), by how much they move its logit from where it is
without any. On a terminal the text itself is coloured, too: blue for, orange against.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bert_multilabel.loading import load_trained
from bert_multilabel.utils.files import write_json
from bert_multilabel.utils.option_parser import OptionParser

from .explainer import STEPS, Explainer, Explanation, LabelExplanation

WORDS_SHOWN = 12  # those that weigh most
WORD_WIDTH = 24
BAR_WIDTH = 30
# From here on, the words may be wrong in what can be seen of them.
LARGE_ERROR = 0.05
# Backgrounds of black text, from little weight to much, in the 256 colours of terminals; told apart by all eyes.
_FOR, _AGAINST = (153, 111, 75), (223, 216, 208)
LEAST_COLOURED = 0.1  # of the weight of the heaviest word


@dataclass
class ExplainArguments:
    """What to explain."""

    text: str = field(metadata={"help": "The text."})
    pair: str | None = field(default=None, metadata={"help": "The second text, for a model trained on pairs."})
    labels: list[str] | None = field(
        default=None,
        metadata={"help": "Labels to explain. Default: those that the text is given, or the most probable one."},
    )
    steps: int = field(
        default=STEPS, metadata={"help": "Gradients to take per label: time grows with them, and the error falls."}
    )
    json: str | None = field(default=None, metadata={"help": "Write all of it to this JSON file as well."})


def render(explanation: Explanation, colour: bool = False) -> Iterator[str]:
    """Write an explanation as lines of text.

    Args:
        explanation: What to write.
        colour: Show the text as well, its words in the colours of terminals.
    """
    if explanation.truncated:
        last = {word.is_pair: word for word in explanation.words}
        ends = ", ".join(
            f"{'pair' if is_pair else 'text'}: {printable(word.text)!r}" for is_pair, word in last.items()
        )
        yield f"longer than the model: what is beyond these words was not read ({ends})"
        yield ""
    for label in explanation.labels:
        given = "given" if label.given else "not given"
        yield f"{printable(label.name)}: {given}, probability {label.probability:.3f}"
        if colour:
            yield from _coloured(explanation, label)
        yield from _table(explanation, label)
        advice = ": more --steps bring that down" if (label.relative_error or 0) > LARGE_ERROR else ""
        yield f"  {'all words':{WORD_WIDTH}}  {describe_sum(label)}{advice}"
        yield ""


def printable(text: str) -> str:
    """Replace what a terminal would obey instead of showing it, and put white space of all kinds into one line."""
    return "".join(" " if char.isspace() else char if char.isprintable() else "\ufffd" for char in text)


def _coloured(explanation: Explanation, label: LabelExplanation) -> Iterator[str]:
    for is_pair, text in ((False, explanation.text), (True, explanation.pair)):
        if text is None:
            continue
        line, done = "  ", 0
        for word, share in zip(explanation.words, label.shares, strict=True):
            if word.is_pair == is_pair:
                line += printable(text[done : word.start]) + _in_colour(printable(word.text), share)
                done = word.end
        yield line + printable(text[done:])


def _in_colour(text: str, share: float) -> str:
    if abs(share) < LEAST_COLOURED:
        return text
    shades = _FOR if share > 0 else _AGAINST
    shade = shades[min(int(abs(share) * len(shades)), len(shades) - 1)]
    return f"\x1b[30;48;5;{shade}m{text}\x1b[0m"


def _table(explanation: Explanation, label: LabelExplanation) -> Iterator[str]:
    shares = label.shares
    order = sorted(range(len(shares)), key=lambda index: -abs(shares[index]))
    attends = label.attention is not None
    yield f"  {'word':{WORD_WIDTH}}   logit" + "  attention" * attends
    for index in order[:WORDS_SHOWN]:
        word = explanation.words[index]
        name, mark = printable(word.text), " (pair)" if word.is_pair else ""
        room = WORD_WIDTH - len(mark)
        name = (name if len(name) <= room else f"{name[: room - 1]}…") + mark
        cells = f"  {name:{WORD_WIDTH}}  {label.attributions[index]:+6.2f}"
        if label.attention is not None:
            cells += f"  {label.attention[index]:9.1%}"
        yield f"{cells}  {('+' if shares[index] > 0 else '-') * round(abs(shares[index]) * BAR_WIDTH)}".rstrip()
    if rest := order[WORDS_SHOWN:]:
        together = f"... {len(rest)} more, together"
        yield f"  {together:{WORD_WIDTH}}  {sum(label.attributions[index] for index in rest):+6.2f}"


def describe_sum(label: LabelExplanation) -> str:
    """Say by how much all words together move a label's logit, and how nearly their attributions add up to that."""
    difference = label.logit - label.baseline_logit
    line = f"{difference:+6.2f}: logit {label.baseline_logit:.2f} without them, "
    line += f"{label.logit:.2f} with them; they add up but for {abs(label.error):.2g}"
    return line if label.relative_error is None else f"{line} ({label.relative_error:.1%})"


def main(arguments: list[str] | None = None) -> None:
    """Explain the text that the command line gives, and print what speaks for and against its labels."""
    parser = OptionParser(ExplainArguments, prog="bert-multilabel explain", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model.")
    asked, others = parser.parse(arguments)
    explainer = Explainer(*load_trained(others.model_dir), asked.steps)
    explanation = explainer.explain(asked.text, asked.pair, asked.labels)
    if asked.json is not None:
        write_json(Path(asked.json), asdict(explanation))
    print("\n".join(render(explanation, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)))
