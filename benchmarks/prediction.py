"""How fast texts are scored: ours, every precision, against the stock pipeline, gliclass and the bare matrix products.

`python benchmarks/prediction.py --backbone … --file rows.jsonl --label_names_file … --models DIR [DIR …] [--rows 5000]
[--rounds 3] [--gliclass_python PATH]`

The models are folders that the script trained. All contenders run in turn, `--rounds` times, and the ratios are taken
round by round, because the speed of a machine drifts; medians are printed. Beside the speed stands what it costs:
decisions that differ from float32, and the hamming score. gliclass needs an environment of its own, whose Python is
given; see peer_gliclass.py.
"""

import argparse
import json
import statistics
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from products import seconds_of_products
from stopwatch import seconds_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from bert_multilabel import MultiLabelTokenizer, hamming_score
from bert_multilabel.auto import MultiLabelConfig
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.model.modeling_multilabel import MODEL_CLASSES
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import PRECISIONS, MultiLabelScorer

LATENCY_TEXTS = 200


def stock_pipeline(
    backbone: str, label_names: list[str], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Callable[..., list[object]]:
    """Build the pipeline that anyone would use, on a stock model with as many labels."""
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=len(label_names), problem_type="multi_label_classification", dtype=dtype
    )
    tokenizer, answer = AutoTokenizer.from_pretrained(backbone), {"top_k": None, "truncation": True}
    return pipeline("text-classification", model=model, tokenizer=tokenizer, device=device, **answer)


def name_of(config: MultiLabelConfig) -> str:
    """Name a model by its form: cls, full, isolated-1."""
    layers = "" if config.label_layers is None else f"-{config.label_layers}"
    return "cls" if config.strategy == "cls" else f"{config.label_attention}{layers}"


def answer(scorer: MultiLabelScorer, text: str) -> dict[str, object]:
    """Say of one text what a line of predictions.jsonl says."""
    return next(prediction_records(scorer.logits([text]), scorer.config))


def gliclass_seconds(arguments: argparse.Namespace) -> float:
    """Run the peer in its own environment over a tenth of the rows; return seconds for all of them."""
    command = [arguments.gliclass_python, "benchmarks/peer_gliclass.py", "--backbone", arguments.backbone]
    command += ["--file", arguments.file, "--labels", arguments.label_names_file, "--rows", str(arguments.rows // 10)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return 10 * float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def report(name: str, times: list[float], stock: list[float], rows: int, more: str = "") -> None:
    """Print one contender: rows per second, and how often it beats the stock pipeline."""
    ratio = statistics.median(theirs / ours for theirs, ours in zip(stock, times, strict=True))
    print(f"{name:32} {rows / statistics.median(times):8.0f} rows/s  {ratio:6.2f} x stock  {more}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("backbone", "file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gliclass_python")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names = read_label_names(arguments.label_names_file).names
    rows = load_splits(DataSpec(label_names=names), {"validation": arguments.file}).splits["validation"]
    rows = rows.select(range(min(arguments.rows, len(rows))))
    texts, truth = list(rows["text"]), torch.tensor(list(rows["labels"]))  # N, (N, L)
    print(f"{len(texts)} rows, {len(names)} labels, torch {torch.__version__}, {torch.get_num_threads()} threads")

    stock = stock_pipeline(arguments.backbone, names)
    scorers: dict[str, dict[str, MultiLabelScorer]] = {}
    for folder in map(Path, arguments.models):
        config = MultiLabelConfig.from_pretrained(folder)
        model = MODEL_CLASSES[config.strategy].from_pretrained(folder)
        tokenizer = MultiLabelTokenizer.from_pretrained(folder)
        scorers[name_of(config)] = {
            precision: MultiLabelScorer(model, tokenizer, precision) for precision in PRECISIONS
        }

    # What a text costs if all layers compute all its tokens, in the batches in which cls makes them.
    first = next(iter(scorers.values()))["float32"]
    lengths = [len(ids) for ids in first.tokenizer(texts, truncation=True)["input_ids"]]
    batches = [(len(numbers), lengths[numbers[0]]) for numbers in first._batches(lengths)]

    contenders: dict[str, Callable[[], object]] = {"stock, batches of 32": lambda: stock(texts, batch_size=32)}
    for mode, by_precision in scorers.items():
        for precision, scorer in by_precision.items():
            contenders[f"{mode}, {precision}"] = lambda scorer=scorer: scorer.logits(texts)
    times: dict[str, list[float]] = {name: [] for name in [*contenders, "gliclass"]}
    limits: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    stock(texts[:64], batch_size=32)
    for by_precision in scorers.values():
        for scorer in by_precision.values():
            scorer.logits(texts[:512])
    for _ in range(arguments.rounds):
        for name, run in contenders.items():
            times[name].append(seconds_of(run))
        for dtype, seconds in limits.items():
            seconds.append(seconds_of_products(first.config, batches, getattr(torch, dtype)))
        if arguments.gliclass_python:
            times["gliclass"].append(gliclass_seconds(arguments))

    base = times["stock, batches of 32"]
    report("stock, batches of 32", base, base, len(texts))
    for dtype, seconds in limits.items():
        report(f"bare products of all layers, {dtype}", seconds, base, len(texts))
    if times["gliclass"]:
        report("gliclass", times["gliclass"], base, len(texts))
    for mode, by_precision in scorers.items():
        exact = by_precision["float32"].config.decide(by_precision["float32"].logits(texts))[1]
        for precision, scorer in by_precision.items():
            name = f"{mode}, {precision}"
            decided = scorer.config.decide(scorer.logits(texts))[1]
            limit = limits["float32" if precision == "float32" else "bfloat16"]
            share = statistics.median(bare / ours for bare, ours in zip(limit, times[name], strict=True))
            equal = float((decided == exact).float().mean())
            score = hamming_score(decided.numpy(), truth.numpy())
            more = f"{share:5.0%} of the limit  decisions equal {equal:.4%}  hamming {score:.4f}"
            if times["gliclass"]:
                pairs = zip(times["gliclass"], times[name], strict=True)
                more += f"  {statistics.median(theirs / ours for theirs, ours in pairs):.1f} x gliclass"
            report(name, times[name], base, len(texts), more)

    print(f"one text, {LATENCY_TEXTS} in turn, median milliseconds")
    alone: dict[str, list[float]] = {}
    for text in texts[:LATENCY_TEXTS]:
        alone.setdefault("stock pipeline", []).append(seconds_of(lambda text=text: stock(text)))
        for mode, by_precision in scorers.items():
            for precision, scorer in by_precision.items():
                seconds = seconds_of(lambda scorer=scorer, text=text: answer(scorer, text))
                alone.setdefault(f"{mode}, {precision}", []).append(seconds)
    for name, seconds in alone.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(seconds, alone["stock pipeline"], strict=True))
        print(f"{name:32} {1000 * statistics.median(seconds):8.2f} ms  {ratio:6.2f} x stock", flush=True)


if __name__ == "__main__":
    main()
