"""Fuzzes the parsers, guided by code coverage (atheris), and prints a table of the findings.

    python -m fuzz.run --seconds 60

A finding is an exception other than the project's own errors, a wrong answer, an input that takes more than 20
seconds of the processor, or memory beyond 2 GB (torch and Transformers included). The traceback and the input of each
are kept in the folder --findings, and the exit code is then 1.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

TARGETS = ["label_cells", "row_files", "names_files", "description_files", "parquet_files", "request_bodies"]
# The code whose reach is measured.
INSTRUMENTED = ["data", "serve.request_form"]
SECONDS_PER_INPUT = 20
# The clock of libFuzzer goes on while others compute: it is for what never ends.
OPTIONS = {"timeout": 600, "rss_limit_mb": 2048, "max_len": 20_000}


def fuzz(name: str, seconds: int, inputs: int, findings: Path) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=[f"bert_multilabel.{module}" for module in INSTRUMENTED]):
        target = importlib.import_module(f"fuzz.{name}")
    seen: set[str] = set()

    def try_one(data: bytes) -> None:
        # Caught here, so that fuzzing continues after the first finding.
        try:
            start = time.process_time()
            target.run(data)
            seconds = time.process_time() - start
            assert seconds < SECONDS_PER_INPUT, f"it took {seconds:.0f} seconds"
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} in {frame.filename}, line {frame.lineno}"
            if place not in seen:
                seen.add(place)
                stem = findings / f"{name}-{len(seen)}"
                stem.with_suffix(".txt").write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
                stem.with_suffix(".input").write_bytes(data)

    corpus = tempfile.mkdtemp()
    for number, seed in enumerate(target.SEEDS):
        Path(corpus, str(number)).write_bytes(seed)
    options = {**OPTIONS, "max_total_time": seconds, "runs": inputs, "artifact_prefix": f"{findings}/{name}-"}
    atheris.Setup([name, *(f"-{option}={value}" for option, value in options.items()), corpus], try_one)
    atheris.Fuzz()


def run_target(name: str, asked: argparse.Namespace) -> int:
    """Fuzz one target in a new process, print its row of the table, and return the number of findings."""
    words = ["--fuzz", name, "--seconds", str(asked.seconds), "--inputs", str(asked.inputs)]
    command = [sys.executable, "-m", "fuzz.run", *words, "--findings", str(asked.findings)]
    for old in asked.findings.glob(f"{name}[-.]*"):
        old.unlink()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:  # libFuzzer ends its process without cleaning up
        environment = {**os.environ, "TMPDIR": scratch, "HF_DATASETS_CACHE": scratch}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    ran = re.search(r"Done (\d+) runs", done.stderr)
    found = len(list(asked.findings.glob(f"{name}-*.txt")))
    if ran is None:  # a crash, a timeout or too much memory, of which libFuzzer keeps the input
        found += 1
        (asked.findings / f"{name}.log").write_text(done.stderr, encoding="utf-8")
    inputs = f"{int(ran[1]):,}" if ran else "ended early"
    print(f"| {name} | {inputs} | {found} | {time.monotonic() - start:.0f} |", flush=True)
    return found


def main() -> None:
    """Fuzz all targets, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS, help="Default: all.")
    parser.add_argument("--seconds", type=int, default=60, help="For each target, at most. Default: 60.")
    parser.add_argument("--inputs", type=int, default=-1, help="For each target, at most. Default: no limit.")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="Folder. Default: findings.")
    parser.add_argument("--fuzz", choices=TARGETS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.fuzz:
        fuzz(asked.fuzz, asked.seconds, asked.inputs, asked.findings)
        return
    asked.findings.mkdir(exist_ok=True)
    print("| target | inputs | findings | seconds |\n|---|---|---|---|", flush=True)
    sys.exit(1 if sum(run_target(name, asked) for name in asked.targets) else 0)


if __name__ == "__main__":
    main()
