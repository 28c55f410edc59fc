import errno
import json
import os
import shutil
import subprocess
import time
from itertools import groupby

import pytest
from transformers import AutoModel, AutoTokenizer

from bert_multilabel import from_backbone
from bert_multilabel.errors import FileError
from bert_multilabel.output_dir.atomic_save import (
    UNFINISHED,
    atomic_model_save,
    lock_output_dir,
    publish_checkpoint,
    remove_checkpoint,
    remove_model_files,
    rotate_checkpoints,
)
from bert_multilabel.utils.files import CHECKSUMS_FILE, verify_checksums
from tests import forked


@pytest.fixture(scope="module")
def models(backbone):
    return {name: from_backbone(backbone, [name], "cls") for name in ("old", "new")}


def save(model_and_tokenizer, folder):
    for part in model_and_tokenizer:
        part.save_pretrained(folder)


def read(folder):
    """Which model a reader finds, and which tokenizer."""
    found = []
    for loader in (AutoModel, AutoTokenizer):
        try:
            loaded = loader.from_pretrained(folder)
        except (OSError, ValueError):
            found.append(None)
        else:
            found += loaded.config.label_names if loader is AutoModel else loaded.label_names
    return found


@pytest.mark.parametrize("first", [None, "old"])
def test_at_every_step_a_reader_finds_no_model_or_a_whole_one(models, tmp_path, monkeypatch, first):
    if first is not None:
        with atomic_model_save(tmp_path) as folder:
            save(models[first], folder)
        (tmp_path / "model-00001-of-00002.safetensors").touch()  # of one that was saved in parts
    seen = [read(tmp_path)]

    def read_after(change):
        def change_and_read(*arguments, **more):
            change(*arguments, **more)
            seen.append(read(tmp_path))

        return change_and_read

    with monkeypatch.context() as patched, atomic_model_save(tmp_path) as folder:
        save(models["new"], folder)
        seen.append(read(tmp_path))
        patched.setattr("os.replace", read_after(os.replace))
        patched.setattr("pathlib.Path.unlink", read_after(type(tmp_path).unlink))
    assert len(seen) > 15  # a file each
    assert seen[0] == seen[1] == [first, first]
    assert seen[-1] == ["new", "new"]
    assert all(tokenizer == model for model, tokenizer in seen if model is not None)
    for found in zip(*seen, strict=True):
        assert [name for name, _ in groupby(found)] == ([None, "new"] if first is None else ["old", None, "new"])
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(("-of-00002.safetensors", ".unfinished"))]


@pytest.mark.skipif(os.name != "posix", reason="has no such modes")
def test_others_may_read_models_and_checkpoints(models, tmp_path):
    before = os.umask(0o022)
    try:
        with atomic_model_save(tmp_path) as folder:
            save(models["new"], folder)
        checkpoint = tmp_path / "checkpoint-1"
        save(models["new"], tmp_path / UNFINISHED / checkpoint.name)
        publish_checkpoint(checkpoint)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert "model.safetensors" in modes and set(modes.values()) == {0o644}


def test_a_model_that_cannot_be_written_leaves_the_old_one(models, tmp_path):
    with atomic_model_save(tmp_path) as folder:
        save(models["old"], folder)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileError, match="model.safetensors could not be written: .*disk full .*MB are free"):
        with atomic_model_save(tmp_path) as folder:
            save(models["new"], folder)
            raise OSError(errno.ENOSPC, "disk full")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_withdrawn_model_leaves_what_is_no_part_of_it(models, tmp_path):
    (tmp_path / "all_results.json").touch()
    with atomic_model_save(tmp_path) as folder:
        save(models["old"], folder)
        assert folder.name == tmp_path.name
    remove_model_files(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert "all_results.json" in left
    assert not left & {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def write_unfinished(checkpoint, content):
    unfinished = checkpoint.parent / UNFINISHED / checkpoint.name
    (unfinished / "part").mkdir(parents=True)
    for name in ("model.safetensors", "part/0.distcp", "training_args.bin"):
        (unfinished / name).write_text(content)


def test_a_checkpoint_comes_with_its_checksums_and_in_the_place_of_another(tmp_path):
    checkpoint = tmp_path / "checkpoint-20"
    for content in ("first", "second"):
        write_unfinished(checkpoint, content)
        publish_checkpoint(checkpoint)
        assert (checkpoint / "part" / "0.distcp").read_text() == content
        assert set(json.loads((checkpoint / CHECKSUMS_FILE).read_text())) == {"model.safetensors", "part/0.distcp"}
        assert verify_checksums(checkpoint) is None
    # In the form that it has, it can be checked by hand as well.
    checksums = json.loads((checkpoint / CHECKSUMS_FILE).read_text())
    lines = "".join(f"{checksum}  {name}\n" for name, checksum in checksums.items())
    subprocess.run(["sha256sum", "--check", "--strict"], input=lines.encode(), cwd=checkpoint, check=True)


def test_a_checkpoint_goes_in_one_step(tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint-20"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").touch()
    seen = []

    def look_and_remove(path, **more):
        if path.exists():
            seen.append(checkpoint.exists())
            rmtree(path, **more)

    rmtree = shutil.rmtree
    monkeypatch.setattr("shutil.rmtree", look_and_remove)
    remove_checkpoint(checkpoint)
    assert seen == [False]
    assert list(tmp_path.rglob("*")) == [tmp_path / UNFINISHED]


@pytest.mark.parametrize(
    ("limit", "kept", "left"),
    [
        (None, [4], [1, 2, 3, 4]),
        (0, [4], [1, 2, 3, 4]),
        (2, [4], [3, 4]),
        (2, [1, 4], [1, 4]),
        (1, [2, 4], [2, 4]),
        (1, [2], [2]),
        (9, [4], [1, 2, 3, 4]),
    ],
)
def test_old_checkpoints_go_and_those_to_keep_stay(tmp_path, limit, kept, left):
    for step in range(1, 5):
        (tmp_path / f"checkpoint-{step}").mkdir()
    rotate_checkpoints(tmp_path, limit, [f"checkpoint-{step}" for step in kept])
    assert sorted(tmp_path.glob("checkpoint-*")) == [tmp_path / f"checkpoint-{step}" for step in left]


@pytest.mark.skipif(os.name != "posix", reason="needs locks on folders")
def test_two_runs_do_not_write_into_one_folder(tmp_path):
    with lock_output_dir(tmp_path / "out"):
        with lock_output_dir(tmp_path / "other"):
            pass
        with (
            pytest.raises(FileError, match=f"another run is writing into {tmp_path}/out: wait until it ends"),
            lock_output_dir(tmp_path / "out"),
        ):
            pass
    with lock_output_dir(tmp_path / "out"):
        assert list((tmp_path / "out").iterdir()) == []


def lock_and_wait(folder):
    with lock_output_dir(folder):
        (folder / "locked").touch()
        time.sleep(600)


@pytest.mark.skipif(os.name != "posix", reason="needs locks on folders")
def test_a_process_that_is_killed_leaves_its_folder_to_the_next(tmp_path):
    folder, log = tmp_path / "out", tmp_path / "log"
    folder.mkdir()
    other = forked.start(lock_and_wait, folder, log=log)
    while not (folder / "locked").exists():
        assert other.is_alive(), log.read_text()
        time.sleep(0.05)
    with pytest.raises(FileError, match="another run is writing into"), lock_output_dir(folder):
        pass
    other.kill()
    other.join()
    with lock_output_dir(folder):
        pass
