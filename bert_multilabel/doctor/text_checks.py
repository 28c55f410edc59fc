"""What the data doctor checks in texts: encoding, markup, wrong columns, duplicates, and leaks between splits."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.data.values import is_number, rows_text, shorten

from .findings import EXAMPLES, QUOTED, Finding, Severity, Split

LEAK_ERROR_SHARE = 0.05  # a leak of a larger share of the validation or test rows distorts the scores
OUTLIER_FACTOR = 5  # a text is an outlier if it is longer than this multiple of the 95th percentile
MANY_LABELS = 5  # with fewer labels, a row that has all of them is nothing special
# A column spells the labels if this share of its cells does so, and at least this many rows.
SPELLED_SHARE, SPELLED_ROWS = 0.8, 10

# Chinese and Japanese are written without spaces: each character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_TAGS = "a|b|body|br|code|div|em|font|h[1-6]|head|html|i|img|li|ol|p|pre|script|span|strong|table|td|tr|u|ul"
# UTF-8 that was decoded as Latin-1 or Windows-1252.
_MOJIBAKE = re.compile("[\u00c2\u00c3\u00d0\u00d1][\u0080-\u00bf]|\u00e2\u20ac|\u00ef\u00bb\u00bf")
_MARKUP = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|&(?:[a-z]{{2,8}}|#\d+|#x[0-9a-f]+);", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LINKS = re.compile(r"\s*(?:(?:https?://|www\.)\S+\s*)+")
_DECODE = "read the source again in its own encoding and save it as UTF-8"
# What should not occur in a text: kind, search, what is found, advice.
_PATTERNS: list[tuple[str, Callable[[str], re.Match[str] | None], str, str]] = [
    ("replacement-characters", re.compile("\ufffd").search, "U+FFFD, which replaces lost characters", _DECODE),
    ("mojibake", _MOJIBAKE.search, "characters like 'Ã©', the result of a wrong encoding", _DECODE),
    ("markup", _MARKUP.search, "HTML tags or entities", "convert them to plain text, unless new texts have them too"),
    ("control-characters", _CONTROL.search, "control characters", "BERT ignores them: replace them if they matter"),
    ("links-only", _LINKS.fullmatch, "nothing but links", "remove the rows, or insert the text of the linked pages"),
]


def count_words(texts: Iterable[str]) -> NDArray[np.int64]:
    """Count the words of each text (N,); a Chinese or Japanese character counts as a word."""
    return np.array([len(_WORD.findall(text)) for text in texts], np.int64)


def check_texts(split: Split) -> Iterator[Finding]:
    """Report empty, very short and very long texts, and patterns that should not occur in a text."""
    empty = [position for position, text in enumerate(split.texts) if not text]
    advice = "they are predicted like any other row"
    yield from split.about_rows(Severity.NOTE, "empty-texts", empty, "text is|texts are empty", advice, examples=[])
    for kind, find, what, advice in _PATTERNS:
        severity = Severity.NOTE if kind == "control-characters" else Severity.WARNING
        matches = {i: match for i, text in enumerate(split.texts) if (match := find(text) or find(split.pairs[i]))}
        examples = [_quote_match(split, i, match) for i, match in islice(matches.items(), EXAMPLES)]
        yield from split.about_rows(severity, kind, matches, f"row contains|rows contain {what}", advice, examples)
    words = count_words(split.texts)  # (N,)
    short = [position for position, text in enumerate(split.texts) if text and words[position] <= 1]
    message, advice = "text has|texts have at most one word", "check whether they are enough to recognize a label"
    yield from split.about_rows(Severity.NOTE, "short-texts", short, message, advice)
    usual = float(np.percentile(words, 95))
    long = np.flatnonzero(words > OUTLIER_FACTOR * max(usual, 10))
    message = f"text is|texts are more than {OUTLIER_FACTOR} times as long as 95% of the texts ({usual:.0f} words)"
    advice = "check whether several rows were merged"
    yield from split.about_rows(Severity.NOTE, "long-texts", long, message, advice)
    if split.labels is not None and split.labels.shape[1] >= MANY_LABELS:
        full = np.flatnonzero((split.labels == 1).all(axis=1))
        message = f"row has|rows have all {split.labels.shape[1]} labels at once"
        yield from split.about_rows(Severity.WARNING, "all-labels", full, message, "check whether this is intended")


def _quote_match(split: Split, position: int, match: re.Match[str]) -> str:
    start = max(match.start() - QUOTED // 2, 0)
    return f"row {split.numbers[position]}: {shorten('…' * bool(start) + match.string[start:], QUOTED)}"


def check_columns(split: Split, label_names: list[str]) -> Iterator[Finding]:
    """Report columns of numbers, and columns that spell the labels: a model would learn to copy its answers."""
    columns = (("text", "text_column", split.texts), ("second text", "text_pair_column", split.pairs))
    for what, option, cells in columns:
        filled = [position for position, cell in enumerate(cells) if cell]
        if all(is_number(cells[position]) for position in filled):
            message = f"row has|rows have a number as the {what}"
            advice = f"a model reads text, not quantities: pass the right column with --{option}"
            yield from split.about_rows(Severity.WARNING, "numbers", filled, message, advice)
        if (labels := split.labels) is None:
            continue
        spelled = [position for position in filled if _spells(cells[position], labels[position], label_names)]
        if len(spelled) >= max(SPELLED_SHARE * len(filled), SPELLED_ROWS):
            message = f"row|rows spell the labels in the {what}"
            advice = f"the model would read its answers: pass the right column with --{option}, or none"
            yield from split.about_rows(Severity.ERROR, "spelled-labels", spelled, message, advice)


def _spells(cell: str, labels: NDArray[np.float32], label_names: list[str]) -> bool:
    """Whether a cell only consists of the names of its labels (L,), or of their zeros and ones."""
    digits = re.sub(r"[\W_]", "", cell)
    if len(digits) == len(labels) > 1:
        return digits == "".join(str(int(label == 1)) for label in labels)
    rest = cell.casefold()
    names = [label_names[i].casefold() for i in np.flatnonzero(labels == 1)]
    for name in sorted(names, key=len, reverse=True):
        if name not in rest:
            return False
        rest = rest.replace(name, " ", 1)
    return bool(names) and re.search(r"\w", rest) is None


def check_duplicates(split: Split, label_names: list[str]) -> Iterator[Finding]:
    """Report texts that occur several times in a file, with the same labels or with others."""
    groups = [group for key, group in _positions(split.keys).items() if len(group) > 1 and key != ("", "")]
    again, respelled = [], []
    for group in groups:
        seen = set()
        for i in group:
            labels = b"" if split.labels is None else split.labels[i].tobytes()
            if labels in seen:
                again.append(i)
            seen.add(labels)
        first = (split.texts[group[0]], split.pairs[group[0]])
        respelled += [i for i in group[1:] if (split.texts[i], split.pairs[i]) != first]
    message = "row repeats|rows repeat the text, pair and labels of an earlier row"
    advice = "remove them, unless the text is really that common: each counts again in training and in the score"
    yield from split.about_rows(Severity.WARNING, "duplicates", sorted(again), message, advice)
    message = "row differs|rows differ from an earlier row only in case or spaces"
    advice = "they count as the same text here: decide whether they are"
    yield from split.about_rows(Severity.NOTE, "respelled", sorted(respelled), message, advice)
    yield from _check_conflicts(split, label_names, groups)


def _check_conflicts(split: Split, label_names: list[str], groups: Iterable[list[int]]) -> Iterator[Finding]:
    """Report texts for which some rows have a label and others do not; "not annotated" is no conflict."""
    if split.labels is None:
        return
    conflicting: list[int] = []
    examples: list[str] = []
    for group in groups:
        labels, numbers = split.labels[group], split.numbers[group]  # (rows of this text, L), (rows of this text,)
        differ = np.flatnonzero((labels == 1).any(axis=0) & (labels == 0).any(axis=0))
        if not len(differ):
            continue
        conflicting += group
        if len(examples) < EXAMPLES:
            parts = [f"{label_names[i]!r} only in {rows_text(numbers[labels[:, i] == 1])}" for i in differ[:5]]
            more = f"; and {len(differ) - 5} more labels" if len(differ) > 5 else ""
            examples.append(f"{split.quote(group[0])} and {rows_text(numbers[1:])}: {'; '.join(parts)}{more}")
    message = "row has|rows have a text that occurs again with other labels"
    advice = "decide on one set of labels for each text: the model cannot learn from contradictions"
    yield from split.about_rows(Severity.WARNING, "conflicting-labels", sorted(conflicting), message, advice, examples)


def check_leaks(splits: list[Split]) -> Iterator[Finding]:
    """Report texts that occur in an earlier split, in the order train, validation, test."""
    for earlier, later in combinations(splits, 2):
        known = _positions(earlier.keys)
        leaked = [i for i, key in enumerate(later.keys) if key in known and key != ("", "")]
        share = len(leaked) / len(later)
        severity = Severity.ERROR if share > LEAK_ERROR_SHARE else Severity.WARNING
        firsts = {i: earlier.numbers[known[later.keys[i]][0]] for i in leaked[:EXAMPLES]}
        examples = [f"{later.quote(i)} is row {number} of {earlier.name}" for i, number in firsts.items()]
        message = f"row|rows of {later.name} ({share:.2%}) with a text of {earlier.name}"
        advice = f"remove them from one of the two: scores on texts seen in {earlier.name} are too high"
        yield from later.about_rows(severity, "leaks", leaked, message, advice, examples)


def _positions(keys: list[tuple[str, str]]) -> dict[tuple[str, str], list[int]]:
    positions = defaultdict(list)
    for position, key in enumerate(keys):
        positions[key].append(position)
    return positions
