"""The process that runs the model. This module is imported by the one that handles HTTP, which needs no torch."""

import logging
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from bert_multilabel.engines.choice import ENGINES
from bert_multilabel.errors import MultiLabelError

from .refusal import Refused
from .request_form import PredictRequest

logger = logging.getLogger("uvicorn.error")  # what uvicorn shows
# A fork of a process that has made the slow imports: a model that died is back as soon as its weights are loaded.
_CONTEXT = multiprocessing.get_context("forkserver")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Answer = bytes | Refused


class ModelProcess:
    """A process that loads a model, or its export, and answers batches of requests.

    It ends when this process ends, however that comes about, and ignores SIGINT and SIGTERM, which a terminal or a
    service manager sends to all processes: requests that were accepted are answered.

    Args:
        folder: Of the model, or the export.
        precision: Precision of the matrix products, one of `PRECISIONS`; default: float32.
        threads: How many threads compute; default: one per core.
        engine: One of `ENGINES`.
    """

    def __init__(
        self, folder: Path, precision: str | None = None, threads: int | None = None, engine: str = ENGINES[0]
    ) -> None:
        self._arguments = (folder, precision, threads, engine)
        self.label_names: list[str] = []
        self.version = ""  # of this package
        self._process: BaseProcess | None = None
        _CONTEXT.set_forkserver_preload(["bert_multilabel.serve.answers", "bert_multilabel.serve.served_model"])
        with ignored_signals():
            forkserver.ensure_running()

    def start(self) -> None:
        """Start the process, and wait until the model is loaded.

        Raises:
            MultiLabelError: If the folder is not a model directory, the process ended, or no process can be started.
        """
        try:
            self._connection, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_run, args=(theirs, *self._arguments), daemon=True)
            process.start()  # a signal may end the wait for it
        except (EOFError, OSError) as error:  # of processes, memory or files there are as many as may be
            raise MultiLabelError(
                f"no process for the model in {self._arguments[0]} can be started: {error}"
            ) from error
        self._process = process
        theirs.close()
        try:
            loaded = self._connection.recv()
        except (EOFError, OSError) as error:
            raise MultiLabelError(
                f"the process that loads {self._arguments[0]} ended: is there enough memory for the model?"
            ) from error
        if isinstance(loaded, MultiLabelError):
            raise loaded
        self.label_names, self.version = loaded

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    def ask(self, requests: Sequence[PredictRequest]) -> list[Answer]:
        """Return the answer to each request, as JSON, or its refusal: 503 if the process ends meanwhile."""
        try:
            self._connection.send(requests)
            answers: list[Answer] = self._connection.recv()
        except (EOFError, OSError):
            self.stop()  # it is not to seem alive
            logger.error("the process of the model ended, and %d requests with it", len(requests))
            message = "the process of the model ended before it answered: try again in a second"
            answers = [Refused(503, message, {"Retry-After": "1"})] * len(requests)
        return answers

    def stop(self) -> None:
        """End the process, if it was started."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


@contextmanager
def ignored_signals() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM, as processes that are started meanwhile then do for good."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _run(connection: Connection, folder: Path, precision: str | None, threads: int | None, engine: str) -> None:
    """Answer what comes until the other process closes the connection, or ends."""
    # Imported already in the process that this one is a fork of.
    from bert_multilabel.model.configuration_multilabel import __version__
    from bert_multilabel.utils.verbosity import hide_progress_bars

    from .answers import answer
    from .served_model import load_served

    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with suppress(ConnectionError, EOFError):  # the other process may stop at any time
        try:
            hide_progress_bars()
            scorer = load_served(folder, precision, threads, engine)
        except MultiLabelError as error:
            connection.send(error)
            return
        connection.send((scorer.config.label_names, __version__))
        while True:
            connection.send(answer(scorer, connection.recv()))
