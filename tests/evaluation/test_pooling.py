import numpy as np
import pytest
from transformers import EvalPrediction

from bert_multilabel.evaluation.pooling import pool_windows
from bert_multilabel.model.windows import Windows

LOGITS = np.array([[0.0, 9.0], [1.0, -1.0], [3.0, 0.0], [5.0, -5.0]], dtype=np.float32)
LABELS = np.array([[1.0, 0.0], [0.0, np.nan], [1.0, 0.0], [0.0, np.nan]], dtype=np.float32)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_windows_in_any_order_become_texts_in_theirs(pooling):
    found = pool_windows(EvalPrediction(LOGITS, LABELS), np.array([1, 0, 1, 0]), Windows(2, pooling))
    if pooling == "max":
        assert found.predictions.tolist() == [[5.0, -1.0], [3.0, 9.0]]
    else:
        odds = np.exp(LOGITS) / (1 + np.exp(LOGITS))
        means = np.stack([odds[[1, 3]].mean(0), odds[[0, 2]].mean(0)])
        np.testing.assert_allclose(found.predictions, np.log(means / (1 - means)), rtol=1e-5)
    np.testing.assert_array_equal(found.label_ids, [[0.0, np.nan], [1.0, 0.0]])
