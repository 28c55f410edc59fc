import json
import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Features, Value

import bert_multilabel
from bert_multilabel import MultiLabelPredictor, MultiLabelTokenizer
from bert_multilabel.data.cache import (
    DAYS_KEPT,
    FOLDER,
    cached_examples,
    cached_json,
    dataset_digest,
    reopen_memory_map,
)
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.formats.sample import read_lines
from bert_multilabel.data.plan import Plan, find_plan
from bert_multilabel.data.sources import open_files
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import BadRows
from bert_multilabel.data.tokenizing import encode_rows
from bert_multilabel.errors import DataError
from bert_multilabel.utils import hashing
from tests.conftest import LABELS, make_rows

FEATURES = Features({"text": Value("string")})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / FOLDER


def names(folder):
    return {path.name for path in folder.glob("*.arrow")}


def test_rows_are_made_once(folder):
    made = cached_examples({"from": "a"}, ({"text": [text]} for text in "xy"), FEATURES)
    assert made.to_list() == [{"text": "x"}, {"text": "y"}]
    assert made.cache_files[0]["filename"] == str(next(folder.glob("*.arrow")))
    again = cached_examples({"from": "a"}, iter([{"text": ["never read"]}]), FEATURES)
    assert again.to_list() == made.to_list() and again.features == FEATURES
    assert cached_examples({"from": "b"}, [{"text": ["z"]}], FEATURES)["text"][:] == ["z"]
    assert len(names(folder)) == 2


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped is read in /proc")
def test_a_mapping_of_its_own_gives_the_same_rows_and_ends_with_them(folder):
    rows = cached_examples({"from": "a"}, [{"text": [*"xyz"]}], FEATURES).select([2, 0])
    anew = reopen_memory_map(rows)
    assert anew.to_list() == rows.to_list() == [{"text": "z"}, {"text": "x"}]

    def mappings():
        return Path("/proc/self/maps").read_text().count(next(folder.glob("*.arrow")).name)

    both = mappings()
    del anew
    assert mappings() == both - 1
    assert rows["text"][:] == ["z", "x"]


def test_rows_in_memory_are_not_copied():
    rows = Dataset.from_dict({"text": ["x"]})
    assert reopen_memory_map(rows) is rows


def test_what_fails_half_way_is_begun_anew(folder):
    def batches():
        yield {"text": ["x"]}
        Path("missing.csv").read_text()

    with pytest.raises(FileNotFoundError, match="missing.csv"):  # and not blamed on the disk
        cached_examples({"from": "a"}, batches(), FEATURES)
    assert names(folder) == set() and not list(folder.glob("*.unfinished"))
    assert cached_examples({"from": "a"}, [{"text": ["y"]}], FEATURES).to_list() == [{"text": "y"}]


def test_a_file_that_was_cut_is_made_anew(folder, caplog):
    def batches():
        return iter([{"text": ["x"]}, {"text": ["y"]}])

    cached_examples({"from": "a"}, batches(), FEATURES)
    (path,) = folder.glob("*.arrow")
    whole = path.read_bytes()
    with pa.ipc.open_stream(path) as stream:  # where the first part ends
        first = pa.BufferOutputStream()
        with pa.ipc.new_stream(first, stream.schema) as part:
            part.write_batch(stream.read_next_batch())
    for size in (len(first.getvalue()) - 8, len(whole) - 20, 0):
        path.write_bytes(whole[:size])
        caplog.clear()
        assert cached_examples({"from": "a"}, batches(), FEATURES)["text"][:] == ["x", "y"]
        assert caplog.messages == [f"{path} is incomplete: it is made again"]
    assert path.read_bytes() == whole


def test_of_several_at_once_one_makes_the_rows(folder):
    made = []

    def batches():
        made.append(1)
        time.sleep(0.2)
        yield {"text": ["x"]}

    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda _: cached_examples({"from": "a"}, batches(), FEATURES).to_list(), range(4)))
    assert stored == [[{"text": "x"}]] * 4
    assert len(made) == 1


def test_rows_of_unknown_origin_are_not_stored(folder):
    assert cached_examples(None, [{"text": ["x"]}], FEATURES).to_list() == [{"text": "x"}]
    assert not folder.exists()


