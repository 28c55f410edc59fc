# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""The likeliest set of labels that breaks no rule between labels.

This file needs only numpy and no other file: it also travels with an ONNX export.

Legend: N examples, L labels, R labels that rules name, M labels of a part, E pairs of child and parent, K cases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, islice, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# A part of the rules is solved exactly by comparing at most this many cases.
MAX_CASES = 256
# Margins are cut to the first. Sums of them stay below the second, which forces what `min_labels` adds, and sums of
# both below the third, which forces or bans a label in a case.
_LARGEST, _FORCED, _SETTLED = 1e3, 1e7, 1e13
# The margin of a predicted label is at least this, that of another at most minus this.
_LEAST = 1e-6
_ENTRIES = 200_000  # margins at a time, to stay in the processor's cache
_BONUSES = 2.0 ** np.arange(-2, 15)


class LikeliestSets:
    """Finds the likeliest sets of labels that break no rule: those with the highest sum of margins.

    The search is exact where implications form trees and exclusive groups consist of siblings. Other groups and labels
    with several parents are handled by cases: each choice of labels from these groups that may be predicted together,
    and each of these labels predicted or not. Where labels that rules connect have more than `MAX_CASES`, it is
    approximate: a local search.

    Args:
        num_labels: L.
        parents: What labels imply directly, indices of labels; without circles and without what follows from others.
        ancestors: All that these labels and their parents imply, and themselves.
        groups: Of each group at most one label is predicted. No label implies two of a group.
    """

    def __init__(
        self,
        num_labels: int,
        parents: dict[int, list[int]],
        ancestors: dict[int, set[int]],
        groups: list[list[int]],
    ) -> None:
        self._num_labels, self._ancestors, self._groups = num_labels, ancestors, groups
        # Children first, so that one pass hands all labels on to their ancestors.
        children = sorted(parents, key=lambda child: -len(ancestors[child]))
        self._edges = [(child, parent) for child in children for parent in parents[child]]
        self._parts = list(_divide(parents, ancestors, groups))

    @property
    def inexact(self) -> list[int]:
        """The labels for which the search is approximate."""
        return [label for part in self._parts if part.search is not None for label in part.labels.tolist()]

    @cached_property
    def most_labels(self) -> int:
        """How many labels may be predicted together; all, where this is not known."""
        if self.inexact:
            return self._num_labels
        return int(self._best(np.ones((1, self._num_labels))).sum())

    def as_json(self) -> dict[str, Any]:
        """Return what a program in another language needs to find the same sets, where none is `inexact`.

        Each of the `parts` has the indices of its `labels`; in its other entries, indices among these: `implications`,
        pairs of child and parent; exclusive `groups`; the `units` of its forest, parents first, groups of siblings or
        single labels with their parent, -1 for roots; and `cases`, 1 for a label that is forced, -1 for a banned one.
        """
        return {
            "parts": [part.as_json() for part in self._parts],
            "ancestors": {label: sorted(found) for label, found in self._ancestors.items()},
            "groups": self._groups,
        }

    def obey(
        self, margins: ArrayLike, decisions: ArrayLike, min_labels: int = 0, subset: ArrayLike | None = None
    ) -> Flags:
        """Find the likeliest set of labels of each example that breaks no rule.

        Examples that break no rule, and have enough labels, keep their decisions. With `min_labels`, the likeliest
        labels (with all they imply) are added one by one, which is an approximation. Where rules leave too few to add,
        others give way.

        Args:
            margins: (N, L) or (N, S), above 0 where a label is predicted by itself.
            decisions: The same shape, bool: what is predicted without rules and `min_labels`.
            min_labels: At least this many labels are predicted, as far as the rules allow it.
            subset: (S,) indices of the labels that were scored; by default all. Rules also act through the others.

        Returns:
            The same shape, bool.
        """
        flags = np.asarray(decisions, dtype=np.bool_)
        scores = _agree(np.asarray(margins, dtype=np.float64), flags)
        if subset is None:
            return self._obey(scores, flags, min_labels, np.ones(self._num_labels, dtype=np.bool_))
        indices = np.asarray(subset, dtype=np.int64)
        scored = np.zeros(self._num_labels, dtype=np.bool_)  # (L,)
        scored[indices] = True
        # A label that was not scored costs next to nothing, so that it follows from the others.
        all_scores = np.full((len(flags), len(scored)), -_LEAST / (1 + len(scored)))  # (N, L)
        all_flags = np.zeros(all_scores.shape, dtype=np.bool_)
        all_scores[:, indices], all_flags[:, indices] = scores, flags
        self._hand_on(all_flags, ~scored)
        return self._obey(all_scores, all_flags, min_labels, scored)[:, indices]

    def _obey(self, scores: Floats, flags: Flags, min_labels: int, scored: Flags) -> Flags:
        """Obey with all labels: (N, L) each; `scored` (L,) count toward `min_labels`."""
        chosen = flags.copy()
        for part in self._parts:
            rows = np.flatnonzero(part.breaks(flags[:, part.labels]))
            if len(rows):
                where = np.ix_(rows, part.labels)
                chosen[where] = part.best(scores[where])
        if min_labels:
            rows = np.flatnonzero(chosen[:, scored].sum(axis=1) < min_labels)
            if len(rows):
                chosen[rows] = self._fill(scores[rows], chosen[rows], min_labels, scored)
        return chosen

    def _fill(self, scores: Floats, chosen: Flags, min_labels: int, scored: Flags) -> Flags:
        """Add the likeliest labels to examples that have too few: (N, L) each."""
        forced = np.zeros_like(chosen)
        for _ in range(min_labels):
            lacking = chosen[:, scored].sum(axis=1) < min_labels
            gains = np.where(scored, self._gains(scores, chosen), -np.inf)  # (N, L)
            best = gains.argmax(axis=1)  # (N,)
            rows = np.flatnonzero(lacking & (gains.max(axis=1) > -np.inf))
            added = self._closure(best[rows])  # (rows, L)
            chosen[rows] |= added
            forced[rows] |= added
        # Added labels may make others worth it, such as the children of an added parent.
        better = self._best(scores + _FORCED * forced)
        enough = better[:, scored].sum(axis=1) >= min_labels
        chosen[enough] = better[enough]
        return self._fill_stuck(scores, chosen, min_labels, scored)

    def _fill_stuck(self, scores: Floats, chosen: Flags, min_labels: int, scored: Flags) -> Flags:
        """Let labels give way in examples that can have more labels by that: a rising bonus for each label."""
        for bonus in _BONUSES:
            counts = chosen[:, scored].sum(axis=1)
            rows = np.flatnonzero(counts < min_labels)
            if not len(rows):
                break
            other = self._best(scores[rows] + bonus * scored)
            more = other[:, scored].sum(axis=1) > counts[rows]
            chosen[rows[more]] = other[more]
        return chosen

    def _best(self, scores: Floats) -> Flags:
        """Find the likeliest sets, whatever the decisions: (N, L)."""
        chosen = scores > 0
        for part in self._parts:
            chosen[:, part.labels] = part.best(scores[:, part.labels])
        return chosen

    def _gains(self, scores: Floats, chosen: Flags) -> Floats:
        """What adding each label with all it implies would gain, (N, L); minus infinity where that is impossible."""
        gains = np.where(chosen, -np.inf, scores)
        ruled, (implied, excluded) = self._ruled, self._matrices
        own = chosen[:, ruled]  # (N, R)
        missing = np.where(own, 0.0, scores[:, ruled]) @ implied.T  # (N, R)
        blocked = own | (own.astype(np.float64) @ excluded.T > 0)
        gains[:, ruled] = np.where(blocked, -np.inf, missing)
        return gains

    def _closure(self, labels: Integers) -> Flags:
        """Flag labels (N,) and all that each implies: (N, L)."""
        flags = np.zeros((len(labels), self._num_labels), dtype=np.bool_)
        flags[np.arange(len(labels)), labels] = True
        self._hand_on(flags, np.ones(self._num_labels, dtype=np.bool_))
        return flags

    def _hand_on(self, flags: Flags, receivers: Flags) -> None:
        """Flag what flagged labels (N, L) imply, too, if it is one of some labels (L,)."""
        for child, parent in self._edges:
            if receivers[parent]:
                flags[:, parent] |= flags[:, child]

    @cached_property
    def _ruled(self) -> Integers:
        """The labels that rules name: (R,)."""
        return np.concatenate([np.zeros(0, np.int64), *(part.labels for part in self._parts)])

    @cached_property
    def _matrices(self) -> tuple[Floats, Floats]:
        """Which labels each label implies, and which it excludes: (R, R) each."""
        return _relations(self._ruled.tolist(), self._ancestors, self._groups)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Labels that rules connect with each other and with no other label, and how to find their likeliest set.

    Attributes:
        labels: (M,), indices among all labels; the other attributes have indices among these.
        children: (E,), and (E,) parents of implications.
        groups: Exclusive groups, one after the other, and where each starts.
        forest: The first parent of each label, and the groups of siblings.
        cases: (K, M), what each case adds to the margins; None: no cases.
        search: Instead of forest and cases, where there were too many.
    """

    labels: Integers
    children: Integers
    parents: Integers
    groups: Integers
    starts: Integers
    forest: "_Forest"
    cases: Floats | None
    search: "_Search | None"

    def as_json(self) -> dict[str, Any]:
        """Describe the part as `LikeliestSets.as_json` says."""
        return {
            "labels": self.labels.tolist(),
            "implications": np.stack([self.children, self.parents], axis=1).tolist(),
            "groups": [group.tolist() for group in np.split(self.groups, self.starts[1:]) if len(group)],
            "units": [{"parent": parent, "labels": labels} for parent, labels in self.forest.units()],
            "cases": None if self.cases is None else np.sign(self.cases).astype(int).tolist(),
        }

    def breaks(self, flags: Flags) -> Flags:
        """Which examples break a rule: (N, M) -> (N,)."""
        lacking: Flags = flags[:, self.children] & ~flags[:, self.parents]  # (N, E)
        found: Flags = np.any(lacking, axis=1)
        if len(self.starts):
            counts = np.add.reduceat(flags[:, self.groups].astype(np.int32), self.starts, axis=1)  # (N, groups)
            np.logical_or(found, (counts > 1).any(axis=1), out=found)
        return found

    def best(self, scores: Floats) -> Flags:
        """Find the likeliest set of each example: (N, M)."""
        if self.search is not None:
            return self.search.best(scores)
        chosen = np.empty(scores.shape, dtype=np.bool_)
        size = max(_ENTRIES // (len(self.labels) if self.cases is None else self.cases.size), 1)
        for start in range(0, len(scores), size):
            block = scores[start : start + size]
            sets = self.forest.best(block) if self.cases is None else self._best_case(block, self.cases)
            chosen[start : start + size] = sets
        return chosen

    def _best_case(self, scores: Floats, cases: Floats) -> Flags:
        sets = self.forest.best(scores[:, None] + cases)  # (N, K, M)
        likeliest = np.where(sets, scores[:, None], 0.0).sum(axis=-1).argmax(axis=1)  # (N,)
        best: Flags = sets[np.arange(len(scores)), likeliest]
        return best


def _divide(parents: dict[int, list[int]], ancestors: dict[int, set[int]], groups: list[list[int]]) -> Iterator[_Part]:
    """Make a part of all labels without cases, and one of each component with them."""
    plain: list[list[int]] = []
    for labels in _components([*([child, *found] for child, found in parents.items()), *groups]):
        part = _make_part(labels, parents, ancestors, groups)
        if part.cases is None and part.search is None:
            plain.append(labels)
        else:
            yield part
    if plain:
        yield _make_part(sorted(chain(*plain)), parents, ancestors, groups)


def _components(links: list[list[int]]) -> list[list[int]]:
    """Join lists of labels that have labels in common: sorted lists."""
    found: dict[int, set[int]] = {}
    for link in links:
        joined = set(link).union(*(found[label] for label in link if label in found))
        found.update(dict.fromkeys(joined, joined))
    return [sorted(labels) for labels in {id(labels): labels for labels in found.values()}.values()]


def _make_part(
    labels: list[int], parents: dict[int, list[int]], ancestors: dict[int, set[int]], groups: list[list[int]]
) -> _Part:
    local = {label: index for index, label in enumerate(labels)}
    own_parents = [[local[parent] for parent in parents.get(label, ())] for label in labels]
    own_groups = [[local[label] for label in group] for group in groups if group[0] in local]
    own_ancestors = [{local[other] for other in ancestors.get(label, {label})} for label in labels]
    first = [found[0] if found else -1 for found in own_parents]
    siblings, others = _split_groups(own_groups, first)
    cases = _make_cases(own_parents, own_groups, others, own_ancestors)
    edges = np.array([(child, parent) for child, found in enumerate(own_parents) for parent in found], np.int64)
    edges = edges.reshape(-1, 2)
    return _Part(
        labels=np.array(labels, np.int64),
        children=edges[:, 0],
        parents=edges[:, 1],
        groups=np.array(list(chain(*own_groups)), np.int64),
        starts=np.cumsum([0, *map(len, own_groups)])[:-1],
        forest=_Forest(first, siblings),
        cases=None if cases is None or len(cases) == 1 else cases,
        search=_Search(own_ancestors, own_groups) if cases is None else None,
    )


def _split_groups(groups: list[list[int]], first: list[int]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the groups of siblings that share no label with another group, and the other groups."""
    siblings: list[list[int]] = []
    others: list[list[int]] = []
    for group in groups:
        has_one_parent = len({first[label] for label in group}) == 1
        overlaps = any(set(group) & set(other) for other in groups if other is not group)
        (siblings if has_one_parent and not overlaps else others).append(group)
    return siblings, others


