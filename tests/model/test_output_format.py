import pytest
import torch

from bert_multilabel import MultiLabelConfig
from bert_multilabel.model.output_format import prediction_records

LOGITS = torch.tensor([[2.0, -1.0, 0.0], [-3.0, -2.0, -1.0]])


def test_records_hold_the_decision_and_all_scores_in_label_order():
    config = MultiLabelConfig(label_names=["a", "b", "c"], threshold=[0.5, 0.2, 0.6])
    first, second = prediction_records(LOGITS, config)
    assert first["labels"] == ["a", "b"]
    assert first["scores"] == pytest.approx({"a": 0.8807971, "b": 0.2689414, "c": 0.5})
    assert list(first["scores"]) == ["a", "b", "c"]
    assert second["labels"] == []
    assert "id" not in first


def test_top_scores_come_highest_first_beside_the_same_decision():
    config = MultiLabelConfig(label_names=["a", "b", "c"], min_labels=1)
    first, second = prediction_records(LOGITS, config, ids=["x", 7], top_scores=2)
    assert (first["id"], first["labels"], list(first["scores"])) == ("x", ["a", "c"], ["a", "c"])
    assert (second["id"], second["labels"], list(second["scores"])) == (7, ["c"], ["c", "b"])


def test_predicted_labels_can_have_their_scores_whatever_the_others_are():
    config = MultiLabelConfig(label_names=["a", "b", "c"], threshold=[0.9, 0.2, 0.4])
    first, second = prediction_records(LOGITS, config, top_scores=1, predicted_too=True)
    assert (first["labels"], list(first["scores"])) == (["b", "c"], ["a", "c", "b"])
    assert (second["labels"], list(second["scores"])) == ([], ["c"])


def test_scores_of_the_given_labels_alone():
    config = MultiLabelConfig(label_names=["a", "b", "c"])
    first, second = prediction_records(LOGITS, config, predicted_only=True)
    assert (first["labels"], list(first["scores"])) == (["a", "c"], ["a", "c"])
    assert second == {"labels": [], "scores": {}}
    assert [
        list(record["scores"]) for record in prediction_records(LOGITS, config, top_scores=1, predicted_only=True)
    ] == [
        ["a"],
        [],
    ]
