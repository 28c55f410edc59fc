"""Reads rules between labels from a file, and finds the examples that break them.

Shapes: N examples, L labels.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.model.label_rules import LabelRules
from bert_multilabel.utils.labels import hard_labels

from .json_file import read_json_pairs
from .values import rows_text, shorten

logger = logging.getLogger(__name__)

ROWS_SHOWN = 5  # numbers of a rule
RULES_SHOWN = 10


@dataclass(frozen=True)
class ChosenRules:
    """Rules between labels, as in `MultiLabelConfig`, and the file that they are from."""

    rules: dict[str, Any]
    source: str


@dataclass(frozen=True)
class BrokenRule:
    """A rule, as a text, and the numbers of the examples that break it, from 1."""

    text: str
    rows: list[int]


def read_rules_file(path: str) -> dict[str, Any]:
    """Read rules such as `{"implies": {"pug": ["dog"]}, "exclusive": [["dog", "cat"]]}` from a JSON file.

    What they say about labels is checked by `parse_rules`.

    Raises:
        DataError: If the file cannot be read, is no JSON object, or repeats a name.
    """
    pairs = read_json_pairs(path)
    if not isinstance(pairs, tuple):
        expected = '{"implies": {"child": ["parent"]}, "exclusive": [["a", "b"]]}'
        raise DataError(f"{path} must hold one object such as {expected}, got {shorten(pairs)}")
    rules: dict[str, Any] = _as_dict(pairs, path)
    return rules


def _as_dict(value: Any, path: str) -> Any:
    """Make dictionaries of tuples of pairs."""
    if isinstance(value, list):
        return [_as_dict(item, path) for item in value]
    if not isinstance(value, tuple):
        return value
    found = {name: _as_dict(item, path) for name, item in value}
    names = [name for name, _ in value]
    if repeated := [name for name in found if names.count(name) > 1]:
        raise DataError(f"{path} repeats {shorten(repeated[0])}: write all that it implies in one list")
    return found


def parse_rules(rules: dict[str, Any], label_names: Sequence[str], source: str) -> LabelRules:
    """Check rules against the labels; raise a DataError that names the source if they do not fit."""
    try:
        return LabelRules(rules, label_names)
    except MultiLabelError as error:
        raise DataError(f"{source}: {error}") from error


def find_broken(rules: LabelRules, batches: Iterable[Any]) -> tuple[int, list[BrokenRule]]:
    """Find the examples that break rules, in one or more batches (B, L) of labels from 0 to 1.

    Returns:
        How many examples break a rule, and the rules that they break, that of the most examples first.
    """
    rows: dict[str, list[int]] = {}
    examples, start = 0, 1
    for batch in batches:
        labels = hard_labels(np.array(batch, dtype=np.float32))  # (B, L)
        broken = rules.broken(labels)
        for text, found in broken.items():
            rows.setdefault(text, []).extend((found + start).tolist())
        examples += len(set().union(*(found.tolist() for found in broken.values())))
        start += len(labels)
    order = sorted(rows, key=lambda text: -len(rows[text]))
    return examples, [BrokenRule(text, rows[text]) for text in order]


def warn_of_broken(rules: LabelRules, source: str, batches: Iterable[Any], num_examples: int) -> None:
    """Log which examples break rules, if any do: they may be mistakes, but nobody can know which label is wrong."""
    examples, broken = find_broken(rules, batches)
    if not examples:
        return
    shown = [f"{rule.text} ({len(rule.rows):,}: {rows_text(rule.rows, ROWS_SHOWN)})" for rule in broken[:RULES_SHOWN]]
    more = f"; and {len(broken) - RULES_SHOWN} more rules" if len(broken) > RULES_SHOWN else ""
    logger.warning(f"{source}: {examples:,} of {num_examples:,} examples break label rules: {'; '.join(shown)}{more}")
