"""The script in processes of its own, which share what imports take: each is forked from one that has made them."""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "run_multilabel.py"
# In seconds, of which a machine with other work takes many.
PATIENCE = 1200
_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["bert_multilabel.training"])


def start(function: Callable[..., None], *arguments: Any, log: Path) -> BaseProcess:
    """Call a function of a test module in a process of its own, which adds to a log what it prints."""
    process = _FORKSERVER.Process(target=_call, args=(function, arguments, log), daemon=True)
    process.start()
    return process


def run(function: Callable[..., None], *arguments: Any, log: Path, exit_code: int = 0) -> str:
    """Call a function in a process of its own, and return all that its log holds when the process has ended."""
    process = start(function, *arguments, log=log)
    process.join(PATIENCE)
    assert process.exitcode == exit_code, log.read_text()
    return log.read_text()


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


def _call(function: Callable[..., None], arguments: tuple[Any, ...], log: Path) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    gc.freeze()
    function(*arguments)
