import math

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.splitting import split_validation, text_key


def rows(labels):
    return Dataset.from_dict({"row": list(range(len(labels))), "labels": [[float(x) for x in row] for row in labels]})


def positives(dataset):
    return np.array(dataset["labels"][:]).sum(axis=0)


def test_every_label_keeps_its_share():
    labels = np.zeros((200, 3))
    labels[:100, 0] = 1
    labels[50:90, 1] = 1
    labels[80:100, 2] = 1
    training, validation = split_validation(rows(labels), fraction=0.1)
    assert (len(training), len(validation)) == (180, 20)
    assert positives(validation).tolist() == [10, 4, 2]


def test_rows_keep_their_order_and_columns():
    labels = np.random.default_rng(0).integers(0, 2, (50, 4))
    training, validation = split_validation(rows(labels), fraction=0.2)
    assert training.column_names == validation.column_names == ["row", "labels"]
    for side in (training, validation):
        assert side["row"][:] == sorted(side["row"][:])
        assert side["labels"][:] == labels[side["row"][:]].tolist()


def test_the_seed_decides():
    labels = np.random.default_rng(0).integers(0, 2, (60, 4))
    first, again, other = (split_validation(rows(labels), seed=seed)[1]["row"][:] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_single_label_can_be_split():
    training, validation = split_validation(rows([[1]] * 10 + [[0]] * 30), fraction=0.2)
    assert positives(training).tolist() == [8]
    assert positives(validation).tolist() == [2]


def test_not_annotated_counts_as_zero():
    gaps = [[1, math.nan]] * 10 + [[math.nan, 0]] * 10
    zeros = np.nan_to_num(gaps)
    assert split_validation(rows(gaps))[1]["row"][:] == split_validation(rows(zeros))[1]["row"][:]


def test_labels_with_few_rows_do_not_empty_the_validation_side():
    labels = np.repeat(np.eye(25), 4, axis=0)
    training, validation = split_validation(rows(labels), fraction=0.1)
    assert len(validation) == 10
    assert positives(training).min() >= 1


def test_a_label_of_one_row_stays_in_training_and_is_named(caplog):
    labels = [[0, 1]] + [[1, 0]] * 9
    for seed in range(5):
        training, _ = split_validation(rows(labels), fraction=0.5, seed=seed, label_names=["common", "rare"])
        assert positives(training)[1] == 1
    assert "labels with fewer than 2 rows are only in training: 'rare'" in caplog.text
    caplog.clear()
    split_validation(rows(labels))
    assert "only in training: '1'" in caplog.text
    caplog.clear()
    split_validation(rows([[1, 1]] * 10))
    assert not caplog.text


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, math.nan])
def test_the_fraction_must_leave_two_sides(fraction):
    with pytest.raises(ValueError, match=f"must be above 0 and below 1, got {fraction}"):
        split_validation(rows([[1]] * 10), fraction)


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.5), (4, 0.1), (4, 0.9)])
def test_too_few_rows(count, fraction):
    with pytest.raises(ValueError, match=f"{fraction} of {count} rows leaves one side empty; pass more rows"):
        split_validation(rows([[1]] * count), fraction)


def test_rows_that_are_all_needed_in_training():
    with pytest.raises(ValueError, match="none of the 4 rows can go into validation"):
        split_validation(rows(np.eye(4)), fraction=0.5)


@settings(max_examples=60, deadline=None)
@given(
    labels=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=6, max_size=30)
    ),
    fraction=st.sampled_from([0.1, 0.3, 0.5, 0.8]),
    seed=st.integers(0, 5),
)
def test_no_row_and_no_label_is_lost(labels, fraction, seed):
    try:
        training, validation = split_validation(rows(labels), fraction, seed)
    except ValueError:
        # Allowed only where every row is the only one of some label.
        counts = np.sum(labels, axis=0)
        assert all(any(row[i] and counts[i] == 1 for i in range(len(row))) for row in labels)
        return
    assert sorted(training["row"][:] + validation["row"][:]) == list(range(len(labels)))
    assert len(training) > 0
    assert len(validation) > 0
    assert ((positives(training) > 0) == (np.sum(labels, axis=0) > 0)).all()


def texts_and_labels(texts, labels, pairs=None):
    columns = {"text": texts, "labels": [[float(x) for x in row] for row in labels]}
    return Dataset.from_dict(columns | ({} if pairs is None else {"pair": pairs}))


def test_equal_texts_go_to_the_same_side():
    generator = np.random.default_rng(0)
    texts = [f"{'  Text' if number % 2 else 'text'} {number // 3}" for number in range(900)]
    labels = np.repeat(generator.integers(0, 2, (300, 3)), 3, axis=0)
    for seed in range(5):
        training, validation = split_validation(texts_and_labels(texts, labels), seed=seed)
        sides = [{text_key(text) for text in side["text"][:]} for side in (training, validation)]
        assert not sides[0] & sides[1]
        assert 90 <= len(validation) <= 110
        # Within a text of three rows.
        assert abs(positives(validation) - labels.sum(axis=0) / 10).max() <= 3


def test_the_pair_belongs_to_the_text():
    labels = [[0]] * 20 + [[1]] * 20
    same = split_validation(texts_and_labels(["same"] * 40, labels, [f"pair {row}" for row in range(40)]))
    assert [len(side) for side in same] == [36, 4]
    with pytest.raises(ValueError, match="none of the 40 rows can go into validation.* shares its text with too many"):
        split_validation(texts_and_labels(["same"] * 40, labels, ["pair"] * 40))


def test_different_texts_are_split_as_rows_without_texts():
    labels = np.random.default_rng(0).integers(0, 2, (60, 4))
    texts = [f"text {row}" for row in range(60)]
    with_texts = split_validation(texts_and_labels(texts, labels))[1]
    assert with_texts["labels"][:] == split_validation(rows(labels))[1]["labels"][:]


def test_a_text_of_many_rows_does_not_fill_the_validation_side():
    texts = ["the same"] * 50 + [f"text {row}" for row in range(50)]
    for seed in range(5):
        _, validation = split_validation(texts_and_labels(texts, [[1]] * 100), seed=seed)
        assert len(validation) == 10
        assert "the same" not in validation["text"][:]


def test_a_label_of_one_text_stays_in_training():
    texts = ["rare"] * 3 + [f"text {row}" for row in range(27)]
    for seed in range(5):
        training, _ = split_validation(texts_and_labels(texts, [[0, 1]] * 3 + [[1, 0]] * 27), 0.4, seed)
        assert positives(training)[1] == 3
