"""Serves a trained model over HTTP: `python -m bert_multilabel.serve MODEL_DIR --port 8000`.

POST /predict predicts the labels of texts, GET /openapi.json describes the requests, and GET /health tells whether the
server is ready. Waiting requests go through the model together. After SIGTERM or Ctrl-C the server refuses new
connections, answers the requests it has accepted, and ends.
"""

import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.scoring import PRECISIONS
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import OptionParser, option

from .engines import is_export, load_engine

SECONDS_TO_END = 300  # to answer the accepted requests; a client that never ends its request must not block the end


@dataclass
class ServeArguments:
    """How to serve a model."""

    host: str = option("Address to listen on; 0.0.0.0: all addresses.", "127.0.0.1")
    port: int = option("Port to listen on; 0: any free port.", 8000)
    max_batch_size: int = option("Maximum number of requests that go through the model together; 1: no batching.", 32)
    batch_timeout: float = option("Seconds that a request waits for others; 0: no waiting.", 0.0)
    max_waiting: int = option("Maximum number of accepted texts without an answer; more are refused (503).", 1024)
    max_request_bytes: int = option("Maximum size of a request in bytes; longer ones are refused (413).", 1_000_000)
    precision: str | None = option(
        "Precision of the matrix products of the encoder; not for an export. Default: float32.", choices=PRECISIONS
    )
    threads: int | None = option("Number of threads. Default: one per core.")

    def __post_init__(self) -> None:
        """Raise a MultiLabelError if a number is out of range."""
        for name in ("max_batch_size", "max_waiting", "max_request_bytes", "threads"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise MultiLabelError(f"--{name} must be at least 1, got {number}")
        if not 0 <= self.port < 65_536:
            raise MultiLabelError(f"--port must be from 0 to 65535, got {self.port}")
        if not 0 <= self.batch_timeout < float("inf"):
            raise MultiLabelError(f"--batch_timeout must be 0 or more seconds, got {self.batch_timeout}")


def serve(folder: Path, options: ServeArguments) -> None:
    """Serve a model, or its export, until a signal comes and all accepted requests are answered.

    This process handles HTTP, a second one runs the model, and a third one holds the queue between them. (LitServe's
    own `run` handles HTTP in a fourth process, and leaves all but the first running after a SIGTERM.)

    Raises:
        MultiLabelError: If the folder is not a model directory.
        SystemExit: After a signal, with code 0.
    """
    # These are not part of the plain install.
    import uvicorn
    from litserve import LitServer
    from litserve.utils import wrap_litserve_start

    from .server import AdmissionController, MultiLabelAPI, SizeLimit, configure_app, ignore_signals

    # Also loaded here, to refuse a bad folder before any process starts.
    config = load_engine(folder, "cpu", options.precision, options.threads).config
    api = MultiLabelAPI(folder, options.precision, options.threads, options.max_batch_size, options.batch_timeout)
    server = LitServer(
        api,
        accelerator="cpu" if is_export(folder) else "auto",
        timeout=False,
        restart_workers=True,
        model_metadata={"label_names": config.label_names},
        middlewares=[(SizeLimit, {"max_bytes": options.max_request_bytes})],
    )
    configure_app(server.app, AdmissionController(config, options.max_waiting))
    ignore_signals()  # inherited by the processes that start here
    with wrap_litserve_start(server, worker_monitor=True):
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: sys.exit(0))
            server.verify_worker_status()
            # From here on uvicorn handles the signals, and raises them again when it ends.
            uvicorn.run(
                server.app,
                host=options.host,
                port=options.port,
                access_log=False,
                timeout_graceful_shutdown=SECONDS_TO_END,
            )
        finally:
            # LitServe's monitor, which restarts dead workers, must neither see these end nor log an error about it.
            workers, server.inference_workers = server.inference_workers, []
            logging.getLogger("litserve.server").disabled = True
            for worker in workers:
                worker.kill()
                worker.join()


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = OptionParser(ServeArguments, prog="bert-multilabel serve", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model, or of its export.")
    options, others = parser.parse(arguments)
    check_installed("serving", "serve")
    serve(others.model_dir, options)
