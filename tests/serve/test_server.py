"""What the options of the server do to its batches and threads."""

import signal
from queue import Queue
from threading import Timer

import pytest
import torch

from bert_multilabel import from_backbone
from bert_multilabel.serve.request_form import PredictRequest
from bert_multilabel.serve.server import MultiLabelAPI, take_batch
from tests.conftest import LABELS


def queue_of(*items):
    queue = Queue()
    for item in items:
        queue.put(item)
    return queue


@pytest.mark.parametrize(
    ("max_batch_size", "expected"), [(1, ["a"]), (3, ["a", "b", "c"]), (32, ["a", "b", "c", "d"])]
)
def test_waiting_requests_go_together_up_to_the_batch_size(max_batch_size, expected):
    queue = queue_of("b", "c", "d")
    assert take_batch(queue, "a", max_batch_size, batch_timeout=0.0) == expected
    assert queue.qsize() == 4 - len(expected)


def test_a_request_waits_for_others_as_long_as_the_timeout():
    queue = queue_of()
    late = Timer(0.2, queue.put, ["b"])
    late.start()
    assert take_batch(queue, "a", max_batch_size=2, batch_timeout=0.0) == ["a"]
    assert take_batch(queue, "a", max_batch_size=2, batch_timeout=600.0) == ["a", "b"]
    late.join()


@pytest.fixture
def api(backbone, tmp_path):
    """What runs the model, set up in this process, which keeps its own threads and signals."""
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(tmp_path)
    threads = torch.get_num_threads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    api = MultiLabelAPI(tmp_path, None, threads + 1, max_batch_size=7, batch_timeout=0.25)
    api.setup("cpu")
    yield api, threads + 1
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_options_reach_the_loop_and_torch(api):
    api, threads = api
    assert (api.max_batch_size, api.batch_timeout) == (7, 0.25)
    assert torch.get_num_threads() == threads


def test_the_texts_of_a_batch_go_through_the_model_together(api, monkeypatch):
    api, _ = api
    asked, logits = [], api.engine.logits
    monkeypatch.setattr(api.engine, "logits", lambda texts, pairs=None: asked.append(texts) or logits(texts, pairs))
    requests = [PredictRequest(inputs=inputs) for inputs in ("good", ["the price", "buy"])]
    one, two = api.predict(requests)
    assert asked == [["good", "the price", "buy"]]
    assert one["labels"] == api.predict([PredictRequest(inputs=["good"])])[0][0]["labels"] and len(two) == 2