def test_the_digest_is_of_what_the_rows_hold():
    rows = Dataset.from_dict({"text": list("abcdef"), "labels": [[0.0, 1.0]] * 6})
    half = Dataset.from_dict({"text": list("def"), "labels": [[0.0, 1.0]] * 3})
    assert dataset_digest(rows.select([3, 4, 5])) == dataset_digest(half)
    others = [rows, rows.select([4, 3, 5]), half.select_columns("text"), half.rename_column("text", "pair")]
    assert len({dataset_digest(one) for one in [half, *others]}) == 5


def test_clean_rows_are_stored_by_all_that_decides_what_they_are(folder, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in make_rows(8)))

    def load(split="train", **spec):
        load_splits(DataSpec(**spec), {split: str(path)})
        return len(names(folder))

    assert load() == 1 == load()
    assert load(label_names=sorted(LABELS)) == 2
    assert load(label_names=LABELS) == 3  # in another order
    assert load(text_column="id") == 4
    assert load("test", label_names=LABELS) == 5
    path.write_text(path.read_text().replace("quality", "qualitY"))
    assert load() == 6
    path.write_text(path.read_text() + '\n{"text": ""}')
    with pytest.raises(BadRows):
        load()
    assert len(names(folder)) == 6


def test_token_ids_are_stored_by_all_that_decides_what_they_are(folder, checkpoints):
    def tokenizer(backbone="uncased", names=LABELS, strategy="label_tokens", **settings):
        settings = {"model_max_length": 64, **settings}
        return MultiLabelTokenizer.from_pretrained(
            checkpoints[backbone], label_names=names, strategy=strategy, **settings
        )

    rows = Dataset.from_dict({"text": ["The good price", "not"], "labels": [[1.0], [np.nan]]})

    def encode(rows, reader, *limits):
        encode_rows(rows, reader, *limits)
        return len(names(folder))

    reader = tokenizer()
    assert encode(rows, reader) == 1 == encode(rows, reader)
    reader("the same tokenizer, called in another way", truncation=True, max_length=10, padding="max_length")
    assert encode(rows, reader) == 1 == encode(rows, tokenizer())
    assert encode(rows, tokenizer(), 64) == 1  # what is the default
    assert encode(rows, tokenizer(), 10) == 2
    assert encode(rows, tokenizer(names=LABELS[:2])) == 3
    assert encode(rows, tokenizer(strategy="cls")) == 4
    assert encode(rows, tokenizer("cased")) == 5
    assert encode(rows, tokenizer(do_lower_case=False)) == 6
    assert encode(rows, reader.without_label_tokens(), 61) == 7
    assert encode(rows.select([1, 0]), tokenizer()) == 8
    relabelled = Dataset.from_dict({"text": rows["text"][:], "labels": [[0.0], [np.nan]]})
    assert encode(relabelled, tokenizer()) == 9
    assert encode(relabelled.select_columns("text"), tokenizer()) == 10
    assert encode(rows, tokenizer(truncation_side="left")) == 11


def test_texts_that_are_cut_on_the_left_are_no_others_from_the_cache(folder, backbone):
    def ids(side):
        settings = {"label_names": LABELS, "strategy": "label_tokens", "model_max_length": 64, "truncation_side": side}
        tokenizer = MultiLabelTokenizer.from_pretrained(backbone, **settings)
        rows = Dataset.from_dict({"text": ["good price gift quality value buy"]})
        expected = tokenizer("good price gift quality value buy", truncation=True, max_length=8)["input_ids"]
        assert encode_rows(rows, tokenizer, 8)["input_ids"][0] == expected
        return expected

    assert ids("right") != ids("left")


