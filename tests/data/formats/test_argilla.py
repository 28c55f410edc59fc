import pytest

from bert_multilabel.data.formats import argilla
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue
from bert_multilabel.errors import DataError

PLAIN = DataSpec()
SUGGESTED = DataSpec(use_suggestions=True)
TEXT = "A cheap gift"


def flat(values, statuses, suggestion=None, **more):
    """A record of version 2 as its data sets have it."""
    return {
        "id": "r-1",
        "status": "completed",
        "_server_id": "a4",
        "review": TEXT,
        "topic.responses": values,
        "topic.responses.users": ["u"] * len(values or []),
        "topic.responses.status": statuses,
        "topic.suggestion": suggestion,
        "topic.suggestion.score": None,
        "topic.suggestion.agent": None,
        "metadata.source": "shop",
        **more,
    }


def nested(suggestion=None, **responses):
    """A record of version 2 as to_json writes it."""
    return {
        "id": "r-1",
        "fields": {"review": TEXT},
        "metadata": {"source": "shop"},
        "suggestions": {} if suggestion is None else {"topic": {"value": suggestion, "score": 0.9, "agent": "m"}},
        "responses": {name: [{"value": value, "user_id": "u"}] for name, value in responses.items()},
        "vectors": {},
        "_server_id": "a4",
    }


def listed(*answers, suggestion=None, **more):
    """A feedback record of version 1 as its data sets have it."""
    return {
        "review": TEXT,
        "topic": [{"user_id": f"u{n}", "value": value, "status": status} for n, (value, status) in enumerate(answers)],
        "topic-suggestion": suggestion,
        "topic-suggestion-metadata": {"type": None, "score": None, "agent": None},
        "external_id": "r-1",
        "metadata": "{}",
        **more,
    }


def feedback(*answers, suggestion=None):
    """A feedback record of version 1."""
    return {
        "fields": {"review": TEXT},
        "external_id": "r-1",
        "responses": [
            {"user_id": f"u{n}", "status": status, "values": None if values is None else {"topic": {"value": values}}}
            for n, (values, status) in enumerate(answers)
        ],
        "suggestions": [] if suggestion is None else [{"question_name": "topic", "value": suggestion, "agent": "m"}],
    }


def old(annotation, status="Validated", prediction=None, multi_label=True, **more):
    """A record of the first versions."""
    return {
        "text": TEXT,
        "inputs": {"text": TEXT},
        "prediction": prediction,
        "prediction_agent": None,
        "annotation": annotation,
        "annotation_agent": "u",
        "multi_label": multi_label,
        "id": "r-1",
        "metadata": {},
        "status": status,
        **more,
    }


def labels(row, spec=PLAIN):
    return [row["labels"] for row in argilla.read(row, spec)]


@pytest.mark.parametrize(
    ("row", "reason", "text_column"),
    [
        (flat([["price", "gift"]], ["submitted"]), "'topic.responses.status'", "review"),
        (nested(topic=["price", "gift"]), "'fields' and 'responses'", "review"),
        (listed((["price", "gift"], "submitted")), "'topic' with 'user_id', 'value' and 'status'", "review"),
        (feedback((["price", "gift"], "submitted")), "'fields' and 'responses'", "review"),
        (old(["price", "gift"]), "'annotation', 'multi_label' and 'status'", "text"),
    ],
)
def test_answers_are_labels(row, reason, text_column):
    assert argilla.recognizes([row, row]) == f"rows have {reason}"
    assert argilla.read(row, DataSpec()) == [{"id": "r-1", text_column: TEXT, "labels": ["price", "gift"]}]


@pytest.mark.parametrize(
    "row",
    [
        flat(["gift"], ["submitted"]),
        nested(topic="gift"),
        listed(("gift", "submitted")),
        feedback(("gift", "submitted")),
        old("gift", multi_label=False),
    ],
)
def test_one_label_per_text(row):
    assert labels(row) == [["gift"]]


@pytest.mark.parametrize(
    "row",
    [
        flat([[]], ["submitted"], suggestion=["price"]),
        nested(topic=[], suggestion=["price"]),
        listed(([], "submitted"), suggestion=["price"]),
        feedback(([], "submitted")),
        old([], prediction=[["price", 0.9]]),
    ],
)
@pytest.mark.parametrize("spec", [DataSpec(), SUGGESTED])
def test_an_answer_of_no_label_is_an_answer(row, spec):
    assert labels(row, spec) == [[]]


@pytest.mark.parametrize(
    "row",
    [
        flat([["price"], ["gift"], [], ["quality"]], ["submitted", "draft", "discarded", "submitted"]),
        listed((["price"], "submitted"), (["gift"], "draft"), ([], "discarded"), (["quality"], "submitted")),
        feedback((["price"], "submitted"), (["gift"], "draft"), (None, "discarded"), (["quality"], "submitted")),
    ],
)
def test_one_row_per_submitted_answer(row):
    assert labels(row) == [["price"], ["quality"]]


@pytest.mark.parametrize(
    "row",
    [
        flat(None, None, suggestion=["price"]),
        flat([["gift"]], ["draft"], suggestion=["price"]),
        nested(suggestion=["price"]),
        listed(suggestion=["price"]),
        listed((["gift"], "draft"), suggestion=["price"]),
        feedback((["gift"], "draft"), suggestion=["price"]),
        old(None, "Default", prediction=[{"label": "price", "score": 0.6}, {"label": "gift", "score": 0.2}]),
        old(["gift"], "Edited", prediction=[["price", 0.6], ["gift", 0.2]]),
        old(None, "Default", prediction=[["price", 0.4], ["gift", 0.2]], multi_label=False),
    ],
)
def test_suggestions_are_used_on_request_where_nobody_answered(row):
    assert labels(row) == []
    assert labels(row, SUGGESTED) == [["price"]]


