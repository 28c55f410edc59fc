"""The engines are real: `datasets` with processes of its own, and a local Ray cluster."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value

from bert_multilabel import MultiLabelPredictor, from_backbone
from bert_multilabel.inference import predictor
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from bert_multilabel.utils.files import write_json_lines
from tests.conftest import LABELS, make_rows
from tests.forked import PATIENCE

ROWS = [{"id": row["id"], "text": row["text"]} for row in make_rows(24)]
TEXTS = [row["text"] for row in ROWS]


@pytest.fixture(scope="module")
def folder(backbone, tmp_path_factory):
    """A saved model, and what --do_predict says of the rows with it."""
    root = tmp_path_factory.mktemp("predictor")
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    scores = torch.sigmoid(MultiLabelScorer(model, tokenizer).logits(TEXTS))  # (N, L)
    model.config.threshold = scores[:8].quantile(0.8, dim=0).tolist()  # between those of different texts
    model.save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    write_json_lines(root / "new.jsonl", ROWS)
    words = f"""--model_name_or_path {root / "model"} --test_file {root / "new.jsonl"} --do_predict --use_cpu
        --disable_tqdm true --output_dir {root / "out"}"""
    run(parse_arguments(words.split()))
    return root / "model"


@pytest.fixture(scope="module")
def expected(folder):
    lines = (folder.parent / "out" / "predictions.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert 0 < sum(bool(row["labels"]) for row in found) < len(found)  # some rows have labels, some have none
    return found


def check(rows, expected):
    """Compare rows that a predictor returned with lines of predictions.jsonl."""
    assert len(rows) == len(expected)
    for row, line in zip(rows, expected, strict=True):
        assert (row["id"], list(row["labels"])) == (line["id"], line["labels"])
        assert [score["label"] for score in row["scores"]] == list(line["scores"])
        # Not bit for bit: other texts stand in the batches.
        assert [score["score"] for score in row["scores"]] == pytest.approx(list(line["scores"].values()), abs=1e-6)


FORMS = {
    "lists": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "numpy": lambda rows: {name: np.array([row[name] for row in rows], dtype=object) for name in rows[0]},
    "numpy text": lambda rows: {name: np.array([row[name] for row in rows]) for name in rows[0]},
    "pandas": pd.DataFrame,
    "pyarrow": pa.Table.from_pylist,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_any_form_gets_the_labels_and_scores_of_predictions(folder, expected, form):
    predicted = MultiLabelPredictor(folder)(FORMS[form](ROWS))
    table = pa.table(predicted) if form == "lists" else predicted
    assert table.column_names == ["id", "text", "labels", "scores"]
    check(table.to_pylist(), expected)


def test_arguments_are_those_of_the_pipeline(folder):
    predict = MultiLabelPredictor(
        folder, threshold={"gift": 0.0}, top_k=2, prefix="predicted_", text_column="sentence"
    )
    rows = pa.table(predict({"sentence": TEXTS, "labels": [0] * 24})).to_pylist()
    assert all("gift" in row["predicted_labels"] and row["labels"] == 0 for row in rows)
    for row in rows:
        scores = [score["score"] for score in row["predicted_scores"]]
        assert len(scores) == 2 and scores == sorted(scores, reverse=True)
    long, cut = "the price " * 100, MultiLabelPredictor(folder, max_length=30)({"text": ["the price " * 100]})
    read = MultiLabelPredictor(folder, max_length=30, stride=2)({"text": [long]})
    assert cut["scores"] != read["scores"]
    with pytest.raises(TypeError, match="treshold"):
        MultiLabelPredictor(folder, treshold=0.3)
    with pytest.raises(ValueError, match="top_k must be a whole number from 1 up, got 0"):
        MultiLabelPredictor(folder, top_k=0)


def test_pairs_are_read_as_the_model_was_trained_on(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "training_run.json").write_text(
        json.dumps({"finished": True, "arguments": {"text_pair_column": "product"}})
    )
    batch = {"text": ["good"], "product": ["gift"]}
    by_itself = MultiLabelPredictor(tmp_path / "model")(batch)
    assert by_itself["scores"] == MultiLabelPredictor(folder, pair_column="product")(batch)["scores"]
    assert by_itself["scores"] != MultiLabelPredictor(tmp_path / "model", pair_column="")(batch)["scores"]


@pytest.mark.parametrize(
    ("batch", "phrase"),
    [
        (
            {"text": ["good", None]},
            "row 1 of the batch, column 'text': None is not text but of type NoneType; write it",
        ),
        ({"text": "gift"}, "column 'text' is one text, 'gift', not a column: add batched=True"),
        ({"text": [7]}, "row 0 of the batch, column 'text': 7 is not text but of type int"),
        (
            pd.DataFrame({"text": ["good", np.nan]}),
            "row 1 of the batch, column 'text': nan is not text but of type float",
        ),
        ({"text": ["a", "b"], "pair": ["a", 3.5]}, "row 1 of the batch, column 'pair': 3.5 is not text"),
        ({"text": ["\ud800"]}, "row 0 of the batch, column 'text': '.ud800' holds a lone surrogate"),
        ({"sentence": ["good"]}, "the batch has no column 'text'; its columns are 'sentence'"),
        ({"text": ["good"], "scores": [1]}, "the batch has a column 'scores' already: rename it, or pass a prefix"),
        ({"text": ["good"], "image": np.zeros((1, 2, 2))}, "column 'image' cannot be converted to Arrow .*pyarrow"),
        ({"text": np.array(["good"]), "x": [2**70]}, "column 'x' cannot be converted to Arrow"),
        ({"text": np.array(["good"]), "x": ["\ud800"]}, "column 'x' cannot be converted to Arrow"),
        (pd.DataFrame({"text": ["good", "bad"], "x": [1, "a"]}), "column 'x' cannot be converted to Arrow"),
        (
            {"text": np.array(["good", "bad"]), "x": [1]},
            "different lengths: {'text': 2, 'x': 1}",
        ),
        ({"text": ["good", "bad"], "x": [1]}, "different lengths: {'text': 2, 'x': 1}"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "the batch has several columns 'text': rename all but"),
        (
            {"text": ["good", "the price " * 99], "pair": ["", "gift " * 60]},
            "row 1 of the batch: a text of 198 tokens cannot be cut into windows of 64",
        ),
    ],
)
def test_bad_batches_are_named_with_column_and_row(folder, batch, phrase):
    pair_column = "pair" if "pair" in batch else None
    with pytest.raises(ValueError, match=phrase):
        MultiLabelPredictor(folder, pair_column=pair_column, stride=4)(batch)


def test_what_is_no_batch_or_no_model_is_refused(folder, tmp_path):
    with pytest.raises(TypeError, match="a batch must be columns by name, got .* of type list"):
        MultiLabelPredictor(folder)(["good"])
    with pytest.raises(ValueError, match="is not a model directory: config.json is missing"):
        MultiLabelPredictor(tmp_path)


def test_a_batch_without_rows_has_columns_all_the_same(folder):
    table = MultiLabelPredictor(folder, min_labels=1)(pa.table({"text": pa.array([], pa.string())}))
    assert table.num_rows == 0 and table.column_names == ["text", "labels", "scores"]
    assert MultiLabelPredictor(folder)({"text": []}) == {"text": [], "labels": [], "scores": []}


def test_vectors_beside_the_text_are_carried_along(folder):
    table = MultiLabelPredictor(folder)({"text": np.array(["good", "gift"]), "vector": np.eye(2)})
    assert table["vector"].to_pylist() == [[1.0, 0.0], [0.0, 1.0]]


def test_what_is_pickled_is_small_and_knows_the_state_of_the_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    old = MultiLabelPredictor(tmp_path / "model")
    old({"text": ["good"]})
    pickled = pickle.dumps(old)
    assert len(pickled) < 2000 and pickled == pickle.dumps(MultiLabelPredictor(tmp_path / "model"))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "threshold": 0.01}))
    new = MultiLabelPredictor(tmp_path / "model")
    assert pickle.dumps(new) != pickled
    assert len(new({"text": ["good"]})["labels"][0]) == 3
    predictor._load_scorer.cache_clear()  # as in another process
    with pytest.raises(ValueError, match="was changed since this predictor was made: make a new one"):
        pickle.loads(pickled)({"text": ["good"]})


def test_a_model_is_loaded_once_per_process(folder, monkeypatch):
    predictor._load_scorer.cache_clear()
    loaded = []
    load = predictor.load_scorer
    monkeypatch.setattr(predictor, "load_scorer", lambda path, *how: loaded.append(path) or load(path, *how))
    for _ in range(3):  # as Ray does for each of its tasks
        pickle.loads(pickle.dumps(MultiLabelPredictor(folder)))({"text": ["good"]})
    assert loaded == [folder]


@pytest.mark.parametrize("num_proc", [None, 2])
def test_datasets_map(folder, expected, tmp_path, monkeypatch, num_proc):
    features = Features({"id": Value("string"), "text": Value("string"), "kind": ClassLabel(names=["a", "b"])})
    features |= {"small": Value("int8")}
    rows = [{**row, "kind": "b", "small": 1} for row in ROWS]
    # The first batches hold rows without labels only: the type does not depend on what stands in them.
    order = sorted(range(24), key=lambda row: len(expected[row]["labels"]))
    dataset = Dataset.from_list([rows[row] for row in order], features=features)
    cached = {"batched": True, "num_proc": num_proc, "cache_file_name": None}
    predicted = dataset.map(MultiLabelPredictor(folder), batch_size=3, **cached)
    check(predicted.to_list(), [expected[row] for row in order])
    score = {"label": Value("string"), "score": Value("float32")}
    assert predicted.features == {**features, "labels": List(Value("string")), "scores": List(score)}


def test_tensors_are_carried_along(folder):
    dataset = Dataset.from_dict({"text": ["good", "gift"], "number": [1, 2]}).with_format("torch")
    predicted = dataset.map(MultiLabelPredictor(folder), batched=True)
    assert predicted.with_format(None)["number"][:] == [1, 2]


def test_a_stream_carries_what_arrow_cannot_hold(folder):
    cells = [{"a": 0}, {"b": 1}, 2**70]
    predicted = MultiLabelPredictor(folder)({"text": ["good"] * 3, "anything": cells})
    assert predicted["anything"] is cells and list(predicted) == ["text", "anything", "labels", "scores"]


@pytest.mark.parametrize("form", [None, "arrow"])
def test_a_stream_of_datasets(folder, expected, form):
    # The first batches hold rows without labels only.
    order = sorted(range(24), key=lambda row: len(expected[row]["labels"]))
    stream = Dataset.from_list([ROWS[row] for row in order]).to_iterable_dataset().with_format(form)
    predicted = stream.map(MultiLabelPredictor(folder), batched=True, batch_size=3)
    check(list(predicted.with_format(None)), [expected[row] for row in order])


def test_datasets_know_results_of_another_state_of_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    shutil.copytree(folder, tmp_path / "model")
    Dataset.from_list(ROWS).to_parquet(tmp_path / "rows.parquet")
    dataset = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))

    def files():
        return {path for path in (tmp_path / "cache").rglob("cache-*.arrow")}

    first = dataset.map(MultiLabelPredictor(tmp_path / "model"), batched=True)
    written = files()
    dataset.map(MultiLabelPredictor(tmp_path / "model"), batched=True)
    assert files() == written and len(written) == 1
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "threshold": 0.01}))
    second = dataset.map(MultiLabelPredictor(tmp_path / "model"), batched=True)
    assert len(files()) == 2 and first["labels"] != second["labels"]


@pytest.fixture
def ray(monkeypatch):
    """A local Ray cluster, quiet and without a dashboard."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # By default its workers give way to all others, and are ended when memory is short, whoever has taken it.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_worker_oom_score_adjustment", "0")
    # Limits, in seconds, that a machine with other work may exceed.
    for name in (
        "gcs_server_port_wait_time_s",
        "gcs_server_request_timeout_seconds",
        "worker_register_timeout_seconds",
    ):
        monkeypatch.setenv(f"RAY_{name}", "600")
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    yield ray
    ray.shutdown()


@pytest.mark.slow  # a cluster starts ten processes
@pytest.mark.dependency
def test_ray_map_batches(ray, folder, expected):
    predicted = ray.data.from_items(ROWS).map_batches(
        MultiLabelPredictor,
        fn_constructor_args=[folder],
        fn_constructor_kwargs={"device": "cpu"},
        batch_size=5,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    rows = sorted(predicted.take_all(), key=lambda row: int(row["id"].removeprefix("row-")))
    check(rows, expected)


def test_a_forked_process_computes_with_one_thread(folder, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        MultiLabelPredictor(folder)({"text": ["good"]})
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(predictor, "_IMPORTED_BY", os.getpid() + 1)
        MultiLabelPredictor(folder)({"text": ["good"]})
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_processes_that_are_forked_after_it_was_used_do_not_wait_forever(folder):
    script = "import sys; from datasets import Dataset; from bert_multilabel import MultiLabelPredictor\n"
    script += "rows, predict = Dataset.from_dict({'text': ['good'] * 100}), MultiLabelPredictor(sys.argv[1])\n"
    script += "predict(rows[:])\nprint(len(rows.map(predict, batched=True, batch_size=25, num_proc=2)))"
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "100\n", done.stderr
