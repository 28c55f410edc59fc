"""What the data doctor looks for in labels: how many rows each has, which go together, and how the splits differ.

Shapes: N rows, L labels.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .findings import EXAMPLES, Finding, Rows, Severity, count

FEW_ROWS = 10  # of a label with fewer, next to nothing can be learned
MUCH_RARER = 0.1  # of two like names, one so much rarer than the other is taken for a slip
EQUIVALENT = 0.9  # rows with both of two labels, as a share of the rows with either
IMPLIED = 0.98  # rows with both of two labels, as a share of the rows with the first
SHARE_DIFFERS = 0.25  # of a label in two splits, relative to training ...
ROWS_EXPECTED = 5  # ... where so many rows were to be expected


@dataclass(frozen=True)
class LabelCount:
    """How often a label is given.

    Attributes:
        label: Its name.
        positives: Rows that have it, by split.
        shares: Their share of the annotated rows, by split; 0 where none is annotated.
        annotated: Share of the rows in which somebody said yes or no, by split.
    """

    label: str
    positives: dict[str, int]
    shares: dict[str, float]
    annotated: dict[str, float]


@dataclass(frozen=True)
class LabelPair:
    """Two labels that come together.

    Attributes:
        labels: Their names, the rarer one first.
        rows: How many rows have both.
        share: Share of the rows with the rarer label that have the other as well.
        lift: How many times more rows than if the labels knew nothing of each other.
    """

    labels: tuple[str, str]
    rows: int
    share: float
    lift: float


def count_labels(splits: list[Rows], label_names: list[str]) -> list[LabelCount]:
    """Count the labels of all splits that have some, the most frequent ones of the first split first."""
    labelled = {rows.split: rows.labels for rows in splits if rows.labels is not None}
    positives = {split: (labels == 1).sum(axis=0) for split, labels in labelled.items()}  # (L,) each
    annotated = {split: (~np.isnan(labels)).sum(axis=0) for split, labels in labelled.items()}  # (L,) each
    counts = [
        LabelCount(
            label=name,
            positives={split: int(positives[split][i]) for split in labelled},
            shares={split: float(positives[split][i] / max(annotated[split][i], 1)) for split in labelled},
            annotated={split: float(annotated[split][i] / len(labels)) for split, labels in labelled.items()},
        )
        for i, name in enumerate(label_names)
    ]
    first = splits[0].split
    return sorted(counts, key=lambda item: -item.positives[first])


def check_labels(labels: NDArray[np.float32], label_names: list[str], source: str) -> Iterator[Finding]:
    """Look for labels of which nothing can be learned in the training labels (N, L)."""
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)  # (L,)
    for severity, kind, chosen, what, advice in (
        (
            Severity.WARNING,
            "no-positives",
            positives == 0,
            "no row at all",
            "add rows that have them, or leave the labels out",
        ),
        (
            Severity.WARNING,
            "few-positives",
            (positives > 0) & (positives < FEW_ROWS),
            f"fewer than {FEW_ROWS} rows",
            "add rows, or merge the labels into broader ones",
        ),
        (
            Severity.WARNING,
            "always-on",
            (positives > 0) & (negatives == 0),
            "all annotated rows",
            "leave them out, or add rows without them: there is nothing to tell apart",
        ),
    ):
        found = np.flatnonzero(chosen)
        if len(found):
            names = [label_names[i] for i in found[np.argsort(positives[found], kind="stable")]]
            message = f"{count(len(names), 'label has', 'labels have')} {what}: {_few(names)}"
            yield Finding(severity, kind, message, advice, source, labels=names)


def check_names(labels: NDArray[np.float32], label_names: list[str], source: str) -> Iterator[Finding]:
    """Look for names that mean the same label: spelled differently, or one letter apart.

    A slip is rare: only where one of two names has far fewer rows than the other, a letter's difference is a warning.
    """
    positives = dict(zip(label_names, (labels == 1).sum(axis=0).tolist(), strict=True))

    def quote(pair: tuple[str, str]) -> str:
        return " and ".join(f"{name!r} ({count(positives[name], 'row')})" for name in pair)

    same = _pairs_by({name: {_squeeze(name)} for name in label_names})
    near = _pairs_by({name: set(_one_letter_less(name)) for name in label_names}) - same
    near = {pair for pair in near if re.sub(r"\D", "", pair[0]) == re.sub(r"\D", "", pair[1])}
    slips = {
        pair
        for pair in near
        if min(positives[name] for name in pair) <= MUCH_RARER * max(positives[name] for name in pair)
    }
    for severity, kind, pairs, what, advice in (
        (Severity.WARNING, "same-name", same, "differ by case, spaces or punctuation alone", "write them alike"),
        (Severity.WARNING, "misspelt-name", slips, "differ by a letter, and one is rare", "mend the rare one"),
        (Severity.NOTE, "like-name", near - slips, "differ by a letter", "see whether they mean the same"),
    ):
        if pairs:
            shown = sorted(map(quote, pairs))
            message = f"{count(len(pairs), 'pair')} of label names {what}"
            names = sorted({name for pair in pairs for name in pair})
            yield Finding(severity, kind, message, advice, source, labels=names, examples=shown[:EXAMPLES])


def _squeeze(name: str) -> str:
    # C++ and C# are not C.
    return re.sub(r"[^\w+#]|_", "", name.casefold()) or name


def _one_letter_less(name: str) -> Iterator[str]:
    """Yield the name without one letter of a long word, and as it is: names one letter apart have one in common."""
    words = re.findall(r"[^\W_]+|[+#]+", name.casefold())
    yield " ".join(words)
    for position, word in enumerate(words):
        if len(word) >= 5:
            for letter in range(len(word)):
                yield " ".join([*words[:position], word[:letter] + word[letter + 1 :], *words[position + 1 :]])


def _pairs_by(keys: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return the pairs of names that have a key in common, without comparing each name with each."""
    names_of = defaultdict(list)
    for name in sorted(keys):
        for key in keys[name]:
            names_of[key].append(name)
    return {pair for names in names_of.values() for pair in combinations(names, 2)}


