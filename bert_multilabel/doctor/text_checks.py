"""What the data doctor looks for in texts: repetitions, leaks between files, and what does not look like a text."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.data.labels import is_number, shorten

from .findings import EXAMPLES, QUOTED, Finding, Rows, Severity, count, number_rows

# A leak of more than this share of the validation or test rows decides what the score says.
LEAK_ERROR_SHARE = 0.05
# Longer than so many times the 95th percentile is out of line.
OUTLIER_FACTOR = 5
# With fewer labels it is nothing special that a row has all of them.
MANY_LABELS = 5
# A column spells the labels if it does so in this share of its cells, and in so many rows.
SPELLED_SHARE = 0.8
SPELLED_ROWS = 10

# Chinese and Japanese do without spaces: each character counts as a word there.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_TAGS = "a|b|body|br|code|div|em|font|h[1-6]|head|html|i|img|li|ol|p|pre|script|span|strong|table|td|tr|u|ul"


class _Look(NamedTuple):
    """A pattern that does not look like a text: what it is called, and what to do about it."""

    severity: Severity
    kind: str
    find: Callable[[str], re.Match[str] | None]
    what: str
    advice: str


_LOOKS = [
    _Look(
        Severity.WARNING,
        "replacement-characters",
        re.compile("\ufffd").search,
        "with U+FFFD, where letters were lost",
        "read the source again in its own encoding and save it as UTF-8",
    ),
    _Look(
        Severity.WARNING,
        "mojibake",
        # What is left of UTF-8 that was read as Latin-1 or Windows-1252.
        re.compile("[\u00c2\u00c3\u00d0\u00d1][\u0080-\u00bf]|\u00e2\u20ac|\u00ef\u00bb\u00bf").search,
        "with letters like 'Ã©', which come of a wrong encoding",
        "read the source again as UTF-8",
    ),
    _Look(
        Severity.WARNING,
        "markup",
        re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|&(?:[a-z]{{2,8}}|#\d+|#x[0-9a-f]+);", re.IGNORECASE).search,
        "with HTML tags or entities",
        "turn the markup into plain text, unless the texts to predict have it too",
    ),
    _Look(
        Severity.NOTE,
        "control-characters",
        re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]").search,
        "with control characters, which BERT does not read",
        "remove them where they stand for something",
    ),
    _Look(
        Severity.WARNING,
        "links-only",
        re.compile(r"\s*(?:(?:https?://|www\.)\S+\s*)+").fullmatch,
        "with nothing but links",
        "remove the rows, or put in what the links lead to",
    ),
]


def count_words(texts: Iterable[str]) -> NDArray[np.int64]:
    """Count the words of each text (N,); a Chinese or Japanese character is a word of its own."""
    return np.array([len(_WORD.findall(text)) for text in texts], np.int64)


def check_texts(rows: Rows) -> Iterator[Finding]:
    """Look for texts that do not look like texts."""
    empty = [position for position, text in enumerate(rows.texts) if not text]
    if empty:
        message = f"{count(len(empty), 'text is', 'texts are')} empty"
        yield rows.found(Severity.NOTE, "empty-texts", empty, message, "they are predicted all the same", examples=[])
    for severity, kind, find, what, advice in _LOOKS:
        matches = {i: match for i, text in enumerate(rows.texts) if (match := find(text) or find(rows.pairs[i]))}
        if matches:
            examples = [_quote_around(rows, i, match) for i, match in islice(matches.items(), EXAMPLES)]
            yield rows.found(severity, kind, matches, f"{count(len(matches), 'row')} {what}", advice, examples)
    words = count_words(rows.texts)  # (N,)
    short = np.flatnonzero((words <= 1) & np.array([bool(text) for text in rows.texts]))
    if len(short):
        message = f"{count(len(short), 'text has', 'texts have')} one word or none"
        yield rows.found(Severity.NOTE, "short-texts", short, message, "see whether they are enough to tell a label")
    usual = float(np.percentile(words, 95))
    long = np.flatnonzero(words > OUTLIER_FACTOR * max(usual, 10))
    if len(long):
        message = (
            f"{count(len(long), 'text is', 'texts are')} more than {OUTLIER_FACTOR} times as long as 95% of the texts "
            f"({usual:.0f} words)"
        )
        yield rows.found(Severity.NOTE, "long-texts", long, message, "see whether several rows ran into one")
    if rows.labels is not None and rows.labels.shape[1] >= MANY_LABELS:
        full = np.flatnonzero((rows.labels == 1).all(axis=1))
        if len(full):
            message = f"{count(len(full), 'row has', 'rows have')} all {rows.labels.shape[1]} labels at once"
            yield rows.found(Severity.WARNING, "all-labels", full, message, "see whether somebody meant that")


def _quote_around(rows: Rows, position: int, match: re.Match[str]) -> str:
    """Quote the place in a row where something was found."""
    start = max(match.start() - QUOTED // 2, 0)
    cut = "…" if start else ""
    return f"row {rows.numbers[position]}: {shorten(cut + match.string[start:], QUOTED)}"


def check_columns(rows: Rows, label_names: list[str]) -> Iterator[Finding]:
    """Look for texts that are no texts: columns that spell the labels of their row, and columns of numbers."""
    for what, option, cells in (("text", "text_column", rows.texts), ("second text", "text_pair_column", rows.pairs)):
        filled = [position for position, cell in enumerate(cells) if cell]
        if filled and all(is_number(cells[position]) for position in filled):
            examples = [f"row {rows.numbers[position]}: {cells[position]!r}" for position in filled[:EXAMPLES]]
            message = f"the {what} is a number in all rows that have one"
            advice = f"a model reads text, not quantities: name the right column by --{option}"
            yield rows.found(Severity.WARNING, "numbers", filled, message, advice, examples)
        if rows.labels is None:
            continue
        spelled = [position for position in filled if _spells(cells[position], rows.labels[position], label_names)]
        if len(spelled) >= max(SPELLED_SHARE * len(filled), SPELLED_ROWS):
            message = f"the {what} spells the labels in {count(len(spelled), 'row')}"
            advice = f"the model would read its answers: name the right column by --{option}, or none"
            examples = [f"row {rows.numbers[position]}: {shorten(cells[position], QUOTED)}" for position in spelled]
            yield rows.found(Severity.ERROR, "spelled-labels", spelled, message, advice, examples[:EXAMPLES])


def _spells(cell: str, labels: NDArray[np.float32], label_names: list[str]) -> bool:
    """Whether a cell holds the names of a row's labels (L,) and nothing else, or their zeros and ones."""
    digits = re.sub(r"[\W_]", "", cell)
    if digits and len(digits) == len(labels) > 1:
        return digits == "".join(str(int(label == 1)) for label in labels)
    rest = cell.casefold()
    own = [label_names[i].casefold() for i in np.flatnonzero(labels == 1)]
    for name in sorted(own, key=len, reverse=True):
        if name not in rest:
            return False
        rest = rest.replace(name, " ", 1)
    return bool(own) and re.search(r"\w", rest) is None


