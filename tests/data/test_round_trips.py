"""Random label sets of random names, written in every form, come back as they were.

A short run is part of the tests; `--hypothesis-profile thorough` tries 500 data sets in each form.
"""

import csv
import io
import json

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bert_multilabel.data.examples import load_examples
from bert_multilabel.data.label_cells import NULL_WORDS
from bert_multilabel.data.values import is_number, mark

OPENING = "[({<"
_SPECIAL = st.sampled_from([*"\n\t,;|#/&+'\"`[](){}<>\\:-_= é价"])
_wild = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | _SPECIAL, min_size=1, max_size=8).map(str.strip)
# Names that the data may show, and names that must be known beforehand.
found_names = st.from_regex(r"[a-z]{2,7}([ -][a-z]{2,7})?", fullmatch=True)
known_names = _wild.filter(lambda name: name and name[0] not in OPENING)
words = st.from_regex(r"[a-z]{2,9}", fullmatch=True)


@st.composite
def label_sets(draw, names, fewest=3):
    """Draw names and the labels of some rows; the first row has all, and each name is the only label of a row."""
    drawn = draw(st.lists(names, min_size=fewest, max_size=5, unique=True))
    assume(not any(name in NULL_WORDS or is_number(name) or mark(name) is not None for name in drawn))
    parts = {part for name in drawn for part in name.replace("-", " ").split()}
    assume(
        len(drawn) == 1
        or names is known_names
        or parts.isdisjoint(drawn)
        or not any(" " in n or "-" in n for n in drawn)
    )
    rows = draw(st.lists(st.lists(st.sampled_from(drawn), unique=True), max_size=4))
    return drawn, [drawn, *([name] for name in drawn), *rows]


def text_of(number):
    return f"The review with the number {number} is about this"


def csv_of(cells, columns=("labels",), **options):
    file = io.StringIO()
    writer = csv.writer(file, **options)
    writer.writerow(["text", *columns])
    writer.writerows([text_of(number), *row] for number, row in enumerate(cells))
    return file.getvalue()


def csv_cells(written):
    return lambda names, rows: ("a.csv", csv_of([[written(row, names)] for row in rows]))


def json_lines(row_of):
    def write(names, rows):
        lines = [json.dumps(row_of(number, row, names)) for number, row in enumerate(rows)]
        return "a.jsonl", "\n".join(lines)

    return write


def json_cells(written):
    return json_lines(lambda number, row, names: {"text": text_of(number), "labels": written(row, names)})


def bits(row, names):
    return [int(name in row) for name in names]


def in_postgres(row, names):
    return "{" + ",".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in row) + "}"


def columns(names, rows):
    return "a.csv", csv_of([bits(row, names) for row in rows], names)


def name_columns(names, rows):
    padded = [[*row, *[""] * (len(names) - len(row))] for row in rows]
    return "a.csv", csv_of(padded, [f"label{number}" for number in range(1, len(names) + 1)])


def fasttext(names, rows):
    marked = [" ".join(f"__label__{name}" for name in row) for row in rows]
    return "a.txt", "".join(f"{labels} {text_of(number)}\n" for number, labels in enumerate(marked))


def label_studio(number, row, names):
    result = [{"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": row}}] if row else []
    return {"id": number, "data": {"text": text_of(number)}, "annotations": [{"id": 1, "result": result}]}


def prodigy(number, row, names):
    options = [{"id": name, "text": name} for name in names]
    return {"text": text_of(number), "options": options, "accept": row, "answer": "accept"}


def argilla(number, row, names):
    return {
        "fields": {"text": text_of(number)},
        "responses": [{"values": {"topics": {"value": row}}, "status": "submitted", "user_id": "ann"}],
    }


def in_array(row_of):
    def write(names, rows):
        return "a.json", json.dumps([row_of(number, row, names) for number, row in enumerate(rows)], indent=1)

    return write


