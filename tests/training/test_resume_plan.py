import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.output_dir.atomic_save import UNFINISHED
from bert_multilabel.output_dir.checkpoints import CONTENT, RUN_FILE, SEARCH_FILE, add_to_run, describe_damage
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.resume_plan import deciding_arguments, plan_run
from bert_multilabel.utils.files import write_checksums

ARGUMENTS = {"model_name_or_path": "bert", "learning_rate": 0.1, "train_file": "a.csv"}
LENGTH = {"num_train_epochs": 3.0, "max_steps": -1, "early_stopping_patience": None}
OTHERS = {**ARGUMENTS, "learning_rate": 0.2}


def save_whole(folder):
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(100)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.zeros(100)}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 2}')
    return folder


def start_or_resume(folder, arguments, overwrite=False, named=None):
    before = sorted(folder.rglob("*"))
    plan = plan_run(folder, arguments, overwrite, named)
    assert sorted(folder.rglob("*")) == before  # looking changes nothing
    return plan.apply()


def test_a_new_run_records_that_it_has_begun(tmp_path):
    assert start_or_resume(tmp_path / "out", ARGUMENTS) is None
    assert json.loads((tmp_path / "out" / RUN_FILE).read_text()) == {"finished": False, "arguments": ARGUMENTS}


def test_an_unfinished_run_goes_on_from_its_newest_checkpoint(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS)
    save_whole(tmp_path / "checkpoint-9")
    newest = save_whole(tmp_path / "checkpoint-10")
    assert start_or_resume(tmp_path, ARGUMENTS) == newest


@pytest.mark.parametrize("name", ["model_name_or_path", "dataset_name"])
def test_a_folder_may_be_spelled_in_another_way(tmp_path, name):
    start_or_resume(tmp_path, {**ARGUMENTS, name: "bert"})
    checkpoint = save_whole(tmp_path / "checkpoint-2")
    assert start_or_resume(tmp_path, {**ARGUMENTS, name: "./bert/"}) == checkpoint
    with pytest.raises(MultiLabelError, match=f"{name} was './bert/', now"):
        start_or_resume(tmp_path, {**ARGUMENTS, name: "other" if name == "model_name_or_path" else None})


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        (lambda folder: (folder / "trainer_state.json").unlink(), "missing trainer_state.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "missing model.safetensors"),
        (lambda folder: cut(folder / "trainer_state.json"), "Expecting value"),
        (lambda folder: cut(folder / "model.safetensors"), "incomplete"),
        (lambda folder: cut(folder / "optimizer.pt"), "optimizer.pt: truncated"),
    ],
)
def test_a_damaged_checkpoint_is_removed_and_the_one_before_it_taken(tmp_path, damage, phrase, caplog):
    start_or_resume(tmp_path, ARGUMENTS)
    before, newest = save_whole(tmp_path / "checkpoint-2"), save_whole(tmp_path / "checkpoint-4")
    assert describe_damage(newest) is None
    damage(newest)
    assert phrase in str(describe_damage(newest))
    assert start_or_resume(tmp_path, ARGUMENTS) == before
    assert not newest.exists()