@pytest.mark.parametrize("package", ["transformers", "tokenizers", "torch", "datasets", "pyarrow", "numpy", "python"])
def test_another_version_of_a_library_computes_the_examples_again(folder, backbone, tmp_path, monkeypatch, package):
    tokenizer = MultiLabelTokenizer.from_pretrained(
        backbone, label_names=LABELS, strategy="label_tokens", model_max_length=64
    )
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in make_rows(8)))
    shutil.copytree(backbone, tmp_path / "model")

    def keys():
        hashing.software_digest.cache_clear()
        rows = load_splits(DataSpec(), {"train": str(tmp_path / "train.jsonl")}).splits["train"]
        encode_rows(rows, tokenizer)
        return names(folder), MultiLabelPredictor(tmp_path / "model").digest

    files, digest = keys()
    assert keys() == (files, digest)
    if package == "python":
        monkeypatch.setattr(hashing.platform, "python_version", lambda: "9.9.9")
    else:
        known = hashing.version
        monkeypatch.setattr(hashing, "version", lambda name: "9.9.9" if name == package else known(name))
    more, other = keys()
    hashing.software_digest.cache_clear()
    assert len(files) == 2 and len(more) == 4 and other != digest


def test_the_extension_of_a_file_is_part_of_what_its_rows_come_from(folder, write):
    content = '{"text": "good", "labels": ["a"]}\n'
    for name, count in (("a.jsonl", 1), ("b.jsonl", 1), ("c.json", 2)):
        load_splits(DataSpec(), {"train": write(name, content)})
        assert len(names(folder)) == count


def test_a_file_that_is_missing_is_named_and_no_full_disk(folder, tmp_path):
    missing = str(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="there is no file .*missing.csv"):
        load_splits(DataSpec(), {"train": missing})
    with pytest.raises(DataError, match=r"missing\.csv cannot be read: No such file"):  # gone while it is read
        cached_examples({"from": "a"}, ({"text": [line]} for line in read_lines(missing)), FEATURES)
    assert not names(folder)


def test_a_change_of_the_code_makes_rows_anew(folder, tmp_path, monkeypatch):
    cached_examples({"from": "a"}, [{"text": ["old"]}], FEATURES)
    package = Path(bert_multilabel.__file__).parent
    shutil.copytree(package, tmp_path / "package")
    copied = tmp_path / "package" / Path(hashing.__file__).relative_to(package)
    monkeypatch.setattr(hashing, "__file__", str(copied))
    hashing.software_digest.cache_clear()
    assert cached_examples({"from": "a"}, [{"text": ["new"]}], FEATURES)["text"][:] == [
        "old"
    ]  # the same code elsewhere
    (tmp_path / "package" / "model" / "tokenization_multilabel.py").write_text("changed")
    hashing.software_digest.cache_clear()
    assert cached_examples({"from": "a"}, [{"text": ["new"]}], FEATURES)["text"][:] == ["new"]
    hashing.software_digest.cache_clear()


def test_of_several_at_once_one_computes_the_value(folder):
    computed = []

    def compute():
        computed.append(1)
        time.sleep(0.2)  # the others ask meanwhile
        return {"a": 1}

    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: cached_json({"from": "a"}, compute), range(8)))
    assert values == [{"a": 1}] * 8 and computed == [1]


# The plan: columns, form and names


def plan_names(folder):
    return {path.name for path in folder.glob("*.json")}


def test_a_known_file_is_read_by_its_stored_plan(folder, write, caplog):
    caplog.set_level(logging.WARNING, logger="bert_multilabel")
    path = write("a.csv", "text,labels\ngood,price|gift\nbad,None\n")
    first = load_splits(DataSpec(), {"train": path})
    (name,) = plan_names(folder)
    told = list(caplog.messages)
    assert "a text, split at '|'" in told[0] and "'None' in 1 rows" in told[1]
    caplog.clear()
    again = load_splits(DataSpec(), {"train": path})
    assert again.splits["train"].to_list() == first.splits["train"].to_list()
    assert (again.label_names, again.options) == (first.label_names, first.options)
    assert caplog.messages == told and plan_names(folder) == {name}
    # That it is not read again: what is stored decides.
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**stored, "messages": ["from the plan"]}))
    caplog.clear()
    load_splits(DataSpec(), {"train": path})
    assert caplog.messages[0] == "from the plan" and not set(told) & set(caplog.messages)


