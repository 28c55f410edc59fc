"""Starts a real server on a trained folder, sends it hostile requests, and prints a table of how they were answered.

    python -m fuzz.hostile_server runs/opinions --requests 10000

Each must be answered by 2xx or 4xx, or 503 where too much waits, with JSON wherever the request was HTTP; or by
nothing if it was cut off. In the end the server must be healthy and its log without a traceback; else the exit code
is 1.
"""

import argparse
import gzip
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

SECONDS_TO_ANSWER = 300
TOLERANCE = 1e-5  # of probabilities: texts that go through the model together change the order of sums
HEAD = "Host: localhost\r\nConnection: close\r\n"
_VALUES = [
    None,
    True,
    -1,
    0,
    7,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "a",
    "\ud800",
    [],
    {},
    [[]],
    {"text": 1},
]
_TEXTS = ["good", "[SEP] [OPINION1]", "\0\x1b", "\u202eabc", "\u200b" * 50, "a\u0301" * 50, "word " * 3000, "", "😀"]


def main() -> None:
    """Start, ask, and look at what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [
            sys.executable,
            "-m",
            "bert_multilabel.serve",
            str(asked.model_dir),
            "--port",
            "0",
            "--threads",
            "1",
        ]
        with log.open("w") as file:
            server = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            sys.exit(0 if attack(server, log, asked.requests, asked.seed) else 1)
        finally:
            server.terminate()
            server.wait()


def attack(server: "subprocess.Popen[bytes]", log: Path, requests: int, seed: int) -> bool:
    """Send the requests, print what came of them, and say whether all is well."""
    while not (port := re.search(r"running on http://127.0.0.1:(\d+)", log.read_text())):
        if server.poll() is not None:
            sys.exit(log.read_text())
        time.sleep(0.1)
    address = ("127.0.0.1", int(port[1]))
    known = _read(send(address, _known(random.Random(0))))
    before, start = _megabytes(server), time.monotonic()
    kinds = random.Random(seed).choices(list(KINDS), k=requests)

    def ask(number: int) -> bytes:
        return send(address, KINDS[kinds[number]](random.Random(f"{seed}-{number}")))

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(requests)))
    print(f"{requests} requests in {time.monotonic() - start:.0f} s\n")
    print("| kind | requests | answers | findings |\n|---|---|---|---|")
    found = 0
    for kind in KINDS:
        own = [answer for its_kind, answer in zip(kinds, answers, strict=True) if its_kind == kind]
        bad = [answer for answer in own if not is_fit(kind, answer) or kind == KNOWN and not _is_as(known, answer)]
        found += len(bad)
        statuses = Counter(answer.split()[1].decode() if answer else "none" for answer in own)
        print(f"| {kind} | {len(own)} | {', '.join(f'{n} × {s}' for s, n in statuses.most_common())} | {len(bad)} |")
        for answer in bad[:3]:
            print(answer[:500], file=sys.stderr)
    health = send(address, f"GET /health HTTP/1.1\r\n{HEAD}\r\n".encode())
    answer = send(address, _post(b'{"inputs": "good"}'))
    tracebacks = log.read_text().count("Traceback")
    print(f"\nhealth: {health[:15].decode()}; a good request: {answer[:15].decode()}")
    print(f"tracebacks in the log: {tracebacks}; memory: {before} MB before, {_megabytes(server)} MB after")
    if tracebacks:
        print(log.read_text()[-5000:], file=sys.stderr)
    return not found and not tracebacks and b" 200 " in health[:15] and b" 200 " in answer[:15]


def is_fit(kind: str, answer: bytes) -> bool:
    """Whether a request was answered as it may be."""
    if not answer:
        return kind in MAY_END_EARLY
    head, _, body = answer.partition(b"\r\n\r\n")
    if head == b"HTTP/1.1 timeout":
        return False
    status = int(head.split(b" ")[1])
    if b"application/json" not in head.lower():
        return kind in NOT_HTTP and status == 400  # said by the HTTP server, which knows no JSON
    try:
        json.loads(body)
    except ValueError:
        return False
    return 200 <= status < 300 or 400 <= status < 500 or status == 503


def send(address: tuple[str, int], request: "bytes | list[bytes]") -> bytes:
    """Send a request, in parts if it has some, and return all that comes back; nothing if the connection is closed."""
    answer = b""
    try:
        with socket.create_connection(address, timeout=SECONDS_TO_ANSWER) as connection:
            with suppress(ConnectionError):  # refused while it is being sent: the answer is there all the same
                for part in request if isinstance(request, list) else [request]:
                    connection.sendall(part)
                    if isinstance(request, list):
                        time.sleep(0.02)
                if isinstance(request, list) and request[-1] == b"":
                    connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while part := connection.recv(65_536):
                    answer += part
    except TimeoutError:
        return b"HTTP/1.1 timeout\r\n\r\n"
    return answer


def _megabytes(server: "subprocess.Popen[bytes]") -> int:
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) >> 20


def _post(body: bytes, headers: str = "Content-Type: application/json", length: "int | str | None" = None) -> bytes:
    size = len(body) if length is None else length
    head = f"POST /predict HTTP/1.1\r\n{HEAD}Content-Length: {size}\r\n{headers}\r\n\r\n"
    return head.encode("latin-1") + body


def _known(generator: random.Random) -> bytes:
    return _post(b'{"inputs": ["a good price", "too expensive"]}')


def _read(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def _is_as(known: Any, answer: bytes) -> bool:
    return all(
        row["labels"] == own["labels"]
        and all(abs(row["scores"][name] - score) < TOLERANCE for name, score in own["scores"].items())
        for own, row in zip(known, _read(answer), strict=True)
    )


def _other_sites(generator: random.Random) -> bytes:
    host, origin = (generator.choice(["localhost", "evil.example", "127.0.0.1.evil.example", "[", ""]) for _ in "ab")
    body = b'{"inputs": "a"}'
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{origin}\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _windows(generator: random.Random) -> bytes:
    text, pair = ("word " * generator.choice([1, 50, 700]) for _ in range(2))
    inputs = generator.choice([text, {"text": text, "text_pair": pair}])
    parameters = {
        "stride": generator.choice([0, 3, 60, 509, 10**30]),
        "pooling": generator.choice(["max", "mean", ""]),
    }
    return _post(json.dumps({"inputs": inputs, "parameters": parameters}).encode())


def _twice(generator: random.Random) -> bytes:
    key = generator.choice(['"inputs"', '"parameters"', '"\\u0069nputs"', '"\\udfff"'])
    return _post(f'{{"inputs": "a", {key}: {{"inputs": 1, "inputs": 1}}, {key}: 1}}'.encode())


def _value(generator: random.Random, depth: int = 0) -> object:
    kind = generator.random()
    if kind < 0.5 or depth > 3:
        return generator.choice(_VALUES)
    if kind < 0.75:
        return [_value(generator, depth + 1) for _ in range(generator.randrange(4))]
    keys = ["inputs", "text", "text_pair", "parameters", "threshold", "top_k", "min_labels", "\udfff", ""]
    return {generator.choice(keys): _value(generator, depth + 1) for _ in range(generator.randrange(4))}


def _texts(generator: random.Random) -> bytes:
    texts = [generator.choice(_TEXTS) + generator.choice(_TEXTS) for _ in range(generator.randrange(1, 3))]
    inputs = generator.choice([texts, texts[0], {"text": texts[0], "text_pair": texts[-1]}])
    return _post(json.dumps({"inputs": inputs}).encode())


def _json(generator: random.Random) -> bytes:
    body = {"inputs": _value(generator), "parameters": _value(generator)}
    return _post(json.dumps(body if generator.random() < 0.8 else _value(generator)).encode())


def _broken(generator: random.Random) -> bytes:
    body = bytearray(b'{"inputs": ["a text", {"text": "b", "text_pair": null}], "parameters": {"threshold": 0.5}}')
    for _ in range(generator.randrange(1, 6)):
        body[generator.randrange(len(body))] = generator.randrange(256)
    return _post(bytes(body[: generator.randrange(1, len(body) + 1)]))


def _deep(generator: random.Random) -> bytes:
    depth = generator.choice([50, 400, 900, 1000, 5000, 200_000])
    left, right = generator.choice([(b"[", b"]"), (b'{"text":', b"}"), (b'{"inputs":', b"}")])
    return _post(b'{"inputs": ' + left * depth + b"1" + right * generator.choice([0, depth]) + b"}")


def _numbers(generator: random.Random) -> bytes:
    number = generator.choice(["9" * 4000, "9" * 5000, "1e400", "-0.0", "1e-400", "NaN", "-Infinity", "0x10", "1_0"])
    field = generator.choice(['"threshold"', '"top_k"', '"min_labels"', '"threshold": {"a"'])
    end = "}" if "{" in field else ""
    return _post(f'{{"inputs": "a", "parameters": {{{field}: {number}{end}}}}}'.encode())


@cache
def _gzip(length: int) -> bytes:
    return gzip.compress(b'{"inputs": "' + b"a" * length + b'"}')


def _zipped(generator: random.Random) -> bytes:
    return _post(
        _gzip(generator.choice([10, 50_000_000])),
        f"Content-Type: application/json\r\nContent-Encoding: {generator.choice(['gzip', 'br', 'zip'])}",
    )


def _too_long(generator: random.Random) -> bytes:
    return _post(json.dumps({"inputs": "word " * generator.choice([20_000, 250_000, 1_000_000])}).encode())


def _lengths(generator: random.Random) -> "bytes | list[bytes]":
    request = _post(
        b'{"inputs": "a"}', length=generator.choice([0, 3, 14, 16, 10**6, 10**30, "-1", "x", "15, 15", "1e3"])
    )
    return [request, b""]  # a server that waits for more is told that none comes


def _parts(generator: random.Random) -> list[bytes]:
    request = _post(b'{"inputs": "a slow text"}')
    size = generator.choice([7, 40, 100])
    return [request[start : start + size] for start in range(0, len(request), size)]


def _cut(generator: random.Random) -> list[bytes]:
    request = _post(b'{"inputs": "a text that is never sent to its end"}')
    return [request[: generator.randrange(1, len(request) - 1)], b""]


def _chunks(generator: random.Random) -> "bytes | list[bytes]":
    head = f"POST /predict HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n".encode()
    head += b"Content-Type: application/json\r\n\r\n"
    chunks = [
        b'f\r\n{"inputs": "a"}\r\n0\r\n\r\n',
        b"ffffffffffffffff\r\na",
        b"-1\r\na\r\n",
        b"zz\r\n",
        b"1\r\n{\r\n0\r\n\r\n",
    ]
    return [head + generator.choice(chunks), b""]


def _headers(generator: random.Random) -> bytes:
    kind = generator.choice(
        ["text/plain", "application/json; charset=utf-16", "\xff", "", "application/json" + "x" * 9000]
    )
    return _post(b'{"inputs": "a"}', f"Content-Type: {kind}")


def _paths(generator: random.Random) -> bytes:
    path = generator.choice(
        [
            "/../../etc/passwd",
            "/predict/../x",
            "/%00",
            "/" + "a" * 5000,
            "*",
            "/openapi.json",
            "/info?" + "a=b&" * 900,
        ]
    )
    method = generator.choice(["GET", "PUT", "DELETE", "POST", "OPTIONS", "PATCH"])
    return f"{method} {path} HTTP/1.1\r\n{HEAD}\r\n".encode()


def _garbage(generator: random.Random) -> "bytes | list[bytes]":
    return [
        generator.choice(
            [
                generator.randbytes(200),
                b"\x16\x03\x01\x02",
                b"GET\r\n\r\n",
                b"\r\n" * 99,
                b"POST / HTTP/9.9\r\n\r\n",
                b"A: " + b"b" * 100_000,
            ]
        ),
        b"",
    ]


KNOWN = "a known text"
KINDS: "dict[str, Callable[[random.Random], bytes | list[bytes]]]" = {
    KNOWN: _known,
    "strange texts": _texts,
    "windows": _windows,
    "keys twice": _twice,
    "other hosts and origins": _other_sites,
    "values of other types": _json,
    "broken JSON": _broken,
    "nested deeply": _deep,
    "endless numbers": _numbers,
    "gzip bombs": _zipped,
    "bodies up to 5 MB": _too_long,
    "wrong length": _lengths,
    "sent slowly": _parts,
    "cut off": _cut,
    "chunks": _chunks,
    "headers": _headers,
    "paths and methods": _paths,
    "not HTTP": _garbage,
}
MAY_END_EARLY = ("wrong length", "cut off", "chunks", "not HTTP")
NOT_HTTP = ("wrong length", "cut off", "chunks", "headers", "paths and methods", "not HTTP", "other hosts and origins")

if __name__ == "__main__":
    main()
