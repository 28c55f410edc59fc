"""Chooses the columns of text, pair, labels and id."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain

from transformers.utils import logging

from bert_multilabel.errors import DataError

from .labels import shorten
from .reading import Table

logger = logging.get_logger(__name__)

_COLUMNS_SHOWN = 30  # in messages

# Column names that are recognized if no column is named, ignoring case. The first of a role wins; of the others there
# must be only one. A pair becomes part of the model's input, so only names that can mean nothing else count for it.
COMMON_COLUMNS = {
    "text": "text sentence sentence1 content comment comment_text review body document description tweet utterance "
    "query title".split(),
    "pair": "text_pair sentence2".split(),
    "labels": "labels label opinions tags categories emotions classes topics genres".split(),
    "id": "id idx row_id uid guid".split(),
}
_OPTIONS = {"text": "text_column", "pair": "text_pair_column", "labels": "label_column", "id": "id_column"}


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The columns and labels that are known; None: determined from the data.

    Attributes:
        text_column: Column of the text.
        text_pair_column: Column of the second text; "" for none.
        label_column: Column of the labels, or 0/1 columns, one per label.
        id_column: Column of identifiers.
        label_names: The L label names in their order.
        label_delimiter: Separates the labels in one cell.

    Raises:
        DataError: If label names are missing, repeated or blank, or the delimiter is empty.
    """

    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | list[str] | None = None
    id_column: str | None = None
    label_names: list[str] | None = None
    label_delimiter: str | None = None

    def __post_init__(self) -> None:
        if self.label_delimiter == "":
            raise DataError("the label delimiter is empty: leave it out, or pass a character such as '|'")
        if self.label_names is not None:
            blank = not self.label_names or not all(name.strip() for name in self.label_names)
            if blank or len(set(self.label_names)) < len(self.label_names):
                raise DataError(f"label names must be unique and not blank, got {shorten(self.label_names)}")

    @property
    def label_columns(self) -> list[str]:
        """The named label columns: none, one, or several."""
        return [self.label_column] if isinstance(self.label_column, str) else list(self.label_column or [])


@dataclass(frozen=True)
class Columns:
    """The columns in use.

    Attributes:
        labels: The label column, or the 0/1 columns; empty without labels.
        one_per_label: Whether `labels` are 0/1 columns, one per label.
    """

    text: str
    pair: str | None
    labels: list[str]
    id: str | None
    one_per_label: bool

    def __str__(self) -> str:
        return ", ".join(f"{role} {_few(names)}" for role, names in self.by_role().items() if names)

    def by_role(self) -> dict[str, list[str]]:
        """Return the columns of each role; empty if there are none."""
        found: dict[str, list[str | None]] = {"text": [self.text], "pair": [self.pair], "id": [self.id]}
        found["labels"] = [*self.labels]
        return {role: [name for name in found[role] if name is not None] for role in COMMON_COLUMNS}


def find_columns(table: Table, spec: DataSpec, labels_needed: bool = True) -> Columns:
    """Find the columns in use: the named ones, else by common names, ignoring case.

    A column of numbers is not recognized as the pair, and as the text only by the name "text". Several named label
    columns are 0/1 columns, one per label; so is a single one that holds only 0 and 1, unless the label names say
    otherwise. Without a named column and a common name, the labels are the columns with the label names, or if these
    are unknown, all remaining columns if they hold only 0 and 1.

    Raises:
        DataError: If a column is missing or named twice, or several columns have a common name.
    """
    text = _find_column(table, "text", spec.text_column, spec)
    pair = None if spec.text_pair_column == "" else _find_column(table, "pair", spec.text_pair_column, spec)
    row_id = _find_id(table, spec)
    if text is None:
        raise DataError(f"{table.source}: no column looks like the text: pass text_column{_listed(table)}")
    labels, one_per_label = _find_labels(table, spec, {text, pair, row_id}, labels_needed)
    if labels_needed and not labels:
        raise DataError(f"{table.source}: no column looks like the labels: pass label_column{_listed(table)}")
    used = [column for column in (text, pair, row_id, *labels) if column is not None]
    if repeated := [column for column, times in Counter(used).items() if times > 1]:
        raise DataError(f"{table.source}: column {repeated[0]!r} cannot be two of text, pair, labels and id")
    return Columns(text, pair, labels, row_id, one_per_label)


