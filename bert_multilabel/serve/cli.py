"""Serves a trained model over HTTP: `bert-multilabel serve MODEL_DIR --port 8000`.

POST /predict predicts the labels of texts, GET /docs shows how, and GET /health tells whether the server is ready.
Waiting requests go through the model together. After SIGTERM or Ctrl-C the server refuses new connections, answers the
requests it has accepted, and ends.
"""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bert_multilabel.engines.choice import ENGINE, ENGINES
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.choices import PRECISIONS
from bert_multilabel.utils.checks import check_at_least_one
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.hosts import ALLOWED_HOSTS
from bert_multilabel.utils.option_parser import OptionParser, option, path_argument

if TYPE_CHECKING:
    from .model_process import ModelProcess

API_KEY = "BERT_MULTILABEL_API_KEY"  # an environment variable
SECONDS_TO_END = 300  # to answer the accepted requests


@dataclass(kw_only=True)
class ServeArguments:
    """How to serve a model."""

    host: str = option("Address to listen on; 0.0.0.0: all addresses.", "127.0.0.1")
    port: int = option("Port to listen on; 0: any free port.", 8000)
    allowed_hosts: list[str] = field(default_factory=list, metadata={"help": ALLOWED_HOSTS})
    api_key: str | None = option(
        f"Key that clients must send; other users may see it in the list of processes. Default: that in {API_KEY}."
    )
    api_key_file: str | None = option("File that holds the key.")
    max_batch_size: int = option("Maximum number of requests that go through the model together; 1: no batching.", 32)
    batch_timeout: float = option("Seconds that a request waits for others; 0: no waiting.", 0.0)
    max_waiting: int = option("Maximum number of accepted texts without an answer; more are refused (503).", 1024)
    max_request_bytes: int = option("Maximum size of a request in bytes; longer ones are refused (413).", 1_000_000)
    client_timeout: float = option("Seconds in which a client must send a request.", 20.0)
    engine: str = option(f"{ENGINE} An export runs by ONNX Runtime.", ENGINES[0], choices=ENGINES)
    precision: str | None = option(
        "Precision of the encoder's matrix products; not for an export. Default: float32.", choices=PRECISIONS
    )
    threads: int | None = option("Number of threads. Default: one per core.")

    def __post_init__(self) -> None:
        """Raise a MultiLabelError if a number is out of range."""
        for name in ("max_batch_size", "max_waiting", "max_request_bytes", "threads"):
            check_at_least_one(name, getattr(self, name))
        if not 0 <= self.port < 65_536:
            raise MultiLabelError(f"--port must be from 0 to 65535, got {self.port}")
        if not 0 <= self.batch_timeout < float("inf"):
            raise MultiLabelError(f"--batch_timeout must be 0 or more seconds, got {self.batch_timeout}")
        if not 0 < self.client_timeout < float("inf"):
            raise MultiLabelError(f"--client_timeout must be more than 0 seconds, got {self.client_timeout}")

    def read_api_key(self) -> str | None:
        """Return the key, wherever it was given; None if there is none.

        Raises:
            MultiLabelError: If there are several, one cannot be read, or one cannot be sent in a header.
        """
        keys = {"--api_key": self.api_key, API_KEY: os.environ.get(API_KEY)}
        if self.api_key_file is not None:
            keys["--api_key_file"] = _read_file(self.api_key_file)
        given = {source: key for source, key in keys.items() if key is not None}
        if len(given) > 1:
            raise MultiLabelError(f"there are API keys in {' and '.join(given)}: give one")
        for source, key in given.items():
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise MultiLabelError(f"the API key in {source} must be of printable ASCII characters without spaces")
        return next(iter(given.values()), None)


def _read_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise MultiLabelError(f"--api_key_file {path} cannot be read: {error}") from error


def serve(folder: Path, options: ServeArguments) -> None:
    """Serve a model, or its export, until a signal comes and all accepted requests are answered.

    This process handles HTTP, and another one runs the model.

    Raises:
        MultiLabelError: If the folder is not a model directory.
        SystemExit: After a signal, with code 0.
    """
    print(f"loading {folder}; when it is there, GET /docs shows how to ask", file=sys.stderr, flush=True)
    from .model_process import ModelProcess  # needs what is not part of the plain install

    api_key = options.read_api_key()
    model = ModelProcess(folder, options.precision, options.threads, options.engine)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        model.start()
        _handle_http(model, options, api_key)
    finally:
        model.stop()


def _handle_http(model: "ModelProcess", options: ServeArguments, api_key: str | None) -> None:
    """Answer requests with a model that was started, until a signal comes."""
    # These are not part of the plain install.
    import uvicorn

    from .app import PATHS, Application
    from .batches import Batches
    from .connections import protocol_with_timeout
    from .metrics import Metrics

    batches = Batches(model, options.max_batch_size, options.batch_timeout, options.max_waiting, Metrics(PATHS))
    application = Application(
        batches=batches,
        api_key=api_key,
        allowed_hosts=[options.host, *options.allowed_hosts],
        max_bytes=options.max_request_bytes,
        client_timeout=options.client_timeout,
    )
    # uvicorn handles the signals, and raises them again when it ends.
    uvicorn.run(
        application.app(),
        host=options.host,
        port=options.port,
        http=protocol_with_timeout(options.client_timeout),
        ws="none",
        access_log=False,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = OptionParser(ServeArguments, prog="bert-multilabel serve", description=__doc__)
    parser.add_argument("model_dir", type=path_argument, help="Folder of the trained model, or of its export.")
    options, others = parser.parse(arguments)
    check_installed("serving", "serve")
    serve(others.model_dir, options)
