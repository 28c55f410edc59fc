"""Exports of Prodigy (db-out): choices among options, and judgements on one label for each text."""

from collections.abc import Sequence
from typing import Any

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue, shorten
from bert_multilabel.errors import DataError

from .shapes import are_objects, as_list, as_name, as_objects, as_row

NAME = "Prodigy"
LABEL_COLUMNS = ("accept", "label")
_ANSWERS = ("accept", "reject", "ignore")


def recognizes(rows: Sequence[Any]) -> str | None:
    """Return what the first rows of an export have, else None."""
    if not are_objects(rows, "answer") or not all(row["answer"] in _ANSWERS for row in rows):
        return None
    forms = [_form(row) for row in rows]
    return forms[0] if None not in forms else None


def read(row: Any, spec: DataSpec) -> list[dict[str, Any]]:
    """Return the row with its labels: names, or one name and whether it was accepted; no row if it was ignored.

    Raises:
        DataError: If annotators marked parts of the text.
        BadValue: If a value has another form.
    """
    row = as_row(row)
    answer = row.get("answer")
    if answer not in _ANSWERS:
        raise BadValue(f"{shorten(answer)} is not one of {', '.join(_ANSWERS)}", "answer")
    if answer == "ignore":
        return []
    columns = {key: row[key] for key in ("id", "text") if key in row}
    return [{**columns, "labels": _labels(row, is_accepted=answer == "accept")}]


def _form(row: dict[str, Any]) -> str | None:
    if isinstance(row.get("options"), list) and isinstance(row.get("accept"), list | None):
        return "rows have 'accept', 'options' and 'answer'"
    if isinstance(row.get("label"), str):
        return "rows have 'label' and 'answer'"
    return "rows have 'spans' and 'answer'" if isinstance(row.get("spans"), list) else None


def _labels(row: dict[str, Any], is_accepted: bool) -> list[str] | dict[str, float]:
    if row.get("options") is not None:
        return _accepted(row) if is_accepted else []
    if row.get("label") is not None:
        return {as_name(row["label"], "label"): float(is_accepted)}
    if row.get("spans") is not None:
        raise DataError(
            "'spans' mark parts of a text, but whole texts are classified here: export annotations of textcat.manual "
            "or textcat.teach, or write a column 'labels' with the labels of each text"
        )
    raise BadValue("the row has neither 'options' nor 'label'", "label")


def _accepted(row: dict[str, Any]) -> list[str]:
    names = {option.get("id"): _name(option) for option in as_objects(row["options"], "options") if _has_id(option)}
    accepted = as_list(row.get("accept"), "accept")
    for item in accepted:
        if not isinstance(item, (str, int)) or item not in names:
            raise BadValue(f"{shorten(item)} is not the id of an option; the ids are {shorten([*names])}", "accept")
    return [names[item] for item in accepted]


def _has_id(option: dict[str, Any]) -> bool:
    if not isinstance(option.get("id"), (str, int)):
        raise BadValue(f"{shorten(option)} has no id", "options")
    return True


def _name(option: dict[str, Any]) -> str:
    """Return the id of an option; if it is a number, return its text."""
    if isinstance(option["id"], str):
        return option["id"]
    return as_name(option.get("text"), "options")
