"""The server beside minimal ones on the public APIs of other engines: start-up, memory, answers under load, the end.

`python benchmarks/serving_engines.py --model DIR --file rows.jsonl --engines ours litserve bentoml ray
[--python ray=PATH ...]`

Each engine gets one model process on one thread and batches of at most 32 requests (`--batch 1`: none). One after the
other is started, asked and ended: name one twice to see how the machine drifts. `--python` names an interpreter that
has an engine.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import psutil

HERE = Path(__file__)
MODEL, BATCH = os.environ.get("MODEL", ""), int(os.environ.get("BATCH", "32"))
COMMANDS = {
    "ours": ["-m", "bert_multilabel.serve", "MODEL", "--threads", "1", "--max_waiting", "48", "--port"],
    "litserve": [str(HERE), "litserve"],
    "bentoml": ["-m", "bentoml", "serve", f"{HERE.stem}:Front", "--port"],
    "ray": [str(HERE), "ray"],
}


class Engine:
    """What all of them run."""

    def __init__(self) -> None:
        from bert_multilabel.serve.served_model import load_served

        self.engine = load_served(Path(MODEL), threads=1)

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Answer a batch."""
        from bert_multilabel.model.output_format import prediction_records

        return list(prediction_records(self.engine.logits(texts), self.engine.config))


def run_litserve(port: int) -> None:
    """Serve by LitServe, which waits a few milliseconds for a batch."""
    import litserve

    class API(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.engine = Engine()

        def decode_request(self, request: Any) -> Any:
            return request["inputs"]

        def batch(self, inputs: Any) -> Any:
            return inputs

        def unbatch(self, output: Any) -> Any:
            return output

        def predict(self, inputs: Any) -> Any:
            return self.engine.predict(inputs) if isinstance(inputs, list) else self.engine.predict([inputs])[0]

    api = API(max_batch_size=BATCH, batch_timeout=0.005 if BATCH > 1 else 0)
    server = litserve.LitServer(api, accelerator="cpu", timeout=False, restart_workers=True)
    server.run(port=port, host="127.0.0.1", generate_client_file=False, num_api_servers=1)


def run_ray(port: int) -> None:
    """Serve by Ray Serve."""
    import ray
    from ray import serve
    from starlette.requests import Request

    @serve.deployment(max_ongoing_requests=200, ray_actor_options={"num_cpus": 1})
    class App:
        def __init__(self) -> None:
            self.engine = Engine()

        @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.0)
        async def many(self, texts: list[str]) -> list[dict[str, Any]]:
            return self.engine.predict(texts)

        async def __call__(self, request: Request) -> Any:
            return await self.many((await request.json())["inputs"])

    ray.init(num_cpus=2, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(App.bind(), route_prefix="/predict")
    signal.pause()


if find_spec("bentoml"):
    import bentoml

    @bentoml.service(workers=1, traffic={"timeout": 600, "max_concurrency": 1000})
    class Model(Engine):
        """The process of the model."""

        @bentoml.api(batchable=True, batch_dim=0, max_batch_size=BATCH, max_latency_ms=600_000)
        def many(self, inputs: list[str]) -> list[dict[str, Any]]:
            """Answer a batch."""
            return self.predict(inputs)

    @bentoml.service(workers=1, traffic={"timeout": 600, "max_concurrency": 1000})
    class Front:
        """The process of HTTP."""

        model = bentoml.depends(Model)

        @bentoml.api(route="/predict")
        async def predict(self, inputs: str) -> dict[str, Any]:
            """Answer a request."""
            return (await self.model.to_async.many([inputs]))[0]


def tree(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Return a process and all that it has started."""
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    """Return what all of its processes have used."""
    return sum(sum(part.cpu_times()[:2]) for part in tree(process))


@contextmanager
def running(name: str, python: str, port: int, batch: int, model: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a server, print what that took, and how it ends."""
    environment = {**os.environ, "MODEL": model, "BATCH": str(batch), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])
    words = [model if word == "MODEL" else word for word in COMMANDS[name]]
    own = ["--max_batch_size", str(batch)] if name == "ours" else []
    start = time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([python, *words, str(port), *own], env=environment, stdout=quiet, stderr=quiet)
    try:
        while not answers(port):
            if process.poll() is not None or time.perf_counter() - start > 600:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.1)
        took, used = time.perf_counter() - start, cpu_seconds(process)
        memory = sum(part.memory_full_info().pss for part in tree(process)) >> 20
        time.sleep(3)
        idle = (cpu_seconds(process) - used) / 3
        count = len(tree(process))
        print(f"{name}: {took:.1f} s, {used:.1f} CPU s, {memory} MB (PSS), {count} processes, idle at {idle:.0%} CPU")
        yield process
    finally:
        end(name, process)


def end(name: str, process: "subprocess.Popen[bytes]") -> None:
    """Send SIGTERM, and say what came of it."""
    parts = tree(process)
    start = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    took = time.perf_counter() - start
    _, left = psutil.wait_procs(parts, timeout=10)
    print(f"{name}: exit code {process.poll()} after {took:.1f} s; {len(left)} processes left")
    for part in left:
        with suppress(psutil.NoSuchProcess):
            part.kill()


def answers(port: int) -> bool:
    """Whether a text is answered."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict", b'{"inputs": "good"}', {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


async def load(port: int, clients: int, seconds: float, bodies: list[bytes]) -> tuple[list[float], int, float]:
    """Let clients ask; return the seconds of each answer, the number of refusals, and the seconds of all."""
    numbers, took, refused = cycle(range(len(bodies))), [], 0
    started = time.perf_counter()

    async def client() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (asked := time.perf_counter()) - started < seconds:
            body = bodies[next(numbers)]
            head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            received = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", received, re.IGNORECASE)
            await (reader.readexactly(int(length[1])) if length else reader.readuntil(b"0\r\n\r\n"))
            if received.split()[1] == b"200":
                took.append(time.perf_counter() - asked)
            else:
                refused += 1
                await asyncio.sleep(1)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return took, refused, time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--engines", nargs="+", default=["ours"], choices=COMMANDS)
    parser.add_argument("--python", nargs="+", default=[])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 32, 96])
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    pythons = dict(entry.split("=") for entry in arguments.python)
    with open(arguments.file, encoding="utf-8") as file:
        bodies = [
            json.dumps({"inputs": json.loads(line)["text"]}).encode()
            for line, _ in zip(file, range(1000), strict=False)
        ]
    print("| engine | clients | answered | refused | median ms | answers/s | answers per CPU second |")
    for port, name in enumerate(arguments.engines, 8300):
        python = pythons.get(name, sys.executable)
        with running(name, python, port, arguments.batch, arguments.model) as process:
            asyncio.run(load(port, 4, 2, bodies))  # to warm up
            for clients in arguments.clients:
                before = cpu_seconds(process)
                took, refused, elapsed = asyncio.run(load(port, clients, arguments.seconds, bodies))
                per_cpu = len(took) / (cpu_seconds(process) - before)
                times = f"{np.median(took) * 1000:.0f} | {len(took) / elapsed:.1f} | {per_cpu:.1f}"
                print(f"| {name} | {clients} | {len(took)} | {refused} | {times} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] in ("litserve", "ray"):
        (run_litserve if sys.argv[1] == "litserve" else run_ray)(int(sys.argv[2]))
    else:
        main()
