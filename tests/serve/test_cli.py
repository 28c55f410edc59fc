"""A real server on a tiny model, asked over HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from types import SimpleNamespace
from urllib.parse import urlsplit

import psutil
import pytest

from bert_multilabel import from_backbone
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.serve.cli import main
from tests.conftest import LABELS
from tests.forked import PATIENCE, end_all

MAX_WAITING, MAX_REQUEST_BYTES = 40, 20_000
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def served(backbone, tmp_path_factory):
    """A running server: its URL, its process, the process of its model; and the model itself."""
    folder = tmp_path_factory.mktemp("serve") / "model"
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    model.config.threshold = [0.3, 0.5, 0.7]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    options = f"--port 0 --max_waiting {MAX_WAITING} --max_request_bytes {MAX_REQUEST_BYTES} --threads 1"
    command = [sys.executable, "-m", "bert_multilabel.serve", str(folder), *options.split()]
    log = folder.parent / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        while not (port := re.search(r"running on http://127.0.0.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield SimpleNamespace(
            url=f"http://127.0.0.1:{port[1]}",
            process=process,
            scorer=MultiLabelScorer(model, tokenizer),
            log=log,
        )
    finally:
        end_all(process)


def worker(served):
    """Find the process that runs the model: a fork of a child of the server."""
    return next(model for child in psutil.Process(served.process.pid).children() for model in child.children())


def ask(served, path, body=None, headers=JSON):
    """Return status, headers and JSON of an answer; a body that is no bytes is sent as JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection = HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: the answer is there
            connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_what_is_loading_is_said_before_it_takes_time(served):
    assert re.match(r"loading .*model; when it is there, GET /docs shows how to ask\n", served.log.read_text())


def test_what_handles_http_loads_no_torch(served):
    loads_torch = [
        any("libtorch" in part.path for part in process.memory_maps())
        for process in (psutil.Process(served.process.pid), worker(served))
    ]
    assert loads_torch == [False, True]


def predict(served, inputs, **parameters):
    status, _, answer = ask(served, "/predict", {"inputs": inputs, "parameters": parameters})
    assert status == 200, answer
    return json.loads(answer)


def expected(served, texts, pairs=None, top_k=None, **decision):
    config = served.scorer.config.with_decision(**decision)
    records = prediction_records(served.scorer.logits(texts, pairs), config, top_scores=top_k, predicted_too=True)
    return [
        {**record, "scores": pytest.approx(record["scores"], abs=1e-5), "truncated": is_cut}
        for record, is_cut in zip(records, served.scorer.are_cut(texts, pairs), strict=True)
    ]


def test_one_text_is_answered_by_one_record_and_a_list_by_a_list(served):
    texts = ["the price is good", "", "too expensive " * 50]
    assert predict(served, texts[0]) == expected(served, texts[:1])[0]
    assert predict(served, texts) == expected(served, texts)
    assert predict(served, texts[:1]) == expected(served, texts[:1])


def test_texts_with_and_without_pairs_may_come_together(served):
    pair = {"text": "good", "text_pair": "the gift"}
    answers = predict(served, ["good", pair, {"text": "buy"}])
    paired = expected(served, ["good"], ["the gift"])[0]
    assert answers == [*expected(served, ["good"]), paired, *expected(served, ["buy"])]
    assert predict(served, pair) == paired != answers[0]


def test_parameters_decide_otherwise_for_their_request_alone(served):
    texts = ["the price is good", "not too expensive"]
    for parameters in ({"threshold": 0.0}, {"threshold": {"gift": 1.0}}, {"min_labels": 3}, {"top_k": 1}):
        assert predict(served, texts, **parameters) == expected(served, texts, **parameters)
    assert predict(served, texts) == expected(served, texts)


def test_each_of_many_clients_gets_its_own_answer(served):
    texts = [" ".join(["the price is good", *["too expensive"] * (number % 7), str(number)]) for number in range(60)]
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda text: predict(served, text), texts))
    assert answers == expected(served, texts)


BAD_REQUESTS = [
    (b"{", 400, "the body is not JSON: Expecting property name enclosed in double quotes at character 1"),
    ({"inputs": ["a", {"text": 7}]}, 422, "inputs[1].text must be a valid string, got 7"),
    (
        {"inputs": "a", "parameters": {"threshold": {"prise": 0.5}}},
        422,
        "parameters: Unknown labels in threshold: ['prise']. Known labels: ['good value', ",
    ),
    ({"inputs": "a", "parameters": {"min_labels": 4}}, 422, "parameters: min_labels must be a whole number from 0"),
    ({"inputs": ["a"] * 41}, 413, "inputs has 41 texts, but at most 40 are accepted"),
    ({"inputs": "a" * 20_000}, 413, "the body is longer than 20000 bytes"),
    ({"inputs": "a" * 2_000_000}, 413, "the body is longer than 20000 bytes"),
]


