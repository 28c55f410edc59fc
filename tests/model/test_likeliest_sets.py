"""The likeliest sets of labels that break no rule, against brute force over all subsets."""

import random
from itertools import product

import numpy as np
import pytest

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model import likeliest_sets
from bert_multilabel.model.label_rules import LabelRules
from bert_multilabel.model.likeliest_sets import LikeliestSets

NAMES = ["animal", "dog", "pug", "cat"]
TREE = {"implies": {"pug": ["dog"], "dog": ["animal"], "cat": ["animal"]}}


def sets_of(rules, names=NAMES):
    return LikeliestSets(**LabelRules(rules, names).structure())


def obey(rules, margins, **options):
    margins = np.array([margins], dtype=np.float64)
    return sets_of(rules).obey(margins, margins >= 0, **options)[0].tolist()


def test_a_child_takes_its_parents_along_or_goes():
    assert obey(TREE, [-1, -1, 3, -5]) == [True, True, True, False]
    assert obey(TREE, [-1, -3, 3, -5]) == [False, False, False, False]
    assert obey(TREE, [-1, -4, 3, 2]) == [True, False, False, True]


def test_of_an_exclusive_group_the_likeliest_stays():
    rules = {**TREE, "exclusive": [["dog", "cat"]]}
    assert obey(rules, [1, 2, -1, 3]) == [True, False, False, True]
    # The pug speaks for the dog.
    assert obey(rules, [1, 2, 2, 3]) == [True, True, True, False]


def test_equal_labels_of_a_group_do_not_stay_both():
    assert obey({"exclusive": [["dog", "cat"]]}, [1, 2, 3, 2]) == [True, True, True, False]
    # Labels of thresholds 0 and 1 have infinite margins.
    assert obey({"exclusive": [["dog", "cat"]]}, [1, np.inf, -np.inf, np.inf]) == [True, True, False, False]


def test_rules_are_described_for_other_languages():
    chain = {"implies": {"pug": ["dog"], "dog": ["animal"]}, "exclusive": [["dog", "cat"]]}
    assert sets_of(chain).as_json() == {
        "parts": [
            {
                "labels": [0, 1, 2, 3],
                "implications": [[1, 0], [2, 1]],
                "groups": [[1, 3]],
                "units": [{"parent": above, "labels": [label]} for above, label in ((-1, 0), (-1, 3), (0, 1), (1, 2))],
                "cases": [[0, 0, 0, -1], [0, -1, 0, 0]],
            }
        ],
        "ancestors": {0: [0], 1: [0, 1], 2: [0, 1, 2]},
        "groups": [[1, 3]],
    }
    (part,) = sets_of({**TREE, "exclusive": [["dog", "cat"]]}).as_json()["parts"]  # dogs and cats are siblings
    assert part["cases"] is None
    assert part["units"] == [
        {"parent": -1, "labels": [0]},
        {"parent": 0, "labels": [1, 3]},
        {"parent": 1, "labels": [2]},
    ]


def test_examples_that_break_no_rule_keep_their_decisions():
    margins = np.array([[1.0, -1.0, -1.0, -0.0], [0.0, 0.0, -1.0, -1.0]])
    decisions = np.array([[True, False, False, False], [True, True, False, False]])
    assert sets_of(TREE).obey(margins, decisions).tolist() == decisions.tolist()


def test_min_labels_counts_what_labels_imply():
    assert obey(TREE, [-4, -2, -1, -9], min_labels=1) == [True, False, False, False]
    assert obey(TREE, [-4, -2, -1, -9], min_labels=2) == [True, True, False, False]
    # The pug alone would cost 7, with the dog and the animal; the three together are two more than asked for.
    assert obey({"implies": {"pug": ["dog"]}}, [-9, -5, -1, -7], min_labels=1) == [False, True, False, False]
    # Once the animal is there, the dog is worth it.
    assert obey(TREE, [-4, 2, 1, -9], min_labels=1) == [True, True, True, False]


def test_labels_give_way_where_rules_leave_too_few():
    rules = {"exclusive": [["animal", "dog"], ["animal", "cat"], ["animal", "pug"], ["dog", "pug", "cat"][:2]]}
    assert obey(rules, [5, -1, -2, -3], min_labels=1) == [True, False, False, False]
    assert obey(rules, [5, -1, -2, -3], min_labels=2) == [False, True, False, True]
    # More than two are impossible: the most that can be.
    assert sum(obey(rules, [5, -1, -2, -3], min_labels=3)) == sets_of(rules).most_labels == 2


def test_rules_act_through_labels_that_were_not_scored():
    rules = {**TREE, "exclusive": [["dog", "cat"]]}
    # A pug is a dog, so it excludes a cat.
    margins = np.array([[3.0, 2.0], [3.0, -1.0]])  # of cat and pug
    assert sets_of(rules).obey(margins, margins >= 0, subset=[3, 2]).tolist() == [[True, False], [True, False]]
    # And it is an animal, whoever knows about dogs.
    assert sets_of(rules).obey(np.array([[-1.0, 2.0]]), np.array([[False, True]]), subset=[0, 2]).tolist() == [
        [True] * 2
    ]
    assert sets_of(rules).obey(np.array([[2.0]]), np.array([[True]]), subset=[2]).tolist() == [[True]]