def test_a_byte_that_changed_is_found_by_checksums(tmp_path, caplog):
    start_or_resume(tmp_path, ARGUMENTS)
    before, newest = save_whole(tmp_path / "checkpoint-2"), save_whole(tmp_path / "checkpoint-4")
    write_checksums(newest)
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    assert start_or_resume(tmp_path, ARGUMENTS) == before


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_run_that_ends_with_its_best_goes_back_to_before_it_was_damaged(tmp_path, is_gone):
    arguments = {**ARGUMENTS, "load_best_model_at_end": True}
    start_or_resume(tmp_path, arguments)
    first, best, newest = (save_whole(tmp_path / f"checkpoint-{step}") for step in (2, 4, 6))
    for checkpoint, best_then in ((first, first), (best, best), (newest, best)):
        # Wherever the folder was then.
        state = {"best_model_checkpoint": f"elsewhere/{best_then.name}"}
        (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    assert start_or_resume(tmp_path, arguments) == newest
    (best / "model.safetensors").unlink()
    if is_gone:
        shutil.rmtree(best)
    assert start_or_resume(tmp_path, arguments) == first
    assert list(tmp_path.glob("checkpoint-*")) == [first]


def test_what_a_save_left_that_was_cut_short_is_removed(tmp_path):
    (tmp_path / UNFINISHED / "checkpoint-2").mkdir(parents=True)
    assert start_or_resume(tmp_path, ARGUMENTS) is None
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


@pytest.mark.parametrize("content", ['{"finis', "{}", "7", '{"finished": false, "arguments": [1]}'])
def test_a_damaged_record_is_named(tmp_path, content):
    start_or_resume(tmp_path, ARGUMENTS)
    (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(FileError, match=f"{tmp_path / RUN_FILE} is damaged"):
        start_or_resume(tmp_path, ARGUMENTS)
    assert start_or_resume(tmp_path, ARGUMENTS, overwrite=True) is None


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_a_whole_checkpoint_of_weights_alone_is_refused_and_kept(tmp_path, name):
    start_or_resume(tmp_path, ARGUMENTS)
    checkpoint = save_whole(tmp_path / "checkpoint-2")
    (checkpoint / name).unlink()
    with pytest.raises(ValueError, match="holds only weights .saved with --save_only_model"):
        start_or_resume(tmp_path, ARGUMENTS)
    assert checkpoint.exists()


def test_options_of_another_version_do_not_count(tmp_path):
    start_or_resume(tmp_path, {**ARGUMENTS, "gone": 1})
    newest = save_whole(tmp_path / "checkpoint-2")
    assert start_or_resume(tmp_path, {**ARGUMENTS, "new": 1}) == newest


def test_other_arguments_are_refused_by_name(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS)
    save_whole(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match="unfinished run with other arguments .learning_rate was 0.1, now 0.2."):
        start_or_resume(tmp_path, OTHERS)
    (tmp_path / "all_results.json").write_text('{"test_hamming_score": 0.9}')
    (tmp_path / "config.json").touch()
    assert start_or_resume(tmp_path, OTHERS, overwrite=True) is None
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_a_file_that_holds_something_else_is_refused_by_name(tmp_path):
    start_or_resume(tmp_path, {**ARGUMENTS, "train_file" + CONTENT: "1a"})
    save_whole(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match=r"other arguments \(the content of a.csv has changed\): use the same"):
        start_or_resume(tmp_path, {**ARGUMENTS, "train_file" + CONTENT: "2b"})


def test_a_file_may_lie_elsewhere_if_it_holds_the_same(tmp_path):
    start_or_resume(tmp_path, {**ARGUMENTS, "train_file" + CONTENT: "1a"})
    newest = save_whole(tmp_path / "checkpoint-2")
    assert start_or_resume(tmp_path, {**ARGUMENTS, "train_file": "b.csv", "train_file" + CONTENT: "1a"}) == newest


def test_other_arguments_are_fine_before_the_first_checkpoint(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS)
    assert start_or_resume(tmp_path, OTHERS) is None
    assert json.loads((tmp_path / RUN_FILE).read_text())["arguments"] == OTHERS


def test_a_finished_run_is_not_run_again(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS)
    add_to_run(tmp_path, finished=True)
    with pytest.raises(ValueError, match="holds a finished run: train it longer with more"):
        start_or_resume(tmp_path, ARGUMENTS)
    assert start_or_resume(tmp_path, ARGUMENTS, overwrite=True) is None


@pytest.mark.parametrize("content", ["config.json", "checkpoint-2"])
def test_a_model_of_another_origin_is_not_written_over(tmp_path, content):
    save_whole(tmp_path / content) if content.startswith("checkpoint") else (tmp_path / content).touch()
    with pytest.raises(ValueError, match="holds a model but no record of its training"):
        start_or_resume(tmp_path, ARGUMENTS)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_search_found_is_kept_for_the_same_run(tmp_path, overwrite):
    start_or_resume(tmp_path, ARGUMENTS)
    (tmp_path / SEARCH_FILE).write_text("{}")
    start_or_resume(tmp_path, ARGUMENTS, overwrite)
    assert (tmp_path / SEARCH_FILE).exists() is not overwrite


def test_what_a_search_found_is_not_lost_to_another_run(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS)
    (tmp_path / SEARCH_FILE).write_text("{}")
    with pytest.raises(ValueError, match="holds an unfinished run with other arguments"):
        start_or_resume(tmp_path, OTHERS)
    assert (tmp_path / SEARCH_FILE).exists()


def test_a_search_that_no_run_is_known_for_is_removed(tmp_path):
    (tmp_path / SEARCH_FILE).write_text("{}")
    start_or_resume(tmp_path, ARGUMENTS)
    assert not (tmp_path / SEARCH_FILE).exists()


def test_a_run_goes_on_from_the_checkpoint_that_is_named(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS)
    named = save_whole(tmp_path / "checkpoint-2")
    save_whole(tmp_path / "checkpoint-4")
    assert start_or_resume(tmp_path, ARGUMENTS, named=named) == named
    assert start_or_resume(tmp_path / "other", ARGUMENTS, named=named) == named
    with pytest.raises(ValueError, match=r"resume from .*checkpoint-2: it is of a run with other arguments .lea"):
        start_or_resume(tmp_path / "third", OTHERS, named=named)
    with pytest.raises(ValueError, match="cannot resume from .*checkpoint-3: no such directory"):
        start_or_resume(tmp_path, ARGUMENTS, named=tmp_path / "checkpoint-3")
    unknown = save_whole(tmp_path / "elsewhere" / "checkpoint-2")
    with pytest.raises(ValueError, match="there is no record of its run, .*elsewhere/training_run.json"):
        start_or_resume(tmp_path, ARGUMENTS, named=unknown)
    with pytest.raises(ValueError, match="cannot resume from .*checkpoint-2: --overwrite_output_dir would remove it"):
        start_or_resume(tmp_path, ARGUMENTS, overwrite=True, named=named)
    cut(named / "model.safetensors")
    with pytest.raises(ValueError, match=r"cannot resume from --resume_from_checkpoint .*checkpoint-2: model.s"):
        start_or_resume(tmp_path, ARGUMENTS, named=named)


def test_a_run_goes_on_in_as_many_processes_as_it_began_in(tmp_path):
    words = f"--model_name_or_path bert --train_file {tmp_path / 'a.csv'} --output_dir {tmp_path} --do_train --use_cpu"
    (tmp_path / "a.csv").touch()
    arguments = deciding_arguments(parse_arguments(words.split()), pair_column=None)
    start_or_resume(tmp_path / "out", {**arguments, "processes": 2})
    save_whole(tmp_path / "out" / "checkpoint-2")
    with pytest.raises(
        ValueError, match=r"unfinished run with other arguments \(processes was 2, now 1\): use the same"
    ):
        start_or_resume(tmp_path / "out", arguments)


def test_what_another_run_has_done_meanwhile_is_not_undone(tmp_path):
    begun, finished = (plan_run(tmp_path, ARGUMENTS) for _ in "12")
    start_or_resume(tmp_path, ARGUMENTS)
    newest = save_whole(tmp_path / "checkpoint-2")
    with pytest.raises(FileError, match=f"another run has written into {tmp_path} meanwhile: start this one again"):
        begun.apply()
    add_to_run(tmp_path, finished=True)
    with pytest.raises(FileError, match=r"meanwhile \(.* holds a finished run: .*\): start this one again"):
        finished.apply()
    assert newest.is_dir() and json.loads((tmp_path / RUN_FILE).read_text())["finished"]


def test_what_is_trained_is_not_written_over_what_it_started_from(tmp_path):
    with pytest.raises(ValueError, match="is also --model_name_or_path"):
        plan_run(tmp_path, {**ARGUMENTS, "model_name_or_path": f"{tmp_path}/."})


def finished_run(folder, state=None, **options):
    """A run of three epochs, two steps each, with the checkpoints that are left of it."""
    arguments = {**ARGUMENTS, **LENGTH, **options}
    start_or_resume(folder, arguments)
    for epoch in (2, 3):
        checkpoint = save_whole(folder / f"checkpoint-{2 * epoch}")
        record = {"global_step": 2 * epoch, "epoch": float(epoch), "max_steps": 6, **(state or {})}
        (checkpoint / "trainer_state.json").write_text(json.dumps(record))
    add_to_run(folder, finished=True)
    return arguments


@pytest.mark.parametrize("longer", [{"num_train_epochs": 5.0}, {"max_steps": 7}])
def test_a_finished_run_can_become_longer(tmp_path, longer):
    arguments = finished_run(tmp_path)
    plan = plan_run(tmp_path, {**arguments, **longer})
    assert (plan.apply(), plan.steps_before) == (tmp_path / "checkpoint-6", 6)
    record = json.loads((tmp_path / RUN_FILE).read_text())
    assert not record["finished"] and record["arguments"].items() >= longer.items()
    assert start_or_resume(tmp_path, {**arguments, **longer}) == tmp_path / "checkpoint-6"  # after an interruption


def test_a_run_of_so_many_steps_becomes_longer_in_epochs(tmp_path):
    arguments = finished_run(tmp_path, max_steps=7)  # 3.5 epochs; the default of 3 had no effect
    with pytest.raises(ValueError, match="--num_train_epochs 3 is too few: .* has trained for 3.5"):
        plan_run(tmp_path, {**arguments, "max_steps": -1})
    longer = {**arguments, "max_steps": -1, "num_train_epochs": 4.0}
    assert plan_run(tmp_path, longer).checkpoint == tmp_path / "checkpoint-6"
    shorter = finished_run(tmp_path / "short", {"epoch": 2.0}, max_steps=6)
    assert plan_run(tmp_path / "short", {**shorter, "max_steps": -1}).checkpoint == tmp_path / "short" / "checkpoint-6"


def test_a_run_becomes_longer_from_a_checkpoint_elsewhere(tmp_path):
    arguments = finished_run(tmp_path / "one")
    named = tmp_path / "one" / "checkpoint-4"
    assert start_or_resume(tmp_path / "two", {**arguments, "num_train_epochs": 5.0}, named=named) == named
    with pytest.raises(ValueError, match="--num_train_epochs 1 is too few: .* has trained for 2"):
        start_or_resume(tmp_path / "three", {**arguments, "num_train_epochs": 1.0}, named=named)


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({}, "holds a finished run: train it longer with more --num_train_epochs or --max_steps"),
        ({"num_train_epochs": 2.0}, "--num_train_epochs 2 is too few: .* has trained for 3. Ask for more"),
        ({"max_steps": 6}, "--max_steps 6 is too few: .* has trained for 6"),
        ({"num_train_epochs": 5.0, "learning_rate": 0.2}, "holds a finished run with other arguments .learning_rate"),
        ({"num_train_epochs": 5.0, "hyperparameter_search": 3}, "other arguments .num_train_epochs was 3.0, now 5.0"),
    ],
)
def test_a_finished_run_that_would_not_become_longer_is_refused(tmp_path, changes, phrase):
    arguments = finished_run(tmp_path)
    with pytest.raises(MultiLabelError, match=phrase):
        start_or_resume(tmp_path, {**arguments, **changes})


