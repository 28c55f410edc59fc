"""Reads files of label names: one name per line, tables with ids, and the JSON of models and annotation tools."""

import ast
import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from transformers.utils import logging

from bert_multilabel.errors import DataError

from .formats.sample import check_is_file, read_lines, take_sample
from .spec import DataSpec
from .values import shorten, text_problem

logger = logging.get_logger(__name__)

_SEPARATORS = ("\t", ";", ",", "|", ":")
_NAME_HEADERS = {
    *"label class name category tag topic label_name class_name category_name".split(),
    *"labels classes names categories tags topics label_names class_names category_names".split(),
}
# In the order of preference; the last two are the row numbers of pandas.
_ID_HEADERS = "id label_id labelid class_id classid category_id tag_id ids label_index class_index idx index".split()
_ID_HEADERS.append("")
# The keys of objects in JSON, in the order of preference.
_NAME_KEYS = "name label label_name class_name category class tag".split()
_ID_KEYS = "id label_id class_id category_id index idx".split()
# The keys with which doccano and Label Studio describe a label; objects with a text and others are examples.
_TOOL_NAME_KEYS = ["text", "value"]
_TOOL_KEYS = {
    *"id text value hotkey alias selected background background_color backgroundColor".split(),
    *"prefix_key prefixKey suffix_key suffixKey text_color textColor".split(),
}
# Keys of objects that hold the names as a list or map, in the order of preference.
_KEYS_OF_NAMES = "label_names id2label label2id names labels categories classes class_names tags topics".split()
_ID = re.compile("[0-9]{1,9}")  # of ASCII digits
# Lines that may be an id and a name: "0 gift", "0. gift", "0=gift", "gift 0".
_MAYBE_ID = (
    re.compile(r"(?P<id>[0-9]{1,9})(?:[.)] ?| ?[-=] ?| )(?P<name>\D.*)"),
    re.compile(r"(?P<name>.*\D)(?: ?[-=] ?| )(?P<id>[0-9]{1,9})"),
)
_ADJACENT_STRINGS = re.compile(r"""['"]\s*['"]""")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_ODD_START = re.compile(r"""[(\[{<'"`]|[-*•]\s|[,;|:]""")
_ODD_END = re.compile(r"""[,;|:'"`]$|[\x00-\x1f\x7f]""")
_JOINS = "|;,#"
_NAME_COLUMNS = "name the columns in a first line, such as id and label"
_SHOWN = 3  # suspicious names in the message


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
    lines = _lines(path, encoding)
    try:
        entries = _parse(lines, as_they_are)
        return _checked(entries, as_they_are)
    except _Problem as problem:
        raise DataError(f"{path}{problem}") from problem


def _lines(path: str, encoding: str | None) -> list[str]:
    try:
        found = take_sample(path, DataSpec()).encoding
        return list(read_lines(path, found))
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
    odd = [name for name in place_of_name if _is_suspicious(name)]
    joined = [name for name in place_of_name if _is_joined(name, place_of_name)]
    for found, phrase in ((odd, "look like parts of another format"), (joined, "are other names, joined")):
        if found:
            shown = ", ".join(shorten(name) for name in found[:_SHOWN])
            raise _Problem(
                f", {place_of_name[found[0]]}: {len(found)} of {len(place_of_name)} names {phrase}: {shown}; write "
                "one name per line, or a JSON list of names. If these are the names, pass --labels_as_they_are"
            )


def _is_suspicious(name: str) -> bool:
    """Whether a name begins or ends like a part of a list, or has unbalanced brackets or quotes."""
    unbalanced = any(name.count(opening) != name.count(closing) for opening, closing in _BRACKETS.items())
    return bool(unbalanced or name.count('"') % 2 or _ODD_START.match(name) or _ODD_END.search(name))


def _is_joined(name: str, names: Container[str]) -> bool:
    separators = [separator for separator in _JOINS if separator in name]
    return any(all(part.strip() in names for part in name.split(separator)) for separator in separators)


# JSON


