"""Rules between labels: their form, their contradictions, and which rows break them."""

import numpy as np
import pytest

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.label_rules import LabelRules

NAMES = ["animal", "dog", "pug", "cat"]
IMPLIES = {"pug": ["dog"], "dog": ["animal"], "cat": ["animal"]}


def test_rules_are_counted_and_hold_indices():
    rules = LabelRules({"implies": {**IMPLIES, "pug": ["animal", "dog"]}, "exclusive": [["dog", "cat"]]}, NAMES)
    assert str(rules) == "4 implications and 1 exclusive group"
    assert rules.ancestors == {0: {0}, 1: {0, 1}, 2: {0, 1, 2}, 3: {0, 3}}
    # That a pug is an animal follows from the others.
    assert rules.structure()["parents"] == {1: [0], 2: [1], 3: [0]}
    assert rules.structure()["groups"] == [[1, 3]]


def test_there_may_be_no_rules():
    assert str(LabelRules({}, NAMES)) == "0 implications and 0 exclusive groups"
    assert LabelRules({"implies": {"pug": []}, "exclusive": []}, NAMES).structure()["parents"] == {}


def test_rows_that_break_a_rule_are_found():
    rules = LabelRules({"implies": IMPLIES, "exclusive": [["dog", "cat"]]}, NAMES)
    labels = np.array([[1, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1], [1, 1, 0, 1], [1, np.nan, 1, 0], [1, 0, -100, 1]])
    assert {text: rows.tolist() for text, rows in rules.broken(labels).items()} == {
        "'dog' implies 'animal'": [1],
        "at most one of 'dog' and 'cat'": [3],
    }
    assert rules.broken(labels[[2]] == 1) == {}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([["dog", "cat"]], r"must have the form \{\"implies\".*got \[\['dog', 'cat'\]\]"),
        ({"imply": {}}, r"got \['imply'\]"),
        ({"implies": [["pug", "dog"]]}, r"'implies' of label_rules must map a name to a list of names, got \[\['pug'"),
        ({"implies": {"pug": "dog"}}, "what 'pug' implies must be a list of names in label_rules, got 'dog'"),
        ({"implies": {"pug": ["dog", 3]}}, r"what 'pug' implies must be a list of names .* got \['dog', 3\]"),
        ({"implies": {"pug": ["dog", "dog"]}}, "what 'pug' implies repeats 'dog'"),
        ({"exclusive": {"dog": "cat"}}, "'exclusive' of label_rules must be a list of lists of names, got {'dog'"),
        ({"exclusive": ["dog", "cat"]}, "an exclusive group must be a list of names in label_rules, got 'dog'"),
        ({"exclusive": [["dog"]]}, r"at least two labels, got \['dog'\]"),
        (
            {"implies": {"poodle": ["dog"]}, "exclusive": [["cat", "Dog"]]},
            "label_rules name labels that the model does not have: 'poodle', 'Dog'. Its labels: 'animal', 'dog'",
        ),
        ({"implies": {"dog": ["dog"]}}, "imply in a circle: 'dog' implies 'dog'$"),
        (
            {"implies": {"pug": ["dog"], "dog": ["animal"], "animal": ["cat"], "cat": ["dog"]}},
            "imply in a circle: 'animal' implies 'cat' implies 'dog' implies 'animal'$",
        ),
        (
            {"implies": {"pug": ["dog", "cat"]}, "exclusive": [["dog", "cat"]]},
            "contradict each other: 'pug' implies 'dog' and 'cat', but an exclusive group has 'dog' and 'cat'",
        ),
        (
            {"implies": IMPLIES, "exclusive": [["pug", "cat", "animal"]]},
            "'cat' implies 'animal', but an exclusive group has 'cat' and 'animal': it could never be predicted",
        ),
    ],
)
def test_wrong_rules_are_refused(rules, message):
    with pytest.raises(MultiLabelError, match=message):
        LabelRules(rules, NAMES)


def test_a_long_chain_needs_no_recursion():
    names = [str(number) for number in range(1500)]
    rules = LabelRules({"implies": {child: [parent] for child, parent in zip(names, names[1:], strict=False)}}, names)
    assert len(rules.ancestors[0]) == 1500
