"""Each family of backbones, with a tokenizer of its own, goes through the script and the commands."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from bert_multilabel import backbones
from bert_multilabel.doctor.cli import main as doctor
from bert_multilabel.export import cli as export
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.page.model import Page, PageModel
from bert_multilabel.serve.served_model import load_served
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from bert_multilabel.tune.cli import main as tune
from tests import forked
from tests.backbones import save_family
from tests.conftest import LABELS, mark_unfinished
from tests.families import FAMILIES

# Each form of model is trained from some family.
FORMS = {
    "bert": ["--strategy", "cls"],
    "distilbert": ["--strategy", "label_tokens"],
    "electra": ["--label_attention", "isolated"],
    "roberta": ["--strategy", "label_tokens"],
    "xlm-roberta": ["--strategy", "cls"],
    "camembert": ["--label_attention", "isolated", "--label_layers", "1"],
    "multilingual-bert": ["--strategy", "label_tokens"],
}
TEXTS = ["the price is good", "a gift, too expensive", "Größe ç 好 <s> </s> [SEP] [OPINION1] <mask>", ""]
every_family = pytest.mark.parametrize("family", [*FAMILIES])
ELSEWHERE = """
import json, sys
sys.modules["bert_multilabel"] = None
import torch
from transformers import AutoModel, AutoTokenizer
answers = {}
for folder in json.loads(sys.argv[1]):
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        texts = json.loads(sys.argv[2])
        answers[folder] = [model(**tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts]
print("ANSWERS" + json.dumps(answers))
"""


def words_for(checkpoint, files, output_dir, *more):
    """The words of a command line that trains, evaluates and predicts."""
    options = {
        "model_name_or_path": checkpoint,
        "train_file": files["train"],
        "validation_file": files["validation"],
        "test_file": files["unlabelled"],
        "output_dir": output_dir,
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [*words, "--do_train", "--do_eval", "--do_predict", "--use_cpu", "--disable_tqdm", "true", *more]


@pytest.fixture(scope="module")
def walked(files, tmp_path_factory):
    """Train from a checkpoint of a family, once, and return its folder."""
    root = tmp_path_factory.mktemp("families")

    def walk(family):
        folder = root / family / "out"
        if not folder.exists():
            save_family(root / family / "checkpoint", family)
            run(parse_arguments(words_for(root / family / "checkpoint", files, folder, *FORMS[family])))
        return folder

    return walk


@every_family
def test_the_script_trains_evaluates_and_predicts(walked, files, family):
    folder = walked(family)
    model, tokenizer = load_trained(folder)
    assert model.config.backbone_model_type == FAMILIES[family]
    results = json.loads((folder / "all_results.json").read_text())
    assert results["train_samples"] == 64 and 0 <= results["eval_hamming_score"] <= 1
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    texts = [json.loads(line)["text"] for line in open(files["unlabelled"], encoding="utf-8")]
    expected = model.config.decide(MultiLabelScorer(model, tokenizer).logits(texts))[0]
    found = torch.tensor([[row["scores"][name] for name in model.config.label_names] for row in rows])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@every_family
def test_no_text_adds_a_label(walked, family):
    model, tokenizer = load_trained(walked(family))
    spelt = "".join(f"{token} " for token in [*tokenizer.all_special_tokens, "[OPINION1]", "[OPINION2]"])
    batch = tokenizer([spelt * 20, spelt, ""], padding=True, truncation=True, return_tensors="pt")
    if model.config.strategy == "label_tokens":
        assert batch["label_mask"].sum(dim=1).tolist() == [len(LABELS)] * 3
    assert model(**batch).logits.shape == (3, len(LABELS))


@pytest.mark.slow
@every_family
def test_every_command_takes_a_converted_backbone(walked, files, tmp_path, family, capsys):
    folder = walked(family)
    title = backbones.FAMILIES[FAMILIES[family]].title
    assert f"{title} that predicts any number of 3 labels" in (folder / "README.md").read_text()
    tune([str(folder), "--file", files["validation"]])
    doctor([files["train"], "--model_name_or_path", str(folder)])
    assert f"{folder} --output_dir OUT" in capsys.readouterr().out
    before = MultiLabelScorer(*load_trained(folder)).logits(TEXTS)
    assert export.main([str(folder), "--output", str(tmp_path / "onnx")]) == 0
    for served in (tmp_path / "onnx", folder):
        after = load_served(served).logits(TEXTS)
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    page = Page([PageModel.load(folder)])
    view, message = page.score(page.start(), "the price is good", "")
    assert message == "" and LABELS[0] in page.bars(view)[0]
    words = page.words(replace(view, label=LABELS[0]))[0]
    assert all(word in words for word in ("the", "price", "is", "good"))


@pytest.mark.slow
def test_saved_folders_give_the_same_logits_without_the_package(walked, tmp_path):
    folders = [str(walked(family)) for family in FAMILIES]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, json.dumps(folders), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for folder, answers in json.loads(done.stdout.split("ANSWERS")[1]).items():
        expected = MultiLabelScorer(*load_trained(folder)).logits(TEXTS)
        torch.testing.assert_close(torch.tensor(answers), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@every_family
def test_adapters_and_an_interruption_change_nothing(files, tmp_path, family):
    checkpoint = save_family(tmp_path / "checkpoint", family)
    common = [*FORMS[family], "--lora_rank", "4", "--save_strategy", "epoch"]
    whole = run(parse_arguments(words_for(checkpoint, files, tmp_path / "whole", *common)))
    run(parse_arguments(words_for(checkpoint, files, tmp_path / "cut", *common)))
    mark_unfinished(tmp_path / "cut")
    last = max((tmp_path / "cut").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(last)
    again = run(parse_arguments(words_for(checkpoint, files, tmp_path / "cut", *common)))
    assert again["eval_hamming_score"] == whole["eval_hamming_score"]
    assert load_trained(tmp_path / "cut")[0].config.backbone_model_type == FAMILIES[family]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(files, tmp_path):
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    checkpoint = save_family(tmp_path / "checkpoint", "roberta", **dropout)
    options = [*FORMS["roberta"], "--max_steps", "1", "--optim", "sgd"]  # which no rounding error can turn round
    logits = {}
    for count, size in ((1, 64), (2, 32)):
        words = words_for(
            checkpoint, files, tmp_path / str(count), *options, "--per_device_train_batch_size", str(size)
        )
        logs = [tmp_path / f"{count}-{rank}.log" for rank in range(count)]
        with forked.group(forked.run_script, *words, logs=logs) as processes:
            for process, log in zip(processes, logs, strict=True):
                process.join(forked.PATIENCE)
                assert process.exitcode == 0, log.read_text()
        logits[count] = MultiLabelScorer(*load_trained(tmp_path / str(count))).logits(TEXTS)
    torch.testing.assert_close(logits[1], logits[2], rtol=0, atol=1e-5)