def _parse_json(text: str, rows: list[tuple[int, str]]) -> Any:
    """Parse JSON, JSON lines, or a list or dict as Python prints it."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise _Problem(": broken JSON: nested too deeply") from error
    except ValueError as error:
        problem = str(error)
    for parse in (_parse_json_lines, _parse_python):
        try:
            return parse(text, rows)
        # The last four: of Python, nested too deeply.
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    number, line = rows[0]
    advice = 'write a list such as ["gift", "price"], or one name per line without brackets'
    raise _Problem(f", line {number}: {shorten(line)} looks like JSON, but it is broken ({problem}); {advice}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        ((repeated, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _Problem(f": {shorten(repeated)} occurs twice in one JSON object; remove one")
    return values


def _parse_json_lines(text: str, rows: list[tuple[int, str]]) -> list[Any]:
    objects = [json.loads(line, object_pairs_hook=_object) for _, line in rows]
    if not all(isinstance(value, dict) for value in objects):
        raise ValueError("not one object per line")
    return objects


def _parse_python(text: str, rows: list[tuple[int, str]]) -> Any:
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
        return _entries_of_map(content)
    if not isinstance(content, (list, tuple)):
        raise _Problem(f": {shorten(content)} holds no label names; write one name per line")
    if not content:
        raise _Problem(" holds an empty list; write the label names into it")
    if all(isinstance(item, dict) for item in content):
        return _entries_of_objects(content)
    if all(_is_id_and_name(item) for item in content):
        return [_Entry(f"entry {place}", name, label_id) for place, (label_id, name) in enumerate(content, 1)]
    return [_Entry(f"entry {place}", item) for place, item in enumerate(content, 1)]


def _is_id_and_name(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2 and _is_id(item[0]) and isinstance(item[1], str)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9


def _entries_of_map(content: dict[Any, Any]) -> list[_Entry]:
    items = list(content.items())
    if items and all(_as_id(key) is not None and isinstance(value, str) for key, value in items):
        return [_Entry(f"entry {place}", name, _as_id(key)) for place, (key, name) in enumerate(items, 1)]
    if items and all(isinstance(key, str) and _as_id(value) is not None for key, value in items):
        return [_Entry(f"entry {place}", name, _as_id(value)) for place, (name, value) in enumerate(items, 1)]
    advice = 'write ids and names such as {"0": "gift"} or {"gift": 0}, or a list of names'
    raise _Problem(f": {shorten(content)} is no map of ids and names; {advice}")


def _as_id(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if _ID.fullmatch(value.strip()) else None
    return value if _is_id(value) else None


def _entries_of_objects(objects: Sequence[dict[str, Any]]) -> list[_Entry]:
    """Return the names in a list of objects, each with a name and perhaps an id."""
    name_keys = [*_NAME_KEYS, *(_TOOL_NAME_KEYS if set(objects[0]) <= _TOOL_KEYS else ())]
    name_key = next((key for key in name_keys if key in objects[0]), None)
    if name_key is None:
        raise _Problem(f", entry 1: {shorten(objects[0])} has no name; write it under the key 'name'")
    id_key = next((key for key in _ID_KEYS if key != name_key and key in objects[0]), None)
    entries = []
    for place, item in enumerate(objects, 1):
        if name_key not in item:
            raise _Problem(f", entry {place}: {shorten(item)} has no {name_key!r} as entry 1 has; add it")
        label_id = None if id_key is None else _as_id(item.get(id_key))
        if id_key is not None and label_id is None:
            raise _Problem(f", entry {place}: {shorten(item.get(id_key))} is no id; write a number from 0 on")
        entries.append(_Entry(f"entry {place}", item[name_key], label_id))
    return entries


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
    if len(names) > 1 and _as_header(names[0][1]) in _NAME_HEADERS:
        logger.warning("names file: header %r left out", names[0][1])
        names = names[1:]
    return [_Entry(f"line {number}", name) for number, name in names]


def _table_entries(rows: list[tuple[int, str]], separator: str) -> list[_Entry]:
    """Return the entries of a table with this separator; none if the rows are something else."""
    if not all(separator in line for _, line in rows):
        return []
    records = {number: _fields(line, separator) for number, line in rows}
    if any(len(fields) < 2 for fields in records.values()):
        return []
    number, *others = records
    header = [_as_header(name) for name in records[number]]
    if header == ["", "0"]:  # as pandas writes values without a name
        header = ["", "name"]
    below = {other: records[other] for other in others}
    if separator != ":" and _is_header(header, list(below.values())):
        logger.info("names file: header %r", records[number])
        return _entries_below(header, below, separator)
    return _entries_of_pairs(records, separator)


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
    named = [column for column, name in enumerate(header) if name in _NAME_HEADERS]
    if not named or not below:
        return False
    if set(_ID_HEADERS) & set(header):
        return True
    repeats = any(_as_header(fields[named[0]]) == header[named[0]] for fields in below if len(fields) == len(header))
    return not repeats and all(len(fields) == len(header) for fields in below)


def _entries_below(header: list[str], records: dict[int, list[str]], separator: str) -> list[_Entry]:
    """Return the entries of a table with a header."""
    for number, fields in records.items():
        if len(fields) != len(header):
            problem = f"{len(fields)} fields where the header has {len(header)}"
            raise _Problem(f", line {number}: {problem}; quote a name that holds {separator!r}")
    are_ids = [all(_ID.fullmatch(fields[column]) for fields in records.values()) for column in range(len(header))]
    named = [column for column, name in enumerate(header) if name in _NAME_HEADERS]
    ids = sorted((_ID_HEADERS.index(name), column) for column, name in enumerate(header) if name in _ID_HEADERS)
    id_columns = [column for _, column in ids]
    if len(named) > 1:  # such as "label,name" above "0,gift"
        id_columns += [column for column in named if are_ids[column]]
        named = [column for column in named if not are_ids[column]]
    if len(named) != 1:
        raise _Problem(f": the header {shorten(header)} does not say which column holds the names; keep one of them")
    id_column = id_columns[0] if id_columns else None
    return [
        _Entry(f"line {number}", fields[named[0]], None if id_column is None else _need_id(number, fields[id_column]))
        for number, fields in records.items()
    ]


def _need_id(number: int, text: str) -> int:
    if not _ID.fullmatch(text):
        raise _Problem(f", line {number}: {shorten(text)} is no id; write a number from 0 on")
    return int(text)


def _entries_of_pairs(records: dict[int, list[str]], separator: str) -> list[_Entry]:
    """Return the entries of a table without a header, each line of which begins or ends with an id."""
    id_columns = [column for column in (0, -1) if all(_ID.fullmatch(fields[column]) for fields in records.values())]
    if not id_columns:
        return []
    for number, fields in records.items():
        if len(fields) > 2:
            problem = f"{shorten(separator.join(fields))} has {len(fields)} fields"
            raise _Problem(f", line {number}: {problem}; quote a name that holds {separator!r}, or {_NAME_COLUMNS}")
    if len(id_columns) > 1:
        number, fields = next(iter(records.items()))
        shown = shorten(separator.join(fields))
        raise _Problem(f", line {number}: {shown} does not say which number is the name; {_NAME_COLUMNS}")
    id_column = id_columns[0]
    name_column = -1 - id_column
    entries = [
        _Entry(f"line {number}", fields[name_column], int(fields[id_column])) for number, fields in records.items()
    ]
    # "stars: 1" above "stars: 2" is no table: these are names with numbers.
    are_names = separator == ":" and len({entry.name for entry in entries}) < len(entries)
    return [] if are_names else entries


def _refuse_parts_of_tables(rows: list[tuple[int, str]]) -> None:
    """Refuse lines most of which hold an id or several columns, and one line of several names."""
    number, line = rows[0]
    several = [separator for separator in _SEPARATORS[:-1] if separator in line]
    if len(rows) == 1 and several and len(_fields(line, several[0])) > 1:
        raise _Problem(f", line {number}: {shorten(line)} is the only line; write one name per line")
    for number, line in rows:
        if "\t" in line.strip():
            advice = f"write one name per line, or {_NAME_COLUMNS}"
            raise _Problem(f", line {number}: {shorten(line)} holds a tab; {advice}")
    for separator in _SEPARATORS[1:]:
        _refuse_columns(rows, separator)
    for pattern in _MAYBE_ID:
        _refuse_numbered(rows, pattern)


def _refuse_columns(rows: list[tuple[int, str]], separator: str) -> None:
    """Refuse lines that all hold the same three or more columns, and lines most of which hold an id."""
    records = [_fields(line, separator) for _, line in rows]
    if len(rows) > 1 and len(records[0]) > 2 and len(set(map(len, records))) == 1:
        number, line = rows[0]
        problem = f"{len(records[0])} fields, as on the other lines"
        raise _Problem(f", line {number}: {shorten(line)} has {problem}; write one name per line, or {_NAME_COLUMNS}")
    are_pairs = [_is_pair(fields, separator) for fields in records]
    if sum(are_pairs) * 2 > len(rows):
        number, line = rows[are_pairs.index(False) if False in are_pairs else 0]
        raise _Problem(
            f", line {number}: {shorten(line)} is no id and name as other lines are; write an id first on each line, "
            f"or {_NAME_COLUMNS}; if the lines are names, write a JSON list"
        )


def _is_pair(fields: list[str], separator: str) -> bool:
    if len(fields) < 2:
        return False
    first, last = (bool(_ID.fullmatch(fields[column])) for column in (0, -1))
    return first or last and separator != ":"


def _refuse_numbered(rows: list[tuple[int, str]], pattern: re.Pattern[str]) -> None:
    """Refuse names that are numbered like lines, from 0 or 1: the numbers may be ids."""
    found = [match for _, line in rows if (match := pattern.fullmatch(" ".join(line.split())))]
    ids, names = [int(match["id"]) for match in found], {match["name"] for match in found}
    if len(rows) > 1 and len(names) == len(rows) and ids in ([*range(len(rows))], [*range(1, len(rows) + 1)]):
        number, line = rows[0]
        advice = "write '0,gift' for an id and a name; if the lines are names, write a JSON list"
        raise _Problem(f", line {number}: {shorten(line)} may be an id and a name; {advice}")


def _unquoted(line: str) -> str:
    fields = _fields(line, ",") if line.startswith('"') else []
    return fields[0] if len(fields) == 1 else line
