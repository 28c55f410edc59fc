"""What several processes that train one model owe each other: one does what is done once, and all end together.

In a run of one process, each of these does the plain thing.
"""

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
# How long, in seconds, a process waits to be ended with a job that has failed elsewhere, by one that may start later;
# and for what another machine has written to come into sight.
_PATIENCE = 60.0
# Set on an error that all processes have heard of.
_KNOWN = "_is_known_to_all_processes"


def is_main() -> bool:
    """Return whether this is the only process or the first, also before they have found each other."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """Let a block of code fail in all processes if it fails in one of them; all must come through it.

    Otherwise those without a fault would wait for the one that had it, or go on to write files. Within the block,
    processes may wait for each other in such blocks only.

    Raises:
        OtherProcessError: If the block has failed elsewhere: of all that have a fault, the first one raises its own.
    """
    fault = None
    try:
        yield
    except Exception as error:  # whatever it is, the others must know
        if getattr(error, _KNOWN, False):  # raised by a block within this one
            raise
        fault = error
    has_failed = [fault is not None]
    if _are_several():
        has_failed = [False] * distributed.get_world_size()
        distributed.all_gather_object(has_failed, fault is not None)
    if any(has_failed):
        first = has_failed.index(True)
        mine = fault if first == _rank() else None
        raised = mine or OtherProcessError(f"process {first} has failed, and says why")
        setattr(raised, _KNOWN, True)
        raise raised


def on_main(function: Callable[[], _Result]) -> _Result:
    """Call a function in the main process alone, and return in all of them what it has returned there.

    Args:
        function: Its result can be pickled.

    Raises:
        OtherProcessError: In the other processes, if it has failed in the main one, which raises what it has raised.
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
    """Refuse to go on where a process does not see a file that the main one has just written; all must ask.

    Raises:
        FileError: In such a process. Others raise an OtherProcessError.
    """
    with raise_on_all_ranks():
        limit = time.monotonic() + _PATIENCE  # a file system of several machines may take a moment
        while not path.is_file():
            if time.monotonic() > limit:
                raise FileError(
                    f"process {_rank()} does not see {path}, which process 0 has written: --output_dir must be one "
                    "folder for all machines"
                )
            time.sleep(0.1)


def check_launch(num_processes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse processes that were started together and do not know of each other: each would do all of the work.

    Args:
        num_processes: As many as Trainer sees.
        environment: Variables, in which a launcher says how many it has started.

    Raises:
        MultiLabelError: If they are not as many as that, with what to do.
    """
    started = int(environment.get("WORLD_SIZE", num_processes))
    if started != num_processes:
        raise MultiLabelError(
            f"{started} processes were started (WORLD_SIZE), but training would see {num_processes} and do all of the "
            "work in each: add --use_cpu to train on CPU cores, or unset WORLD_SIZE to train in one process"
        )
    # Accelerate says whether to use the CPU where it starts one process, and where to meet if several were asked for.
    if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= environment.keys() and "WORLD_SIZE" not in environment:
        raise MultiLabelError(
            "accelerate launch was asked for several processes and has started one, as it does with --cpu: use "
            "--config_file examples/accelerate/cpu.yaml, or torchrun, and add --use_cpu after run_multilabel.py"
        )


def wait_to_be_terminated() -> None:
    """Wait to be ended by the launcher, for the sake of a message that another process is about to show."""
    time.sleep(_PATIENCE)


def leave_process_group() -> None:
    """Leave the other processes of a job that has succeeded, as the last thing before this one ends.

    A thread of gloo that still lets go of a tensor while the interpreter ends would abort the process. This waits for
    these threads, if nothing holds on to the group any more, as a model does that Trainer has wrapped.
    """
    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # the model, which is in a cycle with its hooks
        distributed.destroy_process_group()


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _rank() -> int:
    return distributed.get_rank() if _are_several() else 0
