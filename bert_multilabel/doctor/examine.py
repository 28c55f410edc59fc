"""Runs all checks of the data doctor on the files of a data set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from bert_multilabel.data.clean import load_tables
from bert_multilabel.data.label_rules import ChosenRules, parse_rules
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.splitting import choose_validation
from bert_multilabel.data.table import BadRows
from bert_multilabel.errors import DataError, MultiLabelError

from .findings import ROWS_LISTED, Finding, Severity, Split, counted
from .label_checks import LabelCount, LabelPair, check_labels, check_shares, count_labels, pair_labels
from .lengths import LengthProfiler, Lengths
from .rule_checks import check_rules, propose_rules, report_proposed
from .text_checks import check_columns, check_duplicates, check_leaks, check_texts

PAIRS_LISTED = 1000
SPLIT_OFF = "split off"  # the validation split that training would split off without a validation file
_STOPS = "training would stop with the same error"

MakeProfiler = Callable[[list[str]], LengthProfiler]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The size of one split.

    Attributes:
        split: train, validation, test or `SPLIT_OFF`.
        texts: Number of different texts (and pairs), ignoring case and spaces.
        with_pair: Number of rows with a second text.
        unlabelled: Number of rows without labels; None if the file has no labels.
        labels_per_row: Mean number of labels; None if the file has no labels.
        rows_by_labels: Number of rows by their number of labels.
    """

    split: str
    source: str
    rows: int
    texts: int
    with_pair: int
    unlabelled: int | None
    labels_per_row: float | None
    rows_by_labels: dict[int, int]

    @classmethod
    def of(cls, split: Split) -> "Summary":
        """Summarize a split."""
        labels = np.zeros((0, 0)) if split.labels is None else split.labels
        per_row = (labels == 1).sum(axis=1)  # (N,)
        numbers, counts = np.unique(per_row, return_counts=True)
        return cls(
            split=split.name,
            source=split.source,
            rows=len(split),
            texts=len(set(split.keys)),
            with_pair=sum(map(bool, split.pairs)),
            unlabelled=None if split.labels is None else int((per_row == 0).sum()),
            labels_per_row=None if split.labels is None else float(per_row.mean()),
            rows_by_labels=dict(zip(numbers.tolist(), counts.tolist(), strict=True)),
        )


@dataclass(kw_only=True)
class Examination:
    """All results; only findings if the rows could not be read.

    Attributes:
        labels: The most frequent first.
        pairs: The strongest first, at most `PAIRS_LISTED`.
        label_tokens: Number of label tokens in each input.
        findings: The most severe first.
        proposed_rules: Rules between labels that no row breaks, as `MultiLabelConfig.label_rules`.
        options: Words of a command line that name everything that was recognized in the files.
    """

    summaries: list[Summary] = field(default_factory=list)
    labels: list[LabelCount] = field(default_factory=list)
    pairs: list[LabelPair] = field(default_factory=list)
    lengths: list[Lengths] = field(default_factory=list)
    label_tokens: int = 0
    findings: list[Finding] = field(default_factory=list)
    proposed_rules: dict[str, Any] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)

    def count(self, severity: Severity) -> int:
        """Count the findings of one severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return all results as JSON values, beginning with the numbers of errors, warnings and notes."""
        return {**{f"{severity}s": self.count(severity) for severity in Severity}, **asdict(self)}


