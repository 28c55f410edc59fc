"""Proposes rules between labels that the data hold without exception, and finds the rows that break given ones.

Shapes: N examples, L labels.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_multilabel.data.label_rules import find_broken
from bert_multilabel.model.label_rules import LabelRules

from .findings import EXAMPLES, Finding, Severity, Split

# What holds for so many rows has, with 95% certainty, exceptions in less than a tenth of all rows (3 / 30).
LEAST_ROWS = 30
# Chance is to explain one of all proposed rules this rarely.
CHANCE = 0.05
GROUPS_PROPOSED = 20

Flags = NDArray[np.bool_]


def check_rules(split: Split, rules: LabelRules) -> Iterator[Finding]:
    """Report the rows that break given rules."""
    if split.labels is None:
        return
    _, broken = find_broken(rules, [split.labels])
    rows = sorted({row - 1 for rule in broken for row in rule.rows})
    examples = [f"{rule.text}: {len(rule.rows):,}" for rule in broken[:EXAMPLES]]
    advice = "correct their labels or the rules: predictions never break a rule, whatever the rows say"
    message = "row breaks|rows break label rules"
    yield from split.about_rows(Severity.WARNING, "broken-rules", rows, message, advice, examples)


def report_proposed(split: Split, rules: dict[str, Any]) -> Iterator[Finding]:
    """Report the proposed rules."""
    implies = [(child, parent) for child, parents in rules["implies"].items() for parent in parents]
    lines = [f"{child!r} implies {parent!r}" for child, parent in implies]
    lines += [f"at most one of {', '.join(map(repr, group))}" for group in rules["exclusive"]]
    message = "rule|rules between labels that no row breaks, and that chance hardly explains"
    advice = "keep those that are true by their meaning: --write_rules FILE, then train with --label_rules FILE"
    names = sorted({name for pair in [*implies, *rules["exclusive"]] for name in pair})
    yield from split.report(
        Severity.NOTE, "proposed-rules", len(lines), message, advice, labels=names, examples=lines[:EXAMPLES]
    )


def propose_rules(labels: NDArray[np.float32], label_names: list[str]) -> dict[str, Any]:
    """Propose rules that no row breaks, by `label_names`: the form of `MultiLabelConfig.label_rules`.

    An implication needs `LEAST_ROWS` rows with the first label, and a second label that is rare enough for chance not
    to put it into all of them. Exclusive labels would by chance occur together in several rows, and never do. What
    follows from other proposals is left out.

    Args:
        labels: (N, L): 1, 0, or NaN for "not annotated".
        label_names: The L names.
    """
    positive, annotated = (labels == 1).astype(np.float64), (~np.isnan(labels)).astype(np.float64)  # (N, L)
    both, seen = positive.T @ positive, positive.T @ annotated  # (L, L); seen: the second is annotated
    shares = positive.sum(axis=0) / np.maximum(annotated.sum(axis=0), 1)  # (L,)
    # The log of how unlikely chance has to make a rule, for it to be none of the L * L that are looked at.
    unlikely = np.log(max(len(label_names), 2) ** 2 / CHANCE)
    implied = _implications(both, seen, shares, unlikely)
    expected = seen * shares  # (L, L), rows with both if labels were independent
    apart = (both == 0) & (np.minimum(expected, expected.T) >= unlikely)
    groups = _exclusive_groups(_without_derived(apart, implied), np.minimum(expected, expected.T))
    reduced = implied & ~(implied.astype(np.float32) @ implied > 0)
    return {
        "implies": {
            label_names[child]: [label_names[parent] for parent in np.flatnonzero(reduced[child])]
            for child in np.flatnonzero(reduced.any(axis=1))
        },
        "exclusive": [[label_names[label] for label in group] for group in groups],
    }


def _implications(
    both: NDArray[np.float64], seen: NDArray[np.float64], shares: NDArray[np.float64], unlikely: float
) -> Flags:
    """Which label implies which, (L, L); labels that imply each other are one label with two names, and no rule."""
    always: Flags = (both == seen) & (seen >= LEAST_ROWS)
    with np.errstate(divide="ignore", invalid="ignore"):  # of labels without a row: 0 * inf, which implies nothing
        always &= -seen * np.log(shares) >= unlikely
    always &= ~always.T
    # Where labels are not annotated, a chain may lack its last link.
    while not np.array_equal(always, longer := (always | (always.astype(np.float32) @ always > 0)) & ~always.T):
        always = longer
    return always


def _without_derived(apart: Flags, implied: Flags) -> Flags:
    """Leave out pairs that exclude each other because of what one of them implies, or that some label implies both."""
    upward = implied | np.eye(len(implied), dtype=np.bool_)  # itself included
    derived = (implied.astype(np.float32) @ apart > 0) | (apart.astype(np.float32) @ implied.T > 0)
    together = upward.T.astype(np.float32) @ upward > 0
    return apart & ~derived & ~together


def _exclusive_groups(apart: Flags, expected: NDArray[np.float64]) -> list[list[int]]:
    """Cover pairs that exclude each other, (L, L), by a few groups; those that chance explains least come first."""
    firsts, seconds = np.nonzero(np.triu(apart))
    order = np.argsort(-expected[firsts, seconds], kind="stable")
    groups: list[list[int]] = []
    covered = np.zeros_like(apart)
    for first, second in zip(firsts[order].tolist(), seconds[order].tolist(), strict=True):
        if covered[first, second] or len(groups) == GROUPS_PROPOSED:
            continue
        group = [first, second]
        for label in np.argsort(-expected[first], kind="stable").tolist():
            if label not in group and apart[label, group].all():
                group.append(label)
        groups.append(sorted(group))
        for one, other in combinations(groups[-1], 2):
            covered[one, other] = True
    return groups
