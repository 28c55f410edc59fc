import pytest

from bert_multilabel.files import creating_folder, write_json_lines


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

    with pytest.raises(OSError, match="disk full"):
        write_json_lines(path, broken())
    assert path.read_text(encoding="utf-8") == '{"labels": ["é"]}\n'
