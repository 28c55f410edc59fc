"""Learning from a few rows per label: draws them, then trains and scores contenders on them as quality.py does.

`python benchmarks/few_shot.py --train_file … --validation_file … --label_names_file … --backbone …
--output_dir runs/few --per_label 8 --seeds 1 2 --modes isolated-1 isolated-1-unnamed cls stock setfit
[--setfit_python …] [-- arguments for each run of ours and of stock: --max_steps 320 --per_device_train_batch_size 16]`

`MODE-unnamed` is MODE with labels called L00, L01, … in all that it is given: it cannot read their names. Scores are
those of quality.py, on the first `--validation_rows` rows. A row is a text with its labels; second texts are left out.
"""

import json
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
from quality import MODES, PEERS, argument_parser, parse, read_truth, show, show_means, train

from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec

UNNAMED = "-unnamed"


def draw(labels: np.ndarray, per_label: int, seed: int) -> np.ndarray:
    """Draw rows until each label has `per_label` of them, or all that there are.

    Rows come in random order, label by label from the rarest to the most frequent, and each counts for all its labels:
    what the rarer labels brought along is not drawn again. Frequent labels may so end with more than `per_label`.

    Args:
        labels: (N, L), 1 where a row has a label.
        per_label: Rows wanted of each label.
        seed: Decides on the order of the rows.

    Returns:
        Indices of the chosen rows, in random order.
    """
    given = labels == 1
    order = np.random.default_rng(seed).permutation(len(given))
    chosen = np.zeros(len(given), dtype=bool)
    for label in np.argsort(given.sum(axis=0), kind="stable"):
        missing = max(0, per_label - int(given[chosen, label].sum()))
        candidates = order[given[order, label] & ~chosen[order]]
        chosen[candidates[:missing]] = True
    return order[chosen[order]]


def write_task(folder: Path, splits: dict[str, list[tuple[str, np.ndarray]]], names: list[str]) -> dict[str, str]:
    """Write the files of a task, texts and label vectors in, and return the arguments that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {f"{split}_file": folder / f"{split}.jsonl" for split in splits}
    for rows, path in zip(splits.values(), paths.values(), strict=True):
        with path.open("w", encoding="utf-8") as file:
            for text, vector in rows:
                given = [name for name, value in zip(names, vector, strict=True) if value == 1]
                file.write(json.dumps({"text": text, "labels": given}, ensure_ascii=False) + "\n")
    paths["label_names_file"] = folder / "labels.txt"
    paths["label_names_file"].write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return {name: str(path) for name, path in paths.items()}


def main() -> None:
    """Draw, train and score seed by seed, and print the scores as they come."""
    modes = [*MODES, *PEERS]
    parser = argument_parser(__doc__, [*modes, *(mode + UNNAMED for mode in modes)])
    parser.add_argument("--per_label", type=int, required=True)
    parser.add_argument("--validation_rows", type=int, default=2000)
    arguments, extra = parse(parser)
    names = read_label_names(arguments.label_names_file).names
    unnamed = [f"L{index:02d}" for index in range(len(names))]
    files = {"train": arguments.train_file, "validation": arguments.validation_file}
    splits = load_splits(DataSpec(label_names=names), files).splits
    labels = np.asarray(splits["train"]["labels"])  # (N, L)
    table: dict[str, list[dict[str, float]]] = {mode: [] for mode in arguments.modes}
    for seed in arguments.seeds:
        chosen = splits["train"].select(draw(labels, arguments.per_label, seed))
        judged = splits["validation"].select(range(min(arguments.validation_rows, len(splits["validation"]))))
        rows = {
            split: list(zip(part["text"], np.asarray(part["labels"]), strict=True))
            for split, part in {"train": chosen, "validation": judged}.items()
        }
        folder = Path(arguments.output_dir) / f"{arguments.per_label}-per-label" / f"seed-{seed}"
        named_task = write_task(folder, rows, names)
        unnamed_task = write_task(folder / "unnamed", rows, unnamed)
        truth = read_truth(named_task["validation_file"], names)  # (N, L)
        print(f"seed {seed}: {len(chosen)} rows to learn from, {len(judged)} to judge by", flush=True)
        for mode in arguments.modes:
            started = time.perf_counter()
            task = {**named_task, "output_dir": str(folder)}
            if mode.endswith(UNNAMED):
                task = {**unnamed_task, "output_dir": str(folder / "unnamed")}
            run = Namespace(**{**vars(arguments), **task})
            trained = train(run, mode.removesuffix(UNNAMED), seed, extra)
            table[mode].append(show(mode, seed, started, *trained, truth, names))
    show_means(table)


if __name__ == "__main__":
    main()
