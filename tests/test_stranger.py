"""A stranger's multi-label classifier, trained by the stock Trainer, goes in, and comes out of every command."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from bert_multilabel.cli.main import run as run_command
from bert_multilabel.export.onnx_model import OnnxModel
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer
from tests.conftest import LABELS, make_rows
from tests.forked import end_all

TEXTS = ["the price is not too expensive", "good value gift", "quality [SEP] gift", "buy"]


def run(*words):
    assert not run_command([str(word) for word in words])


def train_with_the_stock_trainer(backbone, folder, **config):
    """Train as the documentation of Transformers shows for several labels."""
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    model = BertForSequenceClassification.from_pretrained(
        backbone, num_labels=len(LABELS), problem_type="multi_label_classification", **config
    )
    rows = [
        {**tokenizer(row["text"]), "labels": [float(name in row["labels"]) for name in LABELS]}
        for row in make_rows(64)
    ]
    arguments = TrainingArguments(folder, num_train_epochs=8, learning_rate=2e-3, use_cpu=True, report_to="none")
    collator = DataCollatorWithPadding(tokenizer)
    trainer = Trainer(model, arguments, train_dataset=Dataset.from_list(rows), data_collator=collator)
    trainer.train()
    trainer.save_model()
    tokenizer.save_pretrained(folder)


@torch.inference_mode()
def stock_probabilities(folder):
    """What Transformers computes without code of ours, (N, L)."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False).eval()
    return model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.sigmoid().numpy()


def ask_server(folder, log):
    """Serve a folder and return its answers to the texts."""
    command = [sys.executable, "-m", "bert_multilabel.serve", str(folder), "--port", "0", "--threads", "1"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        while not (url := re.search(r"running on (http://127.0.0.1:\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        body = json.dumps({"inputs": TEXTS}).encode()
        request = urllib.request.Request(f"{url[1]}/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return json.load(response)
    finally:
        end_all(process)


@pytest.mark.slow
@pytest.mark.parametrize("is_named", [True, False], ids=["names", "no-names"])
def test_it_is_scored_tuned_reported_exported_and_served(backbone, files, tmp_path, is_named):
    labels = {name: index for index, name in enumerate(LABELS)}
    config = {"id2label": dict(enumerate(LABELS)), "label2id": labels} if is_named else {}
    train_with_the_stock_trainer(backbone, tmp_path / "stranger", **config)
    (tmp_path / "names.txt").write_text("\n".join(LABELS))
    names = [] if is_named else ["--label_names_file", tmp_path / "names.txt"]

    words = ["--model_name_or_path", tmp_path / "stranger", "--keep_head", "--do_eval", "--use_cpu", *names]
    run("train", *words, "--validation_file", files["validation"], "--output_dir", tmp_path / "ours")
    run("tune", tmp_path / "ours", "--file", files["validation"])
    run("report", tmp_path / "ours", "--file", files["validation"])
    run("export", tmp_path / "ours", "--output", tmp_path / "onnx", "--file", files["validation"])
    stock = ["--format", "transformers", "--file", files["validation"]]
    run("export", tmp_path / "ours", "--output", tmp_path / "stock", *stock)

    model, tokenizer = load_trained(tmp_path / "ours")
    assert model.config.label_names == LABELS
    assert (tmp_path / "ours" / "report.html").is_file()
    logits = MultiLabelScorer(model, tokenizer).logits(TEXTS)
    probabilities, decisions = (values.numpy() for values in model.config.decide(logits))
    # The head is the stranger's: only calibration and thresholds are new. A stranger reads a special token in a text.
    plain = [row for row, text in enumerate(TEXTS) if "[SEP]" not in text]
    theirs = stock_probabilities(tmp_path / "stranger")[plain]
    np.testing.assert_allclose(logits.sigmoid().numpy()[plain], theirs, atol=1e-6)
    np.testing.assert_allclose(stock_probabilities(tmp_path / "stock"), probabilities, atol=1e-6)
    expected = [[name for name, decided in zip(LABELS, row, strict=True) if decided] for row in decisions]
    assert [answer["labels"] for answer in OnnxModel(tmp_path / "onnx").predict(TEXTS)] == expected
    answers = ask_server(tmp_path / "ours", tmp_path / "log")
    assert [answer["labels"] for answer in answers] == expected
