"""What the data doctor checks in labels: their frequencies, names, co-occurrence, and differences between splits.

Shapes: N examples, L labels.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .findings import EXAMPLES, Finding, Severity, Split, counted

FEW_ROWS = 10  # too few positives to learn from
MUCH_RARER = 0.1  # of two similar names, one this much rarer is taken for a misspelling
EQUIVALENT = 0.9  # rows with both of two labels, as a share of the rows with either
IMPLIED = 0.98  # rows with both of two labels, as a share of the rows with the first
SHARE_DIFFERS = 0.25  # of a label in two splits, relative to training, ...
ROWS_EXPECTED = 5  # ... if at least this many rows are expected


@dataclass(frozen=True)
class LabelCount:
    """How often a label occurs, by split.

    Attributes:
        positives: Number of positive rows.
        shares: Their share of the annotated rows; 0 if no row is annotated.
        annotated: Share of annotated rows.
    """

    label: str
    positives: dict[str, int]
    shares: dict[str, float]
    annotated: dict[str, float]


@dataclass(frozen=True)
class LabelPair:
    """Two labels that occur together.

    Attributes:
        labels: Their names, the rarer one first.
        rows: Number of rows with both.
        share: Share of the rows with the rarer label that also have the other.
        lift: Rows with both, relative to the number for independent labels.
    """

    labels: tuple[str, str]
    rows: int
    share: float
    lift: float


def count_labels(splits: list[Split], label_names: list[str]) -> list[LabelCount]:
    """Count the labels of all labelled splits; the most frequent in the first split come first."""
    labelled = {split.name: split.labels for split in splits if split.labels is not None}
    positives = {name: (labels == 1).sum(axis=0) for name, labels in labelled.items()}  # (L,) each
    annotated = {name: (~np.isnan(labels)).sum(axis=0) for name, labels in labelled.items()}  # (L,) each
    counts = []
    for i, label in enumerate(label_names):
        rows = {name: int(positives[name][i]) for name in labelled}
        shares = {name: float(rows[name] / max(annotated[name][i], 1)) for name in labelled}
        known = {name: float(annotated[name][i] / len(labels)) for name, labels in labelled.items()}
        counts.append(LabelCount(label, rows, shares, known))
    return sorted(counts, key=lambda item: -item.positives[splits[0].name])


def check_labels(split: Split, label_names: list[str]) -> Iterator[Finding]:
    """Report training labels that cannot be learned, that have similar names, or that depend on each other."""
    if split.labels is not None:
        for check in (_check_frequencies, _check_names, _check_pairs):
            yield from check(split, split.labels, label_names)


def _check_frequencies(split: Split, labels: NDArray[np.float32], label_names: list[str]) -> Iterator[Finding]:
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)  # (L,)
    rare = (positives > 0) & (positives < FEW_ROWS)
    always = (positives > 0) & (negatives == 0)
    for kind, chosen, what, advice in (
        ("no-positives", positives == 0, "no row at all", "add rows with them, or leave the labels out"),
        ("few-positives", rare, f"fewer than {FEW_ROWS} rows", "add rows, or merge them into broader labels"),
        ("always-on", always, "all annotated rows", "they cannot be learned: add rows without them"),
    ):
        names = [label_names[i] for i in np.argsort(positives, kind="stable") if chosen[i]]
        yield from split.about_labels(Severity.WARNING, kind, names, f"label has|labels have {what}", advice)


def _check_names(split: Split, labels: NDArray[np.float32], label_names: list[str]) -> Iterator[Finding]:
    """Report names that may mean the same label; a difference of one letter is a warning if one is much rarer."""
    positives: dict[str, int] = dict(zip(label_names, (labels == 1).sum(axis=0).tolist(), strict=True))

    def quote(pair: tuple[str, str]) -> str:
        return " and ".join(f"{name!r} ({counted(positives[name], 'row|rows')})" for name in pair)

    def is_misspelling(pair: tuple[str, str]) -> bool:
        rarer, other = sorted(positives[name] for name in pair)
        return rarer <= MUCH_RARER * other

    # C++ and C# are not C.
    same = _pairs_with_a_common_key({x: {re.sub(r"[^\w+#]|_", "", x.casefold()) or x} for x in label_names})
    near = _pairs_with_a_common_key({name: set(_one_letter_less(name)) for name in label_names}) - same
    near = {pair for pair in near if re.sub(r"\D", "", pair[0]) == re.sub(r"\D", "", pair[1])}
    misspelt = set(filter(is_misspelling, near))
    for severity, kind, pairs, what, advice in (
        (Severity.WARNING, "same-name", same, "differ only in case, spaces or punctuation", "spell them alike"),
        (Severity.WARNING, "misspelt-name", misspelt, "differ in one letter, and one is rare", "correct the rare one"),
        (Severity.NOTE, "like-name", near - misspelt, "differ in one letter", "check whether they mean the same"),
    ):
        message, names = f"pair|pairs of label names {what}", sorted({name for pair in pairs for name in pair})
        examples = sorted(map(quote, pairs))[:EXAMPLES]
        yield from split.report(severity, kind, len(pairs), message, advice, labels=names, examples=examples)


def _one_letter_less(name: str) -> Iterator[str]:
    """Yield the name, and the name without one letter of a long word: names one letter apart share a result."""
    words = re.findall(r"[^\W_]+|[+#]+", name.casefold())
    yield " ".join(words)
    for position, word in enumerate(words):
        if len(word) >= 5:
            for letter in range(len(word)):
                yield " ".join([*words[:position], word[:letter] + word[letter + 1 :], *words[position + 1 :]])


def _pairs_with_a_common_key(keys: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return the pairs of names that share a key, without comparing all pairs."""
    names_of = defaultdict(list)
    for name in sorted(keys):
        for key in keys[name]:
            names_of[key].append(name)
    return {pair for names in names_of.values() for pair in combinations(names, 2)}


