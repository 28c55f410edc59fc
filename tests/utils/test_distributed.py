"""How processes of one job learn of each other's failures, and which jobs are refused."""

import pytest

from bert_multilabel.errors import FileError, OtherProcessError
from bert_multilabel.utils import distributed as processes
from bert_multilabel.utils.distributed import check_launch, raise_on_all_ranks, wait_for_file


def test_a_file_that_a_process_does_not_see_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.2)
    with pytest.raises(FileError, match="process 0 does not see .*nowhere.*must be shared by all machines"):
        wait_for_file(tmp_path / "nowhere")
    (tmp_path / "somewhere").touch()
    wait_for_file(tmp_path / "somewhere")


def test_alone_an_error_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError), raise_on_all_ranks():
        _ = 1 / 0
    assert not issubclass(ZeroDivisionError, OtherProcessError)


@pytest.mark.parametrize(
    ("environment", "seen", "message"),
    [
        (
            {"WORLD_SIZE": "2"},
            1,
            r"2 processes were started \(WORLD_SIZE\), but training would see 1: add --use_cpu",
        ),
        (
            {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"},
            1,
            "accelerate launch has started one process instead of several.*cpu.yaml",
        ),
        ({"WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}, 2, None),  # by mpirun
        ({"WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}, 1, None),
        ({"ACCELERATE_USE_CPU": "False"}, 1, None),
        ({"MASTER_ADDR": "127.0.0.1"}, 1, None),
        ({}, 1, None),
    ],
)
def test_processes_that_do_not_know_of_each_other_are_refused(environment, seen, message):
    if message is None:
        check_launch(seen, environment)
    else:
        with pytest.raises(ValueError, match=message):
            check_launch(seen, environment)
