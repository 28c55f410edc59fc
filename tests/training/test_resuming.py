"""Runs that go on: from a named checkpoint, and after an interruption, a full disk or damage."""

import json
import os
import resource
import shutil
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch

from bert_multilabel.errors import DivergedError, FileError
from bert_multilabel.output_dir.checkpoints import read_run
from bert_multilabel.training.trainer import MultiLabelTrainer
from bert_multilabel.utils.files import CHECKSUMS_FILE
from tests.conftest import mark_unfinished
from tests.training.test_run import run_script


def test_resuming_from_a_named_checkpoint_checks_it(backbone, files, tmp_path):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True}
    (tmp_path / "checkpoint-2").mkdir()
    with pytest.raises(ValueError, match="cannot resume from --resume_from_checkpoint .*missing trainer_state.json"):
        run_script(**common, output_dir=tmp_path / "out", resume_from_checkpoint=tmp_path / "checkpoint-2")


@pytest.mark.parametrize("windows", [{}, {"max_seq_length": 12, "stride": 2}])
def test_a_named_checkpoint_is_gone_on_from(backbone, files, tmp_path, windows):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "save_total_limit": 5}
    common |= windows
    run_script(**common, output_dir=tmp_path / "whole", num_train_epochs=2)
    results = run_script(
        **common,
        output_dir=tmp_path / "again",
        num_train_epochs=2,
        resume_from_checkpoint=tmp_path / "whole" / "checkpoint-2",
    )
    assert results["epoch"] == 2
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert ends[0] == ends[1]
    # What Trainer measured is not all of it.
    assert "time: not known" in (tmp_path / "again" / "README.md").read_text()
    assert "time: not known" not in (tmp_path / "whole" / "README.md").read_text()


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_of_a_checkpoint_runs_code(backbone, files, tmp_path):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "save_strategy": "steps"}
    common |= {"per_device_train_batch_size": 8, "max_steps": 2, "save_steps": 1, "save_total_limit": 9}
    run_script(**common, output_dir=tmp_path / "whole")
    ran = tmp_path / "ran"
    # Trainer reads the first three by PyTorch, which admits tensors and plain values, and nothing reads the last.
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        checkpoint = shutil.copytree(tmp_path / "whole", tmp_path / name) / "checkpoint-1"
        assert (checkpoint / name).is_file()
        (checkpoint / CHECKSUMS_FILE).unlink()  # which would show the change before anything is read
        torch.save({"state": Payload(ran)}, checkpoint / name)
        refused = nullcontext() if name == "training_args.bin" else pytest.raises(UnpicklingError, match="mkdir")
        with refused:
            run_script(**common, output_dir=tmp_path / f"{name}-out", resume_from_checkpoint=checkpoint)
        assert not ran.exists(), name
    torch.load(checkpoint / "training_args.bin", weights_only=False)
    assert ran.exists()  # so it would have run


def test_a_run_that_was_interrupted_after_its_last_step_makes_no_more(backbone, files, tmp_path):
    # The last step, the eleventh, is in the middle of an epoch, and another would have a learning rate.
    common = {"model_name_or_path": backbone, "train_file": files["train"], "per_device_train_batch_size": 8}
    common |= {"do_train": True, "max_steps": 11, "save_strategy": "steps", "save_steps": 11, "output_dir": tmp_path}
    common["lr_scheduler_type"] = "constant"
    run_script(**common)
    weights = (tmp_path / "model.safetensors").read_bytes()
    mark_unfinished(tmp_path)
    results = json.loads((tmp_path / "all_results.json").read_text())
    assert not [name for name in run_script(**common) if name.startswith("train_")]  # nothing was measured
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert json.loads((tmp_path / "all_results.json").read_text()) == results


@pytest.mark.parametrize("lost", [[], ["checkpoint-6"], ["checkpoint-6", "checkpoint-4"]])
def test_early_stopping_goes_on_counting(backbone, files, tmp_path, lost):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "do_eval": True}
    # Nothing is learned, so the second and the third evaluation are no better than the first.
    common |= {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "early_stopping_patience": 2}
    common |= {"save_total_limit": 9, "num_train_epochs": 6, "output_dir": tmp_path}
    checkpoints = ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    run_script(**common)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == checkpoints
    mark_unfinished(tmp_path)
    for name in lost:
        shutil.rmtree(tmp_path / name)
    run_script(**common)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == checkpoints


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(backbone, files, tmp_path, limit_files):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "num_train_epochs": 2}
    run_script(**common, output_dir=tmp_path / "alone")
    full = tmp_path / "full"
    limit_files(200_000)  # holds the weights, and not the state of the optimizer
    with pytest.raises(FileError, match=f"{full}/checkpoint-2 could not be written: .*run the command again"):
        run_script(**common, output_dir=full)
    assert [path.name for path in full.iterdir()] == ["training_run.json"]
    limit_files(resource.RLIM_INFINITY)
    run_script(**common, output_dir=full)
    ends = [(folder / "model.safetensors").read_bytes() for folder in (tmp_path / "alone", full)]
    assert ends[0] == ends[1]


