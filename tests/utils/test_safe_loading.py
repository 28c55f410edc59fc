import ast
import contextlib
import io
import json
import os
import pickle
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

import bert_multilabel
from bert_multilabel import from_backbone
from bert_multilabel.doctor.cli import main as doctor
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.inference.predictor import MultiLabelPredictor
from bert_multilabel.loading import load_trained, read_config, read_tokenizer
from bert_multilabel.model.modeling_multilabel import BertForMultiLabelCLS
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.safe_loading import check_is_no_pickle, check_paths
from tests.conftest import LABELS


@pytest.fixture
def folder(backbone, tmp_path):
    """A copy of the checkpoint, and beside it a file that it must not read."""
    shutil.copy(backbone / "model.safetensors", tmp_path / "other.safetensors")
    return shutil.copytree(backbone, tmp_path / "folder")


def write(folder, name, **entries):
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | entries))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def to_pickle(folder, sharded=False, **more):
    """Store the weights of a folder as pickles."""
    weights = {**load_file(folder / "model.safetensors"), **more}
    (folder / "model.safetensors").unlink()
    if not sharded:
        torch.save(weights, folder / "pytorch_model.bin")
        return
    shards = {name: f"pytorch_model-{place % 2}.bin" for place, name in enumerate(weights)}
    for shard in set(shards.values()):
        torch.save({name: weights[name] for name in weights if shards[name] == shard}, folder / shard)
    write(folder, "pytorch_model.bin.index.json", metadata={}, weight_map=shards)


# No pickle


@pytest.mark.parametrize(("sharded", "name"), [(False, "pytorch_model.bin"), (True, "pytorch_model.bin.index.json")])
def test_a_pickle_is_refused_unless_asked_for(backbone, folder, sharded, name):
    to_pickle(folder, sharded)
    with pytest.raises(ValueError, match=rf"are a pickle \({name}\), which can run code .*allow_pick"):
        from_backbone(folder, LABELS, "cls")
    model, _ = from_backbone(folder, LABELS, "cls", allow_pickle=True)
    expected, _ = from_backbone(backbone, LABELS, "cls")
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))


def test_safetensors_are_taken_where_both_are_there(folder):
    shutil.copytree(folder, folder / "copy")
    to_pickle(folder / "copy", evil=Payload(folder / "ran"))
    shutil.move(folder / "copy" / "pytorch_model.bin", folder)
    for allow_pickle in (False, True):
        from_backbone(folder, LABELS, "cls", allow_pickle=allow_pickle)
    assert not (folder / "ran").exists()


def test_a_pickle_that_is_allowed_runs_no_code(folder):
    to_pickle(folder, evil=Payload(folder / "ran"))
    with pytest.raises(ValueError, match="are a pickle that holds more than tensors, so it was not loaded"):
        from_backbone(folder, LABELS, "cls", allow_pickle=True)
    assert not (folder / "ran").exists()
    pickle.loads(pickle.dumps(Payload(folder / "ran")))
    assert (folder / "ran").exists()  # where it is read without care, it does


def test_a_trained_folder_with_a_pickle_is_refused_by_all_that_load_it(backbone, tmp_path):
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(tmp_path)
    to_pickle(tmp_path)
    with pytest.raises(ValueError, match="weights in .* are a pickle"):
        load_trained(tmp_path)
    with pytest.raises(OSError, match="no file named model.safetensors"):
        BertForMultiLabelCLS.from_pretrained(tmp_path)  # as every Auto class does
    BertForMultiLabelCLS.from_pretrained(tmp_path, use_safetensors=None)
    from_backbone(tmp_path, LABELS, "cls", allow_pickle=True)


def test_a_configuration_cannot_ask_for_a_pickle(folder):
    write(folder, "config.json", transformers_weights="adapter_model.bin")
    with pytest.raises(ValueError, match=r"are a pickle \(adapter_model.bin\)"):
        check_is_no_pickle(folder)


# Nothing outside

OUTSIDE = ["../other.safetensors", "/tmp/other.safetensors", "a/../../other.safetensors", r"..\other", r"C:\other"]


@pytest.mark.parametrize("target", OUTSIDE)
@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("model.safetensors.index.json", lambda target: {"weight_map": {"a": "model.safetensors", "b": target}}),
        ("pytorch_model.bin.index.json", lambda target: {"weight_map": {"a": target}}),
        ("config.json", lambda target: {"transformers_weights": target}),
        ("config.json", lambda target: {"auto_map": {"AutoModel": f"{target}--modeling.Model"}}),
        ("config.json", lambda target: {"custom_pipelines": {"task": {"impl": f"{target}.Pipeline", "pt": []}}}),
        ("tokenizer_config.json", lambda target: {"auto_map": {"AutoTokenizer": [None, target]}}),
        ("tokenizer_config.json", lambda target: {"fast_tokenizer_files": [target]}),
    ],
)
def test_a_file_that_names_another_outside_its_folder_is_refused(folder, name, entries, target):
    write(folder, name, **entries(target))
    with pytest.raises(ValueError, match=f"is incomplete: .* in {name} points outside the directory, to ") as caught:
        check_paths(folder)
    assert repr(target)[1:-1] in str(caught.value)


