"""The README's commands and Python blocks run as written, with a tiny checkpoint in place of the one on the Hub."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import bert_multilabel

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(bert_multilabel.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def run_in(folder, *words):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_readme_says_runs(tmp_path, backbone):
    example = ROOT / "examples" / "purchase_intent"
    for name, source in (("train", "train"), ("validation", "validation"), ("new", "test")):
        shutil.copy(example / f"{source}.csv", tmp_path / f"{name}.csv")
    shutil.copytree(backbone, tmp_path / "google-bert" / "bert-base-uncased")
    commands = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    (doctor,) = [shlex.split(line)[1:] for line in commands if "bert_multilabel.doctor" in line]
    assert "Findings: 0 errors, 0 warnings" in run_in(tmp_path, *doctor)
    scripts = [shlex.split(line)[1:] for line in commands if line.startswith("python run_multilabel.py")]
    assert len(scripts) == 2
    for script, *words in scripts:
        # One epoch instead of three, in tokens that the tiny checkpoint has.
        extra = ["--max_seq_length", "64", "--use_cpu"] + (
            ["--num_train_epochs", "1"] if "--do_train" in words else []
        )
        run_in(tmp_path, str(ROOT / script), *words, *extra)
    (tune,) = [shlex.split(line)[1:] for line in commands if "bert_multilabel.tune" in line]
    assert "stored in runs/opinions/config.json" in run_in(tmp_path, *tune)
    (export,) = [shlex.split(line)[1:] for line in commands if "bert_multilabel.export" in line]
    assert "written to runs/exported: model.onnx, onnx_model.py" in run_in(tmp_path, *export)
    (report,) = [shlex.split(line)[1:] for line in commands if "bert_multilabel.report" in line]
    assert "report.html" in run_in(tmp_path, *report)
    (explain,) = [shlex.split(line)[1:] for line in commands if "bert_multilabel.explain" in line]
    assert "all words" in run_in(tmp_path, *explain)
    predictions = (tmp_path / "runs" / "opinions" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(predictions[0])) == {"id", "labels", "scores"}
    model, pipeline, building = blocks("python")
    assert "{'labels': [" in run_in(tmp_path, "-c", model + pipeline)  # which goes on with its folder
    run_in(tmp_path, "-c", building)


def test_every_file_that_the_readme_names_exists():
    links = re.findall(r"\]\(([\w/.]+)\)", README)
    modules = re.findall(r"`(\w+\.py)`", README)
    assert links and modules
    for name in links:
        assert (ROOT / name).exists(), name
    for name in modules:
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name
