"""What holds for the formats of all annotation tools together."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    {"id": 1, "text": "Cheap", "topic": {"choices": ["price", "gift"]}, "annotator": 1, "lead_time": 3.5},
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
        if reason is not None and hasattr(tool, "check"):
            for spec in SPECS:
                try:
                    tool.check(rows, spec)
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
