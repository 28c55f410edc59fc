import json
import logging
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout, suppress
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, BertConfig

from bert_multilabel import MultiLabelConfig, from_backbone, hamming_score
from bert_multilabel.errors import ParityError
from bert_multilabel.export import cli as export
from bert_multilabel.export import onnx_folder
from bert_multilabel.export.arguments import LEAST_EQUAL_ROWS
from bert_multilabel.export.onnx_model import MODEL_FILE, QUANTIZED_FILE, OnnxModel
from bert_multilabel.export.parity import Parity, Sample, check_parity, check_quantized
from bert_multilabel.loading import load_trained
from bert_multilabel.model.handler import EndpointHandler
from bert_multilabel.model.scoring import MultiLabelScorer
from tests import forked
from tests.conftest import LABELS
from tests.model.test_decision import RULE

# For half of all rows something has to give way.
RULES = {"implies": {"gift": ["good value"]}, "exclusive": [["good value", "too_expensive"]]}
FORMS = {
    "cls": ("cls", {"threshold": [0.4, 0.5, 0.6], "temperature": [0.5, 1.0, 2.0], "min_labels": 2}),
    "full": ("label_tokens", {"threshold": 0.45, "temperature": 1.3, "decision": {**RULE, "score": "samples_f1"}}),
    "isolated-1": (
        "label_tokens",
        {
            **{"label_attention": "isolated", "label_layers": 1, "min_labels": 1, "label_rules": RULES},
            # Half of their log odds is near the logits of an untrained model, so its answers differ.
            **{"threshold": [0.012, 0.015, 0.012], "decision": {**RULE, "threshold_weight": 0.5, "temperature": 0.1}},
        },
    ),
    "isolated": ("label_tokens", {"label_attention": "isolated"}),
    "full-1": ("label_tokens", {"label_layers": 1}),
}
# An export takes seconds, so by default one of each kind is made: in integers, whole, and of text alone.
slow = pytest.mark.slow
EXACT = ["full", "isolated-1", pytest.param("isolated", marks=slow), pytest.param("full-1", marks=slow)]
WORDS = {"isolated-1": ["--max_seq_length", "20"]}

TEXTS = [
    *(
        "",
        "good",
        "the price is good",
        "not [OPINION1] good [SEP] [CLS] [PAD]",
        "quality " * 200,
        "émigré \u4e2d \x00",
    ),
    *("the price is not good " * count for count in (*range(1, 11), 30)),
]
PAIRS = ["gift", "", "[OPINION3]", "the price", "good " * 100, "", *["buy"] * 10, "is it?  " * 999]


ROWS = [f"the price is {name},gift,{name}" for name in LABELS for _ in range(5)]


def run(*words):
    return export.main([str(word) for word in words])


@pytest.fixture(scope="module")
def exported(backbone, tmp_path_factory):
    """Build a form and export it when it is first asked for: its folder, that of the export, and what was printed."""
    root = tmp_path_factory.mktemp("export")
    (root / "rows.csv").write_text("\n".join(["text,text_pair,labels", *ROWS]))
    words = {**WORDS, "cls": ["--quantize", "int8", "--file", root / "rows.csv"]}

    @cache
    def export_form(form):
        strategy, config = FORMS[form]
        torch.manual_seed(0)
        # Nothing of what is recorded belongs to the export.
        for part in from_backbone(backbone, LABELS, strategy, output_hidden_states=form == "full", **config):
            part.save_pretrained(root / form)
        with redirect_stdout(StringIO()) as printed:
            assert run(root / form, "--output", root / "onnx" / form, *words.get(form, [])) == 0
        return root / form, root / "onnx" / form, printed.getvalue()

    return export_form


def one_by_one(folder, pairs=None, **kwargs):
    """What PyTorch says of each text by itself, label tokens in the input, after the temperature."""
    model, tokenizer = load_trained(folder)
    with torch.inference_mode():
        rows = [
            model(**tokenizer(text, pairs and pairs[row], truncation=True, return_tensors="pt", **kwargs)).logits
            for row, text in enumerate(TEXTS)
        ]
    return calibrate(model.config, torch.cat(rows).numpy())


def calibrate(config, logits):
    return logits / np.asarray(config.temperature, np.float32)