@pytest.mark.parametrize(("body", "status", "message"), BAD_REQUESTS)
def test_bad_requests_are_told_what_is_wrong_in_one_form(served, body, status, message):
    answered, _, answer = ask(served, "/predict", body)
    assert (answered, list(json.loads(answer))) == (status, ["error"])
    assert json.loads(answer)["error"].startswith(message)


def test_json_that_is_nested_too_deeply_is_refused(served):
    status, _, answer = ask(served, "/predict", b'{"inputs": ' + b"[" * 9000 + b"]" * 9000 + b"}")
    assert status in (400, 422) and list(json.loads(answer)) == ["error"]  # Python versions differ in what they read


def test_other_refusals_have_the_same_form(served):
    unmarked = ask(served, "/predict", {"inputs": "a"}, {"Content-Type": "text/plain"})
    for (status, _, answer), expected_status, message in (
        (unmarked, 415, "the body is not marked as JSON: send the header 'Content-Type: application/json'"),
        (ask(served, "/predict"), 405, "Method Not Allowed"),
        (ask(served, "/predictions", {}), 404, "Not Found"),
    ):
        assert (status, json.loads(answer)) == (expected_status, {"error": message})


def test_the_server_describes_itself(served):
    schema = json.loads(ask(served, "/openapi.json")[2])
    operation = schema["paths"]["/predict"]["post"]
    assert set(operation["responses"]) == {"200", *"400 403 408 413 415 421 422 503".split()}
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    assert references == set(schema["components"]["schemas"])
    for example in schema["components"]["schemas"]["PredictRequest"]["examples"]:
        assert ask(served, "/predict", example)[0] == 200
    assert json.loads(ask(served, "/info")[2])["model"] == {"label_names": LABELS}


@contextmanager
def full(served):
    """Stop the model, fill the server with requests, and yield what returns their answers once the model goes on."""
    model = worker(served)
    model.suspend()
    texts = [f"the price is {number}" for number in range(MAX_WAITING)]
    connections = []
    for start in range(0, MAX_WAITING, 10):
        connections.append(HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE))
        connections[-1].request("POST", "/predict", json.dumps({"inputs": texts[start : start + 10]}), JSON)
    while not read_error(ask(served, "/predict", {"inputs": texts})).startswith(f"{MAX_WAITING} texts are waiting"):
        time.sleep(0.01)
    yield
    model.resume()
    answers = [json.loads(connection.getresponse().read()) for connection in connections]
    assert [record for records in answers for record in records] == expected(served, texts)


def read_error(response):
    return json.loads(response[2])["error"]


def test_what_is_too_much_at_a_time_is_refused_and_the_rest_is_answered(served):
    with full(served):
        refused = ask(served, "/predict", {"inputs": "one too many"})
        assert (refused[0], refused[1]["Retry-After"]) == (503, "1")
        assert read_error(refused) == "40 texts are waiting, and at most 40 may: try again in a second"
        assert ask(served, "/health")[0] == 200
    assert predict(served, "good") == expected(served, ["good"])[0]


def test_a_model_that_died_costs_its_own_requests_and_is_started_again(served):
    worker(served).suspend()
    with ThreadPoolExecutor(1) as client:
        lost = client.submit(ask, served, "/predict", {"inputs": "lost"})
        wait_until(served, lambda: "batch_requests_count" in (text := metrics(served)) and "waiting_texts 1.0" in text)
        time.sleep(0.2)  # until it is with the model
        worker(served).kill()
        status, headers, answer = lost.result()
    assert (status, headers["Retry-After"]) == (503, "1")
    assert json.loads(answer)["error"].startswith("the process of the model ended before it answered")
    assert predict(served, "good") == expected(served, ["good"])[0]  # it waited for the next model
    assert ask(served, "/health")[0] == 200


def test_a_model_that_died_while_nobody_asked_is_started_again(served):
    worker(served).kill()
    wait_until(served, lambda: ask(served, "/health")[0] == 503)
    wait_until(served, lambda: ask(served, "/health")[0] == 200)
    assert "bert_multilabel_model_restarts_total 2.0" in metrics(served)


def metrics(served):
    return ask(served, "/metrics")[2].decode()


def wait_until(served, is_so):
    limit = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < limit, served.log.read_text()
        time.sleep(0.01)


def test_a_signal_ends_the_server_when_all_that_was_accepted_is_answered(served):
    with full(served):
        # As a terminal or a service manager does: every process gets it, and more than once.
        for process in [served.process, *psutil.Process(served.process.pid).children(recursive=True)] * 2:
            process.send_signal(signal.SIGTERM)
        limit = time.monotonic() + 300
        while not is_refused(served):
            assert time.monotonic() < limit
            time.sleep(0.01)
    assert served.process.wait(600) == 0
    log = served.log.read_text()
    assert "Traceback" not in log and "leaked" not in log


def is_refused(served):
    try:
        socket.create_connection(("127.0.0.1", urlsplit(served.url).port)).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it came while the server was closing its door
        return True
    return False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--port", "80000"], "--port must be from 0 to 65535, got 80000"),
        (["--batch_timeout", "nan"], "--batch_timeout must be 0 or more seconds, got nan"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        main([str(tmp_path), *words])
