import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.training.losses import make_loss, positive_weights

NAN = math.nan
WEIGHTS = torch.tensor([0.5, 3.0, 10.0])
# Every loss, with settings: all but bce itself differ from it.
MADE = {
    "bce": make_loss("bce"),
    "weighted_bce": make_loss("weighted_bce", pos_weight=WEIGHTS),
    "focal": make_loss("focal", gamma=2.0),
    "focal, gamma below 1": make_loss("focal", gamma=0.5),
    "asymmetric": make_loss("asymmetric"),
    "zlpr": make_loss("zlpr"),
    "correlation": make_loss("bce", label_correlation=0.3),
}
every_loss = pytest.mark.parametrize("name", MADE)


def logit(probability):
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize(
    ("name", "label", "probability", "expected"),
    [
        ("bce", 1, 0.8, -math.log(0.8)),
        ("bce", 0, 0.8, -math.log(0.2)),
        ("focal", 1, 0.8, 0.2**2 * -math.log(0.8)),
        ("focal", 0, 0.8, 0.8**2 * -math.log(0.2)),
        ("focal", 0.5, 0.8, 0.3**2 * -(math.log(0.8) + math.log(0.2)) / 2),
        ("asymmetric", 1, 0.8, 0.2 * -math.log(0.8)),
        ("asymmetric", 0, 0.8, 0.75**4 * math.log(4)),
        ("asymmetric", 0, 0.04, 0.0),
        ("asymmetric", 0.25, 0.8, 0.25 * 0.2 * -math.log(0.8) + 0.75 * 0.75**4 * math.log(4)),
        ("zlpr", 1, 0.8, math.log(1 + 1 / 4)),
        ("zlpr", 0, 0.8, math.log(1 + 4)),
        ("zlpr", 0.25, 0.8, math.log(1 + 0.25 / 4) + math.log(1 + 0.75 * 4)),
    ],
)
def test_one_label_has_the_loss_of_the_paper(name, label, probability, expected):
    terms = MADE[name](torch.tensor([[logit(probability)]]), torch.tensor([[label]]))
    assert terms.item() == pytest.approx(expected, rel=1e-5)


def test_losses_of_a_row_stand_in_each_of_its_annotated_cells():
    logits = torch.tensor([[logit(0.8), logit(0.5), logit(0.2), 7.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0, NAN]])
    zlpr = math.log(1 + 1 / 4) + math.log(1 + 1 + 1 / 4)
    torch.testing.assert_close(MADE["zlpr"](logits, labels), torch.tensor([[zlpr, zlpr, zlpr, 0.0]]))
    correlation = (math.exp(0.5 - 0.8) + math.exp(0.2 - 0.8)) / 2
    mixed = [0.7 * -math.log(p) + 0.3 * correlation for p in (0.8, 0.5, 0.8)]
    torch.testing.assert_close(MADE["correlation"](logits, labels), torch.tensor([[*mixed, 0.0]]))


def softplus(value):
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def naive_terms(name, logits, labels):
    """The losses as their papers write them, of one row without what is not annotated, in loops."""
    weights = [w for w, y in zip(WEIGHTS.tolist(), labels, strict=True) if not is_missing(y)]
    cells = [(s, y) for s, y in zip(logits, labels, strict=True) if not is_missing(y)]
    probabilities = [1 / (1 + math.exp(-s)) for s, _ in cells]
    entropies = [y * softplus(-s) + (1 - y) * softplus(s) for s, y in cells]
    if name in ("bce", "correlation"):
        terms = entropies
    elif name == "weighted_bce":
        terms = [w * y * softplus(-s) + (1 - y) * softplus(s) for w, (s, y) in zip(weights, cells, strict=True)]
    elif name.startswith("focal"):
        gamma = 0.5 if "below" in name else 2
        terms = [abs(y - p) ** gamma * h for p, h, (_, y) in zip(probabilities, entropies, cells, strict=True)]
    elif name == "asymmetric":
        shifted = [max(p - 0.05, 0) for p in probabilities]
        terms = [
            y * (1 - p) * softplus(-s) - (1 - y) * q**4 * math.log(1 - q)
            for p, q, (s, y) in zip(probabilities, shifted, cells, strict=True)
        ]
    else:
        positives, negatives = sum(y * math.exp(-s) for s, y in cells), sum((1 - y) * math.exp(s) for s, y in cells)
        terms = [math.log(1 + positives) + math.log(1 + negatives)] * len(cells)
    if name == "correlation":
        total = pairs = 0.0
        for p, (_, y) in zip(probabilities, cells, strict=True):
            for q, (_, z) in zip(probabilities, cells, strict=True):
                total += (1 - y) * z * math.exp(p - q)
                pairs += (1 - y) * z
        terms = [0.7 * term + 0.3 * (total / pairs if pairs else 0) for term in terms]
    return terms