@pytest.mark.parametrize("form", EXACT)
def test_logits_are_those_of_pytorch_in_the_order_of_the_texts(exported, form):
    model_dir, folder, _ = exported(form)
    # Labels that stand apart are no part of the limit that the export was given.
    limit = {"max_length": 20 + len(LABELS)} if form in WORDS else {}
    model = OnnxModel(folder, threads=1)
    for pairs in (None, PAIRS):
        expected = one_by_one(model_dir, pairs, **limit)
        np.testing.assert_allclose(model.logits(TEXTS, pairs), expected, atol=1e-5, rtol=0)
        alone = [model.logits([text], pairs and [pairs[row]]) for row, text in enumerate(TEXTS)]
        np.testing.assert_allclose(np.concatenate(alone), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["cls", "full", "isolated-1"])
def test_an_export_decides_as_pytorch_does(exported, form):
    model_dir, folder, _ = exported(form)
    config = AutoConfig.from_pretrained(model_dir)
    logits = np.random.default_rng(0).normal(scale=2, size=(2000, len(LABELS))).astype(np.float32)
    for ours, theirs in zip(config.decide(logits), OnnxModel(folder).decide(calibrate(config, logits)), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    if config.label_rules is not None:
        free = MultiLabelConfig(label_names=LABELS, threshold=config.threshold).decide(logits)[1]
        assert len(config.checked_rules.broken(free)) == 2
        assert not config.checked_rules.broken(config.decide(logits)[1])


@pytest.mark.parametrize("form", EXACT)
def test_texts_are_made_up_where_none_are_given(exported, form):
    report = json.loads((exported(form)[1] / "parity.json").read_text())
    assert (report["source"], report["rows"], report["decisions"]) == ("made-up texts", 60, 180)
    assert 0 < report["float32"]["largest_probability_difference"] < 1e-5
    assert report["float32"]["equal_decisions"] == 1


def test_rows_with_labels_are_scored_before_and_after(exported):
    model_dir, folder, printed = exported("cls")
    report = json.loads((folder / "parity.json").read_text())
    model, tokenizer = load_trained(model_dir)
    texts, pairs, names = zip(*(row.split(",") for row in ROWS), strict=True)
    logits = MultiLabelScorer(model, tokenizer).logits(texts, pairs)
    truth = np.array([[name == label for label in LABELS] for name in names])
    expected = hamming_score(model.config.decide(logits)[1].numpy(), truth)
    assert report["float32"]["hamming_score_before"] == report["int8"]["hamming_score_before"] == expected
    assert report["float32"]["hamming_score_after"] == expected
    after = hamming_score(OnnxModel(folder).decide(OnnxModel(folder).logits(texts, pairs))[1], truth)
    assert report["int8"]["hamming_score_after"] == after
    assert "Compared with the original on 15 examples (rows.csv)" in printed
    assert f"hamming score {expected:.4f} before, {after:.4f} after" in printed.splitlines()[-2]


def test_integers_come_near_and_that_is_said(exported):
    report = json.loads((exported("cls")[1] / "parity.json").read_text())
    assert report["float32"]["largest_probability_difference"] < 1e-5
    assert 1e-4 < report["int8"]["largest_probability_difference"] < 0.2
    assert report["int8"]["equal_decisions"] > 0.9


def test_all_products_of_layers_are_integers_and_the_head_and_lookups_are_not(exported):
    graph = onnx.load(exported("cls")[1] / QUANTIZED_FILE).graph
    kinds = Counter(node.op_type for node in graph.node)
    # Each of the two layers has query, key, value, mixed, up and down; the two of attention stay, as does the head.
    assert kinds["MatMulNBits"] == 2 * 6 and kinds["MatMul"] + kinds["Gemm"] == 2 * 2 + 2
    blocks = {
        attribute.i
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "MatMulNBits" and attribute.name == "block_size"
    }
    assert blocks == {32}
    tables = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = [tables[node.input[0]] for node in graph.node if node.op_type == "Gather" and node.input[0] in tables]
    words = load_trained(exported("cls")[0])[0].get_input_embeddings().weight.detach().numpy()
    assert any(np.array_equal(words.astype(np.float16), table) for table in found)


@pytest.mark.parametrize("form", ["cls", *EXACT])
def test_decisions_are_those_of_the_configuration(exported, form):
    model_dir, folder, _ = exported(form)
    config = load_trained(model_dir)[0].config
    logits = np.random.default_rng(0).normal(scale=3, size=(2000, 3)).astype(np.float32)
    logits[:3] = [[-200, -300, -250], [200, 300, 250], [0, 0, 0]]  # of saturated ones the order still counts
    probabilities, decisions = OnnxModel(folder).decide(calibrate(config, logits))
    expected = config.decide(torch.from_numpy(logits))
    np.testing.assert_array_equal(decisions, expected[1].numpy())
    np.testing.assert_allclose(probabilities, expected[0].numpy(), atol=2e-7)
    assert probabilities.dtype == np.float32


def test_export_handler_and_pytorch_decide_alike_by_the_expected_score_and_label_rules(exported):
    model_dir, folder, _ = exported("isolated-1")
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["the", "price", "is", "not", "good", "buy"], size)) for size in 2 + np.arange(2000) % 7
    ]
    model, tokenizer = load_trained(model_dir)
    decided = model.config.decide(MultiLabelScorer(model, tokenizer).logits(texts))[1].tolist()
    names = [[name for name, is_given in zip(LABELS, row, strict=True) if is_given] for row in decided]
    for answers in (EndpointHandler(str(model_dir))({"inputs": texts}), OnnxModel(folder).predict(texts)):
        assert [answer["labels"] for answer in answers] == names
    assert len(set(map(tuple, names))) > 1


