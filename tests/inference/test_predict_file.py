"""Examples are scored in shards; real processes share them, and are killed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from datasets import Dataset
from transformers import EvalPrediction

from bert_multilabel import from_backbone
from bert_multilabel.errors import DataError
from bert_multilabel.inference.predict_file import PredictionOptions, predict_split
from bert_multilabel.inference.shards import Shards
from bert_multilabel.metrics import evaluate
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import Windows
from bert_multilabel.output_dir.checkpoints import PREDICTIONS_FILE, SHARDS_FOLDER
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from bert_multilabel.utils.files import write_json_lines
from tests import forked
from tests.conftest import LABELS, make_rows
from tests.forked import PATIENCE, end_all

ROOT = Path(__file__).resolve().parents[2]
# Enough that there is a moment at which some of the 20 shards are done.
COUNT = 20_000


@pytest.fixture(scope="module")
def built(backbone):
    torch.manual_seed(0)
    return from_backbone(backbone, LABELS, "label_tokens")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("bert_multilabel.inference.predict_file.MIN_SHARD_SIZE", 4)
    monkeypatch.setattr("bert_multilabel.inference.predict_file.MIN_SHARDS", 3)


def clean_rows(count=10, **changed):
    rows = list(make_rows(count))
    labels = [[float(name in row["labels"]) for name in LABELS] for row in rows]
    columns = {"text": [row["text"] for row in rows], "labels": labels, "id": [row["id"] for row in rows]}
    return Dataset.from_dict({**columns, **changed})


def predict(built, rows, folder, **options):
    return predict_split(*built, rows, "new.csv", folder, PredictionOptions(**options))


def test_shards_make_what_all_rows_at_once_would_make(built, small_shards, tmp_path):
    # No text twice: average precision would tell whether their logits are the same to the last bit.
    rows = clean_rows(text=[*clean_rows(8)["text"], "good", "good price"])
    metrics = predict(built, rows, tmp_path, top_scores=2)
    scorer = MultiLabelScorer(*built)
    # Not bit for bit: other texts stand in the batches.
    logits = scorer.logits(rows["text"])
    expected = list(prediction_records(logits, scorer.config, rows["id"], top_scores=2))
    found = [json.loads(line) for line in (tmp_path / PREDICTIONS_FILE).read_text().splitlines()]
    for record, other in zip(found, expected, strict=True):
        assert record["scores"] == pytest.approx(other["scores"], abs=1e-6)
        assert (record["id"], record["labels"]) == (other["id"], other["labels"])
    scores = evaluate(EvalPrediction(logits.numpy(), torch.tensor(rows["labels"]).numpy()), scorer.config)
    assert {name: metrics[f"test_{name}"] for name in scores} == pytest.approx(scores, abs=1e-6)
    assert metrics["test_loss"] > 0 and metrics["test_samples_per_second"] > 0
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS_FILE]


def test_without_labels_there_are_no_scores(built, small_shards, tmp_path):
    metrics = predict(built, clean_rows().remove_columns("labels"), tmp_path)
    assert set(metrics) == {"test_runtime", "test_samples_per_second"}


class Stopped(Exception):
    pass


def stop_before_shard(monkeypatch, number, written):
    """Let predictions fail where a shard would be written, and note which ones are."""
    write = Shards.write

    def noted(parts, at, *given):
        if at == number:
            raise Stopped
        written.append(at)
        write(parts, at, *given)

    monkeypatch.setattr(Shards, "write", noted)


def test_a_call_goes_on_where_one_was_stopped(built, small_shards, tmp_path, monkeypatch, caplog):
    rows = clean_rows()
    expected = predict(built, rows, tmp_path / "alone")
    written = []
    with monkeypatch.context() as patched:
        stop_before_shard(patched, 2, written)
        with pytest.raises(Stopped):
            predict(built, rows, tmp_path / "stopped")
    assert written == [0, 1] and not (tmp_path / "stopped" / PREDICTIONS_FILE).exists()
    with monkeypatch.context() as patched:
        stop_before_shard(patched, None, written)
        metrics = predict(built, rows, tmp_path / "stopped")
    assert written == [0, 1, 2]
    assert "8 of 10 rows were scored by an earlier call" in caplog.text
    alone, stopped = ((tmp_path / name / PREDICTIONS_FILE).read_bytes() for name in ("alone", "stopped"))
    assert alone == stopped
    speed = ("test_runtime", "test_samples_per_second")
    assert {n: v for n, v in metrics.items() if n not in speed} == {n: expected[n] for n in metrics if n not in speed}


@pytest.mark.parametrize(
    ("changed", "done_again"),
    [
        ({}, [2]),
        ({"text": ["the price", *clean_rows()["text"][1:]]}, [0, 2]),
        ({"options": {"top_scores": 1}}, [0, 1, 2]),
        ({"options": {"max_length": 20}}, [0, 1, 2]),
        ({"options": {"windows": Windows(2)}}, [0, 1, 2]),
        ({"options": {"precision": "bfloat16"}}, [0, 1, 2]),
        ({"labels": None}, [0, 1, 2]),
        ({"threshold": 0.4}, [0, 1, 2]),
        ({"weights": 1e-6}, [0, 1, 2]),
        ({"truncation_side": "left"}, [0, 1, 2]),
        ({"code": "another"}, [0, 1, 2]),
    ],
)
def test_what_was_changed_is_scored_again(backbone, small_shards, tmp_path, monkeypatch, changed, done_again):
    written = []
    built = from_backbone(backbone, LABELS, "label_tokens")
    with monkeypatch.context() as patched:
        stop_before_shard(patched, 2, written)
        with pytest.raises(Stopped):
            predict(built, clean_rows(), tmp_path)
    rows = clean_rows(**{name: changed[name] for name in ("text",) if name in changed})
    if "labels" in changed:
        rows = rows.remove_columns("labels")
    if "threshold" in changed:
        built[0].config.threshold = changed["threshold"]
    if "weights" in changed:
        with torch.no_grad():
            next(built[0].parameters())[7, 3] += changed["weights"]
    if "truncation_side" in changed:
        built[1].truncation_side = changed["truncation_side"]
    if "code" in changed:
        monkeypatch.setattr("bert_multilabel.inference.predict_file.software_digest", lambda: changed["code"])
    written.clear()
    stop_before_shard(monkeypatch, None, written)
    predict(built, rows, tmp_path, **changed.get("options", {}))
    assert written == done_again


def test_a_pair_that_leaves_no_room_is_named_with_its_row(built, small_shards, tmp_path):
    pairs = [""] * 10
    pairs[6] = "gift " * 56
    rows = clean_rows(pair=pairs, text=["good " * 100] * 10)
    with pytest.raises(DataError, match="new.csv, row 7, a text of 100 tokens cannot be cut into windows of 64"):
        predict(built, rows, tmp_path, windows=Windows(4))
    assert len(list((tmp_path / SHARDS_FOLDER).glob("part-000000-*.jsonl"))) == 1  # and the next call goes on


def test_texts_that_are_too_long_are_counted(built, small_shards, tmp_path, caplog):
    rows = clean_rows(text=["good " * 100, "good", "good " * 100, *["good"] * 7])
    predict(built, rows, tmp_path)
    assert "2 of 10 texts fill or exceed 64 tokens" in caplog.text
    with caplog.at_level("INFO"):
        predict(built, rows, tmp_path, windows=Windows(4))
    assert "2 of 10 texts exceed 64 tokens and were read in windows" in caplog.text


@pytest.fixture
def make_command(built, tmp_path):
    """Make the command line of a prediction of so many rows, without its beginning and its output folder."""

    def make(count):
        model, rows = tmp_path / "model", tmp_path / "new.jsonl"
        for part in built:
            part.save_pretrained(model)
        write_json_lines(rows, make_rows(count))
        words = (
            f"--model_name_or_path {model} --test_file {rows} --do_predict --use_cpu --disable_tqdm true --output_dir"
        )
        return ["run_multilabel.py", *words.split()]

    return make


def start(command, output_dir, processes):
    """Start a prediction."""
    if processes == 1:
        python = [sys.executable]
    else:
        python = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (output_dir.parent / f"{output_dir.name}.log").open("a") as log:
        return subprocess.Popen(
            [*python, *command, str(output_dir)], cwd=ROOT, env=environment, stdout=log, stderr=log
        )


def run_to_the_end(command, output_dir, processes):
    process = start(command, output_dir, processes)
    log = output_dir.parent / f"{output_dir.name}.log"
    try:
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        end_all(process)
    return log.read_text()


def same_metrics(*folders):
    results = [json.loads((folder / "all_results.json").read_text()) for folder in folders]
    for result in results:
        assert result.pop("test_runtime") > 0 and result.pop("test_samples_per_second") >= 0
    assert len(results[0]) > 10 and all(result == results[0] for result in results)


def test_two_processes_write_what_one_writes(make_command, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    _, *words = make_command(3000)  # three shards
    run(parse_arguments([*words, str(one)]))
    logs = [tmp_path / f"{rank}.log" for rank in (0, 1)]
    with forked.group(forked.run_script, *words, str(two), logs=logs) as processes:
        for process, log in zip(processes, logs, strict=True):
            process.join(PATIENCE)
            assert process.exitcode == 0, log.read_text()
    assert len((one / PREDICTIONS_FILE).read_text().splitlines()) == 3000
    assert (one / PREDICTIONS_FILE).read_bytes() == (two / PREDICTIONS_FILE).read_bytes()
    same_metrics(one, two)


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "going_on"), [(1, 1), (2, 2), (2, 1)])
def test_a_prediction_that_was_killed_goes_on(make_command, tmp_path, killed, going_on):
    alone, folder = tmp_path / "alone", tmp_path / "killed"
    command = make_command(COUNT)
    run_to_the_end(command, alone, 1)
    process = start(command, folder, killed)
    limit = time.monotonic() + PATIENCE
    parts = folder / SHARDS_FOLDER
    try:
        while len(list(parts.glob("part-*.jsonl"))) < 4:
            assert process.poll() is None and time.monotonic() < limit, (tmp_path / "killed.log").read_text()
            time.sleep(0.002)
        if killed == 1:
            process.kill()
        else:  # one of two; torchrun ends the other
            ranks = [
                child for child in psutil.Process(process.pid).children() if "run_multilabel.py" in child.cmdline()
            ]
            ranks[-1].kill()
        assert process.wait(PATIENCE) != 0
    finally:
        end_all(process)
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*.jsonl")}
    assert 4 <= len(done) < 20 and not (folder / PREDICTIONS_FILE).exists()
    rows_done = sum(len((parts / name).read_text().splitlines()) for name in done)

    log = run_to_the_end(command, folder, going_on)
    assert f"{rows_done} of {COUNT} rows were scored by an earlier call" in log
    assert (alone / PREDICTIONS_FILE).read_bytes() == (folder / PREDICTIONS_FILE).read_bytes()
    same_metrics(alone, folder)
    assert not parts.exists()
