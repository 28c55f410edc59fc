"""How long a run takes to its first training step, and how much memory: cold, and with everything stored.

`python benchmarks/first_step.py --backbone DIR --train_file FILE.jsonl [--rows 10000 1000000]`

Real rows are repeated until there are enough of them, and written as csv with the labels joined by "|". Each run is a
fresh process that stops where the first step would begin: reading, checking, tokenizing and making the model count.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

# Stops a run at its first step, and prints the seconds since the process began and its peak memory in MiB.
CHILD = """
import os, sys, time
from transformers import Trainer

def stop(self, epoch_iterator, *args, **kwargs):
    next(epoch_iterator)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    memory = [int(status[name].split()[0]) // 1024 for name in ("VmHWM", "RssAnon")]
    started = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    print("first step", time.clock_gettime(time.CLOCK_BOOTTIME) - started, *memory, flush=True)
    os._exit(0)

Trainer.get_batch_samples = stop
from bert_multilabel.cli.train import run_script
run_script(sys.argv[1:])
"""


def seconds_and_memory(arguments: list[str], cache: str) -> tuple[float, int, int]:
    """Run to the first step; return seconds, peak memory and own memory at that step in MiB."""
    environment = {**os.environ, "HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    ended = subprocess.run([sys.executable, "-c", CHILD, *arguments], env=environment, capture_output=True, text=True)
    told = [line.split()[2:] for line in ended.stdout.splitlines() if line.startswith("first step")]
    if not told:
        raise SystemExit(ended.stdout + ended.stderr)
    return float(told[0][0]), int(told[0][1]), int(told[0][2])


def main() -> None:
    """Run each size cold and again, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--train_file", required=True, help="jsonl")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in Path(arguments.train_file).read_text(encoding="utf-8").splitlines()]
    print("| rows | file | stored before | seconds | peak memory | own memory |\n|---|---|---|---|---|---|")
    for count in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            train = Path(folder, "train.csv")
            with train.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["text", "labels"])
                writer.writerows([row["text"], "|".join(row["labels"])] for row in islice(cycle(rows), count))
            for stored in ("no", "yes"):
                command = ["--model_name_or_path", arguments.backbone, "--train_file", str(train), "--do_train"]
                out = Path(folder, f"out-{stored}")
                options = ["--output_dir", str(out), "--max_seq_length", "96", "--use_cpu", "--report_to", "none"]
                seconds, peak, own = seconds_and_memory([*command, *options], str(Path(folder, "cache")))
                size = train.stat().st_size >> 20
                print(f"| {count:,} | {size} MiB | {stored} | {seconds:.1f} | {peak} MiB | {own} MiB |", flush=True)


if __name__ == "__main__":
    main()
