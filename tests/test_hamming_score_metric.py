"""The metric for the `evaluate` library: loads offline from its folder, stands alone, agrees with the package."""

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import evaluate
import numpy as np
import pytest

from bert_multilabel import hamming_score

FOLDER = Path(__file__).parents[1] / "metrics" / "hamming_score"


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[evaluate.Metric]:
    """The metric as evaluate loads it, with all that evaluate writes kept in a temporary folder."""
    cache = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        # The environment variables of the same names are read when evaluate is imported, which is too early here.
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", cache / "modules")
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        patch.setattr(sys, "path", list(sys.path))  # evaluate adds its module folder
        yield evaluate.load(str(FOLDER), cache_dir=str(cache), keep_in_memory=True)


def test_worked_example(metric: evaluate.Metric) -> None:
    result = metric.compute(predictions=[[1, 1, 1, 0, 0]], references=[[0, 1, 1, 0, 0]])
    assert result == {"hamming_score": pytest.approx(2 / 3)}


@pytest.mark.parametrize("num_labels", [1, 2, 5])
@pytest.mark.parametrize("zero_division", [0.0, 0.5, 1.0])
def test_equals_the_package(metric: evaluate.Metric, num_labels: int, zero_division: float) -> None:
    generator = np.random.default_rng(num_labels)
    predictions, references = generator.random((2, 40, num_labels)) < 0.3
    predictions[0] = references[0] = False
    result = metric.compute(predictions=predictions, references=references, zero_division=zero_division)
    assert result["hamming_score"] == pytest.approx(hamming_score(predictions, references, zero_division))


def test_empty_rows_score_1_by_default(metric: evaluate.Metric) -> None:
    assert metric.compute(predictions=[[0, 0], [1, 0]], references=[[0, 0], [0, 1]]) == {"hamming_score": 0.5}


def test_batches_add_up(metric: evaluate.Metric) -> None:
    metric.add_batch(predictions=[[1, 1, 1, 0, 0]], references=[[0, 1, 1, 0, 0]])
    metric.add(prediction=[1, 0, 0, 0, 0], reference=[0, 1, 0, 0, 0])
    assert metric.compute() == {"hamming_score": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([[1, 0], [1, 2]], [[1, 0], [1, 0]], r"predictions must be 0 or 1, got 2\.0"),
        ([[1, 0], [0.7, 0]], [[1, 0], [1, 0]], r"predictions must be 0 or 1, got 0\.7; apply a threshold"),
        ([[1, 0]], [[1, 0.7]], r"references must be 0 or 1, got 0\.7; apply a threshold"),
        ([[1, 0]], [[1, -100]], r"references must be 0 or 1, got -100\.0"),
        ([[1, math.nan]], [[1, 0]], "predictions must be 0 or 1, got nan"),
        ([[1, 0]], [[1, 0, 1]], r"predictions have the shape \(1, 2\), references \(1, 3\)"),
        ([[1, 0], [1]], [[1, 0], [1]], r"one entry per label in every sample, got lengths \[1, 2\]"),
        ([[]], [[]], r"one entry per label in every sample, got lengths \[0\]"),
    ],
)
def test_refuses_what_it_cannot_score(
    metric: evaluate.Metric, predictions: list[list[float]], references: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references)


def test_needs_nothing_of_this_package(metric: evaluate.Metric) -> None:
    loaded_from = Path(sys.modules[type(metric).__module__].__file__ or "")
    assert FOLDER not in loaded_from.parents
    imports = re.findall(r"^(?:import|from) (\w+)", loaded_from.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(imports) == {"datasets", "evaluate", "numpy"}


def test_documents_itself(metric: evaluate.Metric) -> None:
    assert "|predicted AND true| / |predicted OR true|" in metric.description
    assert "Godbole" in metric.citation
    assert metric.citation.strip() in (FOLDER / "README.md").read_text(encoding="utf-8")
