"""Reads files of label names: one name per line, tables with ids, and the JSON of models and annotation tools."""

import ast
import csv
import json
import logging
import re
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from bert_multilabel.errors import DataError

from .formats.sample import check_is_file, read_lines, take_sample
from .spec import DataSpec
from .values import shorten, text_problem

logger = logging.getLogger(__name__)

_SEPARATORS = ("\t", ";", ",", "|", ":")
# Headers and keys, in the order of preference; the last two of ids are the row numbers of pandas.
_NAME_KEYS = "name names label labels label_name label_names class_name class_names".split()
_NAME_KEYS += "category_name category_names category categories class classes tag tags topic topics".split()
_ID_KEYS = "id label_id labelid class_id classid category_id tag_id ids label_index class_index idx index".split()
_ID_KEYS.append("")
_TOOL_KEYS = ["text", "value"]  # of labels in doccano and Label Studio
# Keys of objects that hold the names as a list or map, in the order of preference.
_KEYS_OF_NAMES = "label_names id2label label2id names labels categories classes class_names tags topics".split()
_ID = re.compile("[0-9]{1,9}")  # of ASCII digits
_NUMBERED = re.compile(r"(?P<id>[0-9]{1,9})(?:[.)] ?| ?[-=] ?| )(?P<name>\D.*)")  # "0 gift", "0. gift", "0=gift"
_ADJACENT_STRINGS = re.compile(r"""['"]\s*['"]""")
_ODD = re.compile(r"""[(\[{<'"`].*|[-*•]\s.*|[,;|:].*|.*[,;|:'"`]|.*[\x00-\x1f\x7f]""", re.DOTALL)
_JOINS = "|;,#"
_NAME_COLUMNS = "name the columns in a first line, such as id and label"


class LabelNames(NamedTuple):
    """The names in a file.

    Attributes:
        names: In the order of their ids, or else of the file.
        ids: The id of each name; None if the file has none.
    """

    names: list[str]
    ids: list[int] | None = None


class _Entry(NamedTuple):
    """A name and its place in the file: "line 3"."""

    place: str
    name: Any
    id: int | None = None


class _Problem(Exception):
    """What is wrong with a names file; the message follows its path."""


def read_label_names(path: str, encoding: str | None = None, as_they_are: bool = False) -> LabelNames:
    """Read label names from a file, whatever its extension.

    The file holds one name per line, perhaps below a header; a table with or without a header, one column of which
    holds ids; a JSON list of names or of objects with a name; a JSON map of ids to names or of names to ids; or the
    `config.json` of a model.

    Args:
        path: Of the file, which may be compressed.
        encoding: Of a file that is not UTF-8 or UTF-16.
        as_they_are: Accept suspicious names, such as those with unbalanced brackets.

    Raises:
        DataError: If the file cannot be read, holds something else, repeats or lacks a name, or has suspicious names.
    """
    check_is_file(path)
    try:
        return _checked(_parse(_lines(path, encoding), as_they_are), as_they_are)
    except _Problem as problem:
        raise DataError(f"{path}{problem}") from problem


def _lines(path: str, encoding: str | None) -> list[str]:
    try:
        return list(read_lines(path, take_sample(path, DataSpec()).encoding))
    except DataError:
        # The encoding is that of the examples: a names file may be UTF-8 all the same.
        if encoding is None:
            raise
    return list(read_lines(path, encoding))


