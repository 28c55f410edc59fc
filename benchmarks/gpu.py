"""How fast a GPU trains and predicts, against stock and its own matrix products, and whether the answers are equal.

`python benchmarks/gpu.py --backbone … --train_file … --label_names_file … [--models DIR [DIR …]] [--rows 4096]
[--rounds 3] [--batch_sizes 32 128] [--compile] [--parts training prediction equality]
[--precisions float32 bfloat16 float16]`

All contenders of a part see the same rows, in turn, after a round that warms up; medians are printed, and ratios are
taken round by round. "Stock" is what training.py and prediction.py call so, on the same device and in the same
precision. Tokens are those of the texts, without padding and labels. The share of the peak is that of the products of
all layers with these tokens (three for each forward one in training), measured against one large square product on
the same card. Equality compares the folders of `--models`, which the script trained (without them: models made of the
backbone, whose decisions are all near their thresholds), with their own eager attention in float32; flash attention is
tried where its package is installed. `--device cpu --rows 64 --precisions float32 bfloat16` tries the program where
there is no GPU (few CPUs are good at float16).
"""

import argparse
import copy
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from datasets import Dataset
from prediction import stock_pipeline
from processor import describe
from stopwatch import seconds_of
from training import MODES, ours, stock
from transformers import BertConfig
from transformers.utils import is_flash_attn_2_available

from bert_multilabel import from_backbone
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.engines.scorers import make_scorer
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MODES_HERE = ("cls", "isolated-1", "full")
LARGE = {"cpu": 512}  # rows and columns of the product that measures the peak
Runs = dict[str, Callable[[], float]]  # each returns its seconds, without those of its preparation


def peak(dtype: torch.dtype, device: str) -> float:
    """Return the operations per second of a large square product, the best of several."""
    size = LARGE.get(device, 8192)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def run() -> None:
        for _ in range(10):
            torch.mm(left, right)
        if device != "cpu":
            torch.accelerator.synchronize()

    return 10 * 2 * size**3 / min(seconds_of(run) for _ in range(5))


def operations(config: BertConfig) -> int:
    """Return the operations of the products of all layers with one token, forward."""
    hidden, wide = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * 2 * (4 * hidden**2 + 2 * hidden * wide)


