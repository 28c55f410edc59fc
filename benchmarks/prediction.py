"""How fast texts are scored: by each engine, against the stock pipeline, gliclass and the bare matrix products.

`python benchmarks/prediction.py --backbone … --file rows.jsonl --label_names_file … --models DIR [DIR …] [--engines
torch onnx openvino compile] [--rows 2000] [--rounds 3] [--texts 100] [--threads 1] [--clock wall | cpu]
[--gliclass_python PATH]`

The models are folders that the script trained. Each contender is a process of its own, which waits while others
compute; all run in turn, `--rounds` times, and the ratios are taken round by round, because the speed of a machine
drifts; medians are printed, as a Markdown table. Start-up is from the start of the process to the answer to one text,
imports included; engines whose graphs are not in the cache convert the model first, so that start is done twice.
Memory is what the process has written (RssAnon) after all texts. `--clock cpu` counts the time of the processor
instead, where others compute on the same cores. gliclass needs an environment of its own, whose Python is given, and
scores a tenth of the rows; see peer_gliclass.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from processor import describe

BOTH = ("float32", "bfloat16")
PRECISIONS = {"torch": BOTH, "compile": BOTH, "onnx": BOTH[:1], "openvino": BOTH}  # by engine


class Contender:
    """A process that answers requests: `{"texts": count, "one_by_one": bool}` with `{"wall": s, "cpu": s, …}`."""

    def __init__(self, arguments: argparse.Namespace, spec: dict[str, str]) -> None:
        started = time.perf_counter()
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", json.dumps(spec)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.start = {"cpu": self._read()["cpu"], "wall": time.perf_counter() - started}

    def ask(self, texts: int, one_by_one: bool = False) -> dict[str, float]:
        """Let it score the first texts, at once or each alone."""
        self._process.stdin.write(json.dumps({"texts": texts, "one_by_one": one_by_one}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, float]:
        if not (line := self._process.stdout.readline()):
            raise SystemExit(f"a contender ended: {self._process.args}")
        return json.loads(line)


def work(arguments: argparse.Namespace, spec: dict[str, str]) -> None:
    """Be a contender: answer each line of the standard input with one of the standard output."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    answers, sys.stdout = sys.stdout, sys.stderr  # which libraries print to
    texts = read_texts(arguments)
    prepare = {"stock": stock, "products": products}.get(spec["engine"], ours)
    run = prepare(arguments, spec, texts)
    run(texts[:1])
    print(json.dumps({"cpu": time.process_time()}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        asked = texts[: request["texts"]]
        wall, cpu = time.perf_counter(), time.process_time()
        decided = [run([text]) for text in asked] if request["one_by_one"] else run(asked)
        answer = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "memory": memory()}
        answer["decided"] = decided if spec["engine"] in PRECISIONS else None
        print(json.dumps(answer), file=answers, flush=True)


def read_texts(arguments: argparse.Namespace) -> list[str]:
    """Read the first texts of the file."""
    with open(arguments.file, encoding="utf-8") as file:
        return [json.loads(line)["text"] for line, _ in zip(file, range(arguments.rows), strict=False)]


def ours(arguments: argparse.Namespace, spec: dict[str, str], texts: list[str]) -> Callable[[list[str]], object]:
    """Load a model of ours; the result returns the decisions on texts as lists."""
    from bert_multilabel.engines.scorers import load_scorer

    scorer = load_scorer(spec["model"], spec["engine"], spec["precision"], device="cpu")
    return lambda some: scorer.config.decide(scorer.logits(some))[1].int().tolist()


def stock(arguments: argparse.Namespace, spec: dict[str, str], texts: list[str]) -> Callable[[list[str]], object]:
    """Prepare the stock pipeline at the size of a batch that suits it."""
    classify = stock_pipeline(arguments.backbone, len(Path(arguments.label_names_file).read_text().splitlines()))
    return lambda some: len(classify(some, batch_size=32))


def stock_pipeline(
    backbone: str, num_labels: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Callable[..., list[object]]:
    """Build the pipeline that anyone would use, on a stock model with as many labels."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=num_labels, problem_type="multi_label_classification", dtype=dtype
    )
    tokenizer, answer = AutoTokenizer.from_pretrained(backbone), {"top_k": None, "truncation": True}
    return pipeline("text-classification", model=model, tokenizer=tokenizer, device=device, **answer)


def products(arguments: argparse.Namespace, spec: dict[str, str], texts: list[str]) -> Callable[[list[str]], object]:
    """Prepare the bare products of all layers, in batches as prediction makes them."""
    from products import bare_products, batches_of
    from transformers import AutoConfig, AutoTokenizer

    from bert_multilabel.model.scoring import TOKENS_PER_BATCH_ON_CPU

    tokenizer, config = (kind.from_pretrained(arguments.backbone) for kind in (AutoTokenizer, AutoConfig))
    encoded = tokenizer(texts, truncation=True)["input_ids"]
    lengths = {text: len(ids) for text, ids in zip(texts, encoded, strict=True)}
    most = max(TOKENS_PER_BATCH_ON_CPU, *lengths.values())
    run = bare_products(config, most, getattr(torch, spec["precision"]))
    return lambda some: run(batches_of([lengths[text] for text in some]))


def memory() -> float:
    """Return what this process has written, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


def gliclass(arguments: argparse.Namespace) -> dict[str, float]:
    """Run the peer in its own environment over a tenth of the rows; return the time for all of them."""
    command = [arguments.gliclass_python, str(Path(__file__).with_name("peer_gliclass.py"))]
    command += ["--backbone", arguments.backbone, "--file", arguments.file, "--labels", arguments.label_names_file]
    command += ["--rows", str(arguments.rows // 10), "--threads", str(arguments.threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"wall": 10 * float(json.loads(done.stdout.splitlines()[-1])["seconds"])}


def contenders_of(arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return what runs, by names for the table: the stock pipeline first."""
    specs = {"stock pipeline": {"engine": "stock"}}
    specs |= {f"bare products, {dtype}": {"engine": "products", "precision": dtype} for dtype in BOTH}
    for folder in arguments.models:
        for engine in arguments.engines:
            for precision in PRECISIONS[engine]:
                specs[f"{Path(folder).name}, {engine}, {precision}"] = {
                    "engine": engine,
                    "precision": precision,
                    "model": folder,
                }
    return specs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("backbone", "file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--engines", nargs="+", default=["torch", "onnx", "openvino"], choices=[*PRECISIONS])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=100, help="that are scored one by one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--gliclass_python")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments, json.loads(arguments.worker))
        return
    if arguments.gliclass_python and arguments.clock == "cpu":
        parser.error("--gliclass_python is timed by --clock wall only")
    if not arguments.texts <= arguments.rows <= len(read_texts(arguments)):
        parser.error(f"there must be {arguments.rows} rows in {arguments.file}, and at most as many --texts")
    torch.set_num_threads(arguments.threads)
    specs = contenders_of(arguments)
    for spec in specs.values():
        if spec["engine"] in ("onnx", "openvino"):
            Contender(arguments, spec).end()  # converts the model
    running = {name: Contender(arguments, spec) for name, spec in specs.items()}
    many: dict[str, list[dict[str, float]]] = {name: [] for name in specs}
    alone: dict[str, list[dict[str, float]]] = {name: [] for name in specs}
    peer: list[dict[str, float]] = []
    for one in running.values():
        one.ask(200)
    for _ in range(arguments.rounds):
        for name, one in running.items():
            many[name].append(one.ask(arguments.rows))
            alone[name].append(one.ask(arguments.texts, one_by_one=True))
        if arguments.gliclass_python:
            peer.append(gliclass(arguments))
    for one in running.values():
        one.end()
    print(f"{describe()}; {arguments.rows} rows, clock: {arguments.clock}\n")
    print_table(arguments, specs, running, many, alone)
    if peer:
        seconds = statistics.median(one["wall"] for one in peer)
        times = statistics.median(
            base["wall"] / one["wall"] for base, one in zip(many["stock pipeline"], peer, strict=True)
        )
        print(f"| gliclass | {arguments.rows / seconds:,.0f} | {times:.2f} |", "| " * 6)


def print_table(
    arguments: argparse.Namespace,
    specs: dict[str, dict[str, str]],
    running: dict[str, Contender],
    many: dict[str, list[dict[str, float]]],
    alone: dict[str, list[dict[str, float]]],
) -> None:
    """Print one line for each contender."""
    clock = arguments.clock

    def ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
        return statistics.median(one[clock] / other[clock] for one, other in zip(ours, theirs, strict=True))

    print("| | rows/s | times stock | of the products | one text, ms | of stock | start, s | MB | decisions equal |")
    print("|---" * 9 + "|")
    for name, spec in specs.items():
        bare = many.get(f"bare products, {spec.get('precision', 'float32')}", many[name])
        seconds = statistics.median(one[clock] for one in many[name])
        latency = 1000 * statistics.median(one[clock] for one in alone[name]) / arguments.texts
        cells = [name, f"{arguments.rows / seconds:,.0f}", f"{ratio(many['stock pipeline'], many[name]):.2f}"]
        cells += [
            f"{ratio(bare, many[name]):.0%}",
            f"{latency:.1f}",
            f"{ratio(alone[name], alone['stock pipeline']):.2f}",
        ]
        cells += [f"{running[name].start[clock]:.1f}", f"{many[name][-1]['memory']:.0f}"]
        exact = many.get(f"{Path(spec['model']).name}, torch, float32") if "model" in spec else None
        if exact:
            pairs = zip(exact[-1]["decided"], many[name][-1]["decided"], strict=True)
            equal = [one == other for ours, theirs in pairs for one, other in zip(ours, theirs, strict=True)]
            cells.append(f"{statistics.fmean(equal):.3%}")
        else:
            cells.append("")
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
