import json

import numpy as np
import pytest

from bert_multilabel.data.label_rules import BrokenRule, find_broken, parse_rules, read_rules_file, warn_of_broken
from bert_multilabel.errors import DataError

RULES = {"implies": {"pug": ["dog"]}, "exclusive": [["dog", "cat"]]}
NAMES = ["cat", "dog", "pug"]


@pytest.mark.parametrize("text", [json.dumps(RULES), json.dumps(RULES, indent=2), "\ufeff" + json.dumps(RULES)])
def test_rules_are_read(write, text):
    assert read_rules_file(write("rules.json", text)) == RULES


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("", "broken JSON"),
        ('{"implies": ', "rules.json: broken JSON"),
        ('[["dog", "cat"]]', r"rules.json must hold one object such as .* got \[\['dog', 'cat'\]\]"),
        ('{"implies": {"pug": ["dog"], "pug": ["cat"]}}', "rules.json repeats 'pug': write all"),
    ],
)
def test_files_that_hold_no_rules_are_refused(write, text, phrase):
    with pytest.raises(DataError, match=phrase):
        read_rules_file(write("rules.json", text))


def test_rules_that_do_not_fit_name_their_source():
    with pytest.raises(DataError, match="^rules.json: label_rules name labels .* does not have: 'dog'"):
        parse_rules(RULES, ["cat", "pug"], "rules.json")


def test_broken_rules_are_found_across_batches():
    rules = parse_rules(RULES, NAMES, "")
    batches = [[[1, 1, 0], [0, None, 1], [0, 0, 0.5]], np.array([[1.0, 1, 1], [0, 0.5, 1], [0.4, 1, 0], [1, 0, 1]])]
    examples, broken = find_broken(rules, batches)
    assert examples == 4
    assert broken == [
        BrokenRule("'pug' implies 'dog'", [3, 7]),
        BrokenRule("at most one of 'dog' and 'cat'", [1, 4]),
    ]
    assert find_broken(rules, [[[1, 0, 0], [0, 1, 1]]]) == (0, [])


def test_the_warning_counts_examples_and_shows_the_first(caplog):
    rules = parse_rules(RULES, NAMES, "")
    warn_of_broken(rules, "a.csv", [[[0, 1, 1]] * 7], 7)
    assert not caplog.text
    warn_of_broken(rules, "a.csv", [[[0, 0, 1]] * 6 + [[1, 1, 0]]], 7)
    expected = (
        "a.csv: 7 of 7 examples break label rules: 'pug' implies 'dog' (6: rows 1, 2, 3, 4, 5, ...); at most one"
    )
    assert expected in caplog.text
