"""A saved folder loads anywhere: in fresh processes that cannot import this package."""

import ast
import json
import os
import subprocess
import sys

import pytest
import torch

from bert_multilabel import from_backbone
from bert_multilabel.hub.model_card import write_model_card
from tests.conftest import LABELS
from tests.hub.test_model_card import FACTS

TEXTS = ["the price is good", "not [OPINION1] good [SEP]"]
PAIRS = ["gift", ""]

SCRIPT = """
import contextlib, importlib.util, io, json, os, re, shutil, sys
try:
    import bert_multilabel
    sys.exit("the package can be imported: this shows nothing")
except ImportError:
    pass
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

report, folders = {}, json.loads(sys.argv[1])
for folder in [*folders, *(folder + "-again" for folder in folders)]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    texts, pairs = json.loads(sys.argv[2])
    batch = tokenizer(texts, pairs, padding=True, return_tensors="pt")
    autos = (AutoModel, AutoModelForSequenceClassification)
    loaded = [auto.from_pretrained(folder, trust_remote_code=True) for auto in autos]
    with torch.inference_mode():
        logits = [model(**batch).logits for model in loaded]
    built = AutoModel.from_config(config, trust_remote_code=True)
    classify = pipeline("text-classification", model=folder, trust_remote_code=True, top_k=None)
    answers = classify([{"text": text, "text_pair": pair} for text, pair in zip(texts, pairs)])
    scores = [[{a["label"]: a["score"] for a in answer}[name] for name in config.label_names] for answer in answers]
    alone = [tokenizer(text, pair, return_tensors="pt") for text, pair in zip(texts, pairs)]
    with torch.inference_mode():
        expected = torch.cat([loaded[0](**one).logits for one in alone]).sigmoid()
    decided = config.decide(logits[0])[1].tolist()
    inputs = [{"text": text, "text_pair": pair} for text, pair in zip(texts, pairs)]
    decide = pipeline("multilabel-classification", model=folder, trust_remote_code=True)
    spec = importlib.util.spec_from_file_location("handler", folder + "/handler.py")
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)
    handle = handler.EndpointHandler(folder)
    with open(folder + "/README.md") as card:
        blocks = re.findall("^```python$(.*?)^```$", card.read(), re.MULTILINE | re.DOTALL)
    os.chdir(folder)  # which the card calls "."
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for block in blocks:
            exec(block, {})
    with torch.inference_mode():
        given = config.decide(loaded[0](**tokenizer("a text", return_tensors="pt")).logits)[1][0]
    if folder in folders:
        decide.model.save_pretrained(folder + "-again")
        tokenizer.save_pretrained(folder + "-again")
        shutil.copy(folder + "/README.md", folder + "-again")
    report[folder] = {
        "classes": sorted({type(model).__name__ for model in [*loaded, built]}),
        "strategy": config.strategy,
        "same": torch.equal(*logits),
        "logits": [[value.hex() for value in row] for row in logits[0].double().tolist()],
        "pipeline": torch.tensor(scores).sub(expected).abs().max().item(),
        "decided": decided,
        "answers": decide(inputs, stride=8),
        "handled": handle({"inputs": inputs, "parameters": {"stride": 8}}),
        "expected": expected.tolist(),
        "pipeline_package": type(decide).__module__.split(".")[0],
        "card": printed.getvalue().splitlines(),
        "card's": str([name for name, is_given in zip(config.label_names, given) if is_given]),
        "package": type(loaded[0]).__module__.split(".")[0],
    }
print("REPORT" + json.dumps(report))
"""


def load_elsewhere(folders, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # Isolated (-I) and started elsewhere; an installed package would still be found, so the import is blocked.
    # Nor is peft there, which made the weights of a run with adapters.
    block = "import sys; sys.modules['bert_multilabel'] = sys.modules['peft'] = None\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", block + SCRIPT, json.dumps(folders), json.dumps([TEXTS, PAIRS])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("REPORT")[1])


FORMS = {
    "cls": ("cls", {}),
    "label_tokens": ("label_tokens", {}),
    "late": ("label_tokens", {"label_attention": "isolated", "label_layers": 1}),
    "grown": ("label_tokens", {"label_layers": 1}),
}


def save(backbone, form, folder):
    strategy, config = FORMS[form]
    known = 2 if form == "grown" else 3
    model, tokenizer = from_backbone(backbone, LABELS[:known], strategy, threshold=0.4, **config)
    if known < 3:
        model.add_labels(LABELS[known:], tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_model_card(folder / "README.md", model.config, FACTS)
    return str(folder)


@pytest.fixture(scope="module")
def elsewhere(backbone, tmp_path_factory):
    """All forms in one process, from folders of one name, where the Auto classes mix up their code."""
    root = tmp_path_factory.mktemp("anywhere")
    folders = [save(backbone, form, root / form / "model") for form in FORMS]
    return load_elsewhere(folders, root)


def test_every_auto_class_gives_the_same_logits_bit_for_bit(elsewhere):
    for report in elsewhere.values():
        assert report["same"]
        assert report["package"] == "transformers_modules"


def test_the_code_of_the_model_card_runs(elsewhere):
    given = set()
    for report in elsewhere.values():
        answer, names = report["card"]  # of the pipeline, and by the logits
        assert names == report["card's"]
        assert ast.literal_eval(answer)["labels"] == ast.literal_eval(names)
        given.add(names)
    assert len(given) > 1


def test_folders_of_both_strategies_load_in_one_process(elsewhere):
    classes = {report["strategy"]: report["classes"] for report in elsewhere.values()}
    assert classes == {"cls": ["BertForMultiLabelCLS"], "label_tokens": ["BertForMultiLabelLabelTokens"]}


def test_the_stock_pipeline_gives_the_probabilities(elsewhere):
    for report in elsewhere.values():
        assert report["pipeline"] < 1e-6


def test_our_pipeline_and_the_handler_give_the_decisions_there(elsewhere):
    for report in elsewhere.values():
        assert report["pipeline_package"] == "transformers_modules"
        assert report["handled"] == report["answers"]
        for answer, expected, decided in zip(report["answers"], report["expected"], report["decided"], strict=True):
            assert answer["scores"] == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-5)
            assert answer["labels"] == [name for name, given in zip(LABELS, decided, strict=True) if given]


def test_the_stored_threshold_acts_there(elsewhere):
    for report in elsewhere.values():
        logits = torch.tensor([[float.fromhex(value) for value in row] for row in report["logits"]])
        assert report["decided"] == (logits.sigmoid() >= 0.4).tolist()


def test_what_was_loaded_there_can_be_saved_and_loaded_again(elsewhere):
    for folder, report in elsewhere.items():
        if folder.endswith("-again"):
            continue
        assert elsewhere[folder + "-again"]["logits"] == report["logits"]
        assert elsewhere[folder + "-again"]["classes"] == report["classes"]
        assert elsewhere[folder + "-again"]["answers"] == report["answers"]


def test_the_package_itself_gives_the_same_logits(elsewhere, backbone):
    from transformers import AutoModel, AutoTokenizer

    for folder, report in elsewhere.items():
        model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        assert type(model).__module__ == "bert_multilabel.model.modeling_multilabel"
        with torch.inference_mode():
            logits = model(**tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")).logits
        expected = torch.tensor([[float.fromhex(value) for value in row] for row in report["logits"]])
        assert torch.equal(logits, expected)
