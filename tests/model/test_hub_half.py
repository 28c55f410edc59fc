"""The code that travels with a model opens no file and no socket and starts no process: libraries do, where asked."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bert_multilabel
from bert_multilabel import from_backbone
from tests.conftest import LABELS

FOLDER = Path(bert_multilabel.__file__).parent / "model"
HUB_HALF = sorted(set(FOLDER.glob("*.py")) - {FOLDER / "__init__.py"})
# Of these modules nothing opens anything; of pathlib, which can, see below.
HARMLESS = {
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "functools",
    "itertools",
    "json",
    "math",
    "numbers",
    "numpy",
    "pathlib",
    "re",
}
HARMLESS |= {"statistics", "typing", "unicodedata", "torch", "transformers", "tokenizers", "huggingface_hub"}
NAMES = {"open", "exec", "eval", "compile", "__import__", "input", "breakpoint"}
METHODS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "touch",
    "mkdir",
    "unlink",
    "rename",
    "rmdir",
}
METHODS |= {"load_file", "save_file", "from_file", "fromfile", "tofile", "memmap", "import_module", "load_url"}

SCRIPT = """
import importlib.util, json, os, sys, sysconfig, tempfile
import torch
from transformers import AutoModel, AutoTokenizer, pipeline

folder, code = sys.argv[1], json.loads(sys.argv[2])
stdlib = os.path.dirname(os.__file__) + os.sep
site = sysconfig.get_paths()["purelib"]
events = {}

def look(event, arguments):
    if event != "open" and event.split(".")[0] not in ("socket", "subprocess", "os", "shutil", "urllib", "http"):
        return
    # Whose code asks: the innermost that is not of the standard library, which acts for others.
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return  # an import, whose name stands in the code: the test below looks at those
        if not name.startswith(stdlib) or name.startswith(site):
            break
        frame = frame.f_back
    if frame is not None:
        name = os.path.basename(name)
        seen = f"{event} {arguments!r:.200} in line {frame.f_lineno}"
        events.setdefault(name if name in code else "others", []).append(seen)

sys.addaudithook(look)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
batch = tokenizer(["the price is good", "not"], ["gift", ""], padding=True, return_tensors="pt")
model(**batch, labels=torch.ones(2, 3)).loss.backward()
model.config.decide(model(**batch).logits)
classify = pipeline("multilabel-classification", model=folder, trust_remote_code=True)
classify(["good", {"text": "buy", "text_pair": "gift"}, "price " * 99], stride=8, threshold={"gift": 0.1})
spec = importlib.util.spec_from_file_location("handler", folder + "/handler.py")
handler = importlib.util.module_from_spec(spec)
spec.loader.exec_module(handler)
handler.EndpointHandler(folder)({"inputs": "good"})
model.add_labels(["new"], tokenizer, {"new": "a new one"})
with tempfile.TemporaryDirectory() as copy:
    model.save_pretrained(copy)
    tokenizer.save_pretrained(copy)
make_readme = type(model).push_to_hub.__globals__["make_readme"]
make_readme("me/opinions", ["config.json"]).save(os.path.join(folder, "page.md"))
# That a file which our code opened would have been seen:
exec(compile(f"open({folder + '/config.json'!r}).close()", "/nowhere/" + code[0], "exec"))
json.dump({name: listed if name != "others" else len(listed) for name, listed in events.items()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def seen(backbone, tmp_path_factory):
    """What was opened, by the file of ours that did so; and by others, how much."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    for part in from_backbone(backbone, LABELS, "label_tokens", label_attention="isolated", label_layers=1):
        part.save_pretrained(folder)
    cache = folder.parent / "modules"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(cache)}
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps([path.name for path in HUB_HALF])]
    # Elsewhere, as else this package would be there to be imported.
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert (folder / "page.md").read_text(encoding="utf-8").startswith("---\nlibrary_name: transformers\n")
    return json.loads(done.stdout.splitlines()[-1])


def test_whatever_is_opened_while_it_runs_is_opened_by_others(seen):
    control, *more = seen.pop(HUB_HALF[0].name)
    assert control.startswith("open ") and "config.json" in control and not more
    assert seen.pop("others") > 50
    assert seen == {}


@pytest.mark.parametrize("path", HUB_HALF, ids=lambda path: path.name)
def test_it_does_not_say_that_it_would(path):
    tree = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    imported = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in tree if isinstance(node, ast.ImportFrom) and not node.level}
    assert {name.split(".")[0] for name in imported} <= HARMLESS
    assert "pathlib" not in imported or path.name == "hub_readme.py"  # which takes the name of a folder
    assert not NAMES & {node.id for node in tree if isinstance(node, ast.Name)}
    called = {node.func.attr for node in tree if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    # The tokenizer hands the path of its tokenizer.json, which Transformers has found, to the tokenizers library.
    assert METHODS & called == ({"from_file"} if path.name == "tokenization_multilabel.py" else set())
    of_torch = {node.attr for node in tree if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch"}
    assert not {"load", "save", "hub", "utils", "distributed"} & of_torch
