"""The script is killed for real, twice, and ends with the weights of a run that was left alone."""

import json
import os
import signal

import pytest

from bert_multilabel.output_dir.atomic_save import UNFINISHED
from bert_multilabel.output_dir.checkpoints import RUN_FILE
from bert_multilabel.training import trainer
from bert_multilabel.utils.files import CHECKSUMS_FILE
from tests import forked
from tests.conftest import LABELS, save_checkpoint


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The arguments, without the output folder, of a run with checkpoints after 20, 40 and 60 steps."""
    root = tmp_path_factory.mktemp("kill")
    backbone = save_checkpoint(root / "backbone", "uncased")
    rows = [
        {
            "text": " ".join(["the price"] * (n % 7 + 1)),
            "labels": [name for bit, name in enumerate(LABELS) if n >> bit & 1],
        }
        for n in range(120)
    ]
    (root / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return f"""--model_name_or_path {backbone} --train_file {root / "train.jsonl"} --do_train --do_eval --use_cpu
        --max_steps 60 --per_device_train_batch_size 4 --save_strategy steps --save_steps 20 --eval_strategy steps
        --eval_steps 20 --logging_steps 1 --disable_tqdm true --validation_fraction 0.2 --output_dir""".split()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_between_saves(*words):
    step = trainer.MultiLabelTrainer.training_step
    trainer.MultiLabelTrainer.training_step = lambda self, *given, **more: (
        die() if self.state.global_step == 25 else step(self, *given, **more)
    )
    forked.run_script(*words)


def die_within_the_second_save(*words):
    """Where all of the checkpoint is there but what is written last."""
    publish_checkpoint = trainer.publish_checkpoint
    trainer.publish_checkpoint = lambda checkpoint: (
        die() if checkpoint.name == "checkpoint-40" else publish_checkpoint(checkpoint)
    )
    forked.run_script(*words)


def test_a_run_killed_between_saves_and_during_a_save_ends_with_the_same_weights(words, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"

    def run(function, folder, exit_code):
        return forked.run(function, *words, str(folder), log=folder.with_suffix(".log"), exit_code=exit_code)

    run(forked.run_script, alone, 0)

    run(die_between_saves, killed, -signal.SIGKILL)
    first = killed / "checkpoint-20"
    assert [path.name for path in killed.glob("checkpoint-*")] == ["checkpoint-20"]
    assert not json.loads((killed / RUN_FILE).read_text())["finished"]

    said = run(die_within_the_second_save, killed, -signal.SIGKILL)
    unfinished = killed / UNFINISHED / "checkpoint-40"
    assert (unfinished / "model.safetensors").exists() and not (unfinished / CHECKSUMS_FILE).exists()
    assert [path.name for path in killed.glob("checkpoint-*")] == ["checkpoint-20"]
    assert said.count(f"resuming from {first}") == 1

    said = run(forked.run_script, killed, 0)
    assert not (killed / UNFINISHED).exists()
    assert said.count(f"resuming from {first}") == 2
    assert json.loads((killed / RUN_FILE).read_text())["finished"]
    assert (killed / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
    scores = [json.loads((folder / "all_results.json").read_text())["eval_loss"] for folder in (alone, killed)]
    assert scores[0] == scores[1]
