"""Makes the evaluation of windows one of their texts.

Shapes: W windows, N texts, L labels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EvalPrediction

from bert_multilabel.metrics import logits_and_references
from bert_multilabel.model.windows import Windows


def pool_windows(prediction: EvalPrediction, texts: NDArray[np.int64], windows: Windows) -> EvalPrediction:
    """Pool the logits of the windows of each text, as a prediction does.

    Args:
        prediction: Logits and labels of windows, (W, L) each, in any order; those of a text have the same labels.
        texts: (W,), index of the text of each window, from 0 to N - 1.
        windows: How to pool them.

    Returns:
        Logits and labels, (N, L) each, in the order of the texts.
    """
    logits, labels = logits_and_references(prediction)
    order = np.argsort(texts, kind="stable")  # (W,)
    _, first, counts = np.unique(texts[order], return_index=True, return_counts=True)  # (N,) each
    pooled = windows.pool(torch.from_numpy(logits[order]), counts.tolist())
    return EvalPrediction(pooled.numpy(), labels[order[first]])
