import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from bert_multilabel.errors import FileError
from bert_multilabel.utils.files import (
    CHECKSUMS_FILE,
    creating_folder,
    find_change,
    find_cut,
    replacing,
    write_checksums,
    write_json,
    write_json_lines,
    writing,
)


@pytest.mark.parametrize("kind", ["text", "weights", "torch", "tokenizer"])
def test_whatever_writes_what_could_not_be_written_is_named(backbone, tmp_path, limit_files, kind):
    path = tmp_path / kind
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    write = {
        "text": lambda: path.write_text("x" * 100_000),
        "weights": lambda: save_file({"weight": torch.zeros(100_000)}, path),
        "torch": lambda: torch.save({"state": torch.zeros(100_000)}, path),
        "tokenizer": lambda: tokenizer.backend_tokenizer.save(str(path)),
    }[kind]
    with writing(path):
        write()
    limit_files(1000)
    with pytest.raises(FileError, match=rf"{path} could not be written: .* \([\d,.]+ MB are free on its disk"):
        with writing(path):
            write()


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="out of memory"), writing(tmp_path / "deep" / "file"):
        raise RuntimeError("CUDA out of memory")
    with pytest.raises(FileError, match="could not be written"), writing(tmp_path / "deep" / "file"):
        (tmp_path / "deep" / "file").touch()


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, limit_files):
    path = tmp_path / "file.json"
    write_json(path, "old")
    limit_files(1000)
    with pytest.raises(FileError, match="file.json could not be written"):
        write_json(path, "x" * 100_000)
    with pytest.raises(KeyError), replacing(path) as file:
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
        (lambda folder: change_byte(folder / "a"), "not as it was saved: a"),
        (lambda folder: (folder / "a").write_bytes(b""), "not as it was saved: a"),
        (lambda folder: (folder / "deep" / "b").unlink(), "without deep/b"),
        (lambda folder: (folder / CHECKSUMS_FILE).write_text("{"), f"{CHECKSUMS_FILE}: "),
        (lambda folder: (folder / CHECKSUMS_FILE).write_text("[1]"), f"{CHECKSUMS_FILE}: "),
        (lambda folder: (folder / CHECKSUMS_FILE).write_bytes(b""), f"{CHECKSUMS_FILE}: "),
    ],
)
def test_checksums_show_what_has_changed(tmp_path, change, phrase):
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b", "mine"):
        (tmp_path / name).write_text(f"what {name} holds")
    assert find_change(tmp_path) is None  # there are no checksums yet
    write_checksums(tmp_path, ignored=["mine"])
    (tmp_path / "mine").unlink()
    (tmp_path / "new").touch()
    assert find_change(tmp_path) is None
    change(tmp_path)
    assert str(find_change(tmp_path)).startswith(phrase)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "optimizer.pt"])
def test_a_file_that_was_cut_short_shows_it(tmp_path, name):
    (tmp_path / "notes.json").write_text("no JSON, and none of a model's")
    for other in ("config.json", "tokenizer.json"):
        (tmp_path / other).write_text('{"a": 1}')
    save_file({"weight": torch.zeros(100)}, tmp_path / "model.safetensors")
    torch.save({"state": torch.zeros(100)}, tmp_path / "optimizer.pt")
    assert find_cut(tmp_path) is None
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-5])
    assert str(find_cut(tmp_path)).startswith(f"{name}: ")


def test_a_folder_comes_when_all_is_in_it(tmp_path):
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "rest").touch()  # of a run that was killed
    (tmp_path / "out").mkdir()
    with creating_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("whole")
        assert list((tmp_path / "out").iterdir()) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_a_folder_that_fails_never_comes(tmp_path):
    with pytest.raises(OSError, match="disk full"), creating_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").touch()
        raise OSError("disk full")
    assert list((tmp_path / "deep").iterdir()) == []


def test_what_is_there_stays(tmp_path):
    (tmp_path / "file").write_text("mine")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match=f"{taken} is there already and is no empty folder"):
            with creating_folder(taken):
                pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    write_json_lines(path, [{"labels": ["é"]}])
    assert path.read_text(encoding="utf-8") == '{"labels": ["é"]}\n'

    def broken():
        yield {"labels": []}
        raise OSError("disk full")

    with pytest.raises(FileError, match="predictions.jsonl could not be written: disk full"):
        write_json_lines(path, broken())
    assert path.read_text(encoding="utf-8") == '{"labels": ["é"]}\n'
