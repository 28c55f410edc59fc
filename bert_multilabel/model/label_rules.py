# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Rules between labels that people know: what a label implies, and which labels exclude each other.

This file needs only numpy and no other file: it also travels with an ONNX export. `likeliest_sets.py` obeys rules.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from .errors import MultiLabelError
except ImportError:  # next to an exported model, where this file is in no package
    MultiLabelError = ValueError  # type: ignore[assignment, misc]

_SHOWN = 5  # names in a message


class LabelRules:
    """Rules between labels, checked.

    Args:
        rules: `{"implies": {"child": ["parent"]}, "exclusive": [["a", "b", "c"]]}`; either may be missing. At most
            one label of each exclusive group is predicted.
        label_names: The L labels, in the order of the logits.

    Attributes:
        label_names: As given.
        implied: What labels imply, as given, by indices of labels.
        groups: Exclusive groups.
        ancestors: All that the labels of implications imply, directly or not, and themselves.

    Raises:
        MultiLabelError: If the rules have another form, name a label that does not exist, or contradict each other.

    Examples:
        >>> rules = LabelRules({"implies": {"pug": ["dog"]}}, ["dog", "pug"])
        >>> rules.broken([[1, 0], [0, 1]])
        {"'pug' implies 'dog'": array([1])}
    """

    def __init__(self, rules: dict[str, Any], label_names: Sequence[str]) -> None:
        self.label_names = list(label_names)
        self.implied, self.groups = _parse(rules, self.label_names)
        self.ancestors = _find_ancestors(self.implied, self.label_names)
        _check_contradictions(self.ancestors, self.groups, self.label_names)

    def structure(self) -> dict[str, Any]:
        """Return the arguments of `LikeliestSets`."""
        parents = {
            child: [one for one in found if not any(one in self.ancestors[other] for other in found if other != one)]
            for child, found in self.implied.items()
        }
        return {
            "num_labels": len(self.label_names),
            "parents": parents,
            "ancestors": self.ancestors,
            "groups": self.groups,
        }

    def __str__(self) -> str:
        implications = sum(map(len, self.implied.values()))
        return f"{quantity(implications, 'implication')} and {quantity(len(self.groups), 'exclusive group')}"

    def broken(self, labels: ArrayLike) -> dict[str, NDArray[np.int64]]:
        """Find the rows that break each rule, by its text, such as "'pug' implies 'dog'".

        Args:
            labels: (N, L), bool, or 1, 0, and NaN or a negative number for "not annotated", which breaks no rule.

        Returns:
            Indices of rows, for the rules that are broken at all.
        """
        values = np.asarray(labels)
        true, false = values == 1, values == 0
        found = {}
        for child, parents in self.implied.items():
            for parent in parents:
                text = f"{self.label_names[child]!r} implies {self.label_names[parent]!r}"
                found[text] = np.flatnonzero(true[:, child] & false[:, parent])
        for group in self.groups:
            text = f"at most one of {quoted(self.label_names[label] for label in group)}"
            found[text] = np.flatnonzero(true[:, group].sum(axis=1) > 1)
        return {text: rows for text, rows in found.items() if len(rows)}