def pair_labels(labels: NDArray[np.float32], label_names: list[str]) -> list[LabelPair]:
    """Return all pairs of labels that come together more often than by chance, the strongest first.

    Strength is the number of rows times the logarithm of the lift: neither chance pairs of rare labels nor pairs of
    frequent ones come first.

    Args:
        labels: (N, L), 1, 0 or NaN.
        label_names: The L names.
    """
    both, seen, lift = _together(labels)
    positives = both.diagonal()
    firsts, seconds = np.nonzero(np.triu((lift > 1) & (both > 1), k=1))
    order = np.argsort(-both[firsts, seconds] * np.log(lift[firsts, seconds]), kind="stable")
    pairs = []
    for first, second in zip(firsts[order], seconds[order], strict=True):
        if positives[first] > positives[second]:
            first, second = second, first
        share = float(both[first, second] / seen[first, second])
        names = (label_names[first], label_names[second])
        pairs.append(LabelPair(names, int(both[first, second]), share, float(lift[first, second])))
    return pairs


def check_pairs(labels: NDArray[np.float32], label_names: list[str], source: str) -> Iterator[Finding]:
    """Look for labels that say the same as another, or follow from one."""
    both, seen, _ = _together(labels)
    positives, negatives = both.diagonal(), (labels == 0).sum(axis=0)  # (L,)
    share = both / np.maximum(seen, 1)  # (L, L): of the rows with the first label, those with the second
    either = seen + seen.T - both  # rows with one of the two in which the other is annotated
    told = (positives >= FEW_ROWS) & (negatives > 0)  # (L,): neither rare nor always on
    candidates = told[:, None] & told & ~np.eye(len(told), dtype=np.bool_)
    equal = candidates & (both >= EQUIVALENT * either)
    implied = candidates & (share >= IMPLIED) & ~equal
    for severity, kind, chosen, what, advice in (
        (Severity.WARNING, "equivalent-labels", np.triu(equal), "are nearly the same label", "merge them into one"),
        (
            Severity.NOTE,
            "implied-labels",
            implied,
            f"are such that the first brings the second along (at least {IMPLIED:.0%})",
            "the first says it all; keep the second only if it is wanted by itself",
        ),
    ):
        found = np.argwhere(chosen)
        if len(found):
            message = f"{count(len(found), 'pair')} of labels {what}"
            joint = "and" if kind == "equivalent-labels" else "brings"
            examples = [
                f"{label_names[a]!r} ({positives[a]:.0f}) {joint} {label_names[b]!r} ({positives[b]:.0f}): "
                f"{count(int(both[a, b]), 'row')} with both"
                for a, b in found[:EXAMPLES]
            ]
            names = [label_names[i] for i in np.unique(found)]
            yield Finding(severity, kind, message, advice, source, labels=names, examples=examples)


def _together(labels: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Count pairs of labels; only rows in which both are annotated tell anything of two labels.

    Returns:
        Rows with both labels (L, L), rows with the first in which the second is annotated (L, L), and the lift (L, L).
    """
    positive, annotated = (labels == 1).astype(np.float64), (~np.isnan(labels)).astype(np.float64)  # (N, L)
    both, seen, rows = positive.T @ positive, positive.T @ annotated, annotated.T @ annotated  # (L, L)
    return both, seen, both * rows / np.maximum(seen * seen.T, 1)


def check_sides(train: Rows, validation: Rows, label_names: list[str]) -> Iterator[Finding]:
    """Look for labels whose share in validation is not that in training."""
    if train.labels is None or validation.labels is None:
        return
    train_positives, positives = ((side == 1).sum(axis=0) for side in (train.labels, validation.labels))  # (L,)
    train_annotated, annotated = ((~np.isnan(side)).sum(axis=0) for side in (train.labels, validation.labels))  # (L,)
    expected = train_positives / np.maximum(train_annotated, 1) * annotated  # (L,)
    unseen = (train_positives > 0) & (positives == 0)
    differs = (expected >= ROWS_EXPECTED) & (np.abs(positives - expected) > SHARE_DIFFERS * expected) & ~unseen
    for severity, kind, chosen, what, advice in (
        (
            Severity.WARNING,
            "unseen-in-validation",
            unseen,
            "no row in validation",
            "no score will tell how well they are learned: add rows, or give a larger validation part",
        ),
        (
            Severity.NOTE,
            "shares-differ",
            differs,
            f"a share in validation that differs by more than {SHARE_DIFFERS:.0%} from that in training",
            "see whether the files were drawn in the same way",
        ),
    ):
        found = np.flatnonzero(chosen)
        if len(found):
            worst = found[np.argsort(-np.abs(positives - expected)[found], kind="stable")]
            names = [label_names[i] for i in worst]
            message = f"{count(len(names), 'label has', 'labels have')} {what}: {_few(names)}"
            examples = [
                f"{label_names[i]!r}: {count(int(positives[i]), 'row')}, {expected[i]:.1f} expected"
                for i in worst[:EXAMPLES]
            ]
            yield Finding(severity, kind, message, advice, validation.source, labels=names, examples=examples)


def _few(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more