def examine(
    spec: DataSpec,
    files: dict[str, str],
    fraction: float = 0.1,
    seed: int = 42,
    make_profiler: MakeProfiler | None = None,
    rules: ChosenRules | None = None,
) -> Examination:
    """Examine the files of the splits: train, and perhaps validation and test.

    Without a validation file, `fraction` of the training rows is split off with the seed, as in training.
    `make_profiler` returns what measures lengths, for label names; without it, they are counted in words. Rows that
    break the rules are reported.

    Raises:
        MultiLabelError: If the model cannot be built for these labels, or cannot take inputs of that length, or if the
            rules do not fit the labels.
    """
    try:
        loaded = load_tables(spec, files)
    except BadRows as error:
        return Examination(findings=[_bad_rows(source, problems) for source, problems in error.problems.items()])
    except DataError as error:
        return Examination(findings=[Finding(Severity.ERROR, "unreadable", str(error), _STOPS)])
    label_names = loaded.label_names or []  # training rows are labelled, so there are names
    of_files = [Split.of(name, files[name], table) for name, table in loaded.splits.items()]
    train = of_files[0]
    as_trained, findings = _as_trained(of_files, fraction, seed, label_names)
    profiler = LengthProfiler() if make_profiler is None else make_profiler(label_names)
    proposed = {} if train.labels is None else propose_rules(train.labels, label_names)
    if proposed:
        findings += report_proposed(train, proposed)
    if rules is not None:
        parsed = parse_rules(rules.rules, label_names, rules.source)
        findings += [finding for split in of_files for finding in check_rules(split, parsed)]
    lengths, truncated = zip(*map(profiler.profile, of_files), strict=True)
    findings += [*_find(of_files, as_trained, label_names), *chain.from_iterable(truncated)]
    shown = [train, *as_trained[1:]]
    return Examination(
        summaries=list(map(Summary.of, shown)),
        labels=count_labels(shown, label_names),
        pairs=[] if train.labels is None else pair_labels(train.labels, label_names)[:PAIRS_LISTED],
        lengths=list(lengths),
        label_tokens=profiler.label_tokens,
        findings=sorted(findings, key=lambda finding: list(Severity).index(finding.severity)),
        proposed_rules=proposed,
        options=loaded.options,
    )


def _as_trained(
    of_files: list[Split], fraction: float, seed: int, label_names: list[str]
) -> tuple[list[Split], list[Finding]]:
    """Return the splits as training would use them, and a finding if it could split no validation rows off."""
    train, *others = of_files
    if any(split.name == "validation" for split in others):
        return of_files, []
    try:
        return [*_split_off(train, fraction, seed, label_names), *others], []
    except MultiLabelError as error:
        return of_files, [_no_split(train.source, error)]


def _split_off(train: Split, fraction: float, seed: int, label_names: list[str]) -> list[Split]:
    """Split validation rows off, as training would."""
    labels = np.zeros((len(train), 0)) if train.labels is None else train.labels
    texts = zip(train.texts, train.pairs, strict=True)
    is_split_off = choose_validation(texts, [labels == 1], len(train), fraction, seed, label_names)  # (N,)
    parts = (("train", ~is_split_off), (SPLIT_OFF, is_split_off))
    return [train.part(name, np.flatnonzero(where)) for name, where in parts]


def _no_split(source: str, error: MultiLabelError) -> Finding:
    message = f"no validation rows can be split off: {error}"
    advice = "without them, nothing can be evaluated during training"
    return Finding(Severity.WARNING, "no-split", message, advice, source=source)


def _find(of_files: list[Split], as_trained: list[Split], label_names: list[str]) -> Iterator[Finding]:
    """Run all checks of texts and labels on each file, and on the splits as training would use them."""
    for split in of_files:
        yield from (*check_texts(split), *check_columns(split, label_names), *check_duplicates(split, label_names))
    yield from check_leaks(as_trained)
    yield from check_labels(of_files[0], label_names)
    if len(as_trained) > 1 and as_trained[1].name != "test":
        yield from check_shares(as_trained[0], as_trained[1], label_names)


def _bad_rows(source: str, problems: Sequence[str]) -> Finding:
    message = counted(len(problems), "problem|problems in the rows; the other checks run once they are fixed")
    advice = f"fix each of them, or remove the row: {_STOPS}"
    examples = [str(problem) for problem in problems[:ROWS_LISTED]]
    return Finding(Severity.ERROR, "bad-rows", message, advice, source=source, examples=examples)