def _make_cases(
    parents: list[list[int]], groups: list[list[int]], others: list[list[int]], ancestors: list[set[int]]
) -> Floats | None:
    """Return what each case adds to the margins, (K, M): a label is forced, banned or neither; None: too many."""
    several = [label for label, found in enumerate(parents) if len(found) > 1]
    members = sorted(set(chain(*others)))
    if len(members) > MAX_CASES or 2 ** len(several) > MAX_CASES:
        return None
    allowed = list(islice(_largest_allowed(members, others), MAX_CASES + 1))
    if len(allowed) * 2 ** len(several) > MAX_CASES:
        return None
    cases = []
    for choice, states in product(allowed, product([False, True], repeat=len(several))):
        forced = set().union(*(ancestors[label] for label, is_on in zip(several, states, strict=True) if is_on))
        banned = (set(members) - choice) | {label for label, on in zip(several, states, strict=True) if not on}
        if not forced & banned and not any(len(forced & set(group)) > 1 for group in groups):
            cases.append([_SETTLED * ((label in forced) - (label in banned)) for label in range(len(parents))])
    return np.array(cases)


def _largest_allowed(members: list[int], groups: list[list[int]]) -> Iterator[set[int]]:
    """Yield the sets of labels that may be predicted together and to which no label can be added.

    Bron and Kerbosch (1973), "Algorithm 457: finding all cliques of an undirected graph", with a pivot.
    """
    pairs = {pair for group in groups for pair in chain(combinations(group, 2), combinations(group[::-1], 2))}
    together = {
        label: {other for other in members if other != label and (label, other) not in pairs} for label in members
    }

    def grow(chosen: set[int], candidates: set[int], done: set[int]) -> Iterator[set[int]]:
        if not candidates and not done:
            yield chosen
            return
        pivot = max(sorted(candidates | done), key=lambda label: len(candidates & together[label]))
        for label in sorted(candidates - together[pivot]):
            yield from grow(chosen | {label}, candidates & together[label], done & together[label])
            candidates, done = candidates - {label}, done | {label}

    yield from grow(set(), set(members), set())