def _parse(lines: list[str], as_they_are: bool) -> list[_Entry]:
    rows = [(number, line.strip("\r\n")) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise _Problem(" holds no label name; write one per line")
    if rows[0][1].lstrip()[0] in "[{":
        try:
            return _entries_of(_parse_json("".join(lines), rows))
        except _Problem:
            if not as_they_are:
                raise
    return _line_entries(rows, as_they_are)


def _checked(entries: list[_Entry], as_they_are: bool) -> LabelNames:
    """Return the names of valid entries by their ids."""
    place_of_name: dict[str, str] = {}
    place_of_id: dict[int, str] = {}
    for place, name, label_id in entries:
        if problem := text_problem(name):
            raise _Problem(f", {place}: {problem}")
        if not name.strip():
            raise _Problem(f", {place}: a blank name; write one or remove it")
        _add(place_of_name, name.strip(), place, f"label {shorten(name.strip())}")
        if label_id is not None:
            _add(place_of_id, label_id, place, f"id {label_id}")
    if not as_they_are:
        _refuse_suspicious(place_of_name)
    if not place_of_id:
        return LabelNames(list(place_of_name))
    return LabelNames([name for _, name in sorted(zip(place_of_id, place_of_name, strict=True))], sorted(place_of_id))


def _add(places: dict[Any, str], value: Any, place: str, what: str) -> None:
    if value in places:
        before = f"on {places[value]}" if place.startswith("line") else places[value]
        raise _Problem(f", {place}: {what} is {before} already; remove one")
    places[value] = place


def _refuse_suspicious(place_of_name: Mapping[str, str]) -> None:
    """Refuse names that begin or end like a part of a list, have unbalanced brackets, or are other names, joined."""
    odd = [name for name in place_of_name if _ODD.fullmatch(name) or _is_unbalanced(name)]
    joined = [name for name in place_of_name if _is_joined(name, place_of_name)]
    for found, phrase in ((odd, "look like parts of another format"), (joined, "are other names, joined")):
        if found:
            raise _Problem(
                f", {place_of_name[found[0]]}: {len(found)} of {len(place_of_name)} names {phrase}: "
                f"{', '.join(map(shorten, found[:3]))}; write one name per line, or a JSON list of names. If these "
                "are the names, pass --labels_as_they_are"
            )


def _is_unbalanced(name: str) -> bool:
    return name.count('"') % 2 == 1 or any(name.count(pair[0]) != name.count(pair[1]) for pair in ("()", "[]", "{}"))


def _is_joined(name: str, names: Container[str]) -> bool:
    splits = [name.split(separator) for separator in _JOINS if separator in name]
    return any(all(part.strip() in names for part in parts) for parts in splits)


# JSON


def _parse_json(text: str, rows: list[tuple[int, str]]) -> Any:
    """Parse JSON, JSON lines, or a list or dict as Python prints it."""
    problems = []
    for parse in (json.loads, _parse_json_lines, _parse_python):
        try:
            return parse(text)
        # The last four: of Python, nested too deeply.
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            problems.append(error)
    number, line = rows[0]
    advice = 'write a list such as ["gift", "price"], or one name per line without brackets'
    raise _Problem(f", line {number}: {shorten(line)} looks like JSON, but it is broken ({problems[0]}); {advice}")


def _parse_json_lines(text: str) -> list[Any]:
    objects = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(value, dict) for value in objects):
        raise ValueError("not one object per line")
    return objects


def _parse_python(text: str) -> Any:
    # Python concatenates adjacent strings: a printed array, ['a' 'b'], would become the one name 'ab'.
    if _ADJACENT_STRINGS.search(text):
        raise ValueError("a comma is missing")
    with warnings.catch_warnings(action="ignore"):  # of backslashes
        return ast.literal_eval(text.strip())


def _entries_of(content: Any) -> list[_Entry]:
    if isinstance(content, dict):
        # Perhaps an object that holds the names under a key, as the config of a model.
        keys = [key for key in _KEYS_OF_NAMES if content.get(key) and isinstance(content[key], (list, dict))]
        content = content[keys[0]] if keys else content
    if isinstance(content, dict):
        items = list(content.items())
        if entries := _entries_of_items(items) or _entries_of_items([(value, key) for key, value in items]):
            return entries
        advice = 'write ids and names such as {"0": "gift"} or {"gift": 0}, or a list of names'
        raise _Problem(f": {shorten(content)} is no map of ids and names; {advice}")
    if not isinstance(content, (list, tuple)):
        raise _Problem(f": {shorten(content)} holds no label names; write one name per line")
    if not content:
        raise _Problem(" holds an empty list; write the label names into it")
    if all(isinstance(item, dict) for item in content):
        return _entries_of_objects(content)
    return _entries_of_items(content) or [_Entry(f"entry {place}", item) for place, item in enumerate(content, 1)]