def test_a_finished_run_without_its_last_checkpoint_resumes_from_the_one_before(tmp_path):
    arguments = finished_run(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-6")
    assert start_or_resume(tmp_path, {**arguments, "num_train_epochs": 4.0}) == tmp_path / "checkpoint-4"


def test_a_finished_run_without_checkpoints_is_refused(tmp_path):
    arguments = finished_run(tmp_path)
    for checkpoint in tmp_path.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    with pytest.raises(MultiLabelError, match=f"without a checkpoint: .* --model_name_or_path {tmp_path}"):
        start_or_resume(tmp_path, {**arguments, "num_train_epochs": 4.0})


def test_a_run_that_was_stopped_early_does_not_become_longer(tmp_path):
    stopper = {"args": {}, "attributes": {"early_stopping_patience_counter": 2}}
    arguments = finished_run(
        tmp_path, {"stateful_callbacks": {"EarlyStoppingCallback": stopper}}, early_stopping_patience=2
    )
    with pytest.raises(MultiLabelError, match="was stopped early, after 2 evaluations without a better one"):
        start_or_resume(tmp_path, {**arguments, "num_train_epochs": 5.0})


@pytest.mark.parametrize("name", ["logging_steps", "save_steps", "eval_steps", "per_device_eval_batch_size"])
def test_what_does_not_decide_is_not_in_the_record(tmp_path, name):
    (tmp_path / "a.csv").touch()
    words = f"--model_name_or_path bert --train_file {tmp_path / 'a.csv'} --output_dir {tmp_path} --do_train --use_cpu"
    arguments = parse_arguments([*words.split(), f"--{name}", "7"])
    assert name not in deciding_arguments(arguments, pair_column=None)