def is_missing(label):
    return math.isnan(label) or label == -100


labels_of_a_row = st.lists(st.sampled_from([0.0, 1.0, 0.3, 0.9, NAN, -100.0]), min_size=3, max_size=3)
logits_of_a_row = st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=3)


@every_loss
@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(logits_of_a_row, labels_of_a_row), min_size=1, max_size=4))
def test_losses_equal_naive_ones_that_drop_what_is_not_annotated(name, rows):
    logits, labels = (torch.tensor(part) for part in zip(*rows, strict=True))
    terms = MADE[name](logits, labels)
    annotated = ~labels.isnan() & (labels != -100)
    expected = [term for row in rows for term in naive_terms(name, *row)]
    torch.testing.assert_close(terms[annotated], torch.tensor(expected), atol=1e-5, rtol=1e-4)
    assert not terms[~annotated].any()


def test_cross_entropies_are_those_of_torch():
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3), torch.rand(5, 3)
    torch.testing.assert_close(MADE["bce"](logits, labels), nn.BCEWithLogitsLoss(reduction="none")(logits, labels))
    weighted = nn.BCEWithLogitsLoss(reduction="none", pos_weight=WEIGHTS)(logits, labels)
    torch.testing.assert_close(MADE["weighted_bce"](logits, labels), weighted)
    torch.testing.assert_close(make_loss("focal", gamma=0.0)(logits, labels), MADE["bce"](logits, labels))


@every_loss
def test_extreme_logits_have_a_finite_loss_and_gradient(name):
    logits = torch.tensor([[1e4, -1e4, 1e4], [-1e4, 1e4, 0.0], [1e4, 1e4, -1e4], [0.0, 1e4, 200.0]])
    logits.requires_grad_()
    labels = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5], [NAN, 0.0, -100.0], [0.5, 1.0, 0.0]])
    terms = MADE[name](logits, labels)
    terms.sum().backward()
    assert terms.isfinite().all()
    assert logits.grad.isfinite().all()


@every_loss
def test_what_is_not_annotated_has_no_gradient(name):
    logits = torch.tensor([[0.3, -1.0, 2.0], [1.0, -0.5, 0.1]], requires_grad=True)
    terms = MADE[name](logits, torch.tensor([[NAN, -100.0, NAN], [1.0, NAN, 0.0]]))
    terms.sum().backward()
    assert not terms[0].any()
    assert logits.grad.ne(0).tolist() == [[False] * 3, [True, False, True]]


@every_loss
def test_terms_are_float32_and_labels_of_any_type(name):
    logits = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.bfloat16)
    terms = MADE[name](logits, torch.tensor([[1, 0, -100]]))
    assert terms.dtype == torch.float32
    torch.testing.assert_close(terms, MADE[name](logits.float(), torch.tensor([[1.0, 0.0, NAN]])))


def test_rows_without_pairs_correlate_with_nothing():
    alone = make_loss("bce", label_correlation=0.5)
    logits, labels = torch.randn(2, 3), torch.tensor([[1.0, 1.0, NAN], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(alone(logits, labels), MADE["bce"](logits, labels) / 2)


@every_loss
def test_bad_labels_are_refused(name):
    with pytest.raises(ValueError, match="row 0, label 1 is 2$"):
        MADE[name](torch.zeros(1, 3), torch.tensor([[0, 2, 1]]))
    with pytest.raises(ValueError, match=r"multi-hot of shape \(1, 3\)"):
        MADE[name](torch.zeros(1, 3), torch.tensor([2]))


def test_positives_weigh_as_many_negatives_as_there_are_for_each():
    labels = [
        # rare, common, never, always, unknown, soft
        [1, 1, 0, 1, None, 0.5],
        [0, 1, 0, None, NAN, 0.25],
        [0, 0, None, 1, -100, 0.25],
        [0, 1, 0, -100, None, NAN],
    ]
    expected = torch.tensor([3, 1 / 3, 5, 1 / 5, 5, 2])
    frequencies = LabelFrequencies.of([labels[:1], labels[1:]])
    torch.testing.assert_close(positive_weights(frequencies, 5.0), expected)
    torch.testing.assert_close(positive_weights(frequencies, 1.5), expected.clamp(2 / 3, 1.5))
