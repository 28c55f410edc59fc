import numpy as np

from bert_multilabel import MultiLabelConfig
from bert_multilabel.export.logit_thresholds import logit_thresholds

THRESHOLDS = [0.5, 0.3, 0.7, 1e-7, 1 - 1e-7, 0.012, 1.0, 1e-30, 0.1, 0.9]


def test_known_logits():
    np.testing.assert_allclose(logit_thresholds(np.array([0.5, 0.75])), [0, np.log(3)], atol=2e-7)
    # In float32, 1 + exp(-x) is 1 from exp(-x) = 2**-24 on.
    np.testing.assert_allclose(logit_thresholds(np.array([1.0])), 24 * np.log(2), atol=2e-6)
    assert logit_thresholds(np.array([0.0, 0.5])).tolist()[0] == -128


def test_a_logit_reaches_its_threshold_exactly_when_we_predict_the_label():
    limits = logit_thresholds(np.array(THRESHOLDS))  # (L,)
    steps = np.arange(-40, 41)[:, None]
    near = limits + (steps * np.spacing(np.abs(limits))).astype(np.float32)  # (81, L): each float around the limit
    drawn = np.random.default_rng(0).normal(size=(50_000, len(limits)), scale=6).astype(np.float32)
    logits = np.concatenate([near, drawn])
    config = MultiLabelConfig(label_names=[f"label {t}" for t in THRESHOLDS], threshold=THRESHOLDS)
    _, decisions = config.decide(logits)
    np.testing.assert_array_equal(decisions.numpy(), logits >= limits)
    assert decisions[:81].any(0).all() and not decisions[:81].all(0).any()
