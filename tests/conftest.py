"""Tiny real BERT checkpoints, made here: nothing is downloaded."""

import gc
import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

# The same examples in each run, or a new one that fails might refuse a change that it has nothing to do with. `fuzz/`
# tries new ones.
hypothesis.settings.register_profile("tests", derandomize=True)
# For a run by hand: `--hypothesis-profile thorough`.
hypothesis.settings.register_profile("thorough", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile("tests")

CHROMIUM = Path("/usr/bin/chromium")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
WORDS = ["the", "price", "is", "good", "quality", "buy", "gift", "wants", "to", "too", "expensive", "value", "not"]
PUNCTUATION = [*".,!?'\"[]()-_:;#%&"]
VOCABULARIES = {
    "uncased": [*SPECIAL, *LETTERS, *WORDS, *PUNCTUATION],
    "cased": [*SPECIAL, *LETTERS, *(c.upper() for c in LETTERS[:26]), *WORDS, "The", "Price", *PUNCTUATION, "é"],
    "chinese": [*SPECIAL, *LETTERS, *PUNCTUATION, *"这个价格太贵了质量好想买送礼求建议不会划算差，。！？"],
}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,  # large enough for differences to show
}
LABELS = ["good value", "too_expensive", "gift"]
WORDS = {"good value": "good value", "too_expensive": "too expensive", "gift": "gift"}


def pytest_configure(config: pytest.Config) -> None:
    """Go without the Hub, and keep rows in a folder of the tests' own, also in processes that tests start."""
    if early := {"datasets", "huggingface_hub"} & {*sys.modules}:
        raise pytest.UsageError(f"{', '.join(early)} was imported before the tests could say what it is to do")
    folder = tempfile.mkdtemp(prefix="datasets-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_CACHE"] = folder


def pytest_collection_finish() -> None:
    """Keep what the imports made out of garbage collections, of which each end of a training makes a full one."""
    gc.freeze()


def save_checkpoint(folder: Path, kind: str, seed: int = 0, **config: object) -> Path:
    """Save a tiny BERT, its pooler trained in the sense that its bias has left zero."""
    # Not at the top: the process that deals out the tests needs none of it, and those that run them begin after it.
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(seed)
    vocabulary = VOCABULARIES[kind]
    model = BertModel(BertConfig(**{"vocab_size": len(vocabulary), **SIZES, **config}))
    torch.nn.init.normal_(model.pooler.dense.bias)
    model.save_pretrained(folder)
    tokenizer = BertTokenizer({token: i for i, token in enumerate(vocabulary)}, do_lower_case=kind == "uncased")
    tokenizer.save_pretrained(folder)
    return folder


def make_rows(count):
    """Rows whose labels are in their words, in lengths that differ, some without labels."""
    for number in range(count):
        names = [name for bit, name in enumerate(LABELS) if number >> bit & 1]
        text = " ".join(["the price is not"] * (number % 4) + [WORDS[name] for name in names]) or "quality"
        yield {"id": f"row-{number}", "text": text, "labels": names}


def mark_unfinished(output_dir: Path) -> None:
    """Leave the folder of a finished run as a kill would have left it."""
    record = output_dir / "training_run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "finished": False}))


@pytest.fixture(scope="session", autouse=True)
def unflushed():
    """Leave it to the system when files reach the disk: no test cuts the power, and a run flushes a hundred times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: save_checkpoint(root / kind, kind) for kind in VOCABULARIES}


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the tokenizer of each family of encoders."""
    from tests.families import FAMILIES, save_tokenizer

    root = tmp_path_factory.mktemp("families")
    return {family: save_tokenizer(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def backbone(checkpoints: dict[str, Path]) -> Path:
    return checkpoints["uncased"]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Rows to train on, to validate and to test with, and the last without labels."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 64), ("validation", 24), ("test", 21)):
        rows = [json.dumps(row) for row in make_rows(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    unlabelled = [json.dumps({"id": row["id"], "text": row["text"]}) for row in make_rows(21)]
    (folder / "unlabelled.jsonl").write_text("\n".join(unlabelled))
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.fixture
def write(tmp_path: Path):
    """Write a file from text or bytes and return its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


@pytest.fixture
def save_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Save splits in a folder that load_dataset reads, and return the folder; its cache is temporary, too."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"

    def save(**splits):
        for split, dataset in splits.items():
            path = folder / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset.to_parquet(str(path))
        return str(folder)

    return save


@pytest.fixture
def limit_files():
    """Let no file of this process grow beyond some bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def tab():
    """A tab of a real browser, as large as a phone."""
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser test needs playwright")
    if not CHROMIUM.is_file():
        pytest.skip(f"a browser test needs Chromium at {CHROMIUM}")
    patience = 180_000  # milliseconds, of which a machine with other work takes many
    quiet = [f"--disable-{name}" for name in ("background-networking", "component-update", "gpu", "quic", "sync")]
    arguments = ["--no-sandbox", "--no-first-run", *quiet]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=patience)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_default_timeout(patience)
        yield page
        browser.close()
