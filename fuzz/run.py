"""Fuzzes the parsers with random and mutated inputs, and prints what crashes.

    python -m fuzz.run --inputs 100000
    python -m fuzz.run --targets container export.prodigy --seed 7
    python -m fuzz.run --targets names_files --first 4711 --inputs 1

A crash is an exception other than the project's own errors, a wrong answer, an input that takes more than 20 seconds
of the processor, or a target that takes more than 2 GB of memory. The inputs of a seed are the same in each run; each
has a number, with which --first repeats it. Without crashes, only one line is printed. Exit code: 1 with crashes,
else 0.
"""

import argparse
import logging
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

from . import containers, description_files, exports, label_cells, names_files, request_bodies, whole_files

# By name: makes one input from a generator and tries it.
TARGETS: dict[str, Callable[[Random], None]] = {
    **{f"container.{name}": run for name, run in containers.targets().items()},
    **{f"export.{name}": run for name, run in exports.targets().items()},
    "whole_files": whole_files.run,
    "label_cells": label_cells.run,
    "names_files": names_files.run,
    "description_files": description_files.run,
    "request_bodies": request_bodies.run,
}
SECONDS_PER_INPUT = 20
MEMORY = 2 * 2**20  # kB
CRASHES_SHOWN = 20  # of each target


def main() -> None:
    """Fuzz all targets, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", help=f"Names or their beginnings, of: {' '.join(TARGETS)}.")
    parser.add_argument("--inputs", type=int, default=100_000, help="For each target. Default: 100000.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first input. Default: 0.")
    parser.add_argument("--seed", type=int, default=0, help="Of the inputs. Default: 0.")
    parser.add_argument("--times", action="store_true", help="Also print the seconds of each target.")
    asked = parser.parse_args()
    chosen = [name for name in TARGETS if asked.targets is None or name.startswith(tuple(asked.targets))]
    if not chosen:
        parser.error(f"no target begins with {' or '.join(asked.targets)}")
    warnings.simplefilter("ignore")
    logging.disable()
    signal.signal(signal.SIGVTALRM, _stop)
    crashes = sum(fuzz(name, asked) for name in chosen)
    print(f"{len(chosen)} targets, {asked.inputs:,} inputs each: {crashes} different crashes")
    sys.exit(1 if crashes else 0)


def fuzz(name: str, asked: argparse.Namespace) -> int:
    """Try the inputs of one target, print each different crash once, and return their number."""
    generator, places, start = Random(), set[str](), time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(asked.first, asked.first + asked.inputs):
        generator.seed(f"{name} {asked.seed} {number}")
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_PER_INPUT)
        try:
            TARGETS[name](generator)
        except Exception as error:
            place = _place(error)
            if place not in places and len(places) < CRASHES_SHOWN:
                print(f"{name}, input {number}: {place}\n{_shown(error)}", flush=True)
            places.add(place)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if (grown := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) > MEMORY:
        print(f"{name}: {grown / 2**20:.1f} GB of memory", flush=True)
        places.add("memory")
    if asked.times:
        print(f"{name}: {time.process_time() - start:.0f} s", flush=True)
    return len(places)


def _stop(*arguments: Any) -> None:
    raise TimeoutError(f"more than {SECONDS_PER_INPUT} seconds")


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "bert_multilabel" in frame.filename or "fuzz" in frame.filename]
    return f"{type(error).__name__} in {own[-1].filename}, line {own[-1].lineno}"


def _shown(error: Exception) -> str:
    text = "".join(traceback.format_exception(error, limit=-6))
    with suppress(UnicodeError):
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 4000 else f"{text[:2000]}\n...\n{text[-2000:]}"


if __name__ == "__main__":
    main()
