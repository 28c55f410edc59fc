"""Chooses the columns of text, pair, labels and id."""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain

from bert_multilabel.errors import DataError
from bert_multilabel.utils.shell import join_words

from .label_parser import LabelParser
from .spec import DataSpec
from .table import Table
from .values import are_no_and_yes, few, is_number, mark, shorten

logger = logging.getLogger(__name__)

_COLUMNS_SHOWN = 30  # in messages
_FEW_ROWS = 10  # with fewer, an odd cell says nothing about its column
_LONG_NAME = 40  # characters: of a column, more likely a text

# Column names that are recognized if no column is named, ignoring case, blanks and underscores. The first of a role
# wins; of the others there must be only one. A pair becomes part of the model's input, so only names that can mean
# nothing else count for it.
COMMON_COLUMNS = {
    "text": "text sentence sentence1 content comment comment_text review review_text body body_text document "
    "description tweet utterance query abstract abstract_text narrative message post question overview".split(),
    "pair": "text_pair sentence2".split(),
    "labels": "labels label opinions opinion tags tag categories category emotions emotion classes class topics topic "
    "genres genre keywords keyword intents intent".split(),
    "id": "id idx row_id uid guid".split(),
}
# The text if there is no other.
_HEADINGS = "title headline subject".split()
# Columns of 0 and 1 that are no labels.
_NO_LABELS = "split fold weight index is_train is_test count".split()
_ONE_TWO = ("1", "2", "")  # as SPSS writes yes and no
# Columns of 0 and 1 that may say something about the row in place of a label.
_FLAG = re.compile(
    r"(is|has|was|needs)[_ ]|(verified|valid|checked|reviewed|duplicate|edited|deleted)$", re.IGNORECASE
)
_OPTIONS = {
    "text": "text_column",
    "pair": "text_pair_column",
    "labels": "label_column",
    "id": "id_column",
    "weight": "weight_column",
}


