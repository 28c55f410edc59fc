"""The same training in one process and in two: what it comes to, and how long it takes.

`python benchmarks/processes.py --backbone … --train_file … --validation_file … --label_names_file … [--rows 2000]
[--strategy cls] [--dropout 0 0.1]`

One epoch of the script with 32 rows a step, on one core, on two cores by two processes of a thread each, and on two
cores by one process of two threads. Without dropout all three are one training, and differ by rounding alone; with it
each process draws random numbers of its own. "Training" and "evaluation" are the seconds that Trainer measures, "all"
those of the whole command with the start of Python and the reading of the files.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stopwatch import seconds_of

SCRIPT = Path(__file__).resolve().parents[1] / "run_multilabel.py"
SETUPS = (("1 core", 1, 1), ("2 cores, 2 processes", 2, 1), ("2 cores, 2 threads", 1, 2))  # name, processes, threads
ROWS_PER_STEP = 32
SCORES = ("eval_loss", "eval_hamming_score", "eval_hamming_score_at_half", "eval_micro_f1", "eval_macro_f1")
TIMES = ("train_runtime", "eval_runtime")


def with_dropout(backbone: Path, dropout: float, folder: Path) -> Path:
    """Copy a backbone and set its dropout, for which the script has no option."""
    shutil.copytree(backbone, folder)
    path = folder / "config.json"
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    path.write_text(json.dumps({**json.loads(path.read_text()), **rates}))
    return folder


def train(words: list[str], processes: int, threads: int, folder: Path) -> dict[str, float]:
    """Run the script; return what it writes into its results, and the seconds of all."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    dealt = ["--per_device_train_batch_size", str(ROWS_PER_STEP // processes), "--output_dir", str(folder)]
    command = [sys.executable, *(several if processes > 1 else []), str(SCRIPT), *words, *dealt]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    seconds = seconds_of(lambda: subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL))
    results: dict[str, float] = json.loads((folder / "all_results.json").read_text())
    return {**results, "seconds": seconds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("backbone", "train_file", "validation_file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--strategy", default="cls")
    parser.add_argument("--dropout", nargs="+", type=float, default=[0.0, 0.1])
    arguments = parser.parse_args()
    titles = [*(name.removeprefix("eval_").replace("_", " ") for name in SCORES), "training", "evaluation", "all"]
    print(f"| dropout | on | {' | '.join(titles)} |")
    print("|---" * (len(titles) + 2) + "|", flush=True)
    for dropout in arguments.dropout:
        with tempfile.TemporaryDirectory() as temporary:
            backbone = with_dropout(Path(arguments.backbone), dropout, Path(temporary) / "backbone")
            words = f"""--model_name_or_path {backbone} --strategy {arguments.strategy}
                --train_file {arguments.train_file} --validation_file {arguments.validation_file}
                --label_names_file {arguments.label_names_file} --max_train_samples {arguments.rows}
                --do_train --do_eval --num_train_epochs 1 --use_cpu --disable_tqdm true""".split()
            for name, processes, threads in SETUPS:
                results = train(words, processes, threads, Path(temporary) / name)
                cells = [f"{results[score]:.4f}" for score in SCORES]
                cells += [f"{results[time]:.1f} s" for time in (*TIMES, "seconds")]
                print(f"| {dropout:g} | {name} | {' | '.join(cells)} |", flush=True)


main()
