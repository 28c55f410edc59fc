"""What a label costs, from 500 to 4,000 of them: isolated label tokens in the last layer, trained and asked.

`python benchmarks/labels.py --backbone … --train_file … --label_names_file … [--counts 500 1000 2000 4000]`

The names are those of the file, and behind them made-up ones of the same words. Labels of the rows are random, as they
do not matter for speed. "Per label" is what the labels cost beyond the text alone, which is measured with one label.
"""

import argparse
import resource
import statistics
from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset
from stopwatch import seconds_of

from bert_multilabel import from_backbone
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.tokenizing import Collator, encode_rows
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.training.cpu import cpu_training


def make_names(real: list[str], count: int) -> list[str]:
    """Return `count` names: the real ones, then pairs of their words."""
    words = sorted({word for name in real for word in name.replace("::", " ").replace("-", " ").split()})
    made_up = (f"{first} {second}" for first in words for second in words if first < second)
    return [*real, *(name for name, _ in zip(made_up, range(count), strict=False))][:count]


def seconds_per_row(function: Callable[[], object], rows: int, repeats: int) -> float:
    """Median seconds per row of several calls, after one to warm up."""
    function()
    return statistics.median(seconds_of(function) for _ in range(repeats)) / rows


def costs(backbone: str, names: list[str], rows: Dataset, repeats: int) -> dict[str, float]:
    """Return the seconds per row of a training step and of prediction with these labels."""
    model, tokenizer = from_backbone(backbone, names, "label_tokens", label_attention="isolated", label_layers=1)
    encoded = encode_rows(rows, tokenizer.without_label_tokens()).remove_columns("length")
    batch = Collator(tokenizer)(list(encoded))
    random = np.random.default_rng(0).random((len(rows), len(names)))  # (B, L)
    labels = torch.tensor(random < 4 / len(names), dtype=torch.float32)  # (B, L), about four per row
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        model.zero_grad()

    with cpu_training(model.train()):
        training = seconds_per_row(step, len(rows), repeats)
    scorer, texts = MultiLabelScorer(model, tokenizer, "bfloat16"), list(rows["text"])
    return {"training": training, "prediction": seconds_per_row(lambda: scorer.logits(texts), len(rows), repeats)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("backbone", "train_file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--counts", nargs="+", type=int, default=[500, 1000, 2000, 4000])
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    names = read_label_names(arguments.label_names_file).names
    rows = load_splits(DataSpec(label_names=names), {"train": arguments.train_file}).splits["train"]
    rows = rows.shuffle(seed=42).select(range(arguments.batch_size)).select_columns(["text"])
    alone: dict[str, float] = {}
    for count in [1, *arguments.counts]:
        found = costs(arguments.backbone, make_names(names, count), rows, arguments.repeats)
        alone = alone or found
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        line = f"{count:5} labels, peak memory {peak:5.1f} GiB"
        for name, seconds in found.items():
            line += f"   {name} {1000 * seconds:8.2f} ms per row"
            if count > 1:
                line += f", {1e6 * (seconds - alone[name]) / (count - 1):6.1f} µs per label beyond the text"
        print(line, flush=True)


main()
