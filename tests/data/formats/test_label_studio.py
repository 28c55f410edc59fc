import pytest

from bert_multilabel.data.formats import label_studio
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue
from bert_multilabel.errors import DataError


def chosen(*names, control="opinion"):
    return {
        "id": "x1",
        "from_name": control,
        "to_name": "review",
        "type": "choices",
        "value": {"choices": list(names)},
    }


def task(*results, predictions=(), cancelled=(), **data):
    annotations = [
        {"id": n, "completed_by": n, "was_cancelled": n in cancelled, "result": result}
        for n, result in enumerate(results)
    ]
    return {"id": 5, "data": data, "annotations": annotations, "predictions": list(predictions)}


SPAN = {"from_name": "brand", "to_name": "review", "type": "labels", "value": {"start": 0, "end": 4, "labels": ["X"]}}
COMMENT = {"from_name": "note", "to_name": "review", "type": "textarea", "value": {"text": ["unsure"]}}


def test_choices_are_labels():
    rows = [task([chosen("clean", "central")], review="Spotless, near the station"), task([], review="A room")]
    assert label_studio.recognizes(rows) == "rows have 'data', and 'annotations' with 'result'"
    assert [label_studio.read(row, DataSpec()) for row in rows] == [
        [{"id": 5, "review": "Spotless, near the station", "labels": ["clean", "central"]}],
        [{"id": 5, "review": "A room", "labels": []}],
    ]


def test_all_single_values_of_the_data_are_columns():
    row = task([chosen("clean")], title="Fine", body="Tidy", stars=4, tags=["x"], meta={}, labels="old", id="r-1")
    assert label_studio.read(row, DataSpec()) == [
        {"id": "r-1", "title": "Fine", "body": "Tidy", "stars": 4, "labels in the data": "old", "labels": ["clean"]}
    ]


def test_cancelled_annotations_are_left_out():
    row = task([chosen("clean")], [chosen("loud")], [chosen("central")], review="Nice", cancelled={1})
    assert [row["labels"] for row in label_studio.read(row, DataSpec())] == [["clean"], ["central"]]
    assert label_studio.read(task([chosen("clean")], review="Nice", cancelled={0}), DataSpec()) == []


def test_tasks_without_annotation_are_left_out():
    assert label_studio.read(task(review="Nice"), DataSpec()) == []


def test_exports_before_version_1():
    row = {"id": 1, "data": {"text": "Nice"}, "completions": [{"result": [chosen("clean")]}, {"skipped": True}]}
    assert label_studio.read(row, DataSpec()) == [{"id": 1, "text": "Nice", "labels": ["clean"]}]


def test_several_controls_are_asked_for():
    row = task([chosen("clean"), chosen("happy", control="mood")], review="Nice")
    with pytest.raises(DataError, match=r"from several controls: \['mood', 'opinion'\];.* --label_column mood"):
        label_studio.read(row, DataSpec())
    assert label_studio.read(row, DataSpec(label_column="mood"))[0]["labels"] == ["happy"]
    with pytest.raises(DataError, match="several controls"):
        label_studio.read(row, DataSpec(label_column=["opinion", "mood"]))


def test_several_controls_in_different_rows_are_asked_for():
    rows = [task([chosen("clean")], review="Nice"), task([chosen("happy", control="mood")], review="Good")]
    with pytest.raises(DataError, match="several controls"):
        label_studio.prepare(rows, DataSpec())
    spec = label_studio.prepare(rows, DataSpec(label_column="mood"))
    assert [label_studio.read(row, spec)[0]["labels"] for row in rows] == [[], ["happy"]]
    with pytest.raises(DataError, match=r"no control 'moods' with labels; .*\['mood', 'opinion'\]"):
        label_studio.prepare(rows, DataSpec(label_column="moods"))


@pytest.mark.parametrize("label_column", [None, "opinion", "labels"])
def test_the_only_control_of_the_first_rows_is_that_of_all(label_column):
    spec = label_studio.prepare([task([chosen("clean")], review="Nice")], DataSpec(label_column=label_column))
    assert label_studio.read(task([chosen("happy", control="mood")], review="Good"), spec)[0]["labels"] == []
    assert label_studio.read(task([COMMENT], review="Good"), spec)[0]["labels"] == []


def test_predictions_are_used_on_request_where_nobody_answered():
    predictions = [{"model_version": "1", "score": 0.9, "result": [chosen("loud")]}]
    untouched = task(review="Nice", predictions=predictions)
    wanted = DataSpec(use_suggestions=True)
    assert label_studio.read(untouched, DataSpec()) == []
    assert label_studio.read(untouched, wanted) == [{"id": 5, "review": "Nice", "labels": ["loud"]}]
    answered = task([chosen("clean")], review="Nice", predictions=predictions)
    assert label_studio.read(answered, wanted)[0]["labels"] == ["clean"]
    assert label_studio.read(task([], review="Nice", predictions=predictions, cancelled={0}), wanted) == []


