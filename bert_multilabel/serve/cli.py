"""Serves a trained model over HTTP: `python -m bert_multilabel.serve MODEL_DIR --port 8000`.

POST /predict takes texts and says which labels they get, GET /openapi.json says how, and GET /health whether it may be
asked. Requests that wait go through the model together. After SIGTERM or Ctrl-C new connections are refused; when all
that was accepted is answered, the server ends.
"""

import logging
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.scoring import PRECISIONS
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import OptionParser

from .engines import is_export, load_engine

# For answering what was accepted: long, but a client that never ends its request must not hold the server forever.
SECONDS_TO_END = 300


@dataclass
class ServeArguments:
    """How to serve a model."""

    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on; 0.0.0.0: every one it has."})
    port: int = field(default=8000, metadata={"help": "Port to listen on; 0: any that is free."})
    max_batch_size: int = field(
        default=32, metadata={"help": "Requests that go through the model together, at most; 1: each alone."}
    )
    batch_timeout: float = field(
        default=0.0, metadata={"help": "Seconds to wait for others to come along; 0: take those that wait already."}
    )
    max_waiting: int = field(
        default=1024,
        metadata={"help": "Texts accepted and not answered yet, at most: what is beyond is refused (503)."},
    )
    max_request_bytes: int = field(
        default=1_000_000, metadata={"help": "Bytes of a request, at most: longer ones are refused (413)."}
    )
    precision: str | None = field(
        default=None,
        metadata={
            "help": "Precision of the encoder's matrix products, not for an export. Default: float32.",
            "choices": list(PRECISIONS),
        },
    )
    threads: int | None = field(default=None, metadata={"help": "Threads that compute. Default: one for each core."})

    def __post_init__(self) -> None:
        """Refuse numbers that say nothing."""
        for name in ("max_batch_size", "max_waiting", "max_request_bytes", "threads"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise MultiLabelError(f"--{name} must be at least 1, got {number}")
        if not 0 <= self.port < 65_536:
            raise MultiLabelError(f"--port must be from 0 to 65535, got {self.port}")
        if not 0 <= self.batch_timeout < float("inf"):
            raise MultiLabelError(f"--batch_timeout must be 0 or more seconds, got {self.batch_timeout}")


def serve(folder: Path, options: ServeArguments) -> None:
    """Serve a model until a signal comes and all that was accepted is answered.

    This process speaks HTTP; the model runs in another one, and a third holds the queue between them. (LitServe's own
    `run` would speak HTTP in a fourth, and leave all but the first running after a SIGTERM.)

    Args:
        folder: Of the model, or of its export.
        options: How to serve it.

    Raises:
        MultiLabelError: If the folder holds no model of ours.
        SystemExit: When it ends: 0 after a signal.
    """
    # What these import is not part of the plain install.
    import uvicorn
    from litserve import LitServer
    from litserve.utils import wrap_litserve_start

    from .server import Door, MultiLabelAPI, SizeLimit, complete, ignore_signals

    # Here, too, so that a folder that cannot be served is refused before anything starts.
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
    complete(server.app, Door(config, options.max_waiting))
    ignore_signals()  # which the processes inherit that start here
    with wrap_litserve_start(server, worker_monitor=True):
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: sys.exit(0))
            server.verify_worker_status()
            # From here on, uvicorn handles the signals, and raises them again at its end.
            uvicorn.run(
                server.app,
                host=options.host,
                port=options.port,
                access_log=False,
                timeout_graceful_shutdown=SECONDS_TO_END,
            )
        finally:
            # Nobody waits for answers any more. LitServe's monitor, which starts a model again that died, must not see
            # these end, nor complain of what else is gone when it looks again.
            workers, server.inference_workers = server.inference_workers, []
            logging.getLogger("litserve.server").disabled = True
            for worker in workers:
                worker.kill()
                worker.join()


def main(arguments: list[str] | None = None) -> None:
    """Serve the model that the command line names."""
    parser = OptionParser(ServeArguments, prog="bert-multilabel serve", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model, or of its export.")
    options, others = parser.parse(arguments)
    check_installed("serving", "serve")
    serve(others.model_dir, options)
