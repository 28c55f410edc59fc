"""The page that runs a model in the browser: what is written, and its arithmetic and answers in a real browser."""

import base64
import hashlib
import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from bert_multilabel import from_backbone
from bert_multilabel.export import cli, web_folder
from bert_multilabel.export.onnx_model import OnnxModel
from bert_multilabel.export.stock_tokenizer import save_stock_tokenizer
from bert_multilabel.loading import load_trained
from bert_multilabel.model import likeliest_sets
from bert_multilabel.model.decision import Decider
from bert_multilabel.model.input_template import InputTemplate
from bert_multilabel.model.label_rules import LabelRules
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from tests.conftest import LABELS, make_rows
from tests.families import TEXT
from tests.model.test_decision import RULE
from tests.model.test_likeliest_sets import draws

PAGE = Path(web_folder.__file__).with_name("web")
# A folder into which Transformers.js was installed; without one, what it computes is not tested.
PACKAGE = Path(os.environ.get("TRANSFORMERS_JS", f"node_modules/{web_folder.LIBRARY}"))
needs_package = pytest.mark.skipif(
    not PACKAGE.is_dir(), reason=f"{PACKAGE} is missing: run {web_folder.NPM}, or set TRANSFORMERS_JS to its folder"
)
RULES = {"implies": {"gift": ["good value"]}, "exclusive": [["good value", "too_expensive"]]}
EXAMPLES = ["the price is good", "too expensive"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@contextmanager
def served(folder):
    """Serve the files of a folder, as any server of static files does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Files in the places of the npm packages, with nothing in them."""
    folder = tmp_path_factory.mktemp("npm") / "node_modules"
    for name in web_folder._PARTS:
        (folder / name / "dist").mkdir(parents=True)
        facts = {"name": name, "version": "4.3.2", "license": "MIT"}
        (folder / name / "package.json").write_text(json.dumps(facts))
        for file in web_folder._FILES.get(name, []):
            (folder / name / file).write_text(f"// {file}")
        if not name.startswith("onnxruntime"):
            (folder / name / "LICENSE").write_text(f"Licence of {name}")
    return folder / web_folder.LIBRARY


def save_model(backbone, folder, labels=LABELS, strategy="cls", **config):
    """Save a tiny model that was trained a little, with a card."""
    torch.manual_seed(0)
    model, tokenizer = from_backbone(backbone, labels, strategy, trained_on_pairs=True, **config)
    rows = list(make_rows(32))
    truth = torch.tensor([[float(label in row["labels"]) for label in labels] for row in rows])
    batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(10):
        model(**batch, labels=truth).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    widget = "".join(f"- text: {text}\n" for text in EXAMPLES)
    ModelCard(f"---\nwidget:\n{widget}---\n# tiny\n").save(folder / "README.md")
    return folder


def run(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def exported(backbone, package, tmp_path_factory):
    root = tmp_path_factory.mktemp("web")
    save_model(backbone, root / "tiny", strategy="label_tokens", label_attention="isolated", threshold=[0.4, 0.5, 0.6])
    words = [root / "tiny", "--output", root / "page", "--format", "web", "--max_seq_length", 20]
    assert run(*words, "--transformers_js", package) == 0
    return root / "page"


def test_the_folder_holds_the_page_the_model_and_the_library(exported):
    assert {path.name for path in exported.iterdir()} == {*web_folder._PAGE_FILES, "page.json", "model", "library"}
    files = {path.name for path in PAGE.iterdir()}
    assert files == {*web_folder._PAGE_FILES, "onnxruntime_license.txt"}
    assert {path.name for path in (exported / "library").iterdir()} == {
        *("transformers.web.min.js", "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
        "LICENSES.txt",
    }
    assert not list((exported / "model").glob("*.py"))


def test_the_page_knows_what_the_model_takes(exported):
    settings = json.loads((exported / "page.json").read_text())
    model = OnnxModel(exported / "model")
    begin, end = model._tokenizer.token_to_id("[CLS]"), model._tokenizer.token_to_id("[SEP]")
    single = [{"id": begin, "segment": 0}, {"text": 0, "segment": 0}, {"id": end, "segment": 0}]
    assert settings == {
        **{"name": "tiny", "dtype": "fp32", "takes_pairs": True, "examples": EXAMPLES},
        "bytes": (exported / "model" / "onnx" / "model.onnx").stat().st_size,
        "max_length": model.max_length,
        "truncation_side": "right",
        "rules": None,
        "quantized": None,
        "template": {"single": single, "pair": [*single, {"text": 1, "segment": 1}, {"id": end, "segment": 1}]},
    }
    assert settings["max_length"] == 20


def test_licences_are_copied_or_come_along(exported):
    text = (exported / "library" / "LICENSES.txt").read_text()
    for name in web_folder._PARTS:
        assert f"{name} 4.3.2 (MIT)" in text
    for name in web_folder._PARTS[:3]:
        assert f"Licence of {name}" in text
    assert text.count("Copyright (c) Microsoft Corporation") == 2


def test_the_page_lets_the_browser_run_its_own_scripts_only():
    page = (PAGE / "index.html").read_text()
    (imports,) = re.findall(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy and "http" not in policy
    for name in web_folder._PAGE_FILES:
        assert not re.search(r"https?://(?!localhost)", (PAGE / name).read_text()), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--transformers_js", "nowhere"], "nowhere/package.json is missing: run ONNXRUNTIME_NODE_INSTALL=skip npm"),
        ([], "node_modules/@huggingface/transformers/package.json is missing"),
        (["--transformers_js", "{package}", "--format", "onnx"], "--transformers_js is for --format web"),
    ],
)
def test_what_is_missing_is_said(package, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run("model", "--output", "out", "--format", "web", *(word.format(package=package) for word in words))
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_package_without_its_parts_is_refused(package, tmp_path, capsys):
    library = tmp_path / "node_modules" / web_folder.LIBRARY
    (library / "dist").mkdir(parents=True)
    (library / "package.json").write_text("{}")
    words = ["model", "--output", tmp_path / "out", "--format", "web", "--transformers_js", library]
    with pytest.raises(SystemExit, match="2"):
        run(*words)
    assert "the npm package @huggingface/tokenizers" in capsys.readouterr().err
    for name in web_folder._PARTS[1:]:
        (tmp_path / "node_modules" / name).symlink_to(package.parents[1] / name)
    with pytest.raises(SystemExit, match="2"):
        run(*words)
    assert f"{library} lacks dist/transformers.web.min.js" in capsys.readouterr().err


def test_rules_that_are_searched_approximately_are_refused(backbone, package, tmp_path, monkeypatch, capsys):
    save_model(backbone, tmp_path / "tiny", label_rules={"exclusive": [LABELS[:2], LABELS[1:]]})
    monkeypatch.setattr(likeliest_sets, "MAX_CASES", 1)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "tiny", "--output", tmp_path / "out", "--format", "web", "--transformers_js", package)
    assert "obeys 0 implications and 2 exclusive groups, too many of which depend" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def make_decisions():
    """Logits, what decides on them, and what Python makes of them."""
    rng, cases, expected = np.random.default_rng(0), [], []
    for size in (1, 3, 28, 260):
        for score in (None, "hamming_score", "samples_f1"):
            for number in range(20):
                logits = rng.normal(-1.5, 2, size).astype(np.float32)
                if number < 3:  # equal ones, and saturated ones
                    logits = np.round(logits) - np.float32(200 * (number == 2))
                threshold = rng.uniform(0, 1, size) if number % 2 else np.float64(0.4)
                cases.append(
                    (logits, threshold, number % 3 if size > 1 else 0, score and {**RULE, "score": score}, None)
                )
    for several in (False, True):
        for number, (names, rules, _, margins) in enumerate(draws(30, several)):
            sets = likeliest_sets.LikeliestSets(**LabelRules(rules, names).structure())
            decision = [None, {**RULE, "score": "hamming_score"}][number % 2]
            cases += [(row.astype(np.float32), np.float64(0.5), number % 3, decision, sets) for row in margins[:10]]
    for logits, threshold, min_labels, decision, sets in cases:
        own = {"threshold": threshold, "min_labels": min_labels, "decision": decision}
        decider = Decider(temperature=np.float32(1), label_rules=sets, **own)
        expected.append([result[0] for result in (*decider.decide(logits[None]), decider.cutoffs(logits[None]))])
    as_json = [
        [
            logits.tolist(),
            {"threshold": threshold.tolist(), "min_labels": least, "decision": decision},
            sets and sets.as_json(),
        ]
        for logits, threshold, least, decision, sets in cases
    ]
    return as_json, expected


def make_inputs(tokenizer):
    """Token ids of texts, and the inputs that the tokenizers library makes of them."""
    backend, rng = tokenizer.backend_tokenizer, np.random.default_rng(0)
    cases, expected = [], []
    for number in range(200):
        texts = [" ".join(rng.choice(["good", "price"], rng.integers(0, 30))) for _ in range(1 + number % 2)]
        room, side = int(rng.integers(8, 40)), ["left", "right"][number // 2 % 2]
        backend.no_truncation()
        ids = [backend.encode(text, add_special_tokens=False).ids for text in texts]
        backend.enable_truncation(room, direction=side)
        encoding = backend.encode(*texts)
        cases.append([ids, room, side])
        is_cut = len(encoding.ids) < sum(map(len, ids)) + (2 + len(texts) - 1 + len(LABELS))
        expected.append({"ids": encoding.ids, "segments": encoding.type_ids, "isCut": is_cut})
    return cases, expected


def test_the_page_decides_and_fills_inputs_as_python_does(backbone, tab):
    cases, decided = make_decisions()
    _, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    inputs, filled = make_inputs(tokenizer)
    template = InputTemplate.read(tokenizer.backend_tokenizer.post_processor)
    pieces = {kind: list(web_folder._pieces(template, kind)) for kind in ("single", "pair")}
    with served(PAGE) as url:
        tab.goto(f"{url}page.css")  # any file, as imports need an address
        answers = tab.evaluate(
            """async ([cases, inputs, template]) => {
                const {decide} = await import("/decision.js"), {fillTemplate} = await import("/input.js");
                return [cases.map(example => decide(...example)), inputs.map(([[first, second], max_length,
                    truncation_side]) => fillTemplate(first, second, {template, max_length, truncation_side}))];
            }""",
            json.loads(json.dumps([cases, inputs, pieces])),  # as in page.json, whose keys are texts
        )
    assert answers[1] == filled
    for answer, (probabilities, decisions, cutoffs) in zip(answers[0], decided, strict=True):
        assert answer["decisions"] == decisions.tolist()
        np.testing.assert_allclose(answer["probabilities"], probabilities, atol=2e-7)
        np.testing.assert_allclose(answer["cutoffs"], cutoffs, atol=2e-7)


MANY = [f"label {number}" for number in range(260)]
FORMS = {
    "cls": {"threshold": [0.4, 0.5, 0.6], "temperature": [0.5, 1.0, 2.0], "min_labels": 1, "label_rules": RULES},
    "full": {"strategy": "label_tokens", "threshold": 0.45, "decision": {**RULE, "score": "samples_f1"}},
    "isolated": {"strategy": "label_tokens", "label_attention": "isolated", "label_layers": 1, "temperature": 1.3},
    "many": {"labels": [*LABELS, *MANY], "strategy": "label_tokens", "label_attention": "isolated", "threshold": 0.3},
}
TEXTS = [
    *("[SEP] good [OPINION1] [CLS] [PAD]", "émigré 中文 \u0000 ΣΑΣ", "quality " * 200, "𠀀good"),
    *(
        " ".join(np.random.default_rng(row).choice(["the", "price", "is", "not", "good", "gift"], row))
        for row in range(1, 47)
    ),
]


ODD = [
    "<s> a </s>",
    "[SEP] x",
    "<mask> <pad> hi",
    "  a  b ",
    "a\nb\tc",
    "ΣΑΣ ß",
    "I'm don't   x",
    "１２ ﬁ",
    "a</s>b",
    "",
]


@needs_package
@pytest.mark.slow
def test_texts_are_split_as_the_tokenizers_library_splits_them(families, tmp_path, tab):
    for name in web_folder._PAGE_FILES:
        shutil.copyfile(PAGE / name, tmp_path / name)
    web_folder._copy_library(web_folder._find_packages(str(PACKAGE)), tmp_path / "library")
    rng, characters = np.random.default_rng(0), [*"".join(TEXT), *"  \n<>/s"]
    texts = [*ODD, *("".join(rng.choice(characters, rng.integers(1, 60))) for _ in range(200))]
    expected = {}
    for family, folder in families.items():
        tokenizer = MultiLabelTokenizer.from_pretrained(folder, label_names=LABELS, strategy="cls")
        (tmp_path / family).mkdir()
        save_stock_tokenizer(tokenizer, tmp_path / family)
        backend = tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        expected[family] = [backend.encode(text, add_special_tokens=False).ids for text in texts]
    with served(tmp_path) as url:
        tab.goto(url)
        given = tab.evaluate(
            """async ([names, texts]) => {
                const {PreTrainedTokenizer} = await import("/library/transformers.web.min.js");
                const {makeEncoder} = await import("/input.js");
                const read = async path => (await fetch(path)).json();
                return Promise.all(names.map(async name => texts.map(makeEncoder(PreTrainedTokenizer,
                    await read(`/${name}/tokenizer.json`), await read(`/${name}/tokenizer_config.json`)))));
            }""",
            [list(expected), texts],
        )
    for family, ids in zip(expected, given, strict=True):
        assert ids == expected[family], family


def read_rows(tab):
    """What the bars say: each label, whether it is predicted, and its score, shown or not."""
    return tab.evaluate(
        "() => [...document.querySelectorAll('#labels li')].map(item => [item.querySelector('.name').textContent, "
        "item.classList.contains('predicted'), parseFloat(item.querySelector('.number').textContent)])"
    )


@needs_package
@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_browser_answers_as_pytorch_does(backbone, tmp_path, tab, form):
    model_dir = save_model(backbone, tmp_path / "tiny", **FORMS[form])
    assert run(model_dir, "--output", tmp_path / "page", "--format", "web", "--transformers_js", PACKAGE) == 0
    model, tokenizer = load_trained(model_dir)
    names, complaints, requests = model.config.label_names, [], []
    tab.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    pairs = ["gift" if row % 3 == 0 else None for row in range(len(TEXTS))]
    with served(tmp_path / "page") as url:
        tab.goto(url)
        tab.locator("#find:enabled").wait_for()
        for text, pair in zip(TEXTS, pairs, strict=True):
            tab.get_by_label("Text", exact=True).fill(text)
            tab.get_by_label("Second text").fill(pair or "")
            tab.get_by_role("button", name="Find labels").click()
            tab.locator("#answer:not([aria-busy]) li").first.wait_for()
            logits = MultiLabelScorer(model, tokenizer).logits([text], pair and [pair])
            probabilities, decisions = (row[0].tolist() for row in model.config.decide(logits))
            rows = read_rows(tab)
            assert {name for name, is_predicted, _ in rows if is_predicted} == {
                name for name, is_predicted in zip(names, decisions, strict=True) if is_predicted
            }
            scores = {name: score for name, _, score in rows}
            np.testing.assert_allclose([scores[name] for name in names], probabilities, atol=0.006)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert complaints == []
    assert {request.split("/")[2] for request in requests if not request.startswith(("data:", "blob:"))} == {
        url.split("/")[2]
    }
    assert requests.count(f"{url}model/onnx/model.onnx") == 1