def _entries_of_items(items: Sequence[Any]) -> list[_Entry]:
    """Return the entries in a list of ids and names; none if it is something else."""
    if not all(isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[1], str) for item in items):
        return []
    entries = [_Entry(f"entry {place}", name, _as_id(value)) for place, (value, name) in enumerate(items, 1)]
    return [] if any(entry.id is None for entry in entries) else entries


def _as_id(value: Any) -> int | None:
    is_id = isinstance(value, str | int) and not isinstance(value, bool) and _ID.fullmatch(str(value).strip())
    return int(value) if is_id else None


def _entries_of_objects(objects: Sequence[dict[str, Any]]) -> list[_Entry]:
    """Return the names in a list of objects, each with a name and perhaps an id."""
    keys = [key for key, value in objects[0].items() if not isinstance(value, (list, dict))]
    header = keys
    if len(keys) == len(objects[0]) and set(keys).isdisjoint(_NAME_KEYS):
        header = ["name" if key in _TOOL_KEYS else key for key in keys]
    if set(header).isdisjoint(_NAME_KEYS):
        raise _Problem(f", entry 1: {shorten(objects[0])} has no name; write it under the key 'name'")
    records = {f"entry {place}": [item.get(key) for key in keys] for place, item in enumerate(objects, 1)}
    return _entries_in_columns(header, records)


def _entries_in_columns(header: Sequence[str], records: Mapping[str, Sequence[Any]]) -> list[_Entry]:
    """Return the entries of records by their places, with the columns of names and ids that the header tells."""
    columns = range(len(header))
    of_ids = {column for column in columns if all(_as_id(record[column]) is not None for record in records.values())}
    named = [column for key in _NAME_KEYS for column in columns if header[column] == key]
    name = next((column for column in named if column not in of_ids), named[0])
    ids = [column for key in _ID_KEYS for column in columns if header[column] == key]
    # Perhaps "label,name" above "0,gift".
    ids += [column for column in named if column in of_ids and column != name]
    if not ids:
        return [_Entry(place, record[name]) for place, record in records.items()]
    for place, record in records.items():
        if _as_id(record[ids[0]]) is None:
            raise _Problem(f", {place}: {shorten(record[ids[0]])} is no id; write a number from 0 on")
    return [_Entry(place, record[name], _as_id(record[ids[0]])) for place, record in records.items()]


# Lines


def _line_entries(rows: list[tuple[int, str]], as_they_are: bool) -> list[_Entry]:
    if re.fullmatch("sep=.", rows[0][1], re.IGNORECASE) and len(rows) > 1:  # written by Excel, which hides it
        rows = rows[1:]
    for separator in _SEPARATORS:
        if entries := _table_entries(rows, separator):
            return entries
    if not as_they_are:
        _refuse_parts_of_tables(rows)
    names = [(number, _unquoted(line.strip())) for number, line in rows]
    if len(names) > 1 and _as_header(names[0][1]) in _NAME_KEYS:
        logger.warning("names file: header %r left out", names[0][1])
        names = names[1:]
    return [_Entry(f"line {number}", name) for number, name in names]


def _table_entries(rows: list[tuple[int, str]], separator: str) -> list[_Entry]:
    """Return the entries of a table with this separator; none if the rows are something else."""
    if not all(separator in line for _, line in rows):
        return []
    records = {f"line {number}": _fields(line, separator) for number, line in rows}
    if any(len(fields) < 2 for fields in records.values()):
        return []
    place, *places = records
    header = [_as_header(name) for name in records[place]]
    if header == ["", "0"]:  # as pandas writes values without a name
        header = ["", "name"]
    below = {place: records[place] for place in places}
    if separator == ":" or not _is_header(header, list(below.values())):
        return _entries_of_pairs(records, separator)
    logger.info("names file: header %r", records[place])
    for place, fields in below.items():
        if len(fields) != len(header):
            problem = f"{len(fields)} fields where the header has {len(header)}"
            raise _Problem(f", {place}: {problem}; quote a name that holds {separator!r}")
    return _entries_in_columns(header, below)