def warn_of_guesses(table: Table, columns: Columns, spec: DataSpec) -> None:
    """Log in one line which columns were recognized and not named, with an example of each, and which are unused."""
    by_role = columns.by_role()
    found = {role: names for role, names in by_role.items() if names and not getattr(spec, _OPTIONS[role])}
    if not found:
        return
    examples = {role: shorten(table.facts(names[0]).example) for role, names in found.items()}
    guesses = [f"{role} {_few(names)} (e.g. {examples[role]})" for role, names in found.items()]
    used = set(chain.from_iterable(by_role.values()))
    unused = [column for column in table.columns if column not in used]
    rest = f"; not used: {_few(unused)}" if unused else ""
    advice = f"Check them; name others with {', '.join(_OPTIONS[role] for role in found)}"
    logger.warning(f"{table.source}: columns recognized by their names: {', '.join(guesses)}{rest}. {advice}")


def _find_column(table: Table, role: str, named: str | None, spec: DataSpec) -> str | None:
    if named is not None:
        _check_columns(table, role, [named])
        return named
    common = COMMON_COLUMNS[role]
    taken = {*spec.label_columns, spec.text_column, spec.text_pair_column, spec.id_column}
    found = [column for name in common for column in table.columns if column.lower() == name and column not in taken]
    if role in ("text", "pair"):
        words = [column for column in found if not table.facts(column).holds_numbers]
        # Without another candidate, "text" may be a column of numbers, but not "review" or "title".
        found = words or [column for column in found if column.lower() == "text"]
    best = [column for column in found if column.lower() == common[0]] or found
    if len(best) > 1 and role != "id":  # an id does not change predictions
        raise DataError(f"{table.source}: several columns may be the {role}: {_few(best)}; pass {_OPTIONS[role]}")
    return best[0] if best else None


def _find_id(table: Table, spec: DataSpec) -> str | None:
    if spec.id_column is not None and spec.id_column not in table.columns:
        return None  # not every split must have it
    return _find_column(table, "id", spec.id_column, spec)


def _is_one_label(table: Table, column: str, spec: DataSpec) -> bool:
    """Whether a 0/1 column marks one label that has its name, rather than holding the labels "0" and "1"."""
    if table.id_names(column) is not None or spec.label_names not in (None, [column]):
        return False
    return table.facts(column).holds_zero_one


def _find_labels(table: Table, spec: DataSpec, others: set[str | None], needed: bool) -> tuple[list[str], bool]:
    """Return the label columns, and whether they are 0/1 columns, one per label."""
    columns, existing = spec.label_columns, set(table.columns)
    if columns:
        if not needed and existing.isdisjoint(columns):
            return [], False
        _check_columns(table, "labels", columns)
    elif common := _find_column(table, "labels", None, spec):
        columns = [common]
    elif spec.label_names is not None:
        return (list(spec.label_names), True) if existing.issuperset(spec.label_names) else ([], False)
    else:
        rest = [column for column in table.columns if column not in others]
        return (rest, True) if all(table.facts(column).holds_zero_one for column in rest) else ([], False)
    return columns, len(columns) > 1 or _is_one_label(table, columns[0], spec)


def columns_in_split(split: str, table: Table, columns: Columns, spec: DataSpec) -> Columns:
    """Return the columns of one split; it may lack the id, and in test all labels, but no other column."""
    _check_columns(table, "text", [columns.text])
    _check_columns(table, "pair", [] if columns.pair is None else [columns.pair])
    labels = columns.labels
    if labels and split == "test" and all(table.facts(column).is_all_missing for column in labels):
        logger.info("%s has no labels", table.source)
        labels = []
    _check_columns(table, "labels", labels)
    return replace(columns, labels=labels, id=_find_id(table, spec))


def _check_columns(table: Table, role: str, columns: list[str]) -> None:
    existing = set(table.columns)
    for column in columns:
        if column not in existing:
            raise missing_column(table, role, column)


def missing_column(table: Table, role: str, column: str) -> DataError:
    """Return the error for a missing column."""
    return DataError(f"{table.source} has no column {column!r} for the {role}{_listed(table)}")


def _listed(table: Table) -> str:
    names = [shorten(column) for column in table.columns[:_COLUMNS_SHOWN]]
    more = len(table.columns) - len(names)
    return f"; name one of {', '.join(names)}" + (f" or {more} more" if more else "")


def _few(names: list[str]) -> str:
    return ", ".join(map(shorten, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
