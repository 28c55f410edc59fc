"""The README's commands and Python blocks run as written, with a tiny checkpoint in place of the one on the Hub."""

import json
import os
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests import forked

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def run_script(folder, words):
    os.chdir(folder)
    forked.run_script(*words)


def run_python(folder, code):
    os.chdir(folder)
    exec(code, {"__name__": "__main__"})


def test_what_the_readme_says_runs(tmp_path, backbone, monkeypatch, capsys):
    example = ROOT / "examples" / "purchase_intent"
    for name, source in (("train", "train"), ("validation", "validation"), ("new", "test")):
        shutil.copy(example / f"{source}.csv", tmp_path / f"{name}.csv")
    shutil.copytree(backbone, tmp_path / "google-bert" / "bert-base-uncased")
    log = tmp_path / "log"
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]

    def run_command(name):
        """Run a command of the package, in this process: it costs seconds to start another."""
        (words,) = [shlex.split(line)[2:] for line in lines if line.startswith(f"python -m bert_multilabel.{name} ")]
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", words)
            patch.chdir(tmp_path)
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        assert not ended.value.code, ended.value.code
        return capsys.readouterr().out

    assert "Findings: 0 errors, 0 warnings" in run_command("doctor")
    scripts = [shlex.split(line)[1:] for line in lines if line.startswith("python run_multilabel.py")]
    assert len(scripts) == 2
    for _, *words in scripts:
        # One epoch instead of three, in tokens that the tiny checkpoint has.
        extra = ["--max_seq_length", "64", "--use_cpu"] + (
            ["--num_train_epochs", "1"] if "--do_train" in words else []
        )
        forked.run(run_script, tmp_path, [*words, *extra], log=log)
    assert "stored in runs/opinions/config.json" in run_command("tune")
    assert "model.onnx, onnx_model.py, parity.json, tokenizer.json\n" in run_command("export")
    assert "report.html" in run_command("report")
    assert "all words" in run_command("explain")
    predictions = (tmp_path / "runs" / "opinions" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(predictions[0])) == {"id", "labels", "scores"}
    model, pipeline, building = blocks("python")
    # The pipeline goes on with the folder of the model.
    assert "{'labels': [" in forked.run(run_python, tmp_path, model + pipeline, log=tmp_path / "python.log")
    forked.run(run_python, tmp_path, building, log=log)


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\(([\w/.]+)\)", README)
    assert links
    for name in links:
        assert (ROOT / name).exists(), name
