"""`--keep_head`: a stranger's multi-label classifier is scored, converted, tuned and trained further."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from bert_multilabel.tune.cli import main as tune
from tests.backbones import save_backbone
from tests.conftest import LABELS

NAMES = ["too_expensive", "gift", "good value"]  # not as sorted


def run_script(**arguments):
    words = [part for name, value in {"use_cpu": True, **arguments}.items() for part in (f"--{name}", str(value))]
    return run(parse_arguments(words))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stranger")
    save_backbone(
        folder,
        "roberta",
        AutoModelForSequenceClassification,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
        problem_type="multi_label_classification",
    )
    return folder


@torch.no_grad()
def logits_of(stranger, batch):
    model = AutoModelForSequenceClassification.from_pretrained(stranger).eval()
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


@torch.no_grad()
def test_a_strangers_classifier_is_scored_written_and_tuned(stranger, files, tmp_path, capsys):
    common = {"model_name_or_path": stranger, "keep_head": True, "output_dir": tmp_path / "ours"}
    data = {"validation_file": files["validation"], "test_file": files["test"]}
    results = run_script(**common, **data, do_eval=True, do_predict=True)
    model, tokenizer = load_trained(tmp_path / "ours")
    batch = tokenizer(["the price is good", "gift"], padding=True, return_tensors="pt")
    torch.testing.assert_close(model(**batch).logits, logits_of(stranger, batch), rtol=0, atol=1e-6)
    assert model.config.label_names == NAMES
    row = json.loads((tmp_path / "ours" / "predictions.jsonl").read_text().splitlines()[0])
    assert [*row["scores"]] == NAMES
    tune([str(tmp_path / "ours"), "--file", files["validation"]])
    tuned = json.loads((tmp_path / "ours" / "all_results.json").read_text())
    assert tuned["eval_hamming_score"] != results["eval_hamming_score"]
    assert load_trained(tmp_path / "ours")[0].config.threshold != 0.5
    with pytest.raises(MultiLabelError, match="holds a model already: choose another folder"):
        run_script(**common, **data, do_eval=True)


def test_training_starts_from_the_kept_head(stranger, files, tmp_path):
    run_script(
        model_name_or_path=stranger,
        keep_head=True,
        train_file=files["train"],
        output_dir=tmp_path,
        do_train=True,
        max_steps=1,
        learning_rate=1e-9,
        head_learning_rate=1e-9,
    )
    model, tokenizer = load_trained(tmp_path)
    batch = tokenizer(["the price is good", "gift"], padding=True, return_tensors="pt")
    torch.testing.assert_close(model(**batch).logits, logits_of(stranger, batch), rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "training_run.json").read_text())["arguments"]["keep_head"] is True
    card = (tmp_path / "README.md").read_text()
    assert "A RoBERTa that predicts any number of 3 labels" in card
    assert "- head: started from that of the base model" in card


def test_labels_without_names_are_asked_for(files, tmp_path):
    save_backbone(tmp_path / "stranger", "bert", AutoModelForSequenceClassification, num_labels=3)
    arguments = {"model_name_or_path": tmp_path / "stranger", "keep_head": True, "output_dir": tmp_path / "ours"}
    arguments |= {"do_eval": True, "validation_file": files["validation"]}
    with pytest.raises(MultiLabelError, match="does not name its 3 labels: give them .* with --label_names_file"):
        run_script(**arguments)
    (tmp_path / "names.txt").write_text("\n".join(LABELS))
    run_script(**arguments, label_names_file=tmp_path / "names.txt")
    assert load_trained(tmp_path / "ours")[0].config.label_names == LABELS


@pytest.mark.parametrize(
    ("model_type", "arguments", "phrase"),
    [
        ("roberta", {}, "has no head to keep: its architecture is .'RobertaModel'"),
        ("roberta", {"strategy": "label_tokens"}, "has no head to keep"),
    ],
)
def test_heads_that_cannot_be_kept_are_refused_before_data_is_read(tmp_path, model_type, arguments, phrase):
    save_backbone(tmp_path / "stranger", model_type)
    arguments = {"model_name_or_path": tmp_path / "stranger", "keep_head": True, **arguments}
    with pytest.raises(MultiLabelError, match=phrase):
        run_script(**arguments, do_eval=True, validation_file="missing.jsonl", output_dir=tmp_path / "ours")
