"""Functions that all processes of a training call together, or its only process."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from torch import distributed

from bert_multilabel.errors import FileError, MultiLabelError, OtherProcessError

_Result = TypeVar("_Result")
# Seconds that a process waits to be terminated after another one has failed, or for a file of another machine.
_PATIENCE = 60.0
# Attribute of an error that was raised on all ranks.
_KNOWN = "_is_known_to_all_processes"


def is_main() -> bool:
    """Return whether this is the only process or rank 0, also before the process group exists."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """Raise on all ranks if a block fails on one of them; all ranks must enter the block.

    Otherwise the others would wait for the failed one, or go on and write files. Within the block, processes may wait
    for each other only in blocks of the same kind.

    Raises:
        OtherProcessError: On all ranks but the first that failed, which raises its own error.
    """
    failure = None
    try:
        yield
    except Exception as error:  # of any kind: the others must know
        if getattr(error, _KNOWN, False):  # raised by an inner block
            raise
        failure = error
    has_failed = [failure is not None]
    if _are_several():
        has_failed = [False] * distributed.get_world_size()
        distributed.all_gather_object(has_failed, failure is not None)
    if any(has_failed):
        first = has_failed.index(True)
        mine = failure if first == _rank() else None
        raised = mine or OtherProcessError(f"process {first} has failed; see its message")
        setattr(raised, _KNOWN, True)
        raise raised


def on_main(function: Callable[[], _Result]) -> _Result:
    """Call a function in the main process only, and return its result, which must be picklable, in all processes.

    Raises:
        OtherProcessError: In the other processes, if the function fails; the main process raises its error.
    """
    results: list[_Result] = []
    with raise_on_all_ranks():
        if _rank() == 0:
            results.append(function())
    if _are_several():
        results = results or [None]  # type: ignore[list-item]  # to be filled by the main process
        distributed.broadcast_object_list(results, src=0)
    return results[0]


def wait_for_file(path: Path) -> None:
    """Wait until every process sees a file that the main one has written; all processes must call this.

    Raises:
        FileError: In a process that does not see it; others raise an OtherProcessError.
    """
    with raise_on_all_ranks():
        limit = time.monotonic() + _PATIENCE  # a file system of several machines may take a moment
        while not path.is_file():
            if time.monotonic() > limit:
                missing = f"process {_rank()} does not see {path}, which process 0 has written"
                raise FileError(f"{missing}: --output_dir must be shared by all machines")
            time.sleep(0.1)


def check_launch(num_processes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raise a MultiLabelError if a launcher started another number of processes than Trainer sees."""
    started = int(environment.get("WORLD_SIZE", num_processes))
    if started != num_processes:
        raise MultiLabelError(
            f"{started} processes were started (WORLD_SIZE), but training would see {num_processes}: add --use_cpu to "
            "train on CPU cores, or unset WORLD_SIZE to train in one process"
        )
    # Accelerate sets the first if it starts one process, and the second if several were asked for.
    if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= environment.keys() and "WORLD_SIZE" not in environment:
        raise MultiLabelError(
            "accelerate launch has started one process instead of several, as it does with --cpu: use --config_file "
            "examples/accelerate/cpu.yaml, or torchrun, and add --use_cpu after run_multilabel.py"
        )


def wait_to_be_terminated() -> None:
    """Wait for the launcher to terminate this process, so that another process has time to show its error."""
    time.sleep(_PATIENCE)


def leave_process_group() -> None:
    """Leave the process group, as the last step of a process that has succeeded.

    It waits for the threads of gloo, which could otherwise abort the process while the interpreter shuts down.
    """
    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # frees the model, which references the group and is in a cycle with its hooks
        distributed.destroy_process_group()


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _rank() -> int:
    return distributed.get_rank() if _are_several() else 0
