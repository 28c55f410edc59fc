import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from bert_multilabel.errors import FileError
from bert_multilabel.utils.files import (
    CHECKSUMS_FILE,
    atomic_folder,
    atomic_write,
    explain_write_errors,
    find_truncated_file,
    verify_checksums,
    write_checksums,
    write_json,
    write_json_lines,
)


@pytest.mark.parametrize("kind", ["text", "weights", "torch", "tokenizer", "copy"])
def test_whatever_writes_what_could_not_be_written_is_named(backbone, tmp_path, limit_files, kind):
    path = tmp_path / kind
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    write = {
        "text": lambda: path.write_text("x" * 100_000),
        "copy": lambda: shutil.copyfile(backbone / "model.safetensors", path),
        "weights": lambda: save_file({"weight": torch.zeros(100_000)}, path),
        "torch": lambda: torch.save({"state": torch.zeros(100_000)}, path),
        "tokenizer": lambda: tokenizer.backend_tokenizer.save(str(path)),
    }[kind]
    with explain_write_errors(path):
        write()
    limit_files(1000)
    with pytest.raises(FileError, match=rf"{path} could not be written: .* \([\d,.]+ MB are free on its disk"):
        with explain_write_errors(path):
            write()


def test_other_errors_stay_as_they_are(tmp_path):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "file"
    with pytest.raises(RuntimeError, match="out of memory"), explain_write_errors(path):
        raise RuntimeError("CUDA out of memory")
    with pytest.raises(FileNotFoundError, match="missing.csv"), explain_write_errors(path):
        (tmp_path / "missing.csv").read_text()
    with pytest.raises(OSError, match="^no such model$"), explain_write_errors(path):
        raise OSError("no such model")  # as Transformers says it
    with pytest.raises(FileError, match="could not be written"), explain_write_errors(tmp_path / "deep" / "file"):
        (tmp_path / "deep" / "file").touch()


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, limit_files):
    path = tmp_path / "file.json"
    write_json(path, "old")
    limit_files(1000)
    with pytest.raises(FileError, match="file.json could not be written"):
        write_json(path, "x" * 100_000)
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write("new")
        raise KeyError
    assert path.read_text() == '"old"\n'
    assert list(tmp_path.iterdir()) == [path]


def change_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda folder: change_byte(folder / "a"), "changed since it was saved: a"),
        (lambda folder: (folder / "a").write_bytes(b""), "changed since it was saved: a"),
        (lambda folder: (folder / "deep" / "b").unlink(), "missing deep/b"),
        (lambda folder: (folder / CHECKSUMS_FILE).write_text("{"), f"{CHECKSUMS_FILE}: "),
        (lambda folder: (folder / CHECKSUMS_FILE).write_text("[1]"), f"{CHECKSUMS_FILE}: "),
        (lambda folder: (folder / CHECKSUMS_FILE).write_bytes(b""), f"{CHECKSUMS_FILE}: "),
    ],
)
def test_checksums_show_what_has_changed(tmp_path, change, phrase):
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b", "mine"):
        (tmp_path / name).write_text(f"what {name} holds")
    assert verify_checksums(tmp_path) is None  # there are no checksums yet
    write_checksums(tmp_path, ignored=["mine"])
    (tmp_path / "mine").unlink()
    (tmp_path / "new").touch()
    assert verify_checksums(tmp_path) is None
    change(tmp_path)
    assert str(verify_checksums(tmp_path)).startswith(phrase)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "optimizer.pt"])
def test_a_file_that_was_cut_short_shows_it(tmp_path, name):
    (tmp_path / "notes.json").write_text("no JSON, and none of a model's")
    for other in ("config.json", "tokenizer.json"):
        (tmp_path / other).write_text('{"a": 1}')
    save_file({"weight": torch.zeros(100)}, tmp_path / "model.safetensors")
    torch.save({"state": torch.zeros(100)}, tmp_path / "optimizer.pt")
    assert find_truncated_file(tmp_path) is None
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-5])
    assert str(find_truncated_file(tmp_path)).startswith(f"{name}: ")


def test_a_folder_comes_when_all_is_in_it(tmp_path):
    left = tmp_path / ".out.bert-multilabel.unfinished"  # by a process that was killed
    left.mkdir()
    (left / "rest").touch()
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("whole")
        assert list((tmp_path / "out").iterdir()) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


@pytest.mark.skipif(os.name != "posix", reason="has no such modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_files_of_a_folder_get_the_mode_that_the_umask_gives(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "deep").mkdir()
            for path in (folder / "weights", folder / "deep" / "weights"):
                save_file({"weight": torch.zeros(1)}, path)
                assert path.stat().st_mode & 0o777 == 0o600  # whatever the umask is
            write_json(folder / "json", {})
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert modes == [mode] * 3


def test_nothing_of_others_is_removed(tmp_path):
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "file.unfinished").write_text("mine")
    with atomic_folder(tmp_path / "out"):
        write_json(tmp_path / "file", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.unfinished", "file", "file.unfinished"}


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_file_without_a_name_is_refused(path):
    with pytest.raises(FileError, match="is not the name of a file to write: name one"):
        write_json(Path(path), "new")


def test_a_folder_that_fails_never_comes(tmp_path):
    with pytest.raises(FileError, match="out could not be written: .*disk full"):
        with atomic_folder(tmp_path / "deep" / "out") as folder:
            (folder / "file").touch()
            raise OSError(errno.ENOSPC, "disk full")
    assert list((tmp_path / "deep").iterdir()) == []


def test_what_is_there_stays(tmp_path):
    (tmp_path / "file").write_text("mine")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match=f"{taken} exists and is not an empty directory"):
            with atomic_folder(taken):
                pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    write_json_lines(path, [{"labels": ["é"]}])
    assert path.read_text(encoding="utf-8") == '{"labels": ["é"]}\n'

    def broken():
        yield {"labels": []}
        raise OSError(errno.EIO, "cannot read the input")

    with pytest.raises(OSError, match="cannot read the input"), explain_write_errors(tmp_path):
        write_json_lines(path, broken())  # not the error of what is written
    assert path.read_text(encoding="utf-8") == '{"labels": ["é"]}\n'
