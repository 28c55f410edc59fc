"""What each mode scores after the same training, over several seeds: runs the script and decides on its probabilities.

`python benchmarks/quality.py --train_file … --validation_file … --label_names_file … --backbone … --output_dir runs/q
--modes cls full isolated-1 --seeds 1 2 3 [--max_train_samples 10000] [-- arguments for every run]`

Probabilities on the validation rows are decided alike for all contenders: at threshold 0.5, and as the package tunes
decisions, cross-fitted, for the hamming score with no row left empty (`min_labels` 1) and for macro F1. A run whose
output folder is there already is not repeated.

Peers are modes as well: a script that takes the same file arguments and writes the same `predictions.jsonl` and
`all_results.json`. Those with an environment of their own run when `--setfit_python` or `--tlmtc_python` names it.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from bert_multilabel import MultiLabelConfig
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import tune

# Ours and stock take all arguments of the script; each has the learning rates that suit its strategy.
LABEL_TOKENS = "--strategy label_tokens --learning_rate 2e-4 --head_learning_rate 2e-3"
MODES = {
    "stock": "--learning_rate 1e-4",  # by stock.py
    "cls": "--strategy cls --learning_rate 1e-4 --head_learning_rate 2e-3",
    "full": LABEL_TOKENS,
    "full-1": f"{LABEL_TOKENS} --label_layers 1",
    "full-2": f"{LABEL_TOKENS} --label_layers 2",
    "isolated": f"{LABEL_TOKENS} --label_attention isolated",
    "isolated-1": f"{LABEL_TOKENS} --label_attention isolated --label_layers 1",
    "isolated-2": f"{LABEL_TOKENS} --label_attention isolated --label_layers 2",
}
PEERS = ("linear", "setfit", "tlmtc")  # take the files, the seed and the number of rows alone


def command(arguments: argparse.Namespace, mode: str, extra: list[str]) -> list[str]:
    """Put together the command of a mode, but for its seed and output folder."""
    words = ["--train_file", arguments.train_file, "--test_file", arguments.validation_file]
    words += ["--label_names_file", arguments.label_names_file]
    if arguments.max_train_samples is not None:
        words += ["--max_train_samples", str(arguments.max_train_samples)]
    if mode == "linear":
        return [sys.executable, "benchmarks/linear_baseline.py", *words]
    words += ["--model_name_or_path", arguments.backbone]
    if mode in PEERS:
        return [getattr(arguments, f"{mode}_python"), f"benchmarks/peer_{mode}.py", *words]
    script = "benchmarks/stock.py" if mode == "stock" else "run_multilabel.py"
    words += ["--do_train", "--do_predict", "--save_strategy", "no", "--overwrite_output_dir"]
    words += ["--use_cpu", "true", "--bf16", "true", "--disable_tqdm", "true"]
    return [sys.executable, script, *words, *MODES[mode].split(), *extra]


def train(arguments: argparse.Namespace, mode: str, seed: int, extra: list[str]) -> tuple[Path, float]:
    """Run the script once; return its output folder and the seconds of its training."""
    folder = Path(arguments.output_dir) / f"{mode}-{seed}"
    if not (folder / "predictions.jsonl").exists():
        words = [*command(arguments, mode, extra), "--seed", str(seed), "--output_dir", str(folder)]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("w") as log:
            subprocess.run(words, check=True, stdout=log, stderr=log)
    return folder, float(json.loads((folder / "all_results.json").read_text())["train_runtime"])


def read_truth(file: str, names: list[str]) -> np.ndarray:
    """Read the labels of a file's rows: (N, L)."""
    rows = load_splits(DataSpec(label_names=names), {"validation": file}).splits["validation"]
    return np.asarray(rows["labels"])


def read_logits(predictions: Path) -> np.ndarray:
    """Read the probabilities in a `predictions.jsonl` as logits: (N, L), float32."""
    lines = predictions.read_text(encoding="utf-8").splitlines()
    probabilities = np.array([list(json.loads(line)["scores"].values()) for line in lines])  # (N, L)
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)).float().numpy()


def score(folder: Path, truth: np.ndarray, names: list[str]) -> dict[str, float]:
    """Score the predictions in a folder against the (N, L) truth."""
    logits = read_logits(folder / "predictions.jsonl")
    config = MultiLabelConfig(label_names=names)
    for_hamming = tune(logits, truth, config, DecisionArguments(min_labels=1)).scores
    for_macro_f1 = tune(logits, truth, config, DecisionArguments(threshold_goal="macro_f1")).scores
    return {
        "hamming_at_half": for_hamming["hamming_score_at_half"],
        "hamming": for_hamming["hamming_score"],
        "macro_f1_at_half": for_hamming["macro_f1_at_half"],
        "macro_f1": for_macro_f1["macro_f1"],
        "mAP": for_hamming["mean_average_precision"],
        "calibration_error": for_hamming["expected_calibration_error"],
    }


def show(
    mode: str, seed: int, started: float, folder: Path, seconds: float, truth: np.ndarray, names: list[str]
) -> dict[str, float]:
    """Score a run that was trained in so many seconds, and print the scores with the wall time since `started`."""
    row = {**score(folder, truth, names), "train_seconds": seconds}
    wall = time.perf_counter() - started
    print(mode, seed, {name: round(value, 4) for name, value in row.items()}, f"{wall:.0f} s", flush=True)
    return row


def show_means(table: dict[str, list[dict[str, float]]]) -> None:
    """Print mean and spread over the seeds of each mode."""
    for mode, results in table.items():
        means = {name: np.mean([row[name] for row in results]) for name in results[0]}
        spread = {name: np.std([row[name] for row in results], ddof=min(1, len(results) - 1)) for name in results[0]}
        print(mode, ", ".join(f"{name} {means[name]:.4f} ± {spread[name]:.4f}" for name in means))


def argument_parser(description: str | None, modes: list[str]) -> argparse.ArgumentParser:
    """Return a parser of the arguments that every comparison of modes takes."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("train_file", "validation_file", "label_names_file", "backbone", "output_dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--modes", nargs="+", default=["cls", "full", "isolated-1"], choices=modes)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--max_train_samples", type=int)
    for peer in ("setfit", "tlmtc"):
        parser.add_argument(f"--{peer}_python", default=sys.executable, help=f"interpreter of {peer}'s environment")
    return parser


def parse(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into our arguments and those for every run."""
    arguments, extra = parser.parse_known_args()
    return arguments, [word for word in extra if word != "--"]


def main() -> None:
    """Train all modes with all seeds, seed by seed, and print the scores as they come."""
    arguments, extra = parse(argument_parser(__doc__, [*MODES, *PEERS]))
    names = read_label_names(arguments.label_names_file).names
    truth = read_truth(arguments.validation_file, names)  # (N, L)
    table: dict[str, list[dict[str, float]]] = {mode: [] for mode in arguments.modes}
    for seed in arguments.seeds:
        for mode in arguments.modes:
            started = time.perf_counter()
            table[mode].append(show(mode, seed, started, *train(arguments, mode, seed, extra), truth, names))
    show_means(table)


if __name__ == "__main__":
    main()
