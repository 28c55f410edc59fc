"""Files in, all that the data doctor has to say of them out."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bert_multilabel.data.columns import DataSpec
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.reading import BadRows
from bert_multilabel.data.splitting import split_validation
from bert_multilabel.errors import DataError
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

from .findings import ROWS_LISTED, Finding, Rows, Severity, rows_of
from .label_checks import (
    LabelCount,
    LabelPair,
    check_labels,
    check_names,
    check_pairs,
    check_sides,
    count_labels,
    pair_labels,
)
from .lengths import Lengths, Ruler
from .text_checks import check_columns, check_leaks, check_repetitions, check_texts

PAIRS_LISTED = 1000
SPLIT_OFF = "split off"  # what would become validation data where no file is given

LoadModel = Callable[[list[str]], tuple[MultiLabelConfig, MultiLabelTokenizer]]


@dataclass(frozen=True)
class Summary:
    """The rows of one split.

    Attributes:
        split: train, validation, test, or what would be split off.
        source: The file.
        rows: How many there are.
        texts: Different texts (and pairs) among them; case and spaces do not count.
        with_pair: Rows with a second text.
        unlabelled: Rows without any label; None if the file has no labels.
        labels_per_row: Mean number of labels; None if the file has no labels.
        rows_by_labels: How many rows have so many labels, by that number.
    """

    split: str
    source: str
    rows: int
    texts: int
    with_pair: int
    unlabelled: int | None
    labels_per_row: float | None
    rows_by_labels: dict[int, int]


@dataclass
class Examination:
    """What was found, the findings ordered by severity; empty but for the findings where rows could not be read.

    Attributes:
        summaries: The rows of each split.
        labels: The count of each label, the most frequent first.
        pairs: The pairs of labels that come together, the strongest first, at most `PAIRS_LISTED`.
        lengths: The lengths of each file's texts.
        label_tokens: How many tokens of each input are label tokens.
        findings: All findings, the worst first.
    """

    summaries: list[Summary] = field(default_factory=list)
    labels: list[LabelCount] = field(default_factory=list)
    pairs: list[LabelPair] = field(default_factory=list)
    lengths: list[Lengths] = field(default_factory=list)
    label_tokens: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, severity: Severity) -> int:
        """Count the findings of one severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values, with the number of errors, warnings and notes first."""
        return {**{f"{severity}s": self.count(severity) for severity in Severity}, **asdict(self)}


def examine(
    spec: DataSpec,
    files: dict[str, str],
    fraction: float = 0.1,
    seed: int = 42,
    load_model: LoadModel | None = None,
    max_length: int | None = None,
) -> Examination:
    """Examine data before training.

    Args:
        spec: What is known about columns and labels.
        files: Path of each split's file: train, and perhaps validation and test.
        fraction: Share of the training rows that training would split off without a validation file.
        seed: Seed of that split.
        load_model: Gives configuration and tokenizer for the label names, to measure in tokens; default: in words.
        max_length: Longest input in tokens; by default what the model can take.

    Raises:
        ValueError: If the model cannot be built for these labels, or cannot take inputs that long.
    """
    try:
        loaded = load_splits(spec, files)
    except BadRows as error:
        return Examination(findings=[_bad_rows(source, problems) for source, problems in error.problems.items()])
    except DataError as error:
        return Examination(
            findings=[Finding(Severity.ERROR, "unreadable", str(error), "training would stop here too")]
        )
    # Training rows have labels, so there are names.
    names = loaded.label_names or []
    datasets = {split: rows.add_column("row", np.arange(len(rows)) + 1) for split, rows in loaded.splits.items()}
    splits = [rows_of(split, files[split], dataset) for split, dataset in datasets.items()]
    result = Examination()
    sides = splits
    if "validation" not in files:
        try:
            train, split_off = split_validation(datasets["train"], fraction, seed, names)
        except ValueError as error:
            message = f"no validation rows can be split off: {error}"
            advice = "without them nothing can be evaluated during training"
            result.findings.append(Finding(Severity.WARNING, "no-split", message, advice, files["train"]))
        else:
            sides = [rows_of("train", files["train"], train), rows_of(SPLIT_OFF, files["train"], split_off)]
            sides += [rows for rows in splits if rows.split == "test"]
    shown = splits if len(sides) == len(splits) else [splits[0], *sides[1:]]
    result.summaries = [_summarize(rows) for rows in shown]
    result.labels = count_labels(shown, names)
    for rows in splits:
        result.findings += [*check_texts(rows), *check_columns(rows, names), *check_repetitions(rows, names)]
    result.findings += check_leaks(sides)
    labels, source = splits[0].labels, files["train"]
    if labels is not None:
        result.pairs = pair_labels(labels, names)[:PAIRS_LISTED]
        for check in (check_labels, check_names, check_pairs):
            result.findings += check(labels, names, source)
    if len(sides) > 1 and sides[1].split != "test":
        result.findings += check_sides(sides[0], sides[1], names)
    ruler = Ruler(None if load_model is None else load_model(names), max_length)
    result.label_tokens = ruler.label_tokens
    for rows in splits:
        lengths, findings = ruler.examine(rows)
        result.lengths.append(lengths)
        result.findings += findings
    result.findings.sort(key=lambda finding: list(Severity).index(finding.severity))
    return result


def _bad_rows(source: str, problems: list[str]) -> Finding:
    noun = "problem keeps" if len(problems) == 1 else "problems keep"
    message = f"{len(problems):,} {noun} the rows from being read; the rest is examined once there are none"
    advice = "mend each of them, or remove the row: training would stop here too"
    return Finding(Severity.ERROR, "bad-rows", message, advice, source, examples=problems[:ROWS_LISTED])


def _summarize(rows: Rows) -> Summary:
    labelled = rows.labels is not None
    per_row = (rows.labels == 1).sum(axis=1) if rows.labels is not None else np.zeros(0, np.int64)  # (N,)
    numbers, counts = np.unique(per_row, return_counts=True)
    return Summary(
        split=rows.split,
        source=rows.source,
        rows=len(rows),
        texts=len(set(rows.keys)),
        with_pair=sum(map(bool, rows.pairs)),
        unlabelled=int((per_row == 0).sum()) if labelled else None,
        labels_per_row=float(per_row.mean()) if labelled else None,
        rows_by_labels=dict(zip(numbers.tolist(), counts.tolist(), strict=True)),
    )
