"""Who may use the server, and in which form, with a real model in a process of its own."""

import asyncio
import json
import re
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.testclient import TestClient

from bert_multilabel import from_backbone
from bert_multilabel.serve.app import PATHS, Application
from bert_multilabel.serve.batches import Batches
from bert_multilabel.serve.cli import ServeArguments
from bert_multilabel.serve.connections import protocol_with_timeout
from bert_multilabel.serve.metrics import Metrics
from bert_multilabel.serve.model_process import ModelProcess
from tests.conftest import LABELS
from tests.forked import PATIENCE

GOOD = {"inputs": "the price is good"}
KEY = {"Authorization": "Bearer a-key"}


@pytest.fixture(scope="module")
def model(backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(folder)
    model = ModelProcess(folder, None, 1)
    model.start()
    yield model
    model.stop()


def application(model, api_key=None, allowed_hosts=("127.0.0.1",), client_timeout=60.0):
    batches = Batches(model, 32, 0.0, 100, Metrics(PATHS))
    return Application(
        batches=batches,
        api_key=api_key,
        allowed_hosts=allowed_hosts,
        max_bytes=10_000,
        client_timeout=client_timeout,
    ).app()


@contextmanager
def client_of(model, **options):
    with TestClient(application(model, **options), base_url="http://localhost:8000") as client:
        yield client


def test_other_hosts_and_pages_of_other_sites_are_refused(model):
    with client_of(model, allowed_hosts=["127.0.0.1", "api.example.com"]) as client:
        for host in ("localhost", "127.0.0.1:8000", "[::1]", "api.example.com"):
            assert client.post("/predict", json=GOOD, headers={"Host": host}).status_code == 200
        rebound = client.post("/predict", json=GOOD, headers={"Host": "evil.example"})
        assert (rebound.status_code, rebound.json()) == (
            421,
            {"error": "this server does not answer for the host 'evil.example': allow it with --allowed_hosts"},
        )
        for origin, status in (("http://localhost:8000", 200), ("http://evil.example", 403), ("null", 403)):
            answer = client.post("/predict", json=GOOD, headers={"Origin": origin})
            assert answer.status_code == status, origin
        assert answer.json()["error"].startswith("pages of 'null' may not use this server")


def test_a_key_guards_what_tells_about_the_model(model):
    with client_of(model, api_key="a-key") as client:
        for headers in (
            {},
            {"Authorization": "Bearer a-kex"},
            {"Authorization": "a-key"},
            {"Authorization": "Bearer"},
        ):
            refused = client.post("/predict", json=GOOD, headers=headers)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert refused.json()["error"].startswith("the API key is missing or wrong")
        assert client.post("/predict", json=GOOD, headers=KEY).status_code == 200
        for path in ("/info", "/metrics", "/nowhere"):
            assert client.get(path).status_code == 401 != client.get(path, headers=KEY).status_code
        for path in ("/health", "/docs"):
            assert client.get(path).status_code == 200
        schema = client.get("/openapi.json").json()
        assert schema["paths"]["/predict"]["post"]["security"] == [{"key": []}]
        assert "401" in schema["paths"]["/predict"]["post"]["responses"]
        assert 'name="key"' in client.get("/docs").text


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "the body is encoded as 'gzip'"),
        ({}, 415, "the body is not marked as JSON: send the header 'Content-Type: application/json'"),
        ({"Content-Type": "text/plain"}, 415, "the body is not marked as JSON"),
        ({"Content-Type": "Application/JSON; charset=utf-8", "Content-Encoding": "identity"}, 200, None),
    ],
)
def test_a_body_is_plain_json(model, headers, status, message):
    with client_of(model) as client:
        answer = client.post("/predict", content=json.dumps(GOOD).encode(), headers=headers)
        assert answer.status_code == status
        assert message is None or answer.json()["error"].startswith(message)
        assert answer.headers.get("Accept-Encoding") == ("identity" if message and "gzip" in message else None)


