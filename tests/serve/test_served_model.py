import pytest
import torch

from bert_multilabel import from_backbone
from bert_multilabel.export import cli as export
from bert_multilabel.model.scoring import score_rows
from bert_multilabel.model.windows import Windows
from bert_multilabel.serve.served_model import load_served
from tests.conftest import LABELS

ROWS = [("good", None), ("the price", "gift"), ("", None), ("too expensive " * 60, ""), ("buy", None)]


@pytest.fixture(scope="module")
def folders(backbone, tmp_path_factory):
    """A model, and its export."""
    root = tmp_path_factory.mktemp("engines")
    decision = {"threshold": [0.3, 0.5, 0.6], "temperature": 1.5, "min_labels": 1}
    decision["label_rules"] = {"implies": {"gift": ["good value"]}}
    model, tokenizer = from_backbone(backbone, LABELS, "cls", **decision)
    model.save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    export.main([str(root / "model"), "--output", str(root / "export")])
    return root / "model", root / "export"


def test_torch_and_onnx_say_the_same_of_texts_with_and_without_pairs(folders):
    model, exported = (load_served(folder, threads=1) for folder in folders)
    logits, theirs = (score_rows(engine.logits, ROWS, 3) for engine in (model, exported))
    assert torch.allclose(logits / 1.5, theirs, atol=1e-5)  # those of an export are calibrated
    assert torch.allclose(logits[1:2], model.logits(["the price"], ["gift"]), atol=1e-5)
    assert not torch.allclose(logits[1:2], model.logits(["the price"]), atol=1e-3)
    for ours, others in zip(model.config.decide(logits), exported.config.decide(theirs), strict=True):
        assert torch.allclose(ours.float(), others.float(), atol=1e-6)
    assert exported.config.label_names == LABELS
    assert exported.config.label_rules == model.config.label_rules == {"implies": {"gift": ["good value"]}}


def test_torch_and_onnx_agree_on_which_texts_are_cut(folders):
    for folder in folders:
        engine = load_served(folder, threads=1)
        assert engine.are_cut(["good", "good " * 62, "good " * 63]) == [False, False, True]
        pairs = ["gift " * 2, "gift " * 3, "gift " * 900]
        assert engine.are_cut(["good " * 59] * 2 + ["good " * 900], pairs) == [False, True, True]


def test_an_export_reads_no_windows(folders):
    with pytest.raises(ValueError, match="an export cuts long texts off: remove stride"):
        load_served(folders[1], threads=1).logits(["good"], None, Windows(3))


def test_the_precision_of_an_export_is_its_own(folders):
    with pytest.raises(ValueError, match="is an export, whose precision is fixed: remove --precision bfloat16"):
        load_served(folders[1], precision="bfloat16")


def test_other_engines_serve_a_model_but_no_export(folders):
    expected = load_served(folders[0]).logits(["good"])
    served = load_served(folders[0], engine="onnx")
    assert served.engine is not None and torch.allclose(served.logits(["good"]), expected, atol=1e-5)
    with pytest.raises(ValueError, match="is an export, which ONNX Runtime runs: remove --engine compile"):
        load_served(folders[1], engine="compile")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a model directory"):
        load_served(tmp_path)
