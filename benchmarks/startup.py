"""What it takes to begin: importing the package against importing Transformers, and loading a folder.

`python benchmarks/startup.py [--model DIR] [--rounds 10]`; every measurement is a fresh process, in turn.
"""

import argparse
import statistics
import subprocess
import sys

from stopwatch import seconds_of

COMMANDS = {
    "import transformers": "import transformers",
    "import bert_multilabel": "import bert_multilabel",
    "the Auto classes of transformers": "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
    "all names of bert_multilabel": "from bert_multilabel import *",
}
LOAD = {
    "load with the package": "from bert_multilabel import auto; ",
    "load with trust_remote_code alone": "",
}


def run(code: str) -> None:
    """Run a program in a fresh process."""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def main() -> None:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a trained folder")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    commands = dict(COMMANDS)
    if arguments.model:
        load = "from transformers import AutoModelForSequenceClassification as A, AutoTokenizer as T; "
        load += f"A.from_pretrained({arguments.model!r}, trust_remote_code=True); "
        load += f"T.from_pretrained({arguments.model!r}, trust_remote_code=True)"
        commands |= {name: before + load for name, before in LOAD.items()}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(arguments.rounds + 1):
        for name, code in commands.items():
            seconds = seconds_of(lambda code=code: run(code))
            if number:  # the first round warms up
                times[name].append(seconds)
    base = times["import transformers"]
    for name, seconds in times.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(seconds, base, strict=True))
        print(f"{name:36} {statistics.median(seconds):6.2f} s  {ratio:5.2f} x import transformers")


main()