def race(runs: Runs, rounds: int) -> dict[str, list[float]]:
    """Time all runs in turn, (R) seconds each, after a round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            seconds = run()
            if number:
                times[name].append(seconds)
    return times


def table(title: str, columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    """Print a part as Markdown."""
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def report(title: str, times: dict[str, list[float]], counts: tuple[int, int], per_token: int, most: float) -> None:
    """Print the speeds of a part; `most` is the peak, in operations per second, and stock is whatever is called so."""
    texts, tokens = counts
    best = [min(values) for values in zip(*(times[name] for name in times if name.startswith("stock")), strict=True)]

    def rows() -> Iterator[tuple[str, ...]]:
        for name, seconds in times.items():
            middle = statistics.median(seconds)
            ratio = statistics.median(base / mine for base, mine in zip(best, seconds, strict=True))
            share = tokens * per_token / middle / most
            yield name, f"{texts / middle:,.0f}", f"{tokens / middle:,.0f}", f"{ratio:.2f}", f"{share:.1%}"

    table(title, ("contender", "texts/s", "tokens/s", "x stock at its best", "share of the peak"), rows())


def training(arguments: argparse.Namespace, rows: Dataset, names: list[str]) -> Runs:
    """Prepare an epoch of each contender, in bfloat16."""
    at_best = {"bf16": True, "train_sampling_strategy": "group_by_length", "use_cpu": arguments.device == "cpu"}
    runs: Runs = {}
    for size in arguments.batch_sizes:
        settings = {**at_best, "per_device_train_batch_size": size}
        runs[f"stock, batches of {size}"] = stock(arguments.backbone, rows, len(names), **settings)
    for mode in MODES_HERE:
        for size in arguments.batch_sizes:
            prepared = ours(arguments.backbone, rows, names, mode, size, "bfloat16", arguments.device)
            runs[f"{mode}, batches of {size}"] = prepared
    return runs


def prediction(arguments: argparse.Namespace, texts: list[str], names: list[str], precision: str) -> Runs:
    """Prepare scoring all texts by each contender."""
    torch.compiler.reset()  # beyond eight graphs of one class, those of all dtypes, models would run uncompiled
    pipeline = stock_pipeline(arguments.backbone, len(names), arguments.device, DTYPES[precision])
    runs: Runs = {}
    for size in arguments.batch_sizes:
        runs[f"stock, batches of {size}"] = lambda size=size: seconds_of(lambda: pipeline(texts, batch_size=size))
    for mode in MODES_HERE:
        strategy, config = MODES[mode]
        model, tokenizer = from_backbone(arguments.backbone, names, strategy, **config)
        model.to(arguments.device, DTYPES[precision])
        scorer = MultiLabelScorer(model, tokenizer)
        runs[mode] = lambda scorer=scorer: seconds_of(lambda: scorer.logits(texts))
        if arguments.compile:
            compiled = make_scorer(model, tokenizer, "compile", precision=None)
            runs[f"{mode}, compiled"] = lambda scorer=compiled: seconds_of(lambda: scorer.logits(texts))
    return runs


def equality(arguments: argparse.Namespace, texts: list[str], names: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield for each model, attention and dtype how far it is from eager attention in float32."""
    attentions = ["eager", "sdpa", *(["flash_attention_2"] if is_flash_attn_2_available() else [])]
    for which in arguments.models or MODES_HERE:
        if arguments.models:
            model, tokenizer = load_trained(which)
        else:
            strategy, config = MODES[which]
            model, tokenizer = from_backbone(arguments.backbone, names, strategy, **config)
        model.to(arguments.device)
        model.set_attn_implementation("eager")
        exact, decided = model.config.decide(MultiLabelScorer(model, tokenizer).logits(texts))  # (N, L) both
        for precision in arguments.precisions:
            narrow = copy.deepcopy(model).to(DTYPES[precision])  # rounded once, not after another dtype
            for attention in attentions:
                if attention.startswith("flash") and precision == "float32":
                    continue  # it has half precision only
                narrow.set_attn_implementation(attention)
                mine, same = model.config.decide(MultiLabelScorer(narrow, tokenizer).logits(texts))
                difference, equal = float((mine - exact).abs().max()), float((same == decided).float().mean())
                yield Path(which).name, attention, precision, f"{difference:.1e}", f"{equal:.3%}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("backbone", "train_file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parts = ("training", "prediction", "equality")
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--precisions", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--compile", action="store_true", help="also predict by the engine compile")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names = read_label_names(arguments.label_names_file).names
    rows = load_splits(DataSpec(label_names=names), {"train": arguments.train_file}).splits["train"]
    rows = rows.shuffle(seed=42).select(range(min(arguments.rows, len(rows)))).select_columns(["text", "labels"])
    texts = list(rows["text"])
    model, tokenizer = from_backbone(arguments.backbone, names, "cls")
    counts = len(texts), sum(len(ids) for ids in tokenizer(texts, truncation=True)["input_ids"])
    per_token, peaks = (
        operations(model.config),
        {name: peak(DTYPES[name], arguments.device) for name in {"bfloat16", *arguments.precisions}},
    )
    print(f"{describe(arguments.device)}; {counts[0]} texts, {counts[1]} tokens, {len(names)} labels; peak, measured:")
    print(", ".join(f"{name} {value / 1e12:.1f} Tflop/s" for name, value in peaks.items()))
    if "training" in arguments.parts:
        times = race(training(arguments, rows, names), arguments.rounds)
        report("Training, bfloat16", times, counts, 3 * per_token, peaks["bfloat16"])
    for precision in arguments.precisions if "prediction" in arguments.parts else ():
        times = race(prediction(arguments, texts, names, precision), arguments.rounds)
        report(f"Prediction, {precision}", times, counts, per_token, peaks[precision])
    if "equality" in arguments.parts:
        columns = ("model", "attention", "dtype", "largest difference of probabilities", "equal decisions")
        table("Equality with eager attention in float32", columns, equality(arguments, texts, names))


if __name__ == "__main__":
    main()
