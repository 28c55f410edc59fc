"""What holds for the formats of all annotation tools together."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_multilabel.data.examples import load_examples
from bert_multilabel.data.formats import argilla, chat, doccano, label_studio, lighttag, prodigy, spacy_cats
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue
from bert_multilabel.errors import DataError
from tests import hostile

TOOLS = [argilla, chat, doccano, label_studio, lighttag, prodigy, spacy_cats]
SPECS = [
    DataSpec(),
    DataSpec(use_suggestions=True, label_column="mood", label_names=["price", "gift"]),
    DataSpec(use_suggestions=True, label_names=["price", "gift"], label_ids=[7, 3]),
]

_ANSWER = {"user_id": "u1", "value": ["price"], "status": "submitted"}
_CHOICE = {"id": "c", "from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": ["price"]}}
_OPTIONS = [{"id": "price", "text": "Price"}, {"id": 2, "text": "Gift"}]

# One row of each form, with what a first row has.
ROWS = {
    "argilla flat": (
        argilla,
        {
            "text": "Cheap",
            "mood.responses": [["price"], ["gift"]],
            "mood.responses.users": ["u1", "u2"],
            "mood.responses.status": ["submitted", "draft"],
            "mood.suggestion": ["price"],
        },
    ),
    "argilla nested": (
        argilla,
        {
            "id": "1",
            "fields": {"text": "Cheap"},
            "suggestions": {"mood": {"value": ["price"], "score": 0.5}},
            "responses": {"mood": [{"value": ["price"], "user_id": "u1"}]},
        },
    ),
    "argilla listed": (argilla, {"text": "Cheap", "mood": [_ANSWER], "mood-suggestion": ["gift"]}),
    "argilla feedback": (
        argilla,
        {
            "fields": {"text": "Cheap"},
            "responses": [{"user_id": "u1", "values": {"mood": {"value": ["price"]}}, "status": "submitted"}],
            "suggestions": [{"question_name": "mood", "value": ["gift"]}],
        },
    ),
    "argilla old": (
        argilla,
        {
            "inputs": {"text": "Cheap"},
            "annotation": None,
            "prediction": [["price", 0.9], {"label": "gift", "score": 0.1}],
            "multi_label": True,
            "status": "Default",
        },
    ),
    "conversation": (chat, {"messages": [{"role": "user", "content": "Cheap"}]}),
    "instruction": (chat, {"instruction": "Name the topics", "input": "Cheap", "output": "price"}),
    "doccano": (doccano, {"id": 1, "text": "Cheap", "meta": {}, "annotations": [{"label": 3, "user": 1}]}),
    "doccano spans": (doccano, {"text": "Cheap soap", "label": [[0, 5, "price"]]}),
    "doccano entities": (
        doccano,
        {"text": "Cheap soap", "entities": [{"id": 1, "label": "price", "start_offset": 0, "end_offset": 5}]},
    ),
    "label studio": (
        label_studio,
        {
            "id": 1,
            "data": {"text": "Cheap"},
            "annotations": [{"was_cancelled": False, "result": [_CHOICE]}],
            "predictions": [{"result": [_CHOICE]}],
        },
    ),
    "label studio predictions": (label_studio, {"data": {"text": "Cheap"}, "predictions": [{"result": [_CHOICE]}]}),
    "label studio min": (
        label_studio,
        {"id": 1, "text": "Cheap", "mood": {"choices": ["price", "gift"]}, "annotator": 1, "lead_time": 3.5},
    ),
    "lighttag": (
        lighttag,
        {
            "example_id": "e",
            "content": "Cheap",
            "seen_by": [{"annotator": "ann", "annotator_id": 1}],
            "annotations": [],
            "classifications": [{"classname": "price", "classified_by": [{"annotator": "ann", "annotator_id": 1}]}],
        },
    ),
    "prodigy choice": (prodigy, {"text": "Cheap", "options": _OPTIONS, "accept": ["price", 2], "answer": "accept"}),
    "prodigy judgement": (prodigy, {"text": "Cheap", "label": "price", "answer": "reject"}),
    "prodigy spans": (prodigy, {"text": "Cheap", "spans": [{"start": 0, "end": 5, "label": "x"}], "answer": "accept"}),
    "spacy": (spacy_cats, {"text": "Cheap", "cats": {"price": 1.0, "gift": None}}),
    "spacy pair": (spacy_cats, ["Cheap", {"cats": {"price": True}}]),
    "spacy pair in a table": (spacy_cats, {"0": "Cheap", "1": {"cats": {"price": 0.5}}}),
}

PLAIN = [
    {"text": "Cheap", "labels": ["price"]},
    {"text": "Cheap", "labels": []},
    {"text": "Cheap", "labels": "price|gift"},
    {"text": "Cheap", "label": "price"},
    {"id": 1, "text": "Cheap", "label": ["price"], "Comments": []},
    {"text": "Cheap", "labels": [0, 1, 1]},
    {"text": "Cheap", "labels": [1, 2, "gift"][:2]},
    {"text": "Cheap", "labels": {"price": 1.0, "gift": 0.0}},
    {"text": "Cheap", "labels": [{"id": 1, "name": "price"}]},
    {"text": "Cheap", "labels": None},
    {"text": "Cheap", "price": 1, "gift": 0},
    {"text": "Cheap", "price": "1", "gift": "0"},
    {"text": "Cheap", "annotations": ["price"]},
    {"text": "Cheap", "annotations": []},
    {"text": "Cheap", "annotations": "price", "status": "submitted"},
    {"text": "Cheap", "cats": ["price"]},
    {"text": "Cheap", "tags": ["price"], "responses": 3, "suggestion": "none"},
    {"id": 1, "text": "Cheap", "topic": "price", "annotator": 1, "lead_time": 3.5},
    {"id": 1, "text": "Cheap", "topic": {"choices": ["price", "gift"]}},
    {"data": "Cheap", "label": ["price"]},
    {"content": "Cheap", "classifications": "price"},
    {"title": "Soap", "body": "Cheap", "genres": ["price"]},
    {"question": "Is it cheap?", "answer": "yes", "options": ["yes", "no"], "topics": ["price"]},
    {"instruction": "Pack it", "output": "done", "labels": ["gift"]},
    {"prompt": "Pack it", "labels": ["gift"]},
    {"input": "Cheap", "output": "price"},
    {"fields": ["price"], "text": "Cheap"},
    {"sentence1": "Cheap", "sentence2": "Dear", "labels": ["price"]},
    {"text": "Cheap", "messages": 3, "labels": ["price"]},
    {"0": "Cheap", "1": "price"},
    {"0": "Cheap", "1": {"price": 1}},
    ["Cheap", "price"],
    ["Cheap", ["price"]],
    "Cheap",
    None,
    7,
]


def recognized_by(rows):
    return [tool.NAME for tool in TOOLS if tool.recognizes(rows) is not None]


@pytest.mark.parametrize("row", PLAIN, ids=str)
def test_plain_rows_are_recognized_by_none(row):
    assert recognized_by([row]) == recognized_by([row, row]) == []


def test_no_rows_are_recognized_by_none():
    assert recognized_by([]) == []


@pytest.mark.parametrize("form", ROWS)
def test_each_form_is_recognized_by_its_tool_alone(form):
    tool, row = ROWS[form]
    assert recognized_by([row]) == recognized_by([row, row]) == [tool.NAME]


@pytest.mark.parametrize("form", ROWS)
def test_all_first_rows_must_have_the_form(form):
    tool, row = ROWS[form]
    for other in (PLAIN[0], PLAIN[10], None, ["Cheap"]):
        assert recognized_by([row, other]) == recognized_by([other, row]) == []


@pytest.mark.parametrize("form", ROWS)
def test_recognition_quotes_a_column(form):
    tool, row = ROWS[form]
    columns = {"cats"} if "pair" in form else row.keys()
    assert any(repr(column) in tool.recognizes([row]) for column in columns)


# Labels that are written in a form are read back


def as_label_studio(text, names):
    result = [{**_CHOICE, "value": {"choices": names}}] if names else []
    return {"data": {"text": text}, "annotations": [{"result": result}]}


def as_prodigy_choice(text, names):
    return {"text": text, "options": [{"id": name} for name in _NAMES], "accept": names, "answer": "accept"}


def as_doccano(text, names):
    return {"text": text, "annotations": [{"label": _NAMES.index(name) + 1, "user": 1} for name in names]}


def as_argilla_1(text, names):
    return {"text": text, "topic": [{**_ANSWER, "value": names}], "topic-suggestion": None}


def as_argilla_2(text, names):
    return {"text": text, "topic.responses": [names], "topic.responses.status": ["submitted"]}


def as_argilla_fields(text, names):
    return {"fields": {"text": text}, "responses": {"topic": [{"value": names, "user_id": "u"}]}}


def as_spacy(text, names):
    return [text, {"cats": {name: float(name in names) for name in _NAMES}}]


def as_lighttag(text, names):
    classes = [{"classname": name, "classified_by": [{"annotator": "ann"}]} for name in names]
    return {"content": text, "seen_by": [{"annotator": "ann"}], "classifications": classes}


_NAMES = ["a, b", "price", "it's", '"gift"', "größe|farbe", "[x]", "0"]
FORMS = {
    as_label_studio: label_studio,
    as_prodigy_choice: prodigy,
    as_doccano: doccano,
    as_argilla_1: argilla,
    as_argilla_2: argilla,
    as_argilla_fields: argilla,
    as_spacy: spacy_cats,
    as_lighttag: lighttag,
}


@pytest.mark.parametrize("write_row", FORMS)
@given(data=st.lists(st.tuples(hostile.texts, st.lists(st.sampled_from(_NAMES), unique=True)), min_size=1))
def test_labels_are_read_as_they_were_written(write_row, data):
    tool = FORMS[write_row]
    rows = json.loads(json.dumps([write_row(text, names) for text, names in data]))
    assert tool.recognizes(rows) is not None or not any(names for _, names in data)
    for (text, names), row in zip(data, rows, strict=True):
        (read,) = tool.read(row, DataSpec(label_names=_NAMES))
        labels = read["labels"]
        assert read["text"] == text
        assert names == labels if isinstance(labels, list) else {*names} == {n for n in labels if labels[n]}


# Files of annotation tools


@pytest.fixture
def load(tmp_path):
    """Load examples from rows that are written to a file: texts with the names of their labels."""

    def load(rows, **known):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        loaded = load_examples(str(path), **known)
        return [
            (row["text"], {name for name, value in zip(loaded.label_names, row["labels"], strict=True) if value == 1})
            for row in loaded.splits["train"]
        ]

    return load


def judged(text, answer, *accepted, **more):
    options = [{"id": "price", "text": "Price"}, {"id": "gift", "text": "Gift"}]
    return {"text": text, "options": options, "accept": [*accepted], "answer": answer} | more


CHOICES = [
    judged("A cheap gift", "accept", "price", "gift", title="Soap", topics=["soap"]),
    judged("It is blue", "ignore", "price", title="Cup", topics=["cup"]),
    judged("For my aunt", "accept", "gift", title="Hat", topics=["hat"]),
]


@pytest.mark.parametrize("known", [{}, {"label_column": "accept"}, {"label_column": "labels"}])
def test_a_column_of_the_tool_may_be_named(load, known):
    assert load(CHOICES, **known) == [("A cheap gift", {"price", "gift"}), ("For my aunt", {"gift"})]


def test_another_text_column_may_be_named(load):
    assert load(CHOICES, text_column="title") == [("Soap", {"price", "gift"}), ("Hat", {"gift"})]


def test_another_label_column_makes_rows_plain(load):
    assert load(CHOICES, label_column="topics") == [
        ("A cheap gift", {"soap"}),
        ("It is blue", {"cup"}),
        ("For my aunt", {"hat"}),
    ]


def test_a_question_is_named_by_the_label_column(load):
    rows = [
        {"data": {"review": text}, "annotations": [{"result": [{**_CHOICE, "from_name": "topic"}, _CHOICE]}]}
        for text in ("Cheap as can be", "It costs very little")
    ]
    with pytest.raises(DataError, match=r"rows.json: labels may come from several controls: \['mood', 'topic'\]"):
        load(rows)
    assert load(rows, label_column="mood") == [("Cheap as can be", {"price"}), ("It costs very little", {"price"})]


def test_instructions_are_plain_rows_if_columns_are_named(load):
    rows = [
        {"instruction": "Name the topic", "input": "A cheap one", "output": "price"},
        {"instruction": "Name the topic", "input": "For my aunt", "output": "gift"},
    ]
    with pytest.raises(
        DataError, match="rows.json, row 1: rows of 'instruction' and 'output' are made for chat models"
    ):
        load(rows)
    assert load(rows, text_column="input", label_column="output") == [
        ("A cheap one", {"price"}),
        ("For my aunt", {"gift"}),
    ]


def test_annotators_who_disagree_are_a_problem_without_a_rule(load):
    def answered(text, *values):
        answers = [{"user_id": f"u{n}", "value": value, "status": "submitted"} for n, value in enumerate(values)]
        return {"text": text, "topic": answers, "topic-suggestion": None}

    rows = [
        answered("A cheap gift", ["price"], ["price", "gift"], ["price"]),
        answered("For my aunt", ["gift"], ["gift"]),
    ]
    with pytest.raises(DataError, match=r"rows.json, row 1.*, its 3 annotators disagree: pass --annotators"):
        load(rows)
    assert load(rows, annotators="majority") == [("A cheap gift", {"price"}), ("For my aunt", {"gift"})]


# Hostile rows


def check_read(tool, row):
    """Read a row: rows of text and labels are the result, or an error that was raised on purpose."""
    for spec in SPECS:
        try:
            rows = tool.read(row, spec)
        except DataError:
            continue
        assert all(isinstance(read["labels"], (list, dict)) for read in rows)
        for labels in (read["labels"] for read in rows):
            assert all(isinstance(name, str) for name in labels)
            assert isinstance(labels, list) or all(value is None or 0 <= value <= 1 for value in labels.values())


def check_rows(rows):
    for tool in TOOLS:
        reason = tool.recognizes(rows)
        assert reason is None or isinstance(reason, str) and len(reason) < 200
        if reason is not None and hasattr(tool, "prepare"):
            for spec in SPECS:
                try:
                    tool.prepare(rows, spec)
                except DataError:
                    continue


@given(row=hostile.json_values)
def test_any_json_is_read_or_refused(row):
    for tool in TOOLS:
        check_read(tool, row)


@given(rows=st.lists(hostile.json_values, max_size=3))
def test_any_json_is_recognized_or_not(rows):
    check_rows(rows)


@st.composite
def damaged(draw):
    """A row of a tool in which some values are replaced by other JSON, or missing."""
    tool, row = ROWS[draw(st.sampled_from(sorted(ROWS)))]
    row = copy.deepcopy(row)
    for _ in range(draw(st.integers(1, 3))):
        container, places = row, []
        while isinstance(container, (dict, list)) and container:
            key = draw(st.sampled_from(sorted(container) if isinstance(container, dict) else range(len(container))))
            places.append((container, key))
            container = container[key]
        if places:
            container, key = draw(st.sampled_from(places))
            if draw(st.booleans()) and isinstance(container, dict):
                del container[key]
            else:
                container[key] = draw(hostile.json_values)
    return tool, row


@given(damaged=damaged())
def test_damaged_rows_are_read_or_refused(damaged):
    tool, row = damaged
    check_read(tool, row)
    check_rows([row])
    check_rows([row, row])


@given(damaged=damaged())
def test_values_of_another_form_are_problems_of_their_row(damaged):
    """An error that stops the whole file comes from its form or from a missing option, never from one wrong value."""
    tool, row = damaged
    if tool is lighttag or tool is spacy_cats:  # nothing that they read needs an option
        try:
            tool.read(row, DataSpec())
        except DataError as error:
            assert isinstance(error, BadValue)
