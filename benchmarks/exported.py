"""How fast exported models score texts, against the original in PyTorch.

`python benchmarks/exported.py --model DIR --exported DIR [DIR …] --file rows.jsonl [--rows 2000] [--rounds 3]`

All run on one thread, in turn, `--rounds` times, and ratios are taken round by round, because the speed of a machine
drifts; medians are printed. Time is that of the processor, so other work on the same core counts little.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.export.onnx_model import OnnxModel
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import PRECISIONS, MultiLabelScorer

LATENCY_TEXTS = 200


def seconds_of(function: Callable[[], object]) -> float:
    """Time one call, in seconds of processor time."""
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--exported", nargs="+", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_trained(arguments.model)
    rows = load_splits(DataSpec(label_names=model.config.label_names), {"test": arguments.file}).splits["test"]
    texts = list(rows["text"])[: arguments.rows]

    contenders: dict[str, Callable[[list[str]], object]] = {
        f"PyTorch, {precision}": MultiLabelScorer(model, tokenizer, precision).logits for precision in PRECISIONS
    }
    for folder in map(Path, arguments.exported):
        size = sum(path.stat().st_size for path in folder.rglob("*.onnx")) / 1e6
        contenders[f"{folder.name}, {size:.1f} MB"] = OnnxModel(folder, threads=1).logits
    for score in contenders.values():
        score(texts[:200])
    times: dict[str, list[float]] = {name: [] for name in contenders}
    alone: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, score in contenders.items():
            times[name].append(seconds_of(lambda score=score: score(texts)))
    for text in texts[:LATENCY_TEXTS]:
        for name, score in contenders.items():
            alone[name].append(seconds_of(lambda score=score, text=text: score([text])))
    base = times["PyTorch, float32"]
    for name, seconds in times.items():
        ratio = statistics.median(theirs / ours for theirs, ours in zip(base, seconds, strict=True))
        print(
            f"{name:32} {len(texts) / statistics.median(seconds):8.0f} rows/s  {ratio:5.2f} x PyTorch float32  "
            f"one text {1000 * statistics.median(alone[name]):6.2f} ms",
            flush=True,
        )


main()