@pytest.mark.parametrize(
    ("name", "content", "spec"),
    [
        ("cells.csv", "id,text,labels\n1,good,price|gift\n2,bad,gift\n", {}),
        ("columns.csv", "text,rude,loud\na,1,0\nb,,1\n", {}),
        ("names.csv", "text,label1,label2\na,rude,\nb,loud,rude\n", {}),
        ("votes.csv", "text,rude,loud\na,1,0\nb,3,2\n", {"label_values": "votes>=2"}),
        ("ids.jsonl", '{"text": "a", "labels": [10]}\n{"text": "b", "labels": [20, 10]}', None),
        ("mapping.jsonl", '{"text": "a", "labels": {"x": 1, "y": 0}}\n{"text": "b", "labels": {"y": 0.5}}', {}),
    ],
)
def test_a_stored_plan_gives_equal_examples(folder, write, name, content, spec):
    spec = DataSpec(**({"label_names": ["x", "y"], "label_ids": [10, 20]} if spec is None else spec))
    sources = open_files({"train": write(name, content)}, spec)
    made = Plan.make(sources, spec)
    first, again = (find_plan(sources, spec) for _ in range(2))
    assert made == first == again

    def examples(plan):
        cleaner = plan.cleaner("train", sources["train"], spec)
        return repr(list(cleaner.examples())), cleaner.schema  # a gap does not equal itself

    assert examples(made) == examples(first) == examples(again)


def test_a_plan_is_stored_by_all_that_decides_it(folder, write, monkeypatch):
    path = write("a.csv", "text,labels\ngood,price\nbad,gift\n")

    def count(path, **spec):
        load_splits(DataSpec(**spec), {"train": path})
        return len(plan_names(folder))

    assert count(path) == 1 == count(path)
    assert count(path, label_names=["gift", "price"]) == 2
    assert count(write("b.csv", Path(path).read_text())) == 3  # another name, which messages tell
    write("a.csv", "text,labels\ngood,price\nbad,present\n")
    assert count(path) == 4
    known = hashing.version
    monkeypatch.setattr(hashing, "version", lambda name: "9.9.9" if name == "pyarrow" else known(name))
    hashing.software_digest.cache_clear()
    assert count(path) == 5
    hashing.software_digest.cache_clear()


def test_a_damaged_plan_is_made_again(folder, write):
    path = write("a.csv", "text,labels\ngood,price\nbad,gift\n")
    load_splits(DataSpec(), {"train": path})
    (name,) = plan_names(folder)
    whole = (folder / name).read_text()
    for damaged in ("", whole[:20]):
        (folder / name).write_text(damaged)
        assert load_splits(DataSpec(), {"train": path}).label_names == ["gift", "price"]
        assert (folder / name).read_text() == whole


def test_files_that_no_run_has_used_for_long_are_removed(folder, write):
    path = write("a.csv", "text,labels\ngood,price\nbad,gift\n")
    load_splits(DataSpec(), {"train": path})
    old, used = time.time() - (DAYS_KEPT + 1) * 86_400, time.time() - (DAYS_KEPT - 1) * 86_400
    (folder / "other.txt").touch()
    mine = {file.name for file in folder.iterdir()}
    for file in folder.iterdir():
        os.utime(file, (used, used))
    for name in ("old.arrow", "old.json", "old.lock"):
        (folder / name).touch()
        os.utime(folder / name, (old, old))
    write("a.csv", "text,labels\ngood,price\nbad,present\n")
    load_splits(DataSpec(), {"train": path})
    left = {file.name for file in folder.iterdir()}
    assert mine < left and not any(name.startswith("old") for name in left)
    # What is used is kept.
    for file in folder.iterdir():
        os.utime(file, (old, old))
    load_splits(DataSpec(), {"train": path})
    cached_examples({"from": "b"}, [{"text": ["z"]}], FEATURES)
    assert len(names(folder)) == 2 and len(plan_names(folder)) == 1


def test_the_cache_is_that_of_the_datasets_library_which_is_not_imported_for_it(tmp_path):
    code = "import sys; from bert_multilabel.data import cache; found = cache._datasets_cache()\n"
    code += "assert 'datasets' not in sys.modules\nimport datasets\n"
    code += "assert str(found) == str(datasets.config.HF_DATASETS_CACHE), found"
    unset = {name: value for name, value in os.environ.items() if name not in ("HF_DATASETS_CACHE", "HF_HOME")}
    for change in ({}, {"HF_HOME": str(tmp_path)}, {"HF_DATASETS_CACHE": str(tmp_path)}):
        subprocess.run([sys.executable, "-c", code], env={**unset, **change}, check=True)