class _Forest:
    """The likeliest sets in which each label has its parent, and at most one label of each group of siblings.

    From the leaves to the roots, the gain of a label is its margin and the gains of its children, where these are
    above 0, and of the best one in a group.

    Args:
        parents: The parent of each of the M labels, -1 for a root.
        groups: Groups of siblings, no two with the same label.
    """

    def __init__(self, parents: list[int], groups: list[list[int]]) -> None:
        unit_of = list(range(len(parents)))  # a group has the number of its first label
        for group in groups:
            for label in group:
                unit_of[label] = group[0]
        children: dict[int, list[int]] = {}
        for label, parent in enumerate(parents):
            children.setdefault(parent, []).append(label)
        self._levels = []
        level = children.get(-1, [])
        while level:
            self._levels.append(_Level.of(level, parents, unit_of))
            level = list(chain(*(children.get(label, ()) for label in level)))

    def units(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the parent and the labels of each group of siblings or label by itself, parents first."""
        for level in self._levels:
            parents = level.parents[level.units].tolist()
            yield from zip(parents, map(np.ndarray.tolist, np.split(level.labels, level.units[1:])), strict=True)

    def best(self, scores: Floats) -> Flags:
        """Find the likeliest set of each example: (..., M)."""
        gains, best = scores.copy(), []
        for level in reversed(self._levels):
            best.append(np.maximum.reduceat(gains[..., level.labels], level.units, axis=-1))  # (..., units)
            if level.families is not None:
                added = np.add.reduceat(np.maximum(best[-1], 0.0), level.families, axis=-1)
                gains[..., level.parents[level.units[level.families]]] += added
        chosen = np.zeros(scores.shape, dtype=np.bool_)
        for level in self._levels:
            highest = best.pop()[..., level.unit_of]
            is_best = (gains[..., level.labels] == highest) & (highest >= 0)
            if level.families is not None:
                is_best &= chosen[..., level.parents]
            chosen[..., level.labels] = _first_of(is_best, level) if level.has_groups else is_best
        return chosen


@dataclass(frozen=True, kw_only=True)
class _Level:
    """The labels of one depth of a forest, sorted by parent, then by unit: a group or a label by itself.

    Attributes:
        labels: Their indices.
        parents: Their parents.
        units: Where each unit starts.
        unit_of: The unit of each label.
        families: The first unit of each parent; None for roots.
        has_groups: Whether a unit has several labels.
    """

    labels: Integers
    parents: Integers
    units: Integers
    unit_of: Integers
    families: Integers | None
    has_groups: bool

    @classmethod
    def of(cls, labels: list[int], parents: list[int], unit_of: list[int]) -> "_Level":
        """Sort the labels of a level."""
        ordered = sorted(labels, key=lambda label: (parents[label], unit_of[label], label))
        above = np.array([parents[label] for label in ordered])
        own = np.array([unit_of[label] for label in ordered])
        units = np.flatnonzero(np.diff(own, prepend=-1))
        return cls(
            labels=np.array(ordered),
            parents=above,
            units=units,
            unit_of=np.repeat(np.arange(len(units)), np.diff(units, append=len(own))),
            families=None if above[0] < 0 else np.flatnonzero(np.diff(above[units], prepend=-1)),
            has_groups=len(units) < len(own),
        )


def _first_of(flags: Flags, level: _Level) -> Flags:
    """Keep the first flagged label of each unit: (..., labels)."""
    counts = flags.cumsum(axis=-1)
    before = (counts - flags)[..., level.units[level.unit_of]]
    first: Flags = flags & (counts - before == 1)
    return first


class _Search:
    """Finds likely sets by local search: add a label with all it implies, or remove one with all that imply it.

    Args:
        ancestors: All that each of the M labels implies, and itself.
        groups: Exclusive groups.
    """

    def __init__(self, ancestors: list[set[int]], groups: list[list[int]]) -> None:
        every = range(len(ancestors))
        self._implied, self._excluded = _relations(list(every), dict(zip(every, ancestors, strict=True)), groups)
        self._groups = groups

    def best(self, scores: Floats) -> Flags:
        """Find a likely set of each example, the better one of two starts: (N, M)."""
        starts = (np.zeros(scores.shape, dtype=np.bool_), self._complete(scores))
        found = [self._climb(scores, start) for start in starts]
        sums = [np.where(chosen, scores, 0.0).sum(axis=1) for chosen in found]  # (N,) each
        return np.where((sums[1] > sums[0])[:, None], found[1], found[0])

    def _complete(self, scores: Floats) -> Flags:
        """Add all that the labels above 0 imply, and keep the strongest label of each group: (N, M)."""
        likely = (scores > 0).astype(np.float64)
        chosen: Flags = likely @ self._implied > 0
        for group in self._groups:
            rows = np.flatnonzero(chosen[:, group].sum(axis=1) > 1)
            if len(rows):
                below = (scores[rows] * chosen[rows]) @ self._implied[:, group]  # (rows, members)
                below = np.where(chosen[rows][:, group], below, -np.inf)
                kept = np.asarray(group)[below.argmax(axis=1)]  # (rows,)
                chosen[rows] &= self._excluded[kept] == 0
        return chosen

    def _climb(self, scores: Floats, chosen: Flags) -> Flags:
        """Make the change that gains most, again and again: (N, M)."""
        implied, excluded = self._implied, self._excluded
        rows = np.arange(len(scores))
        while len(rows):
            now = chosen[rows]
            present = np.where(now, scores[rows], 0.0)
            adding = (scores[rows] - present) @ implied.T - present @ excluded.T
            gains = np.where(now, -present @ implied, adding)  # (rows, M)
            best, every = gains.argmax(axis=1), np.arange(len(rows))
            removes = now[every, best][:, None]
            added = (now & (excluded[best] == 0)) | (implied[best] > 0)
            moves = gains[every, best] > 1e-9
            chosen[rows[moves]] = np.where(removes, now & (implied[:, best].T == 0), added)[moves]
            rows = rows[moves]
        return chosen


def _relations(labels: list[int], ancestors: dict[int, set[int]], groups: list[list[int]]) -> tuple[Floats, Floats]:
    """Which labels each label implies, itself included, and which it excludes with all they imply: 0 or 1, (R, R)."""
    local = {label: index for index, label in enumerate(labels)}
    implied, excluded = np.eye(len(labels)), np.zeros((len(labels), len(labels)))
    for label, index in local.items():
        implied[index, [local[other] for other in ancestors.get(label, ())]] = 1
    for first, second in chain(*(combinations(group, 2) for group in groups)):
        excluded[local[first], local[second]] = excluded[local[second], local[first]] = 1
    everything: Floats = (implied @ excluded @ implied.T > 0).astype(np.float64)
    return implied, everything


def _agree(margins: Floats, flags: Flags) -> Floats:
    """Make margins finite, and above 0 where a label is predicted and nowhere else: (N, L)."""
    finite = np.nan_to_num(margins, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST).clip(-_LARGEST, _LARGEST)
    agreeing: Floats = np.where(flags, np.maximum(finite, _LEAST), np.minimum(finite, -_LEAST))
    return agreeing
