"""How fast a step of training is: ours, every mode, against the stock Trainer at its best and as its example has it.

`python benchmarks/training.py --backbone … --train_file … --label_names_file … [--rows 1024] [--rounds 3]
[--batch_sizes 32 64] [--modes cls full isolated-1] [--threads 2]`

All contenders see the same rows, one epoch a round, in turn; ratios are taken round by round, because the speed of a
machine drifts, and medians are printed. Each has a process of its own: our training tells the allocator of its process
to keep freed memory, and stock would gain from it. "Stock" is `AutoModelForSequenceClassification` with `Trainer`: at
its best with fused AdamW, bfloat16, length grouping and padding to the longest row of a batch; as in Transformers'
example script with float32, batches of 8 and padding to 128 tokens, which sees an eighth of the rows, for it takes so
long.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from datasets import Dataset
from products import batches_of, seconds_of_products
from stopwatch import seconds_of
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from bert_multilabel import from_backbone
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.tokenizing import Collator, encode_rows
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.trainer import MultiLabelTrainer

ISOLATED = {"label_attention": "isolated"}
MODES: dict[str, tuple[str, dict[str, object]]] = {
    "cls": ("cls", {}),
    "full": ("label_tokens", {}),
    "full-1": ("label_tokens", {"label_layers": 1}),
    "isolated": ("label_tokens", ISOLATED),
    "isolated-1": ("label_tokens", {**ISOLATED, "label_layers": 1}),
    "isolated-2": ("label_tokens", {**ISOLATED, "label_layers": 2}),
}
SHARED = {"num_train_epochs": 1, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "report_to": "none"}


def stock(backbone: str, rows: Dataset, num_labels: int, **settings: object) -> Callable[[], float]:
    """Prepare stock training; the result trains one epoch and returns its seconds."""
    padding = settings.pop("padding", False)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=num_labels, problem_type="multi_label_classification"
    )

    def encode(batch: dict[str, list[str]]) -> dict[str, object]:
        return dict(tokenizer(batch["text"], truncation=True, max_length=128, padding=padding))

    encoded = rows.map(encode, batched=True, remove_columns=["text"])
    encoded = encoded.add_column("length", [len(ids) for ids in encoded["input_ids"]])
    collator = default_data_collator if padding else DataCollatorWithPadding(tokenizer)

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            args = TrainingArguments(folder, **{**SHARED, **settings})
            trainer = Trainer(model=model, args=args, train_dataset=encoded, data_collator=collator)
            return seconds_of(trainer.train)

    return run


def ours(
    backbone: str,
    rows: Dataset,
    names: list[str],
    mode: str,
    batch_size: int,
    precision: str = "bfloat16",
    device: str = "cpu",
) -> Callable[[], float]:
    """Prepare our training with the defaults of the script; the result trains one epoch and returns its seconds."""
    strategy, config = MODES[mode]
    model, tokenizer = from_backbone(backbone, names, strategy, **config)
    reader = scoring_tokenizer(tokenizer, model.config)
    encoded = encode_rows(rows, reader)

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            words = (
                f"--model_name_or_path {backbone} --output_dir {folder} --do_train --bf16 {precision == 'bfloat16'}"
            )
            words += f" --per_device_train_batch_size {batch_size}"
            words += "".join(f" --{name} {value}" for name, value in {**SHARED, "use_cpu": device == "cpu"}.items())
            args = parse_arguments(words.split())[2]
            collator = Collator(reader)
            trainer = MultiLabelTrainer(model=model, args=args, train_dataset=encoded, data_collator=collator)
            return seconds_of(trainer.train)

    return run


_prepared: Callable[[], float]  # within the process of a contender


def _prepare(contender: Callable[..., Callable[[], float]], threads: int, *args: object, **settings: object) -> None:
    global _prepared
    torch.set_num_threads(threads)
    _prepared = contender(*args, **settings)


def _run() -> float:
    return _prepared()


def in_own_process(
    contender: Callable[..., Callable[[], float]], threads: int, *args: object, **settings: object
) -> Callable[[], float]:
    """Prepare a contender in a process of its own; the result trains one epoch there and returns its seconds."""
    process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    process.submit(_prepare, contender, threads, *args, **settings).result()
    return lambda: process.submit(_run).result()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("backbone", "train_file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--modes", nargs="+", default=["cls", "full", "isolated-1"], choices=list(MODES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no_stock", action="store_true", help="compare our modes with each other only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = read_label_names(arguments.label_names_file).names
    rows = load_splits(DataSpec(label_names=names), {"train": arguments.train_file}).splits["train"]
    rows = rows.shuffle(seed=42).select(range(arguments.rows)).select_columns(["text", "labels"])
    print(f"{len(rows)} rows, {len(names)} labels, torch {torch.__version__}, {torch.get_num_threads()} threads")

    contenders: dict[str, Callable[[], float]] = {}
    if not arguments.no_stock:
        for size in arguments.batch_sizes:
            contenders[f"stock at its best, batches of {size}"] = in_own_process(
                stock,
                arguments.threads,
                arguments.backbone,
                rows,
                len(names),
                bf16=True,
                per_device_train_batch_size=size,
                train_sampling_strategy="group_by_length",
            )
        few = rows.select(range(len(rows) // 8))
        settings = {"padding": "max_length", "per_device_train_batch_size": 8}
        example = in_own_process(stock, arguments.threads, arguments.backbone, few, len(names), **settings)
        contenders["stock as in its example, batches of 8"] = lambda: 8 * example()
    for mode in arguments.modes:
        for size in arguments.batch_sizes:
            ready = in_own_process(ours, arguments.threads, arguments.backbone, rows, names, mode, size)
            contenders[f"{mode}, batches of {size}"] = ready

    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(arguments.rounds + 1):
        for name, run in contenders.items():
            seconds = run()
            if number:  # the first round warms up
                times[name].append(seconds)
            print(f"round {number}: {name}: {seconds:.1f} s", flush=True)

    best = [min(values) for values in zip(*(times[name] for name in times if "at its best" in name), strict=True)]
    cls = [min(values) for values in zip(*(times[name] for name in times if name.startswith("cls")), strict=True)]
    for name, seconds in times.items():
        line = f"{name:42} {len(rows) / statistics.median(seconds):8.0f} rows/s"
        for title, base in (("stock at its best", best), ("cls", cls)):
            if base:
                ratio = statistics.median(theirs / mine for theirs, mine in zip(base, seconds, strict=True))
                line += f"  {ratio:5.2f} x {title}"
        print(line)
    config = from_backbone(arguments.backbone, names, "cls")[0].config
    tokenizer = AutoTokenizer.from_pretrained(arguments.backbone)
    lengths = [len(tokenizer(text)["input_ids"]) for text in rows["text"]]
    bare = 3 * seconds_of_products(config, batches_of(lengths, 32), torch.bfloat16)
    print(f"bare products of all layers, three for each forward one, bfloat16: {len(rows) / bare:.0f} rows/s")


if __name__ == "__main__":
    main()