def test_tasks_with_predictions_alone_are_recognized():
    rows = [{"data": {"text": "Nice"}, "predictions": [{"result": [chosen("loud")]}]}]
    assert label_studio.recognizes(rows) == "rows have 'data', and 'predictions' with 'result'"


@pytest.mark.parametrize("other", [SPAN, COMMENT, chosen() | {"value": {"start": 0, "end": 3, "choices": ["x"]}}])
def test_other_values_are_no_labels(other):
    row = task([other, chosen("clean")], review="Acme is nice")
    assert label_studio.read(row, DataSpec())[0]["labels"] == ["clean"]
    with pytest.raises(DataError, match="an annotation has no choices but values of .*--label_column"):
        label_studio.read(task([other], review="Acme is nice"), DataSpec())
    spec = DataSpec(label_column="opinion")
    assert label_studio.read(task([other], review="Acme is nice"), spec)[0]["labels"] == []


# JSON-MIN


def brief(text, **chosen):
    return {"id": 3, "text": text, "annotator": 1, "annotation_id": 9, "lead_time": 2.5} | chosen


BRIEF = [
    brief("Spotless, near the station", opinion={"choices": ["clean", "central"]}),
    brief("Spotless", opinion="clean"),
    brief("A room", lead_time=None),
    {"id": 3, "text": "So so", "annotator": 2, "lead_time": 1.5},
]


@pytest.mark.parametrize("label_column", [None, "opinion", "labels"])
def test_nothing_chosen_in_json_min(label_column):
    assert label_studio.recognizes(BRIEF) == "rows have 'annotator', and choices in 'opinion'"
    spec = label_studio.prepare(BRIEF, DataSpec(label_column=label_column))
    assert [label_studio.read(row, spec) for row in BRIEF] == [
        [{"id": 3, "text": "Spotless, near the station", "labels": ["clean", "central"]}],
        [{"id": 3, "text": "Spotless", "labels": ["clean"]}],
        [{"id": 3, "text": "A room", "labels": []}],
        [{"id": 3, "text": "So so", "labels": []}],
    ]


def test_single_choices_that_some_rows_of_json_min_lack():
    assert label_studio.recognizes(BRIEF[1:]) == "rows have 'annotator', and choices in 'opinion'"
    spec = label_studio.prepare(BRIEF[1:], DataSpec())
    assert [label_studio.read(row, spec)[0]["labels"] for row in BRIEF[1:]] == [["clean"], [], []]


def test_several_controls_in_json_min_are_asked_for():
    rows = [brief("Nice", opinion={"choices": ["clean", "central"]}, mood={"choices": ["happy", "calm"]}, stars="5")]
    with pytest.raises(DataError, match=r"several controls: \['mood', 'opinion'\]"):
        label_studio.prepare(rows, DataSpec())
    for control, labels in (("mood", ["happy", "calm"]), ("stars", ["5"])):
        spec = label_studio.prepare(rows, DataSpec(label_column=control))
        assert label_studio.read(rows[0], spec)[0]["labels"] == labels
    with pytest.raises(DataError, match="no control 'moods' with labels"):
        label_studio.prepare(rows, DataSpec(label_column="moods"))


@pytest.mark.parametrize("value", [3, {"choices": 3}, {"choices": [3]}, {"rating": 3}])
def test_values_of_json_min_that_are_no_choices(value):
    with pytest.raises(BadValue) as caught:
        label_studio.read(brief("Nice", opinion=value), DataSpec(label_column="opinion"))
    assert caught.value.column == "opinion"


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (3, "3 is not a JSON object"),
        ({"result": "clean"}, "'clean' is not a list"),
        ({"result": [{"from_name": 1, "value": {"choices": ["x"]}}]}, "1 is not the name"),
        ({"result": [{"from_name": "a", "value": {"choices": [["Food", "Pizza"]]}}]}, "is not the name of a label"),
    ],
)
def test_values_of_another_form(annotation, problem):
    with pytest.raises(BadValue, match=problem):
        label_studio.read({"data": {"text": "Nice"}, "annotations": [annotation]}, DataSpec())


@pytest.mark.parametrize(
    "rows",
    [
        [{"id": 1, "text": "Nice", "opinion": {"choices": ["clean", "loud"]}}],
        [{"id": 1, "text": "Nice", "opinion": "clean", "annotator": 1, "lead_time": 2.5}],
        [{"data": "Nice", "annotations": []}],
        [{"data": {"text": "Nice"}, "annotations": ["clean"]}],
        [{"data": {"text": "Nice"}}],
        [task([], text="Nice"), {"text": "Nice", "labels": []}],
    ],
)
def test_plain_rows_are_not_recognized(rows):
    assert label_studio.recognizes(rows) is None
