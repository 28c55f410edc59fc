import multiprocessing.context
import signal
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.serve import served_model
from bert_multilabel.serve.model_process import ModelProcess, _run


def test_a_folder_without_a_model_is_refused_and_nothing_is_left(tmp_path):
    model = ModelProcess(tmp_path, None, 1)
    model.stop()  # before it was started, as a signal during the start does
    assert not model.is_alive()
    with pytest.raises(ValueError, match="is not a model directory"):
        model.start()
    model.stop()
    model.stop()
    assert not model.is_alive()


def test_a_process_that_the_system_refuses_is_an_error_of_ours(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    model = ModelProcess(tmp_path, None, 1)
    monkeypatch.setattr(multiprocessing.context.BaseContext, "Pipe", refuse)
    with pytest.raises(MultiLabelError, match="no process for the model in .* can be started.*Resource temporarily"):
        model.start()
    assert not model.is_alive()


@pytest.fixture
def loaded(monkeypatch):
    """What a process of the model loads, and its signals left alone."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    scorer = SimpleNamespace(config=SimpleNamespace(label_names=["gift"]))
    monkeypatch.setattr(served_model, "load_served", lambda *_: scorer)


def test_a_server_that_stops_while_the_model_loads_causes_no_error(loaded):
    server, model = Pipe()
    server.close()
    _run(model, Path("model"), None, 1, "torch")


def test_a_server_that_stops_while_a_model_is_refused_causes_no_error(loaded, monkeypatch, tmp_path):
    def refuse(*_):
        raise MultiLabelError("no model")

    monkeypatch.setattr(served_model, "load_served", refuse)
    server, model = Pipe()
    server.close()
    _run(model, tmp_path, None, 1, "torch")


def test_a_server_that_stops_before_it_has_read_what_is_sent_causes_no_error(loaded):
    server, model = Pipe()

    def stop():
        server.poll(60)
        server.close()  # with something unread, the connection is not ended but reset

    stopping = Thread(target=stop)
    stopping.start()
    _run(model, Path("model"), None, 1, "torch")
    stopping.join()
