"""Rows per second of `MultiLabelPredictor`: in a loop, in processes of `datasets.map`, in actors of Ray Data.

`python benchmarks/data_engines.py --model DIR --file rows.jsonl [--rows 5000] [--workers 2] [--batch_size 512]
[--rounds 3]`

All compute the same rows with one thread per process, in turn, `--rounds` times, because the speed of a machine
drifts; ratios to the loop are taken round by round, and medians are printed. Each round runs an engine twice: over one
row per worker, which shows what its start costs (processes, imports, the model), and over all rows; the difference is
the time that the rows take. The loop starts when its imports are done, and the processes of `datasets` take the model
over from this one. All should give the same labels.
"""

import os

# Before anything reads them, and for all processes that are started here. By default, Ray's workers give way to all
# other processes, and are ended when memory is short, whoever has taken it.
os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_memory_monitor_refresh_ms": "0"}

import argparse
import json
import logging
import statistics
from collections.abc import Callable

import datasets
import pyarrow as pa
import ray
import ray.data
from stopwatch import seconds_of

from bert_multilabel import MultiLabelPredictor

Engine = Callable[[pa.Table], list[list[str]]]


def batches(rows: pa.Table, size: int) -> list[pa.Table]:
    """Cut a table into batches."""
    return [rows.slice(start, size) for start in range(0, len(rows), size)]


def make_engines(model: str, workers: int, size: int) -> dict[str, Engine]:
    """Return what computes the labels of rows, by name."""

    def loop(rows: pa.Table) -> list[list[str]]:
        predict = MultiLabelPredictor(model, device="cpu")
        return [labels for batch in batches(rows, size) for labels in predict(batch)["labels"].to_pylist()]

    def with_datasets(rows: pa.Table) -> list[list[str]]:
        predict = MultiLabelPredictor(model, device="cpu")
        predicted = datasets.Dataset(rows).map(
            predict, batched=True, batch_size=size, num_proc=workers, load_from_cache_file=False
        )
        return list(predicted["labels"])

    def with_ray(rows: pa.Table) -> list[list[str]]:
        predicted = ray.data.from_arrow(batches(rows, min(size, -(-len(rows) // workers)))).map_batches(
            MultiLabelPredictor,
            fn_constructor_args=[model],
            fn_constructor_kwargs={"device": "cpu"},
            batch_size=size,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        return [list(row["labels"]) for row in predicted.take_all()]

    return {
        "predictor in a loop": loop,
        f"datasets.map, num_proc={workers}": with_datasets,
        f"Ray Data, {workers} actors": with_ray,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", required=True)
    for name, default in (("rows", 5000), ("workers", 2), ("batch_size", 512), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(arguments.rows), strict=False)]
    datasets.disable_progress_bars()
    ray.init(num_cpus=arguments.workers, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    rows = pa.table({"text": texts})
    one_each = rows.slice(0, arguments.workers)
    engines = make_engines(arguments.model, arguments.workers, arguments.batch_size)
    starts: dict[str, list[float]] = {name: [] for name in engines}
    times: dict[str, list[float]] = {name: [] for name in engines}
    answers = {}
    for _ in range(arguments.rounds):
        for name, engine in engines.items():
            starts[name].append(seconds_of(lambda engine=engine: engine(one_each)))
            total = seconds_of(lambda engine=engine, name=name: answers.update({name: engine(rows)}))
            times[name].append(total - starts[name][-1])
    first, *others = answers.values()
    for name, other in zip(list(answers)[1:], others, strict=True):
        differing = sum(ours != theirs for ours, theirs in zip(first, other, strict=True))
        print(f"rows with other labels than the loop gives, {name}: {differing}")
    print(f"{len(texts)} rows, batches of {arguments.batch_size}, one thread per process")
    print("| engine | rows/s | × the loop | start, s |\n|---|---|---|---|")
    base = next(iter(times.values()))
    for name, seconds in times.items():
        ratio = statistics.median(loop / own for loop, own in zip(base, seconds, strict=True))
        speed, start = len(texts) / statistics.median(seconds), statistics.median(starts[name])
        print(f"| {name} | {speed:.0f} | {ratio:.2f} | {start:.1f} |")


main()
