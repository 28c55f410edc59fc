import numpy as np
import pytest

from bert_multilabel.data.examples import load_examples
from bert_multilabel.data.folding import Fold, Rows, fold_annotators, fold_rows
from bert_multilabel.errors import DataError

NAN = float("nan")


def rows(texts, labels, numbers=None, **columns):
    labels = None if labels is None else np.array(labels, np.float32)
    return Rows(numbers or list(range(1, len(texts) + 1)), {"text": texts, **columns}, labels)


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (Fold.UNION, [1, 1, 0, NAN]),
        (Fold.MAJORITY, [1, 0, 0, NAN]),
        (Fold.SHARE, [1, 0.25, 0, NAN]),
        (Fold.UNANIMOUS, [1, NAN, 0, NAN]),
    ],
)
def test_rules(fold, expected):
    labels = [[1, 0, 0, NAN], [1, 1, 0, NAN], [NAN, 0, 0, NAN], [1, 0, NAN, NAN]]
    (folded,) = fold_rows([rows([*"aaaa"], labels)], fold)
    np.testing.assert_array_equal(folded.labels, [expected])


def test_half_is_no_majority():
    (folded,) = fold_rows([rows(["a", "a"], [[1], [0]])], Fold.MAJORITY)
    np.testing.assert_array_equal(folded.labels, [[0]])


def test_rows_with_the_same_text_and_pair_are_one_wherever_they_are():
    parts = [
        rows(["a", "b"], [[1, 0], [0, 1]], pair=["p", "p"]),
        rows(["a", "a"], [[0, 1], [0, 1]], [3, 4], pair=["p", "q"]),
    ]
    (folded,) = fold_rows(parts, Fold.UNION)
    assert folded.columns == {"text": ["a", "b", "a"], "pair": ["p", "p", "q"]}
    assert folded.numbers == [1, 2, 4]
    np.testing.assert_array_equal(folded.labels, [[1, 1], [0, 1], [0, 1]])


def test_rows_with_the_same_id_are_one_and_rows_without_one_are_their_own():
    part = rows(["a", "a", "A", "b", "b"], [[1], [0], [0], [1], [0]], id=[7, 8, 7, None, None])
    (folded,) = fold_rows([part], Fold.UNION)
    assert folded.columns == {"text": ["a", "a", "b", "b"], "id": [7, 8, None, None]}
    np.testing.assert_array_equal(folded.labels, [[1], [0], [1], [0]])


def test_rows_without_labels_are_folded_too():
    (folded,) = fold_rows([rows(["a", "a", "b"], None)], Fold.UNION)
    assert folded.columns["text"] == ["a", "b"] and folded.labels is None
    assert list(fold_rows([rows([], None)], Fold.UNION)) == []


def test_annotators_who_disagree_are_a_problem_without_a_rule():
    part = rows([*"aabbc"], [[1, NAN], [1, NAN], [1, 0], [0, 0], [0, 1]], [1, 1, 2, 2, 3])
    problems = []
    (folded,) = fold_annotators([part], None, problems)
    assert folded.numbers == [1, 3]
    np.testing.assert_array_equal(folded.labels, [[1, NAN], [0, 1]])
    assert problems == [(2, "its 2 annotators disagree: pass --annotators majority, share or unanimous")]
    (folded,) = fold_annotators([part], "share", problems)
    np.testing.assert_array_equal(folded.labels, [[1, NAN], [0.5, 0], [0, 1]])
    assert len(problems) == 1


# In files


LONG = "id,text,label\n1,It broke,quality\n2,Too dear,price\n1,It broke,price\n3,Fine,\n2,Too dear,price\n"


def labels_of(path, **spec):
    loaded = load_examples(path, **spec)
    examples = loaded.splits["train"]
    return {
        text: {name: bit for name, bit in zip(loaded.label_names, row, strict=True) if bit}
        for text, row in zip(examples["text"], examples["labels"], strict=True)
    }


def test_one_label_per_line_by_id(write):
    path = write("a.csv", LONG)
    expected = {"It broke": {"quality": 1, "price": 1}, "Too dear": {"price": 1}, "Fine": {}}
    assert labels_of(path, one_label_per_line=True) == expected
    assert len(load_examples(path).splits["train"]) == 5


def test_one_label_per_line_by_text(write):
    path = write("a.csv", "\n".join(line.partition(",")[2] for line in LONG.split("\n")))
    expected = {"It broke": {"quality": 1, "price": 1}, "Too dear": {"price": 1}, "Fine": {}}
    assert labels_of(path, one_label_per_line=True) == expected


def test_texts_that_repeat_are_pointed_out(write, caplog):
    load_examples(write("a.csv", LONG))
    assert "5 rows hold 3 different texts; if each line has one label of its text, pass --one_label" in caplog.text
    caplog.clear()
    load_examples(write("a.csv", LONG), one_label_per_line=True)
    assert "different texts" not in caplog.text


JUDGED = (
    '{"text": "It broke", "annotations": [{"label": "price", "user": 1}, {"label": "price", "user": 2}, '
    '{"label": "gift", "user": 2}, {"label": "price", "user": 3}]}\n'
    '{"text": "Fine", "annotations": [{"label": "gift", "user": 1}]}\n'
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("majority", {"price": 1}), ("share", {"gift": pytest.approx(1 / 3), "price": 1}), ("unanimous", {"price": 1})],
)
def test_judgements_of_annotators_are_folded_by_a_rule(write, rule, expected):
    path = write("a.jsonl", JUDGED)
    found = labels_of(path, annotators=rule)
    if rule == "unanimous":
        assert np.isnan(found["It broke"].pop("gift"))
    assert found == {"It broke": expected, "Fine": {"gift": 1}}


def test_without_a_rule_disagreement_is_asked_about(write):
    with pytest.raises(DataError, match=r"a.jsonl, row 1 \(line 1\), its 3 annotators disagree: pass --annotators"):
        load_examples(write("a.jsonl", JUDGED))


def test_judgements_on_lines_of_their_own_are_folded_by_a_rule(write):
    path = write("a.csv", "text,label\nIt broke,price\nIt broke,gift\nIt broke,price\nFine,gift\n")
    assert labels_of(path, annotators="majority") == {"It broke": {"price": 1}, "Fine": {"gift": 1}}