# How names are drawn, how a file is written, what must be known ("names": the names in their order).
FORMS = {
    "JSON lists": (found_names, json_cells(lambda row, names: row), []),
    "JSON in a text": (found_names, csv_cells(lambda row, names: json.dumps(row)), []),
    "Python lists": (found_names, csv_cells(lambda row, names: repr(row)), []),
    "Python tuples": (found_names, csv_cells(lambda row, names: repr(tuple(row))), []),
    "Python sets": (found_names, csv_cells(lambda row, names: repr(set(row))), []),
    "Postgres": (found_names, csv_cells(in_postgres), []),
    "tags": (found_names, csv_cells(lambda row, names: "".join(f"<{name}>" for name in row)), []),
    "objects": (found_names, json_cells(lambda row, names: [{"name": name} for name in row]), []),
    "mappings": (found_names, json_cells(lambda row, names: dict(zip(names, bits(row, names), strict=True))), []),
    "mappings in a text": (found_names, csv_cells(lambda row, names: json.dumps(dict.fromkeys(row, 1))), []),
    "choices": (found_names, csv_cells(lambda row, _: row[0] if len(row) == 1 else json.dumps({"choices": row})), []),
    **{
        f"joined by {delimiter!r}": (words, csv_cells(lambda row, names, by=delimiter: by.join(row)), [])
        for delimiter in ("|", ";", ",", "#", "/", "&", "+", "\t", "\n", " ; ", ", ", " / ")
    },
    "0/1 columns": (words, columns, ["columns"]),
    "name columns": (found_names, name_columns, []),
    "fastText": (words, lambda names, rows: fasttext(names, [row for row in rows if row]), []),
    "spaCy": (
        found_names,
        json_lines(
            lambda n, row, names: {"text": text_of(n), "cats": dict.fromkeys(names, 0) | dict.fromkeys(row, 1)}
        ),
        [],
    ),
    "Label Studio": (found_names, in_array(label_studio), []),
    "Prodigy": (found_names, json_lines(prodigy), []),
    "Argilla": (found_names, json_lines(argilla), []),
    "doccano": (found_names, json_lines(lambda n, row, names: {"id": n, "text": text_of(n), "label": row}), []),
    "known JSON lists": (known_names, json_cells(lambda row, names: row), ["names"]),
    "known JSON in a text": (known_names, csv_cells(lambda row, names: json.dumps(row)), ["names"]),
    "known Python lists": (known_names, csv_cells(lambda row, names: repr(row)), ["names"]),
    "known Postgres": (known_names, csv_cells(in_postgres), ["names"]),
    "known mappings": (known_names, json_cells(lambda row, _: dict.fromkeys(row, 1)), ["names"]),
    "known 0/1 columns": (known_names.filter(lambda name: name != "text"), columns, ["names", "columns"]),
    "known name columns": (known_names, name_columns, ["names"]),
    "ids": (known_names, json_cells(lambda row, names: [names.index(name) for name in row]), ["names"]),
    "ids in a text": (
        known_names,
        csv_cells(lambda row, names: ",".join(str(names.index(n)) for n in row)),
        ["names"],
    ),
    "vectors": (known_names, json_cells(bits), ["names"]),
    "vectors of floats": (known_names, json_cells(lambda row, names: [*map(float, bits(row, names))]), ["names"]),
    "vectors in a text": (known_names, csv_cells(lambda row, names: repr(tuple(bits(row, names)))), ["names"]),
    "digits": (known_names, csv_cells(lambda row, names: "".join(map(str, bits(row, names)))), ["names"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_come_back_as_they_were(form, tmp_path_factory):
    names_of_form, write, known = FORMS[form]
    folder = tmp_path_factory.mktemp("forms")

    @settings(
        max_examples=settings.default.max_examples // 20,
        deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(label_sets(names_of_form))
    def check(drawn):
        names, rows = drawn
        name, content = write(names, rows)
        path = folder / name
        path.write_text(content, encoding="utf-8", newline="")
        spec = {"label_names": names} if "names" in known else {}
        spec |= {"label_column": names} if "columns" in known else {}
        loaded = load_examples(str(path), **spec)
        if form == "fastText":
            rows = [row for row in rows if row]
        assert sorted(loaded.label_names) == sorted(names)
        examples = loaded.splits["train"]
        assert examples["text"][:] == [text_of(number) for number in range(len(rows))]
        read = [[name for name, bit in zip(loaded.label_names, row, strict=True) if bit] for row in examples["labels"]]
        assert [sorted(row) for row in read] == [sorted(row) for row in rows]
        assert {bit for row in examples["labels"] for bit in row} <= {0.0, 1.0}

    check()