def test_the_file_says_how_to_use_it_and_nothing_of_where_it_was_made(exported):
    path = exported("full")[1] / MODEL_FILE
    stored = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert (
        stored["label_names"] == LABELS
        and stored["strategy"] == "label_tokens"
        and stored["max_length"] == 64 - len(LABELS)
    )
    assert (stored["threshold"], stored["temperature"], stored["min_labels"]) == (0.45, 1, 0)
    content = path.read_bytes()
    assert b"site-packages" not in content and b"model/encoder" not in content


def stock_logits(folder, side, pairs=None, limit=None):
    """What a client says that knows only stock classes and the graph; with a limit it cuts off the end of the ids."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    options = {"padding": True, "padding_side": side, "return_token_type_ids": True, "return_tensors": "np"}
    batch = tokenizer(TEXTS, pairs, truncation=limit is None, verbose=False, **options)
    file = next((folder / "onnx").iterdir())
    inputs = {name: values[:, :limit] for name, values in batch.items()}
    return onnxruntime.InferenceSession(file).run(["logits"], inputs)[0]


@pytest.mark.parametrize("form", EXACT)
def test_stock_classes_and_the_graph_are_enough(exported, form):
    model_dir, folder, _ = exported(form)
    limit = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    assert limit == (20 if form in WORDS else 64 if form == "isolated" else 61 if form == "full" else 64)
    max_length = {"max_length": 20 + len(LABELS)} if form in WORDS else {}
    for pairs in (None, PAIRS):
        expected = one_by_one(model_dir, pairs, **max_length)
        for side in ("right", "left"):
            np.testing.assert_allclose(stock_logits(folder, side, pairs), expected, atol=1e-5, rtol=0)
    cut = stock_logits(folder, "right", limit=limit)
    np.testing.assert_allclose(cut, one_by_one(model_dir, **max_length), atol=1e-5, rtol=0)


def test_a_text_that_spells_special_tokens_is_plain_text_for_stock_classes(exported):
    tokenizer = AutoTokenizer.from_pretrained(exported("full")[1])
    assert tokenizer.tokenize("[OPINION1] good [SEP]") == [
        *("[", "o", "##p", "##i", "##n", "##i", "##o", "##n", "##1", "]", "good", "[", "s", "##e", "##p", "]")
    ]


def test_the_configuration_is_that_of_a_stock_classifier(exported):
    for form in ("cls", "full", "isolated-1"):
        model_dir, folder, _ = exported(form)
        config, own = AutoConfig.from_pretrained(folder), AutoConfig.from_pretrained(model_dir)
        assert type(config) is BertConfig and config.problem_type == "multi_label_classification"
        assert [config.id2label[index] for index in range(3)] == LABELS
        assert {**config.multi_label, "trained_on_pairs": None} == {
            **{name: getattr(own, name) for name in ("threshold", "min_labels", "decision", "label_rules")},
            "trained_on_pairs": None,
        }


SCRIPT = """
import json, sys
from onnx_model import OnnxModel