def test_all_that_load_a_folder_look_first(backbone, folder, tmp_path):
    names = load_file(folder / "model.safetensors")
    write(folder, "model.safetensors.index.json", metadata={}, weight_map=dict.fromkeys(names, OUTSIDE[0]))
    (folder / "model.safetensors").unlink()
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(tmp_path / "trained")
    write(tmp_path / "trained", "tokenizer_config.json", vocab="vocab.txt")
    for load in (
        lambda: from_backbone(folder, LABELS, "cls"),
        lambda: read_tokenizer(folder, LABELS, "cls"),
        lambda: load_trained(tmp_path / "trained"),
    ):
        with pytest.raises(ValueError, match="points outside the directory"):
            load()


def test_adapters_of_another_model_are_refused(folder):
    write(folder, "adapter_config.json", base_model_name_or_path="../elsewhere", peft_type="LORA")
    with pytest.raises(ValueError, match=r"holds adapters \(adapter_config.json\) .*'../elsewhere': merge them"):
        from_backbone(folder, LABELS, "cls")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors.index.json", "{", "is damaged: Expecting property name"),
        ("model.safetensors.index.json", "[" * 100_000, "is damaged: "),
        ("model.safetensors.index.json", "[]", "must hold one JSON object, got a list"),
        ("model.safetensors.index.json", '{"weight_map": 7}', "its JSON files have an unexpected form"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 7}}', "its JSON files have an unexpected form"),
    ],
)
def test_files_of_another_form_are_refused(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        check_paths(folder)


def test_code_in_another_repository_of_the_hub_is_left_to_transformers(folder):
    auto_map = {"AutoModel": "me/opinions--modeling_multilabel.BertForMultiLabelCLS"}
    write(folder, "config.json", auto_map=auto_map)
    write(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["me/opinions--tokenization.Tokenizer", None]})
    model, tokenizer = from_backbone(folder, LABELS, "cls")
    assert (type(model), type(tokenizer)) == (BertForMultiLabelCLS, MultiLabelTokenizer)


def test_a_folder_of_links_loads_as_in_the_cache_of_the_hub(folder, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, file in enumerate(folder.iterdir()):
        shutil.move(file, blobs / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs", str(number)))
    model, tokenizer = from_backbone(snapshot, LABELS, "cls")
    assert (model.config.label_names, tokenizer.label_names) == (LABELS, LABELS)


def test_shards_of_the_folder_load(backbone, folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {name: f"model-{place % 2}.safetensors" for place, name in enumerate(weights)}
    for shard in set(shards.values()):
        part = {name: weights[name] for name in weights if shards[name] == shard}
        save_file(part, folder / shard, metadata={"format": "pt"})
    write(folder, "model.safetensors.index.json", metadata={}, weight_map=shards)
    model, expected = (from_backbone(path, LABELS, "cls")[0] for path in (folder, backbone))
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))


# No code

LOADERS = [
    pytest.param(lambda folder: from_backbone(folder, LABELS, "cls"), id="from_backbone"),
    pytest.param(lambda folder: read_tokenizer(folder, LABELS, "cls"), id="read_tokenizer"),
    pytest.param(load_trained, id="load_trained"),
    pytest.param(read_config, id="read_config"),
    pytest.param(lambda folder: MultiLabelPredictor(folder)({"text": ["good"]}), id="predictor"),
    pytest.param(lambda folder: doctor([str(folder / "rows.csv"), "--model_name_or_path", str(folder)]), id="doctor"),
]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("model_type", ["evil", None, "bert", "bert_multilabel"])
def test_code_of_a_folder_is_never_run(folder, tmp_path, monkeypatch, load, model_type):
    marker = tmp_path / "ran"
    evil = f"evil_{uuid4().hex}"  # Transformers runs a module once in a process
    (folder / f"{evil}.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    auto_map = {"AutoConfig": f"{evil}.Config", "AutoModel": f"{evil}.Model"}
    auto_map["AutoTokenizer"] = [f"{evil}.Tokenizer", None]
    write(folder, "config.json", auto_map=auto_map, model_type=model_type)
    write(folder, "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Tokenizer")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))  # to each question whether to run it
    (folder / "rows.csv").write_text("text,labels\ngood,gift\n")
    with contextlib.suppress(SystemExit):
        if model_type in ("evil", None):
            with pytest.raises(MultiLabelError, match="code of a checkpoint is not run"):
                load(folder)
        else:
            with contextlib.suppress(MultiLabelError):
                load(folder)
    assert not marker.exists()
    if model_type == "evil":  # which runs where somebody allows it
        with pytest.raises(AttributeError, match="has no attribute 'Config'"):
            AutoConfig.from_pretrained(folder, trust_remote_code=True)
        assert marker.exists()


def test_paths_are_checked_before_the_configuration_is_read(folder):
    write(folder, "config.json", model_type="evil", auto_map={"AutoConfig": "../evil.Config"})
    with pytest.raises(MultiLabelError, match="'auto_map' in config.json points outside the directory"):
        read_config(folder)


def loads(tree):
    """Yield the calls in a syntax tree that load something which may bring its own code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            # `super()` passes on what the caller said; an embedding is made of a tensor.
            if name == "pipeline" or (
                name == "from_pretrained" and not owner.startswith("super(") and owner != "nn.Embedding"
            ):
                yield node


def test_every_loader_of_the_package_says_that_it_runs_no_code():
    package = Path(bert_multilabel.__file__).parent
    found = []
    for file in package.rglob("*.py"):
        if file != package / "model" / "handler.py":  # which an endpoint runs from the folder that it serves
            found += [(file, node) for node in loads(ast.parse(file.read_text(encoding="utf-8")))]
    assert len(found) >= 3
    for file, node in found:
        says = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert says.get("trust_remote_code") == "False", f"{file.name}:{node.lineno}"