def test_metrics_count_what_was_asked(model):
    with client_of(model) as client:
        client.post("/predict", json={"inputs": ["good", "gift", "price"]})
        client.post("/predict", json={"inputs": []})
        client.get("/any/path")
        shown = client.get("/metrics")
    assert shown.headers["Content-Type"].startswith("text/plain; version=")
    values = dict(line.rsplit(" ", 1) for line in shown.text.splitlines() if not line.startswith("#"))
    expected = {
        'requests_total{path="/predict",status="200"}': 1,
        'requests_total{path="/predict",status="422"}': 1,
        'requests_total{path="other",status="404"}': 1,
        'refusals_total{status="422"}': 1,
        "request_seconds_count": 1,
        "batch_requests_sum": 1,
        "batch_texts_sum": 3,
        'batch_texts_bucket{le="2.0"}': 0,
        'batch_texts_bucket{le="4.0"}': 1,
        "waiting_texts": 0,
        "model_restarts_total": 0,
    }
    assert {name: float(values[f"bert_multilabel_{name}"]) for name in expected} == expected


def test_the_docs_ask_no_other_host(model, tab):
    with running(application(model)) as port:
        requests, complaints = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        tab.goto(f"http://127.0.0.1:{port}/docs")
        tab.get_by_role("button", name="Send").click()
        tab.get_by_role("status").get_by_text('"labels"').wait_for()
        assert tab.inner_text("#answer").startswith("200")
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert all(url.startswith(f"http://127.0.0.1:{port}/") for url in requests) and len(requests) >= 2
    assert [text for text in complaints if "favicon" not in text] == []


@contextmanager
def running(app, client_timeout=60.0):
    """Run an application on a real port, and yield the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = protocol_with_timeout(client_timeout)
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, log_level="warning", timeout_keep_alive=600))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@pytest.mark.parametrize("sent", [b"", b"POST /predict HT", b"POST /predict HTTP/1.1\r\nHost: localhost\r\nA: b\r\n"])
def test_a_client_that_does_not_send_its_headers_is_left(model, sent):
    with (
        running(application(model), client_timeout=0.5) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.settimeout(PATIENCE)
        start = time.monotonic()
        client.sendall(sent)
        assert end_of(client) == b""
        assert time.monotonic() - start > 0.4


def end_of(client):
    """Return all that comes until the other side closes the connection."""
    received = b""
    try:
        while part := client.recv(10_000):
            received += part
    except ConnectionResetError:
        pass
    return received


def test_a_client_that_sends_its_body_slowly_is_told_so_and_left(model):
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"
    )
    with (
        running(application(model, client_timeout=0.5)) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.settimeout(PATIENCE)
        client.sendall(head + b"{")
        answer = end_of(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "the body did not come within 0.5 seconds"}


def test_a_slow_answer_closes_no_connection_and_a_second_request_is_timed_again():
    async def slow(scope, receive, send):
        if scope["type"] == "http":
            await asyncio.sleep(0.8)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

    with running(slow, client_timeout=0.4) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(PATIENCE)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = end_of(client)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"ok")


@pytest.fixture
def key_file(tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    return str(tmp_path / "key")


def test_the_key_may_come_from_the_environment_or_a_file(monkeypatch, key_file):
    assert ServeArguments().read_api_key() is None
    assert ServeArguments(api_key="a").read_api_key() == "a"
    assert ServeArguments(api_key_file=key_file).read_api_key() == "from-file"
    monkeypatch.setenv("BERT_MULTILABEL_API_KEY", "from-environment")
    assert ServeArguments().read_api_key() == "from-environment"
    with pytest.raises(ValueError, match=re.escape("there are API keys in --api_key and BERT_MULTILABEL_API_KEY")):
        ServeArguments(api_key="a").read_api_key()


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "a\n"])
def test_a_key_that_no_header_can_hold_is_refused(key):
    with pytest.raises(ValueError, match="the API key in --api_key must be of printable ASCII characters"):
        ServeArguments(api_key=key).read_api_key()


def test_a_file_of_a_key_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match="--api_key_file .*nowhere cannot be read"):
        ServeArguments(api_key_file=str(tmp_path / "nowhere")).read_api_key()
