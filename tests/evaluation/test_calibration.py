import numpy as np
import pytest
from scipy.special import expit

from bert_multilabel.evaluation.calibration import fit_temperature


def make_rows(num_rows, temperatures, seed=0, shift=-1.0):
    """Labels drawn by calibrated logits, and those logits times a temperature per label: (N, L) each."""
    rng = np.random.default_rng(seed)
    calibrated = rng.normal(size=(num_rows, len(temperatures))) * 2 + shift
    labels = (rng.random(calibrated.shape) < expit(calibrated)).astype(float)
    return calibrated * np.asarray(temperatures), labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature):
    logits, labels = make_rows(20_000, [temperature] * 2)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_each_label_finds_its_own_if_it_has_enough_to_say():
    temperatures = [0.5, 1.0, 2.0]
    logits, labels = make_rows(20_000, temperatures)
    assert fit_temperature(logits, labels, per_label=True) == pytest.approx(temperatures, rel=0.07)


def test_a_label_with_few_rows_stays_near_the_others():
    logits, labels = make_rows(4000, [1.0, 1.0, 4.0])
    labels[8:, 2] = np.nan
    common = fit_temperature(logits, labels)
    assert fit_temperature(logits, labels, per_label=True)[2] == pytest.approx(common, rel=0.35)
    labels[:, 2] = -100
    assert fit_temperature(logits, labels, per_label=True)[2] == fit_temperature(logits, labels)


def test_no_positive_at_all_and_huge_logits_are_survived():
    logits = np.array([[-1e4, 1e4], [3.0, -3.0]])
    for per_label in (False, True):
        assert np.all(np.isfinite(fit_temperature(logits, np.zeros((2, 2)), per_label)))