texts, pairs = json.loads(sys.argv[1])
answers = [OnnxModel(folder).predict(texts, pairs) for folder in sys.argv[2:]]
print(json.dumps([answers, sorted({"torch", "transformers", "bert_multilabel"} & set(sys.modules))]))
"""


def test_the_folder_runs_without_torch_and_transformers(exported):
    forms = ["cls", "full", "isolated-1"]
    folders = [exported(form)[1] for form in forms]
    command = [sys.executable, "-c", SCRIPT, json.dumps([TEXTS, PAIRS]), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folders[0], check=True)
    answers, loaded = json.loads(done.stdout)
    assert loaded == []
    for form, records in zip(forms, answers, strict=True):
        model_dir, folder, _ = exported(form)
        config = AutoConfig.from_pretrained(model_dir, temperature=1.0)
        probabilities, decisions = config.decide(OnnxModel(folder).logits(TEXTS, PAIRS))
        given = [[name for name, is_given in zip(LABELS, row, strict=True) if is_given] for row in decisions.tolist()]
        assert [record["labels"] for record in records] == given
        scores = [[record["scores"][name] for name in LABELS] for record in records]
        np.testing.assert_allclose(scores, probabilities, atol=2e-7)
        assert list(records[0]["scores"]) == LABELS


def test_only_what_the_user_needs_is_printed_and_from_the_start(exported):
    lines = exported("cls")[2].splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["Predicting", "Converting", "Predicting", "Quantizing"]
    assert len(lines) == 11
    assert lines[5] == "  - min_labels 2 is not obeyed: a text may get fewer labels."


@pytest.mark.parametrize(
    ("equal_rows", "after", "is_refused"),
    [(0.994, 0.524, True), (0.994, 0.536, True), (0.996, 0.524, True), (0.996, 0.533, False), (0.994, None, True)],
)
def test_integers_that_change_too_much_are_refused(equal_rows, after, is_refused):
    parity = Parity(0.4, 0.08, 0.998, equal_rows, None if after is None else 0.536, after)
    if not is_refused:
        check_quantized(parity, "int8")
        return
    with pytest.raises(ParityError) as refused:
        check_quantized(parity, "int8")
    message = str(refused.value)
    assert f"{equal_rows:.2%} of the examples keep all their labels" in message and "--allow_changes" in message
    assert after is None or f"hamming score 0.5360 before, {after:.4f} after" in message


def test_a_model_that_integers_change_too_much_is_written_on_demand_only(exported, tmp_path, capsys):
    model_dir, _, _ = exported("cls")
    # Thresholds equal to scores: any change of a score changes its label.
    model, tokenizer = load_trained(model_dir)
    model.config.threshold = (
        MultiLabelScorer(model, tokenizer)
        .logits(["the price"])[0]
        .div(torch.tensor(model.config.temperature))
        .sigmoid()
        .tolist()
    )
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    (tmp_path / "rows.csv").write_text("text\n" + "the price\n" * 3)
    words = [tmp_path / "model", "--output", tmp_path / "out", "--quantize", "int8", "--file", tmp_path / "rows.csv"]
    assert run(*words) == 1
    assert "of the examples keep all their labels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(*words, "--allow_changes") == 0
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["int8"]["equal_rows"] < LEAST_EQUAL_ROWS


def test_a_model_that_differs_is_refused():
    parity = Parity(0.1, 2e-4, 1.0, 1.0)
    with pytest.raises(ParityError, match="by up to 0.0002 on 1 examples of rows.csv, where 1e-04 is allowed"):
        check_parity(parity, Sample("rows.csv", ["good"]), 1e-4)


@slow
def test_without_parity_nothing_is_written(exported, tmp_path, monkeypatch, capsys):
    model_dir, _, _ = exported("cls")
    monkeypatch.setattr(onnx_folder, "TOLERANCE", 1e-12)
    assert run(model_dir, "--output", tmp_path / "out") == 1
    assert "the exported model differs from the original: probabilities by up to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quantize", "int4"], "argument --quantize: invalid choice: 'int4'"),
        (["--quantize", "int8"], "--quantize int8 changes some predictions: measure how many with --file"),
        (["--qantize", "int8"], "unknown arguments: --qantize int8"),
        (["--file", "no.csv"], "there is no file 'no.csv'"),
        (["--max_seq_length", "65"], "max_seq_length=65 is more than the 64 tokens that this model can take"),
        (["--max_seq_length", "5"], "max_length=5 leaves no room for text besides 3 label tokens"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(exported, tmp_path, words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(exported("full")[0], "--output", tmp_path / "out", *words)
    shown = capsys.readouterr().err
    # The usage helps with a wrong command line alone.
    assert message in shown and ("usage: " in shown) == (words[0] in ("--quantize", "--qantize"))
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_refused(exported, backbone, tmp_path, capsys):
    model_dir, output, _ = exported("cls")
    for words, message in (
        ([tmp_path, "--output", tmp_path / "out"], f"{tmp_path} is not a model directory"),
        ([backbone, "--output", tmp_path / "out"], "is a 'bert' model without labels"),
        ([model_dir, "--output", output], f"{output} exists and is not an empty directory"),
        ([model_dir, "--output", ""], "--output is empty: name the folder to write"),
        (["", "--output", tmp_path / "out"], "argument model_dir: the path is empty"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*words)
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_plain_install_is_told_what_is_missing(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SystemExit, match="2"):
        run(exported("cls")[0], "--output", tmp_path / "out")
    assert capsys.readouterr().err == "exporting needs the package onnxscript: pip install 'bert-multilabel[onnx]'\n"


def test_the_loader_refuses_what_it_cannot_run(exported, tmp_path):
    model = OnnxModel(exported("cls")[1])
    for call, message in (
        (lambda: OnnxModel(tmp_path), "is not an exported model: onnx/model.onnx or .* or model.onnx is missing"),
        (lambda: OnnxModel(exported("cls")[1], threads=0), "threads must be at least 1, got 0"),
        (lambda: model.logits("good price"), "texts must be a list of texts, got the text 'good price'"),
        (lambda: model.logits(["good"], "price"), "pairs must be a list of texts, got the text 'price'"),
        (lambda: model.logits(["good"], ["a", "b"]), "there are 1 texts, but 2 pairs: give one for each text"),
        (lambda: model.logits(["good", None]), r"texts\[1\] must be a valid text, got None"),
        (lambda: model.logits(["good"], ["\ud800"]), r"pairs\[0\] must be a valid text, got '\\ud800'"),
        (lambda: model.decide(np.zeros((2, 4))), r"logits have the shape \(2, 4\), but there are 3 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert model.logits([]).shape == (0, 3) and model.predict([]) == []


def test_a_file_that_does_not_say_its_labels_is_refused(exported, tmp_path):
    graph = onnx.load(exported("cls")[1] / QUANTIZED_FILE)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "model.onnx")
    (tmp_path / "tokenizer.json").write_bytes((exported("cls")[1] / "tokenizer.json").read_bytes())
    with pytest.raises(ValueError, match="model.onnx lacks label_names, strategy, .*: write it with"):
        OnnxModel(tmp_path)


def test_an_export_that_is_broken_or_names_weights_outside_is_refused(exported, tmp_path):
    tokenizer = shutil.copy(exported("full")[1] / "tokenizer.json", tmp_path)
    file, graph = tmp_path / "model.onnx", onnx.load(exported("full")[1] / MODEL_FILE)
    onnx.save_model(graph, file, save_as_external_data=True, location="data.bin", size_threshold=1024)
    OnnxModel(tmp_path)  # beside it they may stand
    outside = onnx.load(file, load_external_data=False)
    for tensor in outside.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = f"../{tmp_path.name}-data.bin"
    shutil.move(tmp_path / "data.bin", f"{tmp_path}-data.bin")
    for content in (outside.SerializeToString(), b"\x08"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            OnnxModel(tmp_path)
    shutil.copy(exported("full")[1] / MODEL_FILE, file)
    Path(tokenizer).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        OnnxModel(tmp_path)


def note_after_an_import(folder):
    with suppress(SystemExit):
        export.main([str(folder / "nowhere"), "--output", str(folder / "out")])
    assert "onnxruntime.quantization" in sys.modules
    logging.getLogger("bert_multilabel.data").warning("250 rows")


def test_notes_look_as_those_of_other_commands(tmp_path):
    # Where no logger is set up yet, as in a command.
    assert forked.run(note_after_an_import, tmp_path, log=tmp_path / "log").splitlines()[-1] == "250 rows"
