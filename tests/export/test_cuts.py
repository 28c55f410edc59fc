import numpy as np

from bert_multilabel import MultiLabelConfig
from bert_multilabel.export.cuts import decision_cuts

THRESHOLDS = [0.5, 0.3, 0.7, 1e-7, 1 - 1e-7, 0.012, 1.0, 1e-30, 0.1, 0.9]


def test_known_cuts():
    np.testing.assert_allclose(decision_cuts(np.array([0.5, 0.75])), [0, np.log(3)], atol=2e-7)
    # In float32, 1 + exp(-x) is 1 from exp(-x) = 2**-24 on.
    np.testing.assert_allclose(decision_cuts(np.array([1.0])), 24 * np.log(2), atol=2e-6)
    assert decision_cuts(np.array([0.0, 0.5])).tolist()[0] == -128


def test_a_logit_reaches_its_cut_exactly_when_we_predict_the_label():
    cuts = decision_cuts(np.array(THRESHOLDS))  # (L,)
    steps = np.arange(-40, 41)[:, None]
    near = cuts + (steps * np.spacing(np.abs(cuts))).astype(np.float32)  # (81, L): each float around the cut
    drawn = np.random.default_rng(0).normal(size=(50_000, len(cuts)), scale=6).astype(np.float32)
    logits = np.concatenate([near, drawn])
    config = MultiLabelConfig(label_names=[f"label {t}" for t in THRESHOLDS], threshold=THRESHOLDS)
    _, decisions = config.decide(logits)
    np.testing.assert_array_equal(decisions.numpy(), logits >= cuts)
    assert decisions[:81].any(0).all() and not decisions[:81].all(0).any()
