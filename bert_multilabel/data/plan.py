"""Finds out how the rows of all splits become examples: the columns in use, and the form of the labels."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bert_multilabel.errors import DataError
from bert_multilabel.utils.shell import join_words

from .cache import cached_json
from .cleaning import Cleaner
from .columns import Columns, LabelColumns, columns_in_split, describe_columns, find_columns, missing_column
from .label_form import LabelForm, delimiter_option
from .label_parser import LabelParser
from .sources import Source
from .spec import DataSpec
from .table import KnownColumns, Table
from .values import are_no_and_yes, few


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the rows of all splits become examples; determined once, in one pass over them.

    Attributes:
        columns: The columns in use, by split.
        parser: Parses the labels; None without labels.
        id_types: Name of the type of the ids, by split.
        messages: What was found out, for the user.
    """

    columns: dict[str, Columns]
    parser: LabelParser | None
    id_types: dict[str, str]
    messages: list[str]

    @classmethod
    def make(cls, sources: dict[str, Source], spec: DataSpec) -> "Plan":
        """Read all sources once, and choose columns and the form of the labels."""
        tables = {split: Table(source.name, source.reader) for split, source in sources.items()}
        first, last = next(iter(tables)), list(tables)[-1]
        columns = find_columns(tables[first], spec, labels_needed=first != "test")
        in_splits = {split: columns_in_split(split, table, columns, spec) for split, table in tables.items()}
        if spec.id_column is not None and in_splits[last].id is None:
            raise missing_column(tables[last], "id", spec.id_column)
        labelled = {split: table for split, table in tables.items() if in_splits[split].labels}
        parser = _label_parser(labelled, in_splits, spec) if labelled else None
        messages = [describe_columns(tables[first], columns, spec, parser)]
        if parser is not None:
            messages += parser.notes
            _check_lines_apply(tables[first], in_splits[first], parser, spec)
        if message := _repeated_texts(tables[first], in_splits[first], spec):
            messages.append(message)
        id_types = {split: _id_type(tables[split], in_splits[split]) for split in tables}
        return cls(columns=in_splits, parser=parser, id_types=id_types, messages=messages)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Plan":
        """Restore a plan from its `asdict`."""
        columns = {
            split: Columns(**values | {"label_columns": LabelColumns(values["label_columns"])})
            for split, values in stored["columns"].items()
        }
        parser = stored["parser"]
        if parser is not None:
            parser = LabelParser(**parser | {"form": LabelForm(parser["form"])})
        return cls(**stored | {"columns": columns, "parser": parser})

    def options(self, spec: DataSpec) -> list[str]:
        """Return the words of a command line that name the columns and all that was set: nothing is left to guess."""
        columns = next(iter(self.columns.values()))
        delimiter = spec.label_delimiter or (self.parser.delimiter if self.parser else None)
        named = {
            "text_column": columns.texts,
            "text_pair_column": [columns.pair] if columns.pair else [],
            "label_column": columns.labels,
            "id_column": [columns.id] if columns.id else [],
            "label_delimiter": [delimiter_option(delimiter)] if delimiter else [],
        }
        rest = {
            name: value for name, value in asdict(spec).items() if name not in (*named, "label_names", "label_ids")
        }
        words = []
        for name, value in {**named, **rest}.items():
            if value not in (None, False, []):
                values = value if isinstance(value, list) else [] if value is True else [value]
                words += [f"--{name}", *(join_words([str(item)]) for item in values)]
        return words

    def cleaner(self, split: str, source: Source, spec: DataSpec) -> Cleaner:
        """Make the cleaner of a split."""
        columns = self.columns[split]
        return Cleaner(
            split=split,
            source=source.name,
            reader=source.reader,
            columns=columns,
            parser=self.parser,
            id_names=_id_names(source.reader.known_columns, columns),
            id_type=self.id_types[split],
            spec=spec,
        )


def _id_names(known: KnownColumns, columns: Columns) -> dict[str, list[str]]:
    """Return the names of the ids in label columns, by the name of the column in the first split."""
    in_split = zip(columns.label_names, columns.labels, strict=False)
    return {name: names for name, column in in_split if (names := known.get(column)) is not None}


def find_plan(sources: dict[str, Source], spec: DataSpec) -> Plan:
    """Return the plan, stored by all that decides it, so that known files are not read again."""
    digests = {split: source.digest() if source.digest else None for split, source in sources.items()}
    if None in digests.values():
        return Plan.make(sources, spec)
    names = {split: source.name for split, source in sources.items()}  # in messages
    computed_from = {"plan of": digests, "names": names, "spec": asdict(spec)}
    return Plan.from_json(cached_json(computed_from, lambda: asdict(Plan.make(sources, spec))))


