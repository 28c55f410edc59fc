"""What goes into a peer and what comes out, so that quality.py scores all alike; needs `datasets` and numpy alone."""

import argparse
import json
from pathlib import Path

import numpy as np
from datasets import Dataset


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the arguments that quality.py gives to a peer with an environment of its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model_name_or_path", "train_file", "test_file", "label_names_file", "output_dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument(
        "--max_train_samples", type=int, help="the same rows as run_multilabel.py draws with this seed"
    )
    parser.add_argument("--seed", type=int, default=42)
    return parser


def read_rows(arguments: argparse.Namespace) -> tuple[list[str], list[str], np.ndarray, list[str]]:
    """Return the L label names, N training texts, their labels (N, L) of 0 and 1, and the texts to predict.

    Files are jsonl or parquet with the columns `text` and `labels`, lists of names.
    """
    names = [line for line in Path(arguments.label_names_file).read_text(encoding="utf-8").splitlines() if line]
    train, test = (_read(path) for path in (arguments.train_file, arguments.test_file))
    if arguments.max_train_samples is not None:
        train = train.shuffle(seed=arguments.seed).select(range(min(arguments.max_train_samples, len(train))))
    labels = np.array([[int(name in given) for name in names] for given in train["labels"]])  # (N, L)
    return names, list(train["text"]), labels, list(test["text"])


def _read(path: str) -> Dataset:
    # In memory: the library's own readers would leave a copy in the user's cache.
    read = Dataset.from_parquet if path.endswith(".parquet") else Dataset.from_json
    return read(path, keep_in_memory=True)


def write_results(folder: Path, names: list[str], probabilities: np.ndarray, seconds: float) -> None:
    """Write one line per row of (N, L) probabilities, and how long training took."""
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(folder / "predictions.jsonl", names, probabilities)
    (folder / "all_results.json").write_text(json.dumps({"train_runtime": seconds}))


def write_scores(path: Path, names: list[str], probabilities: np.ndarray) -> None:
    """Write one line per row of (N, L) probabilities, in the form of predictions."""
    with path.open("w", encoding="utf-8") as file:
        for scores in probabilities.tolist():
            file.write(json.dumps({"scores": dict(zip(names, scores, strict=True))}, ensure_ascii=False) + "\n")