def check_repetitions(rows: Rows, label_names: list[str]) -> Iterator[Finding]:
    """Look for texts that stand in a file several times, with the same labels or with others."""
    places = _places(rows.keys)
    repeated = {key: where for key, where in places.items() if len(where) > 1 and key != ("", "")}
    again, respelled = [], []
    for where in repeated.values():
        seen = set()
        for i in where:
            labels = b"" if rows.labels is None else rows.labels[i].tobytes()
            if labels in seen:
                again.append(i)
            seen.add(labels)
        first = (rows.texts[where[0]], rows.pairs[where[0]])
        respelled += [i for i in where[1:] if (rows.texts[i], rows.pairs[i]) != first]
    if again:
        message = f"{count(len(again), 'row repeats', 'rows repeat')} an earlier one: text, pair and labels are equal"
        advice = "remove them, unless the text is that common: each one counts again in training or in the score"
        yield rows.found(Severity.WARNING, "duplicates", sorted(again), message, advice)
    if respelled:
        message = f"{count(len(respelled), 'row differs', 'rows differ')} from an earlier one by case or spaces alone"
        advice = "they count as the same text here; decide whether they are"
        yield rows.found(Severity.NOTE, "respelled", sorted(respelled), message, advice)
    yield from _check_conflicts(rows, label_names, repeated.values())


def _check_conflicts(rows: Rows, label_names: list[str], groups: Iterable[list[int]]) -> Iterator[Finding]:
    """Look for labels that one row of a text has and another has not; not annotated is no conflict."""
    if rows.labels is None:
        return
    where: list[int] = []
    examples: list[str] = []
    for group in groups:
        labels = rows.labels[group]  # (rows of this text, L)
        differ = np.flatnonzero((labels == 1).any(axis=0) & (labels == 0).any(axis=0))
        if not len(differ):
            continue
        where += group
        if len(examples) < EXAMPLES:
            parts = []
            for label in differ[:5]:
                having = rows.numbers[group][labels[:, label] == 1]
                parts.append(f"{label_names[label]!r} only in {number_rows(having)}")
            more = f"; and {len(differ) - 5} more labels" if len(differ) > 5 else ""
            others = number_rows(rows.numbers[group[1:]])
            examples.append(f"{rows.quote(group[0])} and {others}: {'; '.join(parts)}{more}")
    if where:
        message = f"{count(len(where), 'row')} with a text that stands there several times, with other labels"
        advice = "decide on one set of labels for each text: as it is, they teach contradictions"
        yield rows.found(Severity.WARNING, "conflicting-labels", sorted(where), message, advice, examples)


def check_leaks(sides: list[Rows]) -> Iterator[Finding]:
    """Look for texts of one split in an earlier one, in the order train, validation, test."""
    for later, rows in enumerate(sides):
        for earlier in sides[:later]:
            known = _places(earlier.keys)
            leaked = [i for i, key in enumerate(rows.keys) if key in known and key != ("", "")]
            if not leaked:
                continue
            share = len(leaked) / len(rows)
            examples = [
                f"{rows.quote(i)} is row {earlier.numbers[known[rows.keys[i]][0]]} of {earlier.split}"
                for i in leaked[:EXAMPLES]
            ]
            yield rows.found(
                Severity.ERROR if share > LEAK_ERROR_SHARE else Severity.WARNING,
                "leaks",
                leaked,
                f"{count(len(leaked), 'row')} of {rows.split} ({share:.2%}) with a text of {earlier.split}",
                f"remove them from one of the two: a score on texts seen in {earlier.split} says too much",
                examples,
            )


def _places(keys: list[tuple[str, str]]) -> dict[tuple[str, str], list[int]]:
    """Return the positions of each key."""
    places = defaultdict(list)
    for position, key in enumerate(keys):
        places[key].append(position)
    return places