def pair_labels(labels: NDArray[np.float32], label_names: list[str]) -> list[LabelPair]:
    """Return the pairs of labels (N, L) that occur together more often than independent ones, the strongest first.

    Strength is the number of rows times the logarithm of the lift: neither labels that are rare and met by chance nor
    frequent ones come first.
    """
    both, seen, lift = _co_occurrence(labels)
    positives = both.diagonal()
    firsts, seconds = np.nonzero(np.triu((lift > 1) & (both > 1), k=1))
    order = np.argsort(-both[firsts, seconds] * np.log(lift[firsts, seconds]), kind="stable")
    pairs = []
    for first, second in zip(firsts[order], seconds[order], strict=True):
        if positives[first] > positives[second]:
            first, second = second, first
        names, rows = (label_names[first], label_names[second]), both[first, second]
        pairs.append(LabelPair(names, int(rows), float(rows / seen[first, second]), float(lift[first, second])))
    return pairs


def _check_pairs(split: Split, labels: NDArray[np.float32], label_names: list[str]) -> Iterator[Finding]:
    both, seen, _ = _co_occurrence(labels)
    positives, negatives = both.diagonal(), (labels == 0).sum(axis=0)  # (L,)
    share = both / np.maximum(seen, 1)  # (L, L): of the rows with the first label, those with the second
    either = seen + seen.T - both  # rows with one of the two in which the other is annotated
    usable = (positives >= FEW_ROWS) & (negatives > 0)  # (L,)
    candidates = usable[:, None] & usable & ~np.eye(len(usable), dtype=np.bool_)
    equal = candidates & (both >= EQUIVALENT * either)
    implied = candidates & (share >= IMPLIED) & ~equal
    implies = f"in which the first implies the second (at least {IMPLIED:.0%})"
    for severity, kind, chosen, what, verb, advice in (
        (Severity.WARNING, "equivalent-labels", np.triu(equal), "that nearly agree", "and", "merge them into one"),
        (Severity.NOTE, "implied-labels", implied, implies, "implies", "keep the second only if needed"),
    ):
        found = np.argwhere(chosen)
        names = [label_names[i] for i in np.unique(found)]
        examples = [
            f"{label_names[a]!r} ({positives[a]:.0f}) {verb} {label_names[b]!r} ({positives[b]:.0f}): "
            f"{counted(int(both[a, b]), 'row|rows')} with both"
            for a, b in found[:EXAMPLES]
        ]
        message = f"pair|pairs of labels {what}"
        yield from split.report(severity, kind, len(found), message, advice, labels=names, examples=examples)


def _co_occurrence(
    labels: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return rows with both labels, rows with the first if the second is annotated, and the lift, (L, L) each."""
    positive, annotated = (labels == 1).astype(np.float64), (~np.isnan(labels)).astype(np.float64)  # (N, L)
    both, seen, rows = positive.T @ positive, positive.T @ annotated, annotated.T @ annotated  # (L, L)
    return both, seen, both * rows / np.maximum(seen * seen.T, 1)


def check_shares(train: Split, validation: Split, label_names: list[str]) -> Iterator[Finding]:
    """Report labels whose share in validation differs from that in training."""
    if train.labels is None or validation.labels is None:
        return
    train_positives, positives = ((labels == 1).sum(axis=0) for labels in (train.labels, validation.labels))  # (L,)
    train_annotated, annotated = ((~np.isnan(x)).sum(axis=0) for x in (train.labels, validation.labels))  # (L,)
    expected = train_positives / np.maximum(train_annotated, 1) * annotated  # (L,)
    unseen = (train_positives > 0) & (positives == 0)
    differs = (expected >= ROWS_EXPECTED) & (np.abs(positives - expected) > SHARE_DIFFERS * expected) & ~unseen
    other_share = f"a share in validation that differs by more than {SHARE_DIFFERS:.0%} from that in training"
    enlarge = "they cannot be scored: add rows, or use a larger validation split"
    compare = "check whether the files were drawn in the same way"
    for severity, kind, chosen, what, advice in (
        (Severity.WARNING, "unseen-in-validation", unseen, "no row in validation", enlarge),
        (Severity.NOTE, "shares-differ", differs, other_share, compare),
    ):
        found = np.flatnonzero(chosen)
        worst = found[np.argsort(-np.abs(positives - expected)[found], kind="stable")]
        names = [label_names[i] for i in worst]
        rows = [f"{counted(int(positives[i]), 'row|rows')}, {expected[i]:.1f} expected" for i in worst]
        examples = [f"{name!r}: {text}" for name, text in zip(names, rows, strict=True)][:EXAMPLES]
        yield from validation.about_labels(severity, kind, names, f"label has|labels have {what}", advice, examples)
