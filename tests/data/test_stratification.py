import numpy as np
import pytest

from bert_multilabel.data.stratification import stratify


def test_the_rarest_label_is_divided_first_and_each_label_keeps_its_share():
    labels = np.zeros((20, 2), np.bool_)
    labels[:4, 0] = True  # rare
    labels[2:, 1] = True
    side = stratify(labels, 10, seed=1)
    assert side.sum() == 10
    assert labels[side].sum(axis=0).tolist() == [2, 9]


def test_examples_without_labels_fill_the_sides():
    side = stratify(np.zeros((10, 3), np.bool_), 3, seed=1)
    assert side.sum() == 3
    assert not (side == stratify(np.zeros((10, 3), np.bool_), 3, seed=2)).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_sides_are_those_of_the_published_package(seed):
    splitters = pytest.importorskip("iterstrat.ml_stratifiers")
    generator = np.random.default_rng(seed)
    rows, count = generator.integers(3, 200), generator.integers(2, 10)
    labels = generator.random((rows, count)) < 0.5 * generator.random(count)
    size = int(generator.integers(1, rows))
    splitter = splitters.MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    _, expected = next(splitter.split(labels, labels))
    assert np.flatnonzero(stratify(labels, size, seed)).tolist() == expected.tolist()
