"""An explanation as lines of text, for a terminal."""

from collections.abc import Iterator

from .explainer import Explanation, LabelExplanation

WORDS_SHOWN = 12  # those with the largest effect
WORD_WIDTH = 24
BAR_WIDTH = 30
LARGE_ERROR = 0.05  # relative; above it numbers may be visibly wrong
# Backgrounds of black text, from small to large effect, in the 256 colours of terminals, also for the colour-blind.
_SUPPORTS, _OPPOSES = (153, 111, 75), (223, 216, 208)
LEAST_COLOURED = 0.1  # of the largest effect of a word


def render(explanation: Explanation, colour: bool = False) -> Iterator[str]:
    """Write an explanation as lines of text; with `colour` also the text, with its words in colours."""
    if explanation.truncated:
        last = {word.is_pair: word for word in explanation.words}
        ends = ", ".join(
            f"{'pair' if is_pair else 'text'}: {printable(word.text)!r}" for is_pair, word in last.items()
        )
        yield f"The input is too long for the model, which has not read anything after: {ends}"
        yield ""
    for label in explanation.labels:
        yield f"{printable(label.name)}: {describe_decision(label)}"
        if colour:
            yield from _coloured(explanation, label)
        yield from _table(explanation, label)
        yield f"  {describe_sum(label)}"
        if (label.relative_error or 0) > LARGE_ERROR:
            yield "  Increase --steps for more exact numbers."
        yield ""


def describe_decision(label: LabelExplanation) -> str:
    """Say whether a label is predicted, and why."""
    decision = "predicted" if label.given else "not predicted"
    reaches = label.probability >= label.cutoff
    compared = f"{'at least' if reaches else 'below'} {label.cutoff:.3f}"
    exception = "" if reaches == label.given else ", but by min_labels or label rules"
    return f"{decision}, probability {label.probability:.3f}, {compared}{exception}"


def printable(text: str) -> str:
    """Replace white space by spaces, and control characters, which a terminal would execute."""
    return "".join(" " if char.isspace() else char if char.isprintable() else "\ufffd" for char in text)


def _coloured(explanation: Explanation, label: LabelExplanation) -> Iterator[str]:
    for is_pair in [False] if explanation.pair is None else [False, True]:
        parts = explanation.parts(label, is_pair)
        yield "  " + "".join(_in_colour(printable(text), share) for text, share, _ in parts)


def _in_colour(text: str, share: float) -> str:
    if abs(share) < LEAST_COLOURED:
        return text
    shades = _SUPPORTS if share > 0 else _OPPOSES
    shade = shades[min(int(abs(share) * len(shades)), len(shades) - 1)]
    return f"\x1b[30;48;5;{shade}m{text}\x1b[0m"


def _table(explanation: Explanation, label: LabelExplanation) -> Iterator[str]:
    shares = label.shares
    order = sorted(range(len(shares)), key=lambda index: -abs(shares[index]))
    yield f"  {'word':{WORD_WIDTH}}   logit" + ("" if label.attention is None else "  attention")
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
        together = f"... {len(rest)} other words"
        yield f"  {together:{WORD_WIDTH}}  {sum(label.attributions[index] for index in rest):+6.2f}"


def describe_sum(label: LabelExplanation) -> str:
    """Describe by how much all words together change the logit of a label, and how exact their numbers are."""
    change = f"{label.logit - label.baseline_logit:+.2f}"
    line = f"All words together change the logit by {change}, from {label.baseline_logit:.2f} to {label.logit:.2f}."
    if label.relative_error is None:
        return line
    return f"{line} The numbers of all words add up to this with an error of {label.relative_error:.1%}."
