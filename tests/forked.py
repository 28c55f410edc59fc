"""The script in processes of its own, which share what imports take: each is forked from one that has made them."""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.distributed import TCPStore

SCRIPT = Path(__file__).resolve().parents[1] / "run_multilabel.py"
# In seconds, of which a machine with other work takes many.
PATIENCE = 1200
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["bert_multilabel.training.run"])


def start(function: Callable[..., None], *arguments: Any, log: Path) -> BaseProcess:
    """Call a function of a test module in a process of its own, which adds to a log what it prints."""
    process = FORKSERVER.Process(target=_call, args=(function, arguments, log), daemon=True)
    process.start()
    return process


def run(function: Callable[..., None], *arguments: Any, log: Path, exit_code: int = 0) -> str:
    """Call a function in a process of its own, and return all that its log holds when the process has ended."""
    process = start(function, *arguments, log=log)
    process.join(PATIENCE)
    assert process.exitcode == exit_code, log.read_text()
    return log.read_text()


@contextmanager
def group(function: Callable[..., None], *arguments: Any, logs: list[Path]) -> Iterator[list[BaseProcess]]:
    """Call a function in one process for each log, several of which form a group as of torchrun; end what is left."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # holds its port, as torchrun does
    common = {"WORLD_SIZE": str(len(logs)), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    environments = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(len(logs))]
    if len(logs) == 1:
        environments = [{}]
    started = [
        start(_call_with, environment, function, arguments, log=log)
        for environment, log in zip(environments, logs, strict=True)
    ]
    try:
        yield started
    finally:
        for process in started:  # one alone would wait for the other
            process.kill()


def end_all(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it has started, also in sessions of their own, as torchrun does it."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
    process.wait()


def run_script(*words: str) -> None:
    """Run the script as a command line does."""
    sys.argv = [str(SCRIPT), *words]
    runpy.run_path(str(SCRIPT), run_name="__main__")


def _call_with(environment: dict[str, str], function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ |= environment
    function(*arguments)


def _call(function: Callable[..., None], arguments: tuple[Any, ...], log: Path) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    gc.freeze()
    function(*arguments)
