"""Folders of other versions: older ones answer as they did, newer ones are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from bert_multilabel import BertForMultiLabelCLS, BertForMultiLabelLabelTokens, from_backbone
from bert_multilabel.model.configuration_multilabel import __version__
from bert_multilabel.serve.served_model import load_served

FOLDERS = Path(__file__).parent / "folders"
OLDER = sorted(path.parent.name for path in FOLDERS.glob("*/config.json"))
MAJOR, MINOR = map(int, __version__.split(".")[:2])
NEWER = f"{MAJOR}.{MINOR + 1}.0"

SCRIPT = """
import json, sys
sys.modules["bert_multilabel"] = None  # as if it were not installed
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

report = {}
for folder, (texts, pairs) in json.loads(sys.argv[1]).items():
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    with torch.inference_mode():
        logits = model(**tokenizer(texts, pairs, padding=True, return_tensors="pt")).logits
    decisions = model.config.decide(logits)[1]
    report[folder] = {
        "version": model.config.bert_multilabel_version, "logits": logits.tolist(), "decisions": decisions.tolist()
    }
print("REPORT" + json.dumps(report))
"""


@pytest.fixture(scope="module")
def written():
    """What each older folder answered when it was written: texts and pairs, logits and decisions."""
    return {name: json.loads((FOLDERS / f"{name}.json").read_text()) for name in OLDER}


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    """A folder as the next minor version may save it, its code included."""
    folder = tmp_path_factory.mktemp("newer") / "model"
    model, tokenizer = load(FOLDERS / OLDER[0], AutoModel)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in (folder / "config.json", folder / "configuration_multilabel.py"):
        text = file.read_text()
        assert text.count(f'"{__version__}"') == 1
        file.write_text(text.replace(f'"{__version__}"', f'"{NEWER}"'))
    return folder


@pytest.fixture(scope="module")
def elsewhere(written, newer, tmp_path_factory):
    """What all folders answer by the code that they carry, in a process without this package."""
    asked = {str(FOLDERS / name): (answers["texts"], answers["pairs"]) for name, answers in written.items()}
    asked[str(newer)] = asked[str(FOLDERS / OLDER[0])]
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, json.dumps(asked)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path_factory.mktemp("home"))},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.split("REPORT")[1])
    return {Path(folder).name: found for folder, found in report.items()}


def load(folder, auto_class, **options):
    model = auto_class.from_pretrained(folder, **options)
    return model, AutoTokenizer.from_pretrained(folder, **options)


def assert_answers(model, tokenizer, answers):
    """Assert that a model still says what its folder was written with."""
    inputs = tokenizer(answers["texts"], answers["pairs"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model.eval()(**inputs).logits
    torch.testing.assert_close(logits, torch.tensor(answers["logits"]), rtol=0, atol=1e-5)
    assert model.config.decide(logits)[1].tolist() == answers["decisions"]


@pytest.mark.parametrize("name", OLDER)
def test_an_older_folder_answers_as_it_did(name, written, tmp_path):
    folder = FOLDERS / name
    expected = BertForMultiLabelCLS if name == "0.1.0-cls" else BertForMultiLabelLabelTokens
    for options in ({}, {"trust_remote_code": True}):
        for auto_class in (AutoModel, AutoModelForSequenceClassification):
            model, tokenizer = load(folder, auto_class, **options)
            assert type(model) is expected  # this package's own, whatever code is in the folder
            assert model.config.bert_multilabel_version == "0.1.0"
            assert_answers(model, tokenizer, written[name])
    assert_answers(*from_backbone(folder, model.config.label_names, model.config.strategy), written[name])

    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, tokenizer = load(tmp_path, AutoModel)
    assert model.config.bert_multilabel_version == __version__
    assert_answers(model, tokenizer, written[name])


@pytest.mark.parametrize("name", OLDER)
def test_the_code_of_an_older_folder_still_runs(name, written, elsewhere):
    found = elsewhere[name]
    assert found["version"] == "0.1.0"
    torch.testing.assert_close(torch.tensor(found["logits"]), torch.tensor(written[name]["logits"]), rtol=0, atol=1e-5)
    assert found["decisions"] == written[name]["decisions"]


def test_an_export_of_an_older_version_answers_as_it_did(written):
    answers = written["0.1.0-label_tokens"]
    engine = load_served(FOLDERS / "0.1.0-onnx", threads=1)  # of that folder; its logits are not calibrated
    logits = engine.logits(answers["texts"], answers["pairs"])
    torch.testing.assert_close(logits, torch.tensor(answers["logits"]), rtol=0, atol=1e-5)
    assert engine.config.decide(logits)[1].tolist() == answers["decisions"]


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("auto_class", [AutoConfig, AutoModel, AutoModelForSequenceClassification])
def test_a_newer_folder_is_refused_with_the_versions_named(newer, auto_class, trust):
    phrase = f"written by bert-multilabel {NEWER}, newer than this {__version__}: upgrade with `pip install -U"
    with pytest.raises(ValueError, match=phrase):
        auto_class.from_pretrained(newer, trust_remote_code=trust)
    with pytest.raises(ValueError, match=phrase):
        from_backbone(newer, ["good value", "too expensive", "gift"], "cls")


def test_a_newer_folder_loads_by_its_own_code_as_the_refusal_says(newer, written, elsewhere):
    found = elsewhere[newer.name]
    assert found["version"] == NEWER
    torch.testing.assert_close(
        torch.tensor(found["logits"]), torch.tensor(written[OLDER[0]]["logits"]), rtol=0, atol=1e-5
    )
