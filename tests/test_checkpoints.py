import json

import pytest
import torch
from safetensors.torch import save_file

from bert_multilabel.checkpoints import RUN_FILE, SEARCH_FILE, find_damage, mark_finished, start_or_resume

ARGUMENTS = {"learning_rate": 0.1, "train_file": "a.csv"}


def save_whole(folder):
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(100)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.zeros(100)}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 2}')
    return folder


def test_a_new_run_claims_its_folder(tmp_path):
    assert start_or_resume(tmp_path / "out", ARGUMENTS, overwrite=False) is None
    assert json.loads((tmp_path / "out" / RUN_FILE).read_text()) == {"finished": False, "arguments": ARGUMENTS}


def test_an_unfinished_run_goes_on_from_its_newest_checkpoint(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    save_whole(tmp_path / "checkpoint-9")
    newest = save_whole(tmp_path / "checkpoint-10")
    assert start_or_resume(tmp_path, ARGUMENTS, overwrite=False) == newest


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        (lambda folder: (folder / "trainer_state.json").unlink(), "without trainer_state.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "without model.safetensors"),
        (lambda folder: cut(folder / "trainer_state.json"), "Expecting value"),
        (lambda folder: cut(folder / "model.safetensors"), "incomplete"),
        (lambda folder: cut(folder / "optimizer.pt"), "optimizer.pt: cut short"),
    ],
)
def test_a_damaged_checkpoint_is_removed_and_the_one_before_it_taken(tmp_path, damage, phrase, caplog):
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    before, newest = save_whole(tmp_path / "checkpoint-2"), save_whole(tmp_path / "checkpoint-4")
    assert find_damage(newest) is None
    damage(newest)
    assert phrase in str(find_damage(newest))
    assert start_or_resume(tmp_path, ARGUMENTS, overwrite=False) == before
    assert not newest.exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_a_whole_checkpoint_of_weights_alone_is_refused_and_kept(tmp_path, name):
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    checkpoint = save_whole(tmp_path / "checkpoint-2")
    (checkpoint / name).unlink()
    with pytest.raises(ValueError, match="holds weights alone .saved with --save_only_model"):
        start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    assert checkpoint.exists()


def test_options_of_another_version_do_not_count(tmp_path):
    start_or_resume(tmp_path, {**ARGUMENTS, "gone": 1}, overwrite=False)
    newest = save_whole(tmp_path / "checkpoint-2")
    assert start_or_resume(tmp_path, {**ARGUMENTS, "new": 1}, overwrite=False) == newest


def test_other_arguments_are_refused_by_name(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    save_whole(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match="unfinished run with other arguments .learning_rate was 0.1, now 0.2."):
        start_or_resume(tmp_path, {**ARGUMENTS, "learning_rate": 0.2}, overwrite=False)
    (tmp_path / "all_results.json").write_text('{"test_hamming_score": 0.9}')
    assert start_or_resume(tmp_path, {**ARGUMENTS, "learning_rate": 0.2}, overwrite=True) is None
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_other_arguments_are_fine_before_the_first_checkpoint(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    assert start_or_resume(tmp_path, {"learning_rate": 0.2}, overwrite=False) is None
    assert json.loads((tmp_path / RUN_FILE).read_text())["arguments"] == {"learning_rate": 0.2}


def test_a_finished_run_is_not_run_again(tmp_path):
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    mark_finished(tmp_path)
    with pytest.raises(ValueError, match="holds a finished run: choose another --output_dir"):
        start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    assert start_or_resume(tmp_path, ARGUMENTS, overwrite=True) is None


@pytest.mark.parametrize("content", ["config.json", "checkpoint-2"])
def test_a_model_of_another_origin_is_not_written_over(tmp_path, content):
    save_whole(tmp_path / content) if content.startswith("checkpoint") else (tmp_path / content).touch()
    with pytest.raises(ValueError, match="holds a model but no record of its training"):
        start_or_resume(tmp_path, ARGUMENTS, overwrite=False)


@pytest.mark.parametrize(
    ("arguments", "overwrite", "kept"),
    [(ARGUMENTS, False, True), ({"learning_rate": 0.2}, False, False), (ARGUMENTS, True, False)],
)
def test_what_a_search_found_is_kept_for_the_same_run_alone(tmp_path, arguments, overwrite, kept):
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    (tmp_path / SEARCH_FILE).write_text("{}")
    start_or_resume(tmp_path, arguments, overwrite)
    assert (tmp_path / SEARCH_FILE).exists() is kept


def test_a_search_that_no_run_is_known_for_is_removed(tmp_path):
    (tmp_path / SEARCH_FILE).write_text("{}")
    start_or_resume(tmp_path, ARGUMENTS, overwrite=False)
    assert not (tmp_path / SEARCH_FILE).exists()
