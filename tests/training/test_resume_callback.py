"""Runs that become longer, or shorter, when they are resumed."""

import json

import pytest
import torch

from bert_multilabel.errors import MultiLabelError
from tests.training.test_run import run_script


def state_of(checkpoint):
    return json.loads((checkpoint / "trainer_state.json").read_text())


def learning_rates(output_dir, steps):
    history = state_of(output_dir / f"checkpoint-{steps}")["log_history"]
    return {entry["step"]: entry["learning_rate"] for entry in history if "learning_rate" in entry}


@pytest.fixture
def common(backbone, files):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True}
    # Two steps an epoch, and the learning rate of each in the log.
    return {**common, "logging_steps": 1, "learning_rate": 1e-3, "warmup_steps": 0}


def test_a_finished_run_goes_on_with_the_schedule_of_its_new_length(common, tmp_path, caplog):
    run_script(**common, output_dir=tmp_path / "out", num_train_epochs=1)
    moments = torch.load(tmp_path / "out" / "checkpoint-2" / "optimizer.pt")["state"]
    results = run_script(**common, output_dir=tmp_path / "out", num_train_epochs=3)
    last = state_of(tmp_path / "out" / "checkpoint-6")
    assert (results["epoch"], last["global_step"], last["max_steps"]) == (3, 6, 6)
    rates = learning_rates(tmp_path / "out", 6)
    assert [rates[step] for step in (3, 4, 5, 6)] == pytest.approx([1e-3 * (6 - done) / 6 for done in (2, 3, 4, 5)])
    (line,) = [record.getMessage() for record in caplog.records if "the run now has" in record.getMessage()]
    assert "the run now has 6 steps instead of 2: at step 2 the learning rate changes from 0 to 0.000667" in line
    after = torch.load(tmp_path / "out" / "checkpoint-6" / "optimizer.pt")["state"]
    assert moments[0]["step"] == 2 and after[0]["step"] == 6  # the optimizer was not started again


def test_a_run_with_its_best_checkpoint_alone_goes_on_from_that(common, files, tmp_path):
    common |= {"validation_file": files["validation"], "do_eval": True, "save_total_limit": 1}
    common |= {"learning_rate": 1e-12, "head_learning_rate": 1e-12}  # nothing is learned, so the first stays the best
    run_script(**common, output_dir=tmp_path, num_train_epochs=3)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    results = run_script(**common, output_dir=tmp_path, num_train_epochs=4)
    assert results["epoch"] == 4 and json.loads((tmp_path / "training_run.json").read_text())["finished"]


def test_a_run_may_become_longer_in_another_folder(common, tmp_path):
    run_script(**common, output_dir=tmp_path / "one", num_train_epochs=1)
    named = tmp_path / "one" / "checkpoint-2"
    run_script(**common, output_dir=tmp_path / "two", max_steps=3, resume_from_checkpoint=named)
    assert state_of(tmp_path / "two" / "checkpoint-3")["global_step"] == 3


def test_what_does_not_decide_may_change_and_what_decides_may_not(common, tmp_path):
    run_script(**common, output_dir=tmp_path, num_train_epochs=1)
    free = {"save_total_limit": 5, "logging_steps": 2, "save_strategy": "steps", "save_steps": 3, "report_to": "none"}
    run_script(**{**common, **free}, output_dir=tmp_path, num_train_epochs=2)
    assert state_of(tmp_path / "checkpoint-3")["max_steps"] == 4
    with pytest.raises(MultiLabelError, match="other arguments .per_device_train_batch_size was 32, now 8"):
        run_script(**common, output_dir=tmp_path, num_train_epochs=9, per_device_train_batch_size=8)