def _fields(line: str, separator: str) -> list[str]:
    if separator not in line and '"' not in line:  # most lines, and csv takes its time
        return [line.strip()]
    reader = csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True)
    try:
        return [field.strip() for field in next(reader)]
    except csv.Error:
        return []


def _as_header(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _is_header(header: list[str], below: list[list[str]]) -> bool:
    """Whether fields are the header of the records below; names may hold commas and a word such as "name", too."""
    named = [column for column, name in enumerate(header) if name in _NAME_KEYS]
    if not named or not below:
        return False
    if not set(_ID_KEYS).isdisjoint(header):
        return True
    return all(len(x) == len(header) and _as_header(x[named[0]]) != header[named[0]] for x in below)


def _entries_of_pairs(records: dict[str, list[str]], separator: str) -> list[_Entry]:
    """Return the entries of a table without a header, each line of which begins or ends with an id."""
    id_columns = [column for column in (0, -1) if all(_ID.fullmatch(fields[column]) for fields in records.values())]
    if not id_columns:
        return []
    for place, fields in records.items():
        shown = shorten(separator.join(fields))
        if len(fields) > 2:
            advice = f"quote a name that holds {separator!r}, or {_NAME_COLUMNS}"
            raise _Problem(f", {place}: {shown} has {len(fields)} fields; {advice}")
        if len(id_columns) > 1:
            raise _Problem(f", {place}: {shown} does not say which number is the name; {_NAME_COLUMNS}")
    id_column = id_columns[0]
    entries = [_Entry(place, fields[-1 - id_column], int(fields[id_column])) for place, fields in records.items()]
    # "stars: 1" above "stars: 2" is no table: these are names with numbers.
    are_names = separator == ":" and len({entry.name for entry in entries}) < len(entries)
    return [] if are_names else entries


def _refuse_parts_of_tables(rows: list[tuple[int, str]]) -> None:
    """Refuse lines that hold more than a name each: most have an id, or all have several columns."""
    for number, line in rows:
        if "\t" in line.strip():
            advice = f"write one name per line, or {_NAME_COLUMNS}"
            raise _Problem(f", line {number}: {shorten(line)} holds a tab; {advice}")
    number, line = rows[0]
    for separator in _SEPARATORS[1:]:
        records = [_fields(line, separator) for _, line in rows]
        width = len(records[0])
        if len(rows) == 1 and width > 1 and separator != ":":
            raise _Problem(f", line {number}: {shorten(line)} is the only line; write one name per line")
        if len(rows) > 1 and width > 2 and all(len(fields) == width for fields in records):
            advice = f"write one name per line, or {_NAME_COLUMNS}"
            raise _Problem(f", line {number}: {shorten(line)} has {width} fields, as on the other lines; {advice}")
        are_pairs = [_is_pair(fields, separator) for fields in records]
        if 2 * sum(are_pairs) > len(rows):
            number, line = rows[are_pairs.index(False) if False in are_pairs else 0]
            advice = f"write an id first on each line, or {_NAME_COLUMNS}; if the lines are names, write a JSON list"
            raise _Problem(f", line {number}: {shorten(line)} is no id and name as other lines are; {advice}")
    found = [match for _, line in rows if (match := _NUMBERED.fullmatch(" ".join(line.split())))]
    ids = [int(match["id"]) for match in found]
    if len(rows) > 1 and ids in ([*range(len(rows))], [*range(1, len(rows) + 1)]):
        advice = "write '0,gift' for an id and a name; if the lines are names, write a JSON list"
        raise _Problem(f", line {number}: {shorten(line)} may be an id and a name; {advice}")


def _is_pair(fields: list[str], separator: str) -> bool:
    first, last = (bool(fields and _ID.fullmatch(fields[column])) for column in (0, -1))
    return len(fields) > 1 and (first or last and separator != ":")


def _unquoted(line: str) -> str:
    fields = _fields(line, ",") if line.startswith('"') else []
    return fields[0] if len(fields) == 1 else line
