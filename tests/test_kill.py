"""The script is killed for real, twice, and ends with the weights of a run that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_multilabel.checkpoints import RUN_FILE
from bert_multilabel.files import CHECKSUMS_FILE
from bert_multilabel.saving import UNFINISHED

from .conftest import LABELS, save_checkpoint

SCRIPT = Path(__file__).resolve().parents[1] / "run_multilabel.py"


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command line, without its output folder, of a run with checkpoints after 20, 40 and 60 steps."""
    root = tmp_path_factory.mktemp("kill")
    # A large vocabulary makes saving take long enough to be hit, and leaves the steps short.
    backbone = save_checkpoint(root / "backbone", "uncased", vocab_size=150_000)
    rows = [
        {
            "text": " ".join(["the price"] * (n % 7 + 1)),
            "labels": [name for bit, name in enumerate(LABELS) if n >> bit & 1],
        }
        for n in range(120)
    ]
    (root / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    words = f"""--model_name_or_path {backbone} --train_file {root / "train.jsonl"} --do_train --do_eval --use_cpu
        --max_steps 60 --per_device_train_batch_size 4 --save_strategy steps --save_steps 20 --eval_strategy steps
        --eval_steps 20 --logging_steps 1 --disable_tqdm true --validation_fraction 0.2"""
    return [sys.executable, str(SCRIPT), *words.split(), "--output_dir"]


def start(command, output_dir):
    log = (output_dir.parent / f"{output_dir.name}.log").open("a")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, str(output_dir)], stdout=log, stderr=log, env=environment)


def kill_when(process, condition, log):
    """Kill a process the moment that a condition holds."""
    limit = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < limit, "the moment to kill never came"
    process.send_signal(signal.SIGKILL)
    process.wait()


def run_to_the_end(command, output_dir):
    process = start(command, output_dir)
    log = output_dir.parent / f"{output_dir.name}.log"
    assert process.wait(timeout=180) == 0, log.read_text()
    return log.read_text()


def test_a_run_killed_between_saves_and_during_a_save_ends_with_the_same_weights(command, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    log = tmp_path / "killed.log"
    run_to_the_end(command, alone)

    # Between two saves: the first checkpoint is whole, and some steps have been made since.
    process = start(command, killed)
    first = killed / "checkpoint-20"
    kill_when(
        process,
        lambda: first.exists() and log.read_text().count("gradient norm") >= 25,
        log,
    )
    assert [path.name for path in killed.glob("checkpoint-*")] == ["checkpoint-20"]
    assert not json.loads((killed / RUN_FILE).read_text())["finished"]

    # During a save: the weights of the second checkpoint are there, what is written last is not.
    process = start(command, killed)
    unfinished = killed / UNFINISHED / "checkpoint-40"
    kill_when(process, lambda: (unfinished / "model.safetensors").exists(), log)
    assert unfinished.is_dir() and not (unfinished / CHECKSUMS_FILE).exists()
    assert [path.name for path in killed.glob("checkpoint-*")] == ["checkpoint-20"]
    assert f"going on from {first}" in log.read_text()

    output = run_to_the_end(command, killed)
    assert not (killed / UNFINISHED).exists()
    assert output.count(f"going on from {first}") == 2
    assert json.loads((killed / RUN_FILE).read_text())["finished"]
    assert (killed / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
    scores = [json.loads((folder / "all_results.json").read_text())["eval_loss"] for folder in (alone, killed)]
    assert scores[0] == scores[1]