def _parse(rules: Any, label_names: list[str]) -> tuple[dict[int, list[int]], list[list[int]]]:
    """Return what each label implies, and the exclusive groups, by indices of labels."""
    shape = '{"implies": {"child": ["parent"]}, "exclusive": [["a", "b"]]}'
    if not isinstance(rules, dict) or rules.keys() - {"implies", "exclusive"}:
        got = repr(sorted(map(str, rules))) if isinstance(rules, dict) else repr(rules)
        raise MultiLabelError(f"label_rules must have the form {shape}, got {got:.200}")
    implies, exclusive = rules.get("implies", {}), rules.get("exclusive", [])
    if not isinstance(implies, dict):
        raise MultiLabelError(f"'implies' of label_rules must map a name to a list of names, got {implies!r:.200}")
    if not isinstance(exclusive, list | tuple):
        raise MultiLabelError(f"'exclusive' of label_rules must be a list of lists of names, got {exclusive!r:.200}")
    index_of = {name: index for index, name in enumerate(label_names)}
    _check_names([(f"what {child!r} implies", parents) for child, parents in implies.items()])
    _check_names([("an exclusive group", group) for group in exclusive])
    _check_known([*implies, *chain(*implies.values(), *exclusive)], index_of)
    for group in exclusive:
        if len(group) < 2:
            raise MultiLabelError(f"an exclusive group of label_rules must have at least two labels, got {group}")
    implied = {index_of[child]: [index_of[name] for name in parents] for child, parents in implies.items() if parents}
    return implied, [[index_of[name] for name in group] for group in exclusive]


def _check_names(lists: Iterable[tuple[str, Any]]) -> None:
    for what, names in lists:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise MultiLabelError(f"{what} must be a list of names in label_rules, got {names!r:.200}")
        if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise MultiLabelError(f"{what} repeats {few(repeated)} in label_rules: {names!r:.200}")


def _check_known(names: Iterable[str], index_of: dict[str, int]) -> None:
    if unknown := [name for name in dict.fromkeys(names) if name not in index_of]:
        raise MultiLabelError(
            f"label_rules name labels that the model does not have: {few(unknown)}. Its labels: {few([*index_of])}. "
            "Write the rules with these names, or leave them out"
        )


def _find_ancestors(implied: dict[int, list[int]], label_names: list[str]) -> dict[int, set[int]]:
    """Return all that each label implies, directly or not, and itself; refuse circles."""
    ancestors: dict[int, set[int]] = {}
    for label in reversed(_parents_last(implied, label_names)):
        ancestors[label] = {label}.union(*(ancestors[parent] for parent in implied.get(label, ())))
    return ancestors


def _parents_last(implied: dict[int, list[int]], label_names: list[str]) -> list[int]:
    """Sort the labels of implications so that each comes before all it implies; refuse circles."""
    waiting = dict.fromkeys(chain(implied, *implied.values()), 0)  # how many children are to come first
    for parent in chain(*implied.values()):
        waiting[parent] += 1
    order = [label for label, count in waiting.items() if not count]
    for label in order:  # which grows meanwhile
        for parent in implied.get(label, ()):
            waiting[parent] -= 1
            if not waiting[parent]:
                order.append(parent)
    if len(order) < len(waiting):
        left = waiting.keys() - set(order)
        path = [min(left)]
        while path[-1] not in path[:-1]:
            # Each label that is left has a child that is left.
            path.append(min(label for label in left if path[-1] in implied.get(label, ())))
        cycle = path[path.index(path[-1]) :][::-1]
        raise MultiLabelError(
            f"label_rules imply in a circle: {' implies '.join(repr(label_names[label]) for label in cycle)}"
        )
    return order


def _check_contradictions(ancestors: dict[int, set[int]], groups: list[list[int]], label_names: list[str]) -> None:
    """Refuse labels that could never be predicted, because all they imply excludes itself."""
    for label, implied in ancestors.items():
        for group in groups:
            both = [label_names[member] for member in group if member in implied]
            if len(both) > 1:
                others = [name for name in both if name != label_names[label]]
                raise MultiLabelError(
                    f"label_rules contradict each other: {label_names[label]!r} implies {quoted(others)}, but an "
                    f"exclusive group has {quoted(both)}: it could never be predicted"
                )


def quoted(names: Iterable[str]) -> str:
    """Join names to "'a', 'b' and 'c'"."""
    *most, last = map(repr, names)
    return f"{', '.join(most)} and {last}" if most else last


def few(names: Sequence[str]) -> str:
    """Quote the first names, and count the others."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def quantity(number: int, noun: str) -> str:
    """Write a number with what it counts, such as 1 row or 1,200 rows."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