def _label_parser(tables: dict[str, Table], columns: dict[str, Columns], spec: DataSpec) -> LabelParser:
    first = next(iter(tables))
    names, kind = columns[first].label_names, columns[first].label_columns
    in_split = {split: dict(zip(names, columns[split].labels, strict=True)) for split in tables}
    without_zero: list[str] = []
    if kind is LabelColumns.ONE_PER_LABEL:
        for split, table in tables.items():
            _check_id_names(table, in_split[split].values())
            if spec.label_values is None:
                _check_zero_one(table, list(in_split[split].values()))
        without_zero = _without_zero(tables, in_split)
    try:
        return _make_parser(tables, in_split, kind, spec, without_zero)
    except DataError as error:  # of values, without their source
        raise DataError(f"{tables[first].source}: {error}") from error


def _make_parser(
    tables: dict[str, Table],
    in_split: dict[str, dict[str, str]],
    kind: LabelColumns,
    spec: DataSpec,
    without_zero: list[str],
) -> LabelParser:
    names = list(next(iter(in_split.values())))
    if kind is LabelColumns.ONE_PER_LABEL:
        return LabelParser.of_columns(names, spec, without_zero)
    if kind is LabelColumns.NAMES:
        cells = {
            split: {name: table.cells(in_split[split][name]) for name in names} for split, table in tables.items()
        }
        return LabelParser.of_name_columns(names, cells, spec)
    cells_of_one = {split: table.cells(in_split[split][names[0]]) for split, table in tables.items()}
    given = (table.id_names(in_split[split][names[0]]) for split, table in tables.items())
    return LabelParser.of_cells(names[0], cells_of_one, spec, next(filter(None, given), None))


def _check_id_names(table: Table, columns: Iterable[str]) -> None:
    """Raise a DataError if the ids in 0/1 columns have other names than words for no and yes."""
    for column in columns:
        if (names := table.id_names(column)) is not None and not are_no_and_yes(names):
            raise DataError(
                f"{table.source}: column {column!r} holds ids of the names {few(names)}, not of no and yes: pass "
                f"--label_column {column} if these are the labels, or name other columns"
            )


def _check_zero_one(table: Table, columns: list[str]) -> None:
    """Raise a DataError if most of several 0/1 columns hold other numbers; a few may be faults of some rows."""
    numbers = [column for column in columns if table.facts(column).holds_shares]
    if len(columns) > 1 and 2 * len(numbers) > len(columns):
        advice = "if they are shares or votes, pass --label_values shares or 'votes>=2'"
        raise DataError(f"{table.source}: columns {few(numbers)} hold other numbers than 0 and 1: {advice}")


def _without_zero(tables: dict[str, Table], in_split: dict[str, dict[str, str]]) -> list[str]:
    """Return the 0/1 columns that have no 0 in the first split, where blank cells cannot mean "not annotated".

    Raises:
        DataError: If such a column holds -1, which may mean either.
    """
    first = next(iter(tables))
    found = []
    for name, column in in_split[first].items():
        facts = tables[first].facts(column)
        if facts.holds_marks and not facts.has_zero and tables[first].id_names(column) is None:
            if facts.has_hidden:
                raise DataError(
                    f"{tables[first].source}: column {column!r} holds 1 and -1 but no 0: write 0 where -1 means no, "
                    "and leave the cell empty where it means not annotated"
                )
            found.append(name)
    return found


def _repeated_texts(table: Table, columns: Columns, spec: DataSpec) -> str:
    """Point out a table that may have one line per text and label."""
    cells = table.facts(columns.texts[0]).cells
    if spec.one_label_per_line or spec.annotators or cells is None or not columns.labels or table.rows < 4:
        return ""
    if 3 * len(cells) > 2 * table.rows:
        return ""
    return (
        f"{table.source}: {table.rows} rows hold {len(cells)} different texts; if each line has one label of its "
        "text, pass --one_label_per_line, and if it has the judgement of one annotator, --annotators majority"
    )


def _check_lines_apply(table: Table, columns: Columns, parser: LabelParser, spec: DataSpec) -> None:
    """Refuse a line for each text and label if a column of 0 and 1 may say whether the label applies."""
    texts = table.facts(columns.texts[0]).cells
    if not spec.one_label_per_line or texts is None or len(texts) * len(parser.label_names) != table.rows:
        return
    used = {*columns.texts, *columns.labels, columns.pair, columns.id}
    for column in table.columns:
        facts = table.facts(column)
        if column not in used and facts.holds_marks and facts.has_zero and not facts.is_all_missing:
            raise DataError(
                f"{table.source}: each text has a line for each label, and column {column!r} may say whether it "
                "applies: leave out the lines with 0"
            )


def _id_type(table: Table, columns: Columns) -> str:
    if columns.id is None:
        return "str"
    found = next((value for value in table.facts(columns.id).examples if value is not None), "")
    return type(found).__name__
