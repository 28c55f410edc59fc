"""What the server counts, for Prometheus."""

import time
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .request_form import PredictRequest

_SIZES = [2**power for power in range(11)]
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PREFIX = "bert_multilabel"


class Metrics:
    """Counters of one server.

    Args:
        paths: The paths that the server has; others are counted together, so that nobody can add to their number.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"namespace": PREFIX, "registry": self.registry}
        self.requests = Counter("requests", "Requests that were answered.", ["path", "status"], **own)
        self.refusals = Counter("refusals", "Requests to /predict that were refused.", ["status"], **own)
        self.seconds = Histogram(
            "request_seconds", "Seconds to answer a request to /predict.", buckets=_SECONDS, **own
        )
        self.batch_requests = Histogram("batch_requests", "Requests in a batch.", buckets=_SIZES, **own)
        self.batch_texts = Histogram("batch_texts", "Texts in a batch.", buckets=_SIZES, **own)
        self.waiting = Gauge("waiting_texts", "Accepted texts that are not answered yet.", **own)
        self.restarts = Counter("model_restarts", "Starts of the model's process after it had ended.", **own)

    def observe_batch(self, requests: Sequence[PredictRequest]) -> None:
        """Count a batch that goes to the model."""
        self.batch_requests.observe(len(requests))
        self.batch_texts.observe(sum(len(request.examples) for request in requests))

    def observe_answer(self, path: str, status: int, seconds: float) -> None:
        """Count an answer, and the time that it took."""
        self.requests.labels(path if path in self.paths else "other", status).inc()
        if path == "/predict" and status >= 400:
            self.refusals.labels(status).inc()
        if path == "/predict" and status == 200:
            self.seconds.observe(seconds)


class Metered:
    """Middleware that counts answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, path = time.perf_counter(), scope["path"]

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.observe_answer(path, message["status"], time.perf_counter() - start)
            await send(message)

        await self.app(scope, receive, send_counted)