class LabelColumns(StrEnum):
    """What label columns hold."""

    CELLS = "all labels of a row in one cell"
    ONE_PER_LABEL = "0 or 1, one column per label"
    NAMES = "one name, or nothing, in each of several columns"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns in use.

    Attributes:
        texts: The columns of the text, joined in this order.
        pair: The column of the second text.
        labels: The label columns; empty without labels.
        id: The column of identifiers.
        weight: The column of weights in training.
        label_columns: What the label columns hold.
        label_names: The names of `labels` in the first split, where case may differ.
    """

    texts: list[str]
    pair: str | None = None
    labels: list[str] = field(default_factory=list)
    id: str | None = None
    weight: str | None = None
    label_columns: LabelColumns = LabelColumns.CELLS
    label_names: list[str] = field(default_factory=list)

    def by_role(self) -> dict[str, list[str]]:
        """Return the columns of each role; empty if there are none."""
        found: dict[str, list[str | None]] = {"text": [*self.texts], "pair": [self.pair], "labels": [*self.labels]}
        found |= {"id": [self.id], "weight": [self.weight]}
        return {role: [name for name in names if name is not None] for role, names in found.items()}


def find_columns(table: Table, spec: DataSpec, labels_needed: bool = True) -> Columns:
    """Find the columns in use: the named ones, else by common names, else by what they hold.

    A column of numbers is not recognized as the pair, and as the text only by the name "text". Several named label
    columns are 0/1 columns, one per label, or hold one name each; a single one that holds only 0 and 1 is a label,
    unless the label names say otherwise. Without a named column and a common name, the labels are the columns with the
    label names, or if these are unknown, all remaining columns of 0 and 1, or the only column of lists of names. The
    text may be the only column of sentences.

    Raises:
        DataError: If a column is missing or named twice, or several columns may be meant.
    """
    named = [_find_named(table, "text", name) for name in spec.text_columns]
    text = None if named else _find_text(table, spec)
    pair = None if spec.text_pair_column == "" else _find_column(table, "pair", spec.text_pair_column, spec)
    row_id, weight = _find_id(table, spec), _find_weight(table, spec)
    texts = named or ([text] if text is not None else [])
    labels, kind = _find_labels(table, spec, {*texts, pair, row_id, weight}, labels_needed)
    if not texts:
        texts = _find_sentences(table, {pair, row_id, weight, *labels})
    if (lists := [name for name in texts if table.facts(name).holds_lists_of_texts]) and not spec.join_lists:
        example = shorten(table.facts(lists[0]).example)
        raise DataError(f"{table.source}: column {lists[0]!r} holds lists of texts ({example}): pass --join_lists")
    if labels_needed and not labels:
        labels, kind = _find_lists(table, {*texts, pair, row_id, weight}), LabelColumns.CELLS
    if labels_needed and not labels:
        others = {*texts, pair, row_id, weight}
        offer = _offer_numbers(table, others) + _nested(table, others) + _headerless(table)
        raise DataError(f"{table.source}: no column looks like the labels: pass --label_column{_listed(table)}{offer}")
    used = [column for column in (*texts, pair, row_id, weight, *labels) if column is not None]
    if repeated := [column for column, times in Counter(used).items() if times > 1]:
        raise DataError(f"{table.source}: column {repeated[0]!r} cannot be two of text, pair, labels, id and weight")
    return Columns(
        texts=texts, pair=pair, labels=labels, id=row_id, weight=weight, label_columns=kind, label_names=labels
    )


def columns_in_split(split: str, table: Table, columns: Columns, spec: DataSpec) -> Columns:
    """Return the columns of one split; only train needs the weight, none the id, test no labels."""
    texts = [_find_named(table, "text", name) for name in columns.texts]
    pair = None if columns.pair is None else _find_named(table, "pair", columns.pair)
    labels = columns.labels
    if labels and split == "test" and all(table.facts(_in_table(table, x) or x).is_all_missing for x in labels):
        logger.info("%s has no labels", table.source)
        labels = []
    labels = [_find_named(table, "labels", name) for name in labels]
    weight = None if split == "test" else _find_weight(table, spec)
    if spec.weight_column is not None and split == "train" and weight is None:
        raise missing_column(table, "weight", spec.weight_column)
    return replace(columns, texts=texts, pair=pair, labels=labels, id=_find_id(table, spec), weight=weight)


def describe_columns(table: Table, columns: Columns, spec: DataSpec, parser: LabelParser | None) -> str:
    """Return a table of the columns in use: role, form and two examples; and which columns are not used."""
    by_role = columns.by_role()
    rows = [("column", "role", "form", "examples")]
    for role, names in by_role.items():
        forms = {"labels": str(parser), "text": "joined" if len(names) > 1 else "text", "weight": "a number"}
        form = forms.get(role, "")
        for name in names[:_COLUMNS_SHOWN]:
            examples = [cell for cell in table.facts(name).examples if cell not in (None, "", [])][:2]
            rows.append((name, role, form, " | ".join(shorten(cell, 40) for cell in examples)))
        if len(names) > _COLUMNS_SHOWN:
            rows.append((f"... {len(names) - _COLUMNS_SHOWN} more", role, "", ""))
    widths = [min(max(len(row[i]) for row in rows), 40) for i in range(3)]
    lines = [f"{table.source}: {table.reader.said}, {table.rows} rows"]
    if table.left_out:
        lines[0] += f"; {table.left_out} left out: skipped in their tool, or not answered"
    for cells in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        lines.append("  ".join(["", *padded, cells[3]]).rstrip())
    used = set(chain.from_iterable(by_role.values()))
    if unused := [column for column in table.columns if column not in used]:
        lines.append(f"  not used: {few(unused)}" + ("" if columns.id else _id_hint(table, unused)))
    if guessed := [role for role, names in by_role.items() if names and not getattr(spec, _OPTIONS[role])]:
        options = ", ".join(f"--{_OPTIONS[role]}" for role in guessed)
        lines.append(
            f"  {', '.join(guessed)}: recognized by name or content; check them, or name others with {options}"
        )
    return "\n".join(lines)


def _id_hint(table: Table, unused: list[str]) -> str:
    """Say how to keep the first column that may hold ids, by its name and since no cell occurs twice."""
    for column in unused:
        cells = table.facts(column).cells  # None: very many different ones
        if column.casefold().endswith("_id") and (cells is None or len(cells) == table.rows > 1):
            return f"; {join_words(['--id_column', column])} keeps the ids"
    return ""


def is_common_name(name: str) -> bool:
    """Whether a name is that of a text, its heading, labels or ids, so that a line that begins with it is a header."""
    return any(_normal(name) == _normal(known) for known in chain(_HEADINGS, *COMMON_COLUMNS.values()))


def _find_column(table: Table, role: str, named: str | None, spec: DataSpec) -> str | None:
    if named is not None:
        return _find_named(table, role, named)
    found = _by_common_name(table, COMMON_COLUMNS[role], spec)
    if role == "id":  # MongoDB's ids are objects
        found = [x for x in found if x != "_id" or not any(isinstance(cell, dict) for cell in table.facts(x).examples)]
    if role == "pair":
        found = [column for column in found if not table.facts(column).holds_numbers]
    return _only(table, role, found)


def _find_text(table: Table, spec: DataSpec) -> str | None:
    """Return the text column by its name; a heading is the text only if nothing else is."""
    for names in (COMMON_COLUMNS["text"], _HEADINGS):
        found = _by_common_name(table, names, spec)
        words = [column for column in found if not table.facts(column).holds_numbers]
        # Without another candidate, "text" may be a column of numbers, but not "review".
        if text := _only(table, "text", words or [column for column in found if _normal(column) == "text"]):
            return text
    return None


def _only(table: Table, role: str, found: list[str]) -> str | None:
    """Return the only column, or the one with the first common name; an id does not change predictions."""
    best = [column for column in found if _normal(column) == _normal(COMMON_COLUMNS[role][0])] or found
    if len(best) > 1 and role != "id":
        option = f"--{_OPTIONS[role]}"
        joined = f", or --text_column {' '.join(best)} to join them" if role == "text" else ""
        raise DataError(f"{table.source}: several columns may be the {role}: {few(best)}; pass {option}{joined}")
    return best[0] if best else None


def _by_common_name(table: Table, names: Iterable[str], spec: DataSpec) -> list[str]:
    taken = {*spec.label_columns, *spec.text_columns, spec.text_pair_column, spec.id_column}
    known = [_normal(name) for name in names]
    by_name: dict[str, list[str]] = {}
    for column in table.columns:
        if column not in taken:
            by_name.setdefault(_normal(column), []).append(column)
    return [column for name in known for column in by_name.get(name, ())]


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _find_sentences(table: Table, others: set[str | None]) -> list[str]:
    found = [column for column in table.columns if column not in others and table.facts(column).holds_sentences]
    if len(found) != 1:
        what = f"several columns hold sentences: {few(found)}" if found else "no column looks like the text"
        lists = [name for name in table.columns if name not in others and table.facts(name).holds_lists_of_texts]
        hint = f"; {lists[0]!r} holds lists of texts: --text_column {lists[0]} --join_lists" if lists else ""
        hint += _nested(table, others)
        raise DataError(f"{table.source}: {what}: pass --text_column{_listed(table)}{hint}{_headerless(table)}")
    return found


def _nested(table: Table, others: set[str | None]) -> str:
    """Point out a column of objects, in which the column that was not found may be."""
    for name in table.columns:
        cell = table.facts(name).example
        if name not in others and isinstance(cell, dict) and cell:
            return f"; {name!r} holds objects with {few([*map(str, cell)])}: write these as columns of their own"
    return ""


def _headerless(table: Table) -> str:
    """Point out a file whose first line seems to be an example in place of a header."""
    like_data = [name for name in table.columns if len(name.split()) > 3 or len(name) >= _LONG_NAME]
    if table.columns == [str(position) for position in range(len(table.columns))]:  # JSON without names
        return f"; columns are named by their positions, such as --text_column {table.columns[0]}"
    is_first_line = any(name.isdigit() for name in table.columns) or like_data
    return (
        f"; if {shorten(table.columns[0])} is no header but an example, pass --column_names" if is_first_line else ""
    )


def _find_lists(table: Table, others: set[str | None]) -> list[str]:
    found = [name for name in table.columns if name not in others and table.facts(name).holds_lists_of_names]
    return found if len(found) == 1 else []


def _offer_numbers(table: Table, others: set[str | None]) -> str:
    numbers = [name for name in table.columns if name not in others and table.facts(name).holds_shares]
    if not numbers:
        return ""
    if all(cell in _ONE_TWO for name in numbers for cell in map(_spelled, table.facts(name).examples)):
        return f"; {few(numbers)} hold 1 and 2: write 0 and 1 in place of them, 1 for rows that have the label"
    return f"; columns of numbers, such as {few(numbers)}, need --label_values shares or 'votes>=2'"


def _spelled(cell: object) -> str:
    return str(cell).strip().removesuffix(".0")


def _find_id(table: Table, spec: DataSpec) -> str | None:
    if spec.id_column is not None and _in_table(table, spec.id_column) is None:
        return None  # not every split must have it
    return _find_column(table, "id", spec.id_column, spec)


def _find_weight(table: Table, spec: DataSpec) -> str | None:
    return None if spec.weight_column is None else _in_table(table, spec.weight_column)


def _find_labels(
    table: Table, spec: DataSpec, others: set[str | None], needed: bool
) -> tuple[list[str], LabelColumns]:
    """Return the label columns, and what they hold."""
    rest = [column for column in table.columns if column not in others]
    if spec.label_columns:
        found = [_in_table(table, name) for name in spec.label_columns]
        if not needed and not any(found):
            return [], LabelColumns.CELLS
        named = [_find_named(table, "labels", name) for name in spec.label_columns]
        return named, _kind_of(table, named, spec)
    common = _by_common_name(table, COMMON_COLUMNS["labels"], spec)
    if not needed and spec.label_names:
        common = [column for column in common if _has_known_label(table, column, spec.label_names)]
    if (column := _only(table, "labels", common)) is not None:
        return [column], _kind_of(table, [column], spec)
    if len(numbered := [column for column in rest if _is_numbered_label(column)]) > 1:
        return numbered, _kind_of(table, numbered, spec)
    if spec.label_names is not None:
        found = [_in_table(table, name) for name in spec.label_names]
        return [name for name in found if name] if all(found) else [], LabelColumns.ONE_PER_LABEL
    if spec.label_values is not None:
        numbers = [column for column in rest if table.facts(column).holds_numbers]
        return [column for column in numbers if not _is_no_label(table, column)], LabelColumns.ONE_PER_LABEL
    return _zero_one_columns(table, rest, spec), LabelColumns.ONE_PER_LABEL


def _kind_of(table: Table, columns: list[str], spec: DataSpec) -> LabelColumns:
    if len(columns) > 1:
        facts = [table.facts(column) for column in columns]
        hold_names = not any(fact.holds_marks or fact.holds_numbers for fact in facts) and spec.label_values is None
        is_text = all(isinstance(cell, str | None) for fact in facts for cell in fact.examples)
        has_text = any(fact.example is not None for fact in facts)
        is_numbered = all(map(_is_numbered_label, columns))
        names = hold_names and is_text and has_text and (is_numbered or _repeat(table, columns))
        return LabelColumns.NAMES if names else LabelColumns.ONE_PER_LABEL
    (column,) = columns
    of_ids = table.id_names(column)
    is_named = spec.label_names in (None, [column]) and (of_ids is None or are_no_and_yes(of_ids))
    is_number = spec.label_values is not None and table.facts(column).holds_numbers
    is_one_label = is_named and (table.facts(column).holds_zero_one or is_number)
    return LabelColumns.ONE_PER_LABEL if is_one_label else LabelColumns.CELLS


def _repeat(table: Table, columns: list[str]) -> bool:
    """Whether columns have names in common, or repeat them."""
    counts = [fact.cells for fact in map(table.facts, columns)]
    return all(cells is not None and (len(cells) < 3 or 2 * len(cells) <= table.rows) for cells in counts)


def _zero_one_columns(table: Table, rest: list[str], spec: DataSpec) -> list[str]:
    """Return the columns of 0 and 1, without those that are written in another way than most of them."""
    by_style: dict[str, list[str]] = {}
    for column in rest:
        if table.facts(column).holds_marks and not _is_no_label(table, column):
            by_style.setdefault(table.facts(column).style, []).append(column)
        elif not spec.labels_as_they_are:
            _check_almost_zero_one(table, column)
    found, *others = sorted(by_style.values(), key=len, reverse=True) or [[]]
    if others and len(others[0]) == len(found):
        raise DataError(
            f"{table.source}: {few(found)} and {few(others[0])} hold 0 and 1 in other ways: pass --label_column with "
            "all that are labels"
        )
    if not spec.labels_as_they_are and 2 * sum(map(is_number, found)) > len(found):
        raise DataError(
            f"{table.source}: 0/1 columns are called {few(found)}: name them by their labels; if these are the names, "
            "pass --labels_as_they_are"
        )
    flags = [column for column in found if _FLAG.match(column)]
    if flags and len(flags) < len(found):
        labels = " ".join(column if column.isidentifier() else repr(column) for column in found if column not in flags)
        raise DataError(
            f"{table.source}: 0/1 columns such as {few(flags)} may be labels or not: pass --label_column {labels}, "
            "or name all that are labels"
        )
    return found


def _check_almost_zero_one(table: Table, column: str) -> None:
    """Refuse a column of 0 and 1 with few other cells: left out, its label would be lost."""
    facts = table.facts(column)
    if table.rows < _FEW_ROWS or not facts.has_zero or facts.cells is None or _is_no_label(table, column):
        return
    others = [(cell, count) for cell, count in facts.cells if mark(cell) is None]
    has_one = any(mark(cell) == 1 for cell, _ in facts.cells)
    if others and has_one and sum(count for _, count in others) <= max(1, table.rows // 20):
        cell, count = others[0]
        raise DataError(
            f"{table.source}: column {column!r} holds 0 and 1, but {shorten(cell)} in {count} row{'s' * (count > 1)}: "
            "correct it, or pass --label_column with all that are labels"
        )


def _is_no_label(table: Table, column: str) -> bool:
    """Whether a column of numbers is an index or a weight: by its name, or since all its rows hold 1."""
    words = re.split(r"[\s_-]", column.casefold())
    is_constant = table.rows > 1 and table.facts(column).is_all_one and table.id_names(column) is None
    return "id" in words or column.casefold() in _NO_LABELS or is_constant


def _is_numbered_label(column: str) -> bool:
    stem = _normal(column).rstrip("0123456789")
    return stem != _normal(column) and stem in COMMON_COLUMNS["labels"]


def _has_known_label(table: Table, column: str, label_names: list[str]) -> bool:
    """Whether a column that no option names holds labels of the model; else it is a foreign one."""
    facts = table.facts(column)
    if facts.is_all_missing or facts.holds_numbers or facts.holds_zero_one:
        return True
    texts = [str(cell) for cell in facts.examples]
    return any(name in text for name in label_names for text in texts)


def _in_table(table: Table, name: str) -> str | None:
    """Return the column with a name, else the only one that differs just in case and surrounding blanks."""
    if name in table:
        return name
    alike = [column for column in table.columns if column.strip().casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


def _find_named(table: Table, role: str, name: str) -> str:
    if (column := _in_table(table, name)) is None:
        raise missing_column(table, role, name)
    return column


def missing_column(table: Table, role: str, column: str) -> DataError:
    """Return the error for a missing column."""
    return DataError(f"{table.source} has no column {column!r} for the {role}{_listed(table)}")


def _listed(table: Table) -> str:
    names = [shorten(column) for column in table.columns[:_COLUMNS_SHOWN]]
    more = len(table.columns) - len(names)
    return f"; name one of {', '.join(names)}" + (f" or {more} more" if more else "")
