"""The server under load, with batching and without: speed, waiting times, and whether every answer is right.

`python benchmarks/serving.py --model DIR --file rows.jsonl [--clients 1 8 32 96] [--seconds 5] [--rounds 3]`

Two servers run beside each other, on loopback, and are asked in turn by this process, `--rounds` times, because the
speed of a machine drifts. Each client sends a text, waits for the answer and sends the next one; when it is refused
(503) it waits for as long as it is told to. An answer is wrong if its labels are not those that the model itself
gives, or if a probability differs by more than `TOLERANCE`.
"""

import argparse
import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.serve.served_model import load_served

TOLERANCE = 1e-5
BATCHING = {"on": 32, "off": 1}


@dataclass
class Tally:
    """What came of the requests."""

    sent: int = 0
    refused: int = 0
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)  # of each answer
    elapsed: float = 0.0


@contextmanager
def server(model: str, *options: str) -> Iterator[int]:
    """Run a server on a free port; at the end it must have ended well."""
    command = [sys.executable, "-m", "bert_multilabel.serve", model, "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        port = next(int(found[1]) for line in lines if (found := re.search(r"running on http://[\d.]+:(\d+)", line)))
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        print(f"the server ended with exit code {process.wait(60)}", flush=True)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, Any]:
    """Send a request over a connection that stays open; return status and answer."""
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    received = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", received)
    assert length is not None, received
    return int(received.split()[1]), json.loads(await reader.readexactly(int(length[1])))


def is_right(answer: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Compare an answer with what the model itself says."""
    scores = answer["scores"]
    return (
        answer["labels"] == expected["labels"]
        and list(scores) == list(expected["scores"])
        and all(abs(scores[name] - score) <= TOLERANCE for name, score in expected["scores"].items())
    )


async def load(
    port: int, clients: int, seconds: float, bodies: list[bytes], expected: list[Any], tally: Tally
) -> None:
    """Let so many clients ask for so long, each answer checked after the clock has stopped."""
    numbers = cycle(range(len(bodies)))
    answers: list[tuple[int, Any]] = []
    started = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - started < seconds:
            number = next(numbers)
            asked = time.perf_counter()
            tally.sent += 1
            status, answer = await ask(reader, writer, bodies[number])
            if status == 200:
                tally.seconds.append(time.perf_counter() - asked)
                answers.append((number, answer))
            elif status == 503:
                tally.refused += 1
                await asyncio.sleep(1)
            else:
                raise SystemExit(f"status {status}: {answer}")
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    tally.elapsed += time.perf_counter() - started
    tally.wrong += sum(not is_right(answer, expected[number]) for number, answer in answers)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32, 96])
    parser.add_argument("--max_waiting", default="48")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(arguments.rows), strict=False)]
    engine = load_served(Path(arguments.model))
    expected = list(prediction_records(engine.logits(texts), engine.config))
    bodies = [json.dumps({"inputs": text}).encode() for text in texts]
    tallies = {(clients, mode): Tally() for clients in arguments.clients for mode in BATCHING}
    options = ("--max_waiting", arguments.max_waiting)
    with (
        server(arguments.model, "--max_batch_size", str(BATCHING["on"]), *options) as on,
        server(arguments.model, "--max_batch_size", str(BATCHING["off"]), *options) as off,
    ):
        ports = {"on": on, "off": off}
        for port in ports.values():
            asyncio.run(load(port, 4, 2, bodies, expected, Tally()))  # to warm up
        for _ in range(arguments.rounds):
            for (clients, mode), tally in tallies.items():
                asyncio.run(load(ports[mode], clients, arguments.seconds, bodies, expected, tally))
    print(f"{len(texts)} texts, at most {arguments.max_waiting} waiting, {torch.get_num_threads()} threads")
    print("| clients | batching | sent | answered | refused | wrong | median ms | 99% ms | answers/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (clients, mode), tally in tallies.items():
        median, slow = np.percentile(tally.seconds, [50, 99]) * 1000
        counts = f"{tally.sent} | {len(tally.seconds)} | {tally.refused} | {tally.wrong}"
        speed = len(tally.seconds) / tally.elapsed
        print(f"| {clients} | {mode} | {counts} | {median:.1f} | {slow:.1f} | {speed:.1f} |")


main()
