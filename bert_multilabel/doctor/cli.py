"""The data doctor, `bert-multilabel doctor FILE`: examines data before training."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from bert_multilabel.data.arguments import ColumnArguments, DataArguments
from bert_multilabel.data.label_rules import ChosenRules, read_rules_file
from bert_multilabel.data.sources import check_exists
from bert_multilabel.data.values import rows_text
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.training.options.model import ModelArguments
from bert_multilabel.training.options.training import TrainingOptions
from bert_multilabel.utils.files import write_json
from bert_multilabel.utils.option_parser import OptionParser
from bert_multilabel.utils.shell import join_words

from .examine import SPLIT_OFF, Examination, examine
from .findings import Finding, Severity, counted
from .label_checks import LabelCount

# The options that the doctor shares with run_multilabel.py.
_OPTIONS: dict[type, str] = {
    DataArguments: "validation_file test_file id_column label_names_file validation_fraction "
    + " ".join(field.name for field in fields(ColumnArguments)),
    ModelArguments: "strategy label_attention label_layers",
    TrainingOptions: "seed stride",
}
_MODEL_OPTIONS = ("strategy", "label_attention", "label_layers", "max_seq_length", "stride")  # need a model
_REPEATED = (*_MODEL_OPTIONS, "validation_fraction", "seed")  # in the command that trains
WIDTH = 80
LABELS_SHOWN = 10  # the most frequent, and as many of the rarest
PAIRS_SHOWN, EXAMPLES_SHOWN, PROBLEMS_SHOWN = 10, 3, 20


def main(arguments: list[str] | None = None) -> int:
    """Examine the files named on the command line, by default `sys.argv[1:]`, and print the results.

    Returns:
        1 if there are errors in the data, else 0; argparse exits with 2 for wrong arguments.
    """
    parser = _parser()
    data, model, training, other = parser.parse(arguments)
    given = {**vars(training), **vars(data), **vars(model)}
    needing = [name for name in _MODEL_OPTIONS if given[name] is not None]
    if needing and other.model_name_or_path is None:
        parser.error(f"--{needing[0]} needs --model_name_or_path: without a model, lengths are counted in words")
    if not 0 < data.validation_fraction < 1:
        parser.error(f"--validation_fraction must be above 0 and below 1, got {data.validation_fraction}")
    try:
        data_args = DataArguments(train_file=other.file, **vars(data))
        result = _examine(data_args, model, training, other)
        if other.write_rules is not None and result.summaries:
            write_json(Path(other.write_rules), result.proposed_rules)
        if other.json is not None:
            write_json(Path(other.json), result.as_json())
    except MultiLabelError as error:
        parser.error(str(error))  # in the arguments: problems in the data are findings
    print("\n".join(render(result)))
    if result.options:
        changed = [f"--{name} {given[name]}" for name in _REPEATED if given[name] != parser.get_default(name)]
        # One line, to be copied.
        print(f"\nTrain on it:\n    {_command(data_args, other, [*result.options, *changed])}")
    return 1 if result.count(Severity.ERROR) else 0


def _examine(data_args: DataArguments, model: Any, training: Any, other: Any) -> Examination:
    files = _files(data_args)
    label_names, make_profiler = None, None
    if other.model_name_or_path is not None:
        from .token_lengths import read_model  # torch and Transformers take longer than most files

        path, limit = other.model_name_or_path, data_args.max_seq_length
        label_names, make_profiler = read_model(path, vars(model), limit, training.stride)
        if data_args.text_pair_column is None:
            data_args.text_pair_column = trained_pair_column(Path(path))
    path = other.label_rules
    rules = None if path is None else ChosenRules(read_rules_file(path), path)
    spec = data_args.spec(label_names)
    return examine(spec, files, data_args.validation_fraction, training.seed, make_profiler, rules)


def _parser() -> OptionParser:
    parser = OptionParser(
        [_options(group, names.split()) for group, names in _OPTIONS.items()],
        prog="bert-multilabel doctor",
        description="Examine labels, texts, lengths, duplicates, and leaks between splits. Nothing is changed.",
        epilog="Exit code: 0 without errors in the data, 1 with errors, 2 for wrong arguments.",
    )
    model = (
        "A checkpoint of BERT or a relative, or a trained model: lengths are counted in its tokens. Default: in words."
    )
    parser.add_argument("file", metavar="FILE", help="A file of examples, or a folder or pattern of files.")
    parser.add_argument("--model_name_or_path", help=model)
    parser.add_argument("--label_rules", metavar="FILE", help="Rules between labels: report the rows that break them.")
    parser.add_argument("--write_rules", metavar="FILE", help="Write the rules that no row breaks to this file.")
    parser.add_argument("--json", metavar="PATH", help="Also write the results to this JSON file.")
    return parser


def _options(group: type, names: list[str]) -> Any:
    """Make a dataclass with some of the options of a group."""
    types, options = get_type_hints(group), {option.name: option for option in fields(group)}
    copies = ((name, field(default=options[name].default, metadata=options[name].metadata)) for name in names)
    return make_dataclass(group.__name__, [(name, types[name], copy) for name, copy in copies])


def _files(data_args: DataArguments) -> dict[str, str]:
    paths = {"train": data_args.train_file, "validation": data_args.validation_file, "test": data_args.test_file}
    files = {split: path for split, path in paths.items() if path is not None}
    for path in files.values():
        check_exists(path)
    return files


def _command(data_args: DataArguments, other: Any, options: list[str]) -> str:
    """Return the command that trains on what was examined, with nothing left to guess."""
    words = ["bert-multilabel train", join_words([str(data_args.train_file)])]
    words += ["--model_name_or_path", join_words([other.model_name_or_path or "MODEL"]), "--output_dir OUT"]
    for name in ("validation_file", "test_file", "label_names_file"):
        if (value := getattr(data_args, name)) is not None:
            words.append(f"--{name} {join_words([value])}")
    if (rules := other.label_rules) is not None:
        words.append(f"--label_rules {join_words([rules])}")
    return " ".join([*words, *options])


def render(result: Examination) -> Iterator[str]:
    """Format the results as lines of text, at most `WIDTH` columns wide except for long names."""
    if result.summaries:
        yield from _render_splits(result)
        yield from _render_labels(result.labels)
        yield from _render_pairs(result)
        yield from _render_lengths(result)
    numbers = [counted(result.count(severity), f"{severity}|{severity}s") for severity in Severity]
    yield f"Findings: {', '.join(numbers)}"
    for finding in result.findings:
        yield from _render_finding(finding)


def _render_splits(result: Examination) -> Iterator[str]:
    part = "rows of train that training keeps for validation"
    sources = (part if split.split == SPLIT_OFF else split.source for split in result.summaries)
    names = (split.split for split in result.summaries)
    yield from ("Rows", *(f"  {name}: {source}" for name, source in zip(names, sources, strict=True)), "")
    rows = []
    for split in result.summaries:
        unlabelled = "-" if split.unlabelled is None else f"{split.unlabelled:,}"
        labels_per_row = "-" if split.labels_per_row is None else f"{split.labels_per_row:.2f}"
        sizes = [f"{split.rows:,}", f"{split.texts:,}", f"{split.with_pair / split.rows:.0%}"]
        rows.append([split.split, *sizes, unlabelled, labels_per_row])
    yield from _table(["split", "rows", "texts", "with pair", "no labels", "labels/row"], rows)
    train = result.summaries[0]
    shares = [f"{number}: {rows / train.rows:.1%}" for number, rows in train.rows_by_labels.items()]
    yield from _wrap(f"Labels per row in {train.split}: {', '.join(shares[:12])}{', ...' * (len(shares) > 12)}")
    yield ""


def _render_labels(labels: list[LabelCount]) -> Iterator[str]:
    yield f"Labels: {len(labels)}, with their rows and the share of the annotated rows"
    splits = list(labels[0].positives)
    partly = any(label.annotated[splits[0]] < 1 for label in labels)
    rows = [["label", *(cell for split in splits for cell in (split, "")), "annotated"]]
    for label in labels:
        cells = [cell for split in splits for cell in (f"{label.positives[split]:,}", f"{label.shares[split]:.1%}")]
        rows.append([label.label, *cells, f"{label.annotated[splits[0]]:.1%}"])
    header, *rows = rows if partly else [row[:-1] for row in rows]
    if (rest := len(rows) - 2 * LABELS_SHOWN) > 1:
        gap = [f"... {rest} more ...", *[""] * (len(header) - 1)]
        rows = [*rows[:LABELS_SHOWN], gap, *rows[-LABELS_SHOWN:]]
    yield from _table(header, rows)


def _render_pairs(result: Examination) -> Iterator[str]:
    if result.pairs:
        yield "Labels that occur together: rows with both, their share of the rows with the"
        yield "rarer label, and how many times more rows than for independent labels (lift)"
        pairs = result.pairs[:PAIRS_SHOWN]
        rows = [[" + ".join(pair.labels), f"{pair.rows:,}", f"{pair.share:.1%}", f"{pair.lift:.1f}"] for pair in pairs]
        yield from _table(["labels, the rarer first", "rows", "share", "lift"], rows)


def _render_lengths(result: Examination) -> Iterator[str]:
    unit, limit = result.lengths[0].unit, result.lengths[0].limit
    taken = f", label tokens included: {result.label_tokens}" if result.label_tokens else ""
    yield f"Lengths in {unit}" + (f" (limit {limit}{taken})" if limit is not None else "")
    rows = [["split", "mean", "median", "95%", "max", "over limit"]]
    for item in result.lengths:
        numbers = [f"{item.mean:.1f}", f"{item.median:.0f}", f"{item.percentile_95:.0f}", f"{item.longest:,}"]
        rows.append([item.split, *numbers, f"{item.over:,}"])
    header, *rows = [row[:-1] for row in rows] if limit is None else rows
    yield from _table(header, rows)


def _render_finding(finding: Finding) -> Iterator[str]:
    yield ""
    yield from _wrap(f"{finding.severity}: {finding.message}")
    if finding.source:
        yield from _wrap(f"in {finding.source}" + (f", {rows_text(finding.rows)}" if finding.rows else ""), "    ")
    shown = PROBLEMS_SHOWN if finding.severity is Severity.ERROR else EXAMPLES_SHOWN
    for example in finding.examples[:shown]:
        yield from _wrap(example, "    ", "      ")
    if len(finding.examples) > shown:
        yield "    ..."
    yield from _wrap(f"-> {finding.advice}", "    ", "       ")


def _wrap(text: str, first: str = "", later: str = "    ") -> list[str]:
    # Paths and names are not broken, so that they can be copied.
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _table(header: list[str], rows: Sequence[list[str]]) -> Iterator[str]:
    """Align columns, the first to the left and shortened to the remaining width, and end with a blank line."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    widths[0] = min(widths[0], max(WIDTH - sum(width + 2 for width in widths[1:]) - 2, 20))
    for line in lines:
        name = line[0] if len(line[0]) <= widths[0] else f"{line[0][: widths[0] - 1]}…"
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        yield "  ".join([f"  {name.ljust(widths[0])}", *cells]).rstrip()
    yield ""