def test_a_damaged_best_checkpoint_is_not_ended_with(backbone, files, tmp_path, monkeypatch):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "do_eval": True}
    # Nothing is learned, so the first stays the best.
    common |= {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "num_train_epochs": 2, "output_dir": tmp_path}
    best = tmp_path / "checkpoint-2"
    log = MultiLabelTrainer.log

    def damage_and_log(trainer, logs, *rest):
        if "train_runtime" in logs:  # training is over
            path = best / "model.safetensors"
            path.write_bytes(path.read_bytes()[::-1])
        log(trainer, logs, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(MultiLabelTrainer, "log", damage_and_log)
        with pytest.raises(
            FileError, match=f"{best}, the best checkpoint, is damaged .changed since it was saved: model.sa"
        ):
            run_script(**common)
    run_script(**common)
    assert read_run(tmp_path)["finished"]


def test_a_run_that_goes_on_elsewhere_ends_with_its_best_checkpoint(backbone, files, tmp_path, monkeypatch):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "do_eval": True}
    common |= {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "num_train_epochs": 3}  # the first stays the best
    run_script(**common, output_dir=tmp_path / "here")
    mark_unfinished(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    ends = []
    log = MultiLabelTrainer.log
    monkeypatch.setattr(
        MultiLabelTrainer,
        "log",
        lambda trainer, *given: (ends.append(trainer.state.best_model_checkpoint), log(trainer, *given)),
    )
    run_script(**common, output_dir=tmp_path / "there")
    assert set(ends) == {str(tmp_path / "there" / "checkpoint-2")}


def test_a_run_that_goes_on_from_another_leaves_its_checkpoints_there(backbone, files, tmp_path):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "do_eval": True}
    common |= {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "num_train_epochs": 3}  # the first stays the best
    run_script(**common, output_dir=tmp_path / "one", save_total_limit=5)
    before = sorted(path.name for path in (tmp_path / "one").glob("checkpoint-*"))
    named = tmp_path / "one" / "checkpoint-4"
    run_script(**common, output_dir=tmp_path / "two", save_total_limit=1, resume_from_checkpoint=named)
    assert sorted(path.name for path in (tmp_path / "one").glob("checkpoint-*")) == before and len(before) == 3


@pytest.fixture
def gone_on(backbone, files, tmp_path):
    """A run as after a kill, which had gone on from the second checkpoint of another, whose first is the best."""
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "do_eval": True}
    common |= {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "num_train_epochs": 3}  # the first stays the best
    common |= {"save_total_limit": 5}
    run_script(**common, output_dir=tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "moved")
    common |= {"resume_from_checkpoint": tmp_path / "moved" / "checkpoint-4", "output_dir": tmp_path / "two"}
    assert "train_loss" in run_script(**common)
    mark_unfinished(tmp_path / "two")
    return common


def test_a_run_that_has_gone_on_from_another_goes_on_from_its_own(gone_on, tmp_path):
    assert "train_loss" not in run_script(**gone_on)  # from its last step
    assert [path.name for path in (tmp_path / "two").glob("checkpoint-*")] == ["checkpoint-6"]
    ends = [tmp_path / name / "model.safetensors" for name in ("two", "moved/checkpoint-2")]
    assert ends[0].read_bytes() == ends[1].read_bytes()


@pytest.mark.parametrize("named", [True, False])
def test_a_whole_checkpoint_is_not_removed_because_the_best_elsewhere_is(gone_on, tmp_path, named):
    shutil.rmtree(tmp_path / "moved")
    if not named:
        del gone_on["resume_from_checkpoint"]
    with pytest.raises(
        ValueError, match="checkpoint-6 is intact, but .*moved/checkpoint-2, the best so far, is missing"
    ):
        run_script(**gone_on)
    assert (tmp_path / "two" / "checkpoint-6").is_dir()


def test_a_model_that_has_diverged_is_named(backbone, files, tmp_path):
    words = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "do_eval": True}
    with pytest.raises(DivergedError, match="logits of .* examples are NaN or infinite; lower --learning_rate"):
        run_script(**words, learning_rate=1e30, output_dir=tmp_path)


def test_a_file_that_changed_since_is_noticed(backbone, files, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(Path(files["train"]).read_bytes())
    common = {"model_name_or_path": backbone, "train_file": path, "do_train": True, "num_train_epochs": 1}
    run_script(**common, output_dir=tmp_path / "out")
    mark_unfinished(tmp_path / "out")
    path.write_text(path.read_text().replace("price", "value"))  # as long as before
    with pytest.raises(ValueError, match=rf"other arguments .the content of {path} has changed.: use"):
        run_script(**common, output_dir=tmp_path / "out")