def random_rules(draw, names, several):
    order = draw.sample(names, len(names))
    implies = {
        child: draw.sample(order[:index], draw.randint(1, min(3, index)) if several else 1)
        for index, child in enumerate(order)
        if index and draw.random() < 0.6
    }
    exclusive = [draw.sample(names, draw.randint(2, min(4, len(names)))) for _ in range(draw.randint(0, 3))]
    return {"implies": implies, "exclusive": exclusive}


def allowed_sets(rules, names):
    """All subsets (F, L) that break no rule, by a plain reading of the rules."""
    every = np.array(list(product([False, True], repeat=len(names))))
    allowed = np.ones(len(every), dtype=np.bool_)
    of = {name: every[:, index] for index, name in enumerate(names)}
    for child, parents in rules["implies"].items():
        for parent in parents:
            allowed &= ~of[child] | of[parent]
    for group in rules["exclusive"]:
        allowed &= sum(of[name].astype(int) for name in group) <= 1
    return every[allowed]


def draws(count, several):
    """Random rules of up to 10 labels, the sets they allow, and margins of 40 examples."""
    draw, generator = random.Random(0), np.random.default_rng(0)
    while count:
        names = [f"label {number}" for number in range(draw.randint(2, 10))]
        rules = random_rules(draw, names, several)
        try:
            LabelRules(rules, names)
        except MultiLabelError:
            continue
        count -= 1
        yield names, rules, allowed_sets(rules, names), generator.normal(scale=3, size=(40, len(names)))


def highest_sums(margins, allowed):
    return (margins @ allowed.T.astype(np.float64)).max(axis=1)


def is_allowed(sets, allowed):
    return (sets[:, None] == allowed).all(axis=2).any(axis=1)


@pytest.mark.parametrize("several", [False, True])
def test_sets_equal_brute_force(several):
    for names, rules, allowed, margins in draws(60, several):
        sets = sets_of(rules, names)
        assert not sets.inexact
        decisions = margins >= 0
        obeying = sets.obey(margins, decisions)
        assert is_allowed(obeying, allowed).all()
        np.testing.assert_allclose((margins * obeying).sum(axis=1), highest_sums(margins, allowed), atol=1e-9)
        assert sets.most_labels == allowed.sum(axis=1).max()
        subset = random.Random(1).sample(range(len(names)), (len(names) + 1) // 2)
        own, seen = margins[:, subset], np.unique(allowed[:, subset], axis=0)
        partly = sets.obey(own, own >= 0, subset=subset)
        assert is_allowed(partly, seen).all()
        np.testing.assert_allclose((own * partly).sum(axis=1), highest_sums(own, seen), atol=1e-5)


def test_sets_of_at_least_k_labels_are_nearly_the_likeliest():
    best = total = 0
    for names, rules, allowed, margins in draws(60, several=True):
        sets = sets_of(rules, names)
        for least in (1, 2, 3):
            filled = sets.obey(margins, margins >= 0, min_labels=least)
            assert is_allowed(filled, allowed).all()
            large = allowed[allowed.sum(axis=1) >= least]
            if not len(large):
                assert (filled.sum(axis=1) == sets.most_labels).all()
                continue
            assert (filled.sum(axis=1) >= least).all()
            lost = highest_sums(margins, large) - (margins * filled).sum(axis=1)
            best, total = best + (lost < 1e-6).sum(), total + len(lost)
    assert best / total > 0.95


def test_local_search_comes_near_brute_force(monkeypatch):
    monkeypatch.setattr(likeliest_sets, "MAX_CASES", 1)
    best = total = 0
    for names, rules, allowed, margins in draws(60, several=True):
        sets = sets_of(rules, names)
        obeying = sets.obey(margins, margins >= 0)
        assert is_allowed(obeying, allowed).all()
        lost = highest_sums(margins, allowed) - (margins * obeying).sum(axis=1)
        if sets.inexact:
            best, total = best + (lost < 1e-6).sum(), total + len(lost)
        else:
            np.testing.assert_allclose(lost, 0, atol=1e-9)
    assert total > 1000
    assert best / total > 0.98


def test_too_many_cases_are_said_to_be_inexact():
    names = [f"label {number}" for number in range(40)]
    pairs = [[names[index], names[index + 1]] for index in range(39)]  # overlapping, so that all are connected
    assert sets_of({"exclusive": pairs}, names).inexact == list(range(40))
    assert sets_of({"exclusive": pairs[::2]}, names).inexact == []
    several = {name: [names[-1], names[-2]] for name in names[:9]}
    assert sets_of({"implies": several}, names).inexact == [*range(9), 38, 39]
    assert sets_of({"implies": dict(list(several.items())[:8])}, names).inexact == []
