"""Rules between labels that the doctor proposes, and rows that break given ones."""

import json

import numpy as np
import pytest

from bert_multilabel.doctor.cli import main
from bert_multilabel.doctor.rule_checks import LEAST_ROWS, propose_rules
from bert_multilabel.model.label_rules import LabelRules

NAMES = ["animal", "dog", "pug", "cat", "brown"]


def make_labels(rows=400):
    """Animals that are dogs, some of them pugs, or cats, or neither, half of them brown: (N, 5)."""
    number = np.arange(rows)
    dog, cat = number % 4 == 0, number % 4 == 1
    pug = dog & (number % 8 == 0)
    animal = dog | cat | (number % 20 == 2)
    brown = number // 20 % 2 == 0
    return np.stack([animal, dog, pug, cat, brown], axis=1).astype(np.float32)


def test_what_no_row_breaks_is_proposed_without_what_follows():
    assert propose_rules(make_labels(), NAMES) == {
        "implies": {"dog": ["animal"], "pug": ["dog"], "cat": ["animal"]},
        "exclusive": [["dog", "cat"]],  # not the pug and the cat, which follows
    }


def test_one_exception_is_enough():
    labels = make_labels()
    labels[0, 0] = 0  # a pug and dog, but no animal
    labels[1, 1] = 1
    assert propose_rules(labels, NAMES) == {
        "implies": {"pug": ["dog"], "cat": ["animal"]},
        "exclusive": [["pug", "cat"]],
    }
    labels[0, 0] = np.nan  # not known
    assert propose_rules(labels, NAMES)["implies"] == {"dog": ["animal"], "pug": ["dog"], "cat": ["animal"]}


def test_rare_labels_give_no_rules():
    few = make_labels()[: 8 * (LEAST_ROWS - 1)]  # one pug too few
    assert propose_rules(few, NAMES)["implies"] == {"dog": ["animal"], "cat": ["animal"]}
    assert propose_rules(make_labels()[:50], NAMES) == {"implies": {}, "exclusive": []}


@pytest.mark.filterwarnings("error")
def test_labels_without_a_row_give_no_rules_and_no_warning():
    labels = np.c_[make_labels(), np.zeros((len(make_labels()), 1), np.float32)]
    assert propose_rules(labels, [*NAMES, "unseen"]) == propose_rules(make_labels(), NAMES)


def test_frequent_labels_are_implied_by_nothing():
    labels = make_labels()
    labels[:, 0] = 1
    labels[-1] = 0
    assert propose_rules(labels, NAMES)["implies"] == {"pug": ["dog"]}


def test_labels_that_always_agree_are_no_rule_and_groups_are_large():
    number = np.arange(900)
    labels = np.stack([number % 3 == 0, number % 3 == 1, number % 3 == 2, number % 3 == 2], axis=1).astype(np.float32)
    assert propose_rules(labels, ["a", "b", "c", "c again"]) == {
        "implies": {},
        "exclusive": [["a", "b", "c"], ["a", "b", "c again"]],
    }


@pytest.mark.parametrize("seed", range(3))
def test_what_chance_explains_is_not_proposed(seed):
    generator = np.random.default_rng(seed)
    shares = np.exp(generator.uniform(np.log(0.003), np.log(0.9), size=60))
    labels = (generator.random((2000, 60)) < shares).astype(np.float32)
    labels[generator.random(labels.shape) < 0.1] = np.nan
    found = propose_rules(labels, [f"label {number}" for number in range(60)])
    assert sum(map(len, found["implies"].values())) + len(found["exclusive"]) <= 1


def test_proposed_rules_never_contradict_each_other():
    generator = np.random.default_rng(0)
    for _ in range(20):
        base = (generator.random((600, 4)) < 0.4).astype(np.float32)
        labels = np.concatenate([base, base[:, :2] * base[:, 2:], base[:, [0]] * base[:, [1]] * base[:, [2]]], axis=1)
        labels[generator.random(labels.shape) < 0.3] = np.nan
        names = [f"label {number}" for number in range(labels.shape[1])]
        rules = LabelRules(propose_rules(labels, names), names)
        assert not rules.broken(labels)


def test_the_command_writes_what_it_proposes_and_reads_it(write, tmp_path, capsys):
    labels = make_labels()
    rows = [
        {"text": f"text number {number}", "labels": [name for name, on in zip(NAMES, row, strict=True) if on]}
        for number, row in enumerate(labels)
    ]
    path, rules = write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows)), tmp_path / "rules.json"
    assert main([path, "--write_rules", str(rules)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 rules between labels that no row breaks" in printed and "'pug' implies 'dog'" in printed
    written = json.loads(rules.read_text())
    assert written["exclusive"] == [["cat", "dog"]]  # names that are read from data are sorted
    assert written["implies"] == propose_rules(labels, NAMES)["implies"]
    rows[0]["labels"].remove("dog")
    rows[1]["labels"].append("pug")
    path = write("changed.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert main([path, "--label_rules", str(rules), "--json", str(tmp_path / "found.json")]) == 0
    (finding,) = [
        item
        for item in json.loads((tmp_path / "found.json").read_text())["findings"]
        if item["kind"] == "broken-rules"
    ]
    assert (finding["rows"], finding["severity"]) == ([1, 2], "warning")
    assert finding["examples"] == ["'pug' implies 'dog': 2"]
    assert f"--label_rules {rules}" in capsys.readouterr().out
