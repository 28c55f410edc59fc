"""What it takes to begin: imports, and whole commands on ten rows, in seconds of one processor.

`python benchmarks/start_up.py [--model DIR] [--rounds 5]`. Each measurement is a fresh process, in turn; it counts the
processor's time in the program and not that of waiting, so a busy machine changes it little.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIGHT = "import numpy, pandas"
COMMAND = [sys.executable, "-m", "bert_multilabel"]


def processor_seconds(words: list[str]) -> float:
    """Run a program in a fresh process, and return its time in user mode."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{' '.join(words)} has failed:\n{done.stderr}")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def write_rows(path: Path, labels: list[str]) -> str:
    """Write ten examples, and return the path."""
    rows = [{"text": f"the price of number {number} is good", "labels": labels[: number % 3]} for number in range(10)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def without_model(folder: Path) -> dict[str, list[str]]:
    """Return programs that need no model, the first of them to compare with."""
    rows, out = write_rows(folder / "rows.jsonl", ["good", "cheap", "gift"]), str(folder / "out.jsonl")
    return {
        LIGHT: [sys.executable, "-c", LIGHT],
        "import bert_multilabel": [sys.executable, "-c", "import bert_multilabel"],
        "bert-multilabel --help": [*COMMAND, "--help"],
        "bert-multilabel train --help": [*COMMAND, "train", "--help"],
        "bert-multilabel tune --help": [*COMMAND, "tune", "--help"],
        "bert-multilabel doctor FILE": [*COMMAND, "doctor", rows],
        "bert-multilabel convert FILE OUT": [*COMMAND, "convert", rows, out, "--overwrite"],
    }


def with_model(folder: Path, model: str) -> dict[str, list[str]]:
    """Return programs that load a model, the first of them with the Auto classes alone, to compare with."""
    names = list(json.loads((Path(model) / "config.json").read_text())["id2label"].values())
    rows, out = write_rows(folder / "labelled.jsonl", names), str(folder / "predicted")
    load = "from transformers import AutoModelForSequenceClassification as A, AutoTokenizer as T; "
    load += (
        f"A.from_pretrained({model!r}, trust_remote_code=True); T.from_pretrained({model!r}, trust_remote_code=True)"
    )
    text = ["--text", "the price is good"]
    return {
        "load by the Auto classes": [sys.executable, "-c", load],
        "load with the package": [sys.executable, "-c", f"import bert_multilabel.auto; {load}"],
        "bert-multilabel explain MODEL --text": [*COMMAND, "explain", model, *text],
        "bert-multilabel report MODEL --file": [*COMMAND, "report", model, "--file", rows, "--output_dir", out],
        "bert-multilabel predict MODEL FILE": [*COMMAND, "predict", model, rows, "--output_dir", out, "--use_cpu"],
    }


def measure(programs: dict[str, list[str]], rounds: int) -> None:
    """Print the median time of each program, and its ratio to the first."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, words in programs.items():
            seconds = processor_seconds(words)
            if number:  # the first round warms up
                times[name].append(seconds)
    base = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:40} {median:6.2f} s  {median / base:5.2f}", flush=True)


def main() -> None:
    """Measure what needs no model, and with --model what does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a trained folder, of a model without pairs")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(without_model(Path(folder)), arguments.rounds)
        if arguments.model:
            measure(with_model(Path(folder), arguments.model), arguments.rounds)


main()