@pytest.mark.parametrize(
    "row",
    [
        flat([["gift"]], ["discarded"], suggestion=["price"]),
        listed((["gift"], "discarded"), suggestion=["price"]),
        feedback((None, "discarded"), (["gift"], "discarded"), suggestion=["price"]),
        old(None, "Discarded", prediction=[["price", 0.9]]),
    ],
)
def test_discarded_records_are_left_out(row):
    assert labels(row) == labels(row, SUGGESTED) == []


def test_records_without_answer_and_suggestion_are_left_out():
    for row in (flat(None, None), nested(), listed(), feedback(), old(None, "Default")):
        assert labels(row, SUGGESTED) == []


def test_several_predictions_above_the_threshold():
    prediction = [["price", 0.9], ["gift", 0.7], ["quality", 0.5]]
    assert labels(old(None, prediction=prediction), SUGGESTED) == [["price", "gift"]]
    assert labels(old(None, prediction=[["price", 0.1]]), SUGGESTED) == [[]]


def test_several_inputs_are_columns():
    row = old(["gift"], text=None, inputs={"title": "Soap", "body": "For my aunt"})
    assert argilla.read(row, DataSpec()) == [
        {"id": "r-1", "title": "Soap", "body": "For my aunt", "labels": ["gift"]},
    ]


@pytest.mark.parametrize(
    "row",
    [
        flat([["gift"]], ["submitted"], **{"mood.responses": ["happy"], "mood.responses.status": ["submitted"]}),
        nested(topic=["gift"], mood="happy"),
        listed((["gift"], "submitted"), mood=[{"user_id": "u", "value": "happy", "status": "submitted"}]),
    ],
)
def test_several_questions_are_asked_for(row):
    with pytest.raises(DataError, match=r"from several questions: \['mood', 'topic'\];.* --label_column mood"):
        argilla.read(row, DataSpec())
    assert labels(row, DataSpec(label_column="mood")) == [["happy"]]
    assert labels(row, DataSpec(label_column="topic")) == [["gift"]]
    with pytest.raises(DataError, match=r"no question 'moods' with labels; .*\['mood', 'topic'\]"):
        argilla.prepare([row], DataSpec(label_column="moods"))


def test_several_questions_in_different_rows_are_asked_for():
    rows = [nested(topic=["gift"]), nested(mood="happy")]
    with pytest.raises(DataError, match="several questions"):
        argilla.prepare(rows, DataSpec())
    argilla.prepare(rows, DataSpec(label_column="mood"))
    assert [labels(row, DataSpec(label_column="mood")) for row in rows] == [[], [["happy"]]]


@pytest.mark.parametrize(
    "rows",
    [
        [listed(), listed((["gift"], "submitted"))],
        [flat(None, None), flat(None, None, ["price"]), flat([["gift"]], ["submitted"])],
        [nested(), nested(topic=["gift"])],
        [feedback(), feedback((["gift"], "submitted"))],
        [old(None, "Default"), old(None, prediction=[["price", 0.9]])],
    ],
)
def test_rows_without_answers_are_recognized_among_others(rows):
    without_null = [{key: value for key, value in row.items() if value is not None} for row in rows]
    for first in (rows, rows[::-1], without_null, without_null[::-1]):
        assert argilla.recognizes(first)
    assert [labels(row, SUGGESTED) for row in without_null] == [labels(row, SUGGESTED) for row in rows]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (flat([["gift"], []], ["submitted"]), "2 responses with 1 statuses"),
        (flat([4], ["submitted"]), "4 is not a list"),
        (flat([[4]], ["submitted"]), "4 is not the name of a label"),
        (flat("gift", ["submitted"]), "'gift' is not a list"),
        (listed((3.5, "submitted")), "3.5 is not a list"),
        (nested(topic={"a": 1}), "is not a list"),
        (feedback(("x", "submitted")) | {"responses": [3]}, "3 is not a JSON object"),
        (feedback() | {"suggestions": [{"value": "x"}]}, "None is not the name"),
        (old(7), "7 is not a list"),
        (listed() | {"topic": "gift"}, "'gift' is not a list"),
        (old(None, prediction=[["gift"]]), r"\['gift'\] is not a label with a score"),
        (old(None, prediction=[["gift", "high"]]), "is not a label with a score"),
    ],
)
def test_values_of_another_form(row, problem):
    with pytest.raises(BadValue, match=problem):
        argilla.read(row, SUGGESTED)


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": TEXT, "labels": [], "labels-suggestion": []}],
        [{"text": TEXT, "labels": ["gift"], "labels-suggestion": None}],
        [{"text": TEXT, "multi_label": True, "status": "Validated"}],
        [{"text": TEXT, "annotation": ["gift"], "multi_label": True}],
        [{"text": TEXT, "annotation": ["gift"], "status": "Validated"}],
        [{"text": TEXT, "annotation": "['gift']", "prediction": "", "multi_label": "True"}],
        [{"text": TEXT, "topic.responses": ["gift"]}],
        [{"fields": {"text": TEXT}, "responses": ["gift"]}],
        [{"fields": "garden", "responses": []}],
        [{"text": TEXT, "topic": [{"value": "gift"}]}],
        [listed((["gift"], "submitted")), {"text": TEXT, "labels": ["gift"]}],
    ],
)
def test_plain_rows_are_not_recognized(rows):
    assert argilla.recognizes(rows) is None
