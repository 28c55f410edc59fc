"""What docs/serving.md shows: its commands have the options that it names, and its files are what they seem."""

import json
import re
import shlex
import sys
from pathlib import Path

import yaml
from starlette.testclient import TestClient

from bert_multilabel import from_backbone
from bert_multilabel.export import cli as export
from bert_multilabel.export.onnx_model import OnnxModel
from bert_multilabel.serve.cli import ServeArguments
from bert_multilabel.serve.metrics import Metrics
from bert_multilabel.serve.refusal import STATUSES
from bert_multilabel.utils.option_parser import OptionParser
from tests.conftest import LABELS

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)


def options_of(words):
    """Read the options of `bert-multilabel serve`; the folder is not theirs."""
    return OptionParser(ServeArguments, prog="serve").parse(words)[0]


def test_containers_start_the_server_with_options_that_it_has():
    server, _ = blocks("dockerfile")
    entry, command = (
        json.loads(re.search(rf"^{word} (.*)", server, re.MULTILINE)[1]) for word in ("ENTRYPOINT", "CMD")
    )
    assert entry[:3] == ["bert-multilabel", "serve", "/model"]
    assert options_of(entry[3:] + command).host == "0.0.0.0"
    deployment, service = yaml.safe_load_all(blocks("yaml")[0])
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    options = options_of(entry[3:] + container["args"])
    assert options.port == container["ports"][0]["containerPort"] == 8000
    assert options.allowed_hosts[0] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {mount["name"] for mount in container["volumeMounts"]} == {part["name"] for part in pod["spec"]["volumes"]}


def test_containers_have_the_versions_that_are_tested():
    pinned = [word.strip("'\"") for text in blocks("dockerfile") for word in text.split() if "==" in word]
    assert len(pinned) > 4 and {*pinned} <= {*PINS}


def test_what_is_refused_and_counted_is_said():
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", DOCS, re.MULTILINE) for code in row.split(", ")}
    assert listed == {*STATUSES}
    for metric in Metrics([]).registry.collect():
        assert metric.name.removeprefix("bert_multilabel_") in DOCS


def test_the_server_without_torch_answers(backbone, tmp_path, monkeypatch):
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(tmp_path / "model")
    export.main(shlex.split(f"{tmp_path / 'model'} --output {tmp_path / 'export'}"))
    monkeypatch.setenv("MODEL", str(tmp_path / "export"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("onnx_model", "decision", "label_rules", "likeliest_sets"):  # onnxruntime has an onnx_model, too
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = {}
    exec(blocks("python")[0], module)
    records = OnnxModel(tmp_path / "export").predict(["good", "the price"])
    with TestClient(module["app"]) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.post("/predict", json={"inputs": ["good", "the price"]}).json() == records
        assert client.post("/predict", json={"inputs": "good"}).json()["labels"] == records[0]["labels"]
        for body in ({}, {"inputs": 7}, {"inputs": ["a", 7]}, []):
            assert client.post("/predict", json=body).status_code == 422
        assert client.post("/predict", content=b"{").status_code == 422
