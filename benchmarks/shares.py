"""What a training step and a prediction batch spend their time on, by kind of operation, as a Markdown table.

`python benchmarks/shares.py --backbone … --train_file … --label_names_file … [--rows 512] [--modes cls full]
[--tasks training prediction] [--precision bfloat16] [--device cpu] [--threads N]`

Models are new, made of the backbone: their weights do not change the time. Shares are of the own time of operations in
torch.profiler, in the second of two passes over the rows. Further columns are the seconds of a pass without the
profiler, and how many of them the bare matrix products of all layers take in such batches (in training three for each
forward one). This file is not called profile.py, since Python has a module of that name, which torch imports.
"""

import argparse
from collections.abc import Callable

import torch
from processor import describe
from products import batches_of, seconds_of_products
from stopwatch import seconds_of
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training import MODES, ours

from bert_multilabel import from_backbone
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.model.scoring import MultiLabelScorer, store_in_bfloat16

# By kind: parts of the names of operations; the first kind that has one counts.
KINDS = {
    "optimizer": ("optimizer", "adamw", "_foreach_", "clip_grad"),
    "softmax, attention": ("softmax", "scaled_dot_product", "flash_attention", "efficient_attention"),
    "GELU": ("gelu",),  # before "::ge"
    "dropout": ("dropout", "random_", "bernoulli", "::ge", "::where", "::lt", "exponential"),
    "layer norm": ("layer_norm",),
    "products": ("::mm", "addmm", "bmm", "linear", "matmul", "::dot", "::mv"),
    "embeddings": ("embedding", "::index", "::gather", "scatter"),
    "casts, copies": (
        "::copy_",
        "::to",
        "_to_copy",
        "contiguous",
        "::cat",
        "::clone",
        "::fill_",
        "::zero_",
        "::empty",
    ),
    "sums": ("::add", "::sum", "::mul", "::sub", "::div"),
}


def kind_of(operation: str) -> str:
    """Return the kind of an operation by its name."""
    name = operation.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "rest")


def shares_of(run: Callable[[], object], device: str) -> dict[str, float]:
    """Profile a call, and return the share of each kind of operation in the time of all."""
    activities = [ProfilerActivity.CPU] + ([] if device == "cpu" else [ProfilerActivity.CUDA])
    with profile(activities=activities) as profiler:
        run()
    spent = dict.fromkeys([*KINDS, "rest"], 0.0)
    for event in profiler.key_averages():
        # Kernels are events of their own as well; the time of an operation is that of its kernels.
        if event.device_type == DeviceType.CPU:
            own = event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
            spent[kind_of(event.key)] += own
    return {kind: time / sum(spent.values()) for kind, time in spent.items()}


def prediction(
    backbone: str, texts: list[str], names: list[str], mode: str, precision: str, device: str
) -> Callable[[], float]:
    """Prepare prediction; the result scores all texts and returns its seconds."""
    strategy, config = MODES[mode]
    model, tokenizer = from_backbone(backbone, names, strategy, **config)
    model.to(device)
    if precision == "bfloat16":
        store_in_bfloat16(model)
    scorer = MultiLabelScorer(model, tokenizer, precision)
    return lambda: seconds_of(lambda: scorer.logits(texts))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("backbone", "train_file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--modes", nargs="+", default=["cls", "isolated-1", "full"], choices=list(MODES))
    parser.add_argument("--tasks", nargs="+", default=["training", "prediction"], choices=["training", "prediction"])
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = read_label_names(arguments.label_names_file).names
    rows = load_splits(DataSpec(label_names=names), {"train": arguments.train_file}).splits["train"]
    rows = rows.shuffle(seed=42).select(range(min(arguments.rows, len(rows)))).select_columns(["text", "labels"])
    texts = list(rows["text"])
    config, tokenizer = (from_backbone(arguments.backbone, names, "cls")[part] for part in (0, 1))
    lengths = [len(ids) for ids in tokenizer(texts, truncation=True)["input_ids"]]

    print(f"{describe(arguments.device)}; {len(texts)} rows, {len(names)} labels, {arguments.precision}\n")
    columns = [*KINDS, "rest", "seconds", "bare products"]
    print("|", " | ".join(["", *columns]), "|\n" + "|---" * (len(columns) + 1) + "|")
    for task in arguments.tasks:
        batches = batches_of(lengths, 32 if task == "training" else None, arguments.device)
        for mode in arguments.modes:
            if task == "training":
                run = ours(arguments.backbone, rows, names, mode, 32, arguments.precision, arguments.device)
            else:
                run = prediction(arguments.backbone, texts, names, mode, arguments.precision, arguments.device)
            run()
            seconds = run()
            bare = seconds_of_products(config.config, batches, getattr(torch, arguments.precision), arguments.device)
            bare *= 3 if task == "training" else 1
            shares = shares_of(run, arguments.device)
            cells = [f"{task}, {mode}", *(f"{share:.0%}" for share in shares.values()), f"{seconds:.2f}"]
            print("|", " | ".join([*cells, f"{bare / seconds:.0%}"]), "|", flush=True)


main()
