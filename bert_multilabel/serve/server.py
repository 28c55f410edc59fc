"""The LitServe application: admission of requests, batches through the model, and one format for all errors."""

import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from multiprocessing import parent_process
from pathlib import Path
from queue import Empty, Queue
from typing import Annotated, Any

import torch
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from litserve import LitAPI
from litserve.loops.base import _StopLoopError
from litserve.loops.simple_loops import BatchedLoop
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus, LoopResponseType
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from transformers.utils import logging

from bert_multilabel.model.configuration_multilabel import MultiLabelConfig, __version__
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import score_rows

from .engines import load_engine
from .request_form import Parameters, Prediction, PredictRequest, Refusal, describe

# Errors of /predict, for its description.
REFUSALS = {
    400: "The body is not JSON.",
    413: "The request has more bytes or texts than the server accepts.",
    422: "The request does not match the schema, or contains unknown labels.",
    503: "Too many texts are waiting. Try again after the seconds in the header Retry-After.",
}


class AdmissionController:
    """Accepts requests as long as not too many texts are waiting.

    Args:
        config: The model's configuration, to check the labels in requests.
        max_waiting: Maximum number of accepted texts without an answer.
    """

    def __init__(self, config: MultiLabelConfig, max_waiting: int) -> None:
        self.config = config
        self.max_waiting = max_waiting
        self.waiting = 0

    @contextmanager
    def admit(self, request: PredictRequest) -> Iterator[None]:
        """Count the texts of a request until it is answered.

        Raises:
            HTTPException: 422 if its parameters do not fit the model, 413 if it has more than `max_waiting` texts, 503
                if too many texts are waiting now.
        """
        try:
            _decision_config(self.config, request.parameters)
        except ValueError as error:
            raise HTTPException(422, f"parameters: {error}") from error
        count = len(request.examples)
        if count > self.max_waiting:
            message = f"inputs has {count} texts, but at most {self.max_waiting} are accepted: split the request"
            raise HTTPException(413, message)
        if self.waiting + count > self.max_waiting:
            message = f"{self.waiting} texts are waiting, and at most {self.max_waiting} may: try again in a second"
            raise HTTPException(503, message, {"Retry-After": "1"})
        self.waiting += count
        try:
            yield
        finally:
            self.waiting -= count


def _decision_config(config: MultiLabelConfig, asked: Parameters) -> MultiLabelConfig:
    if asked.threshold is None and asked.min_labels is None:
        return config  # a copy and its checks would cost more than the rest of this module
    return config.with_decision(asked.threshold, asked.min_labels)


async def admitted(body: PredictRequest, request: Request) -> AsyncIterator[PredictRequest]:
    """Admit a request; FastAPI continues after the `yield` when it is answered."""
    with request.app.state.admission.admit(body):
        yield body


def take_batch(request_queue: Queue[Any], first: Any, max_batch_size: int, batch_timeout: float) -> list[Any]:
    """Collect the requests that go through the model together; a timeout of 0 seconds takes those that are waiting."""
    taken = [first]
    deadline = time.monotonic() + batch_timeout
    while len(taken) < max_batch_size:
        try:
            taken.append(request_queue.get(timeout=max(0, deadline - time.monotonic())))
        except Empty:
            break
    return taken


class BlockingLoop(BatchedLoop):  # type: ignore[misc]  # LitServe ships no types
    """Waits for a request without using the processor; LitServe's own loop polls without a pause."""

    def get_batch_requests(
        self, lit_api: LitAPI, request_queue: Queue[Any], transport: MessageTransport
    ) -> tuple[list[Any], list[Any]]:
        """Return the requests of the next batch, and an empty list of requests that timed out."""
        first = self._first(request_queue)
        taken = take_batch(request_queue, first, lit_api.max_batch_size, lit_api.batch_timeout)
        for consumer, uid, _, _ in taken:  # if this worker dies, LitServe answers these requests
            self.put_response(transport, consumer, uid, (), LitAPIStatus.START, LoopResponseType.REGULAR)
        return [(consumer, uid, request) for consumer, uid, _, request in taken], []

    def _first(self, request_queue: Queue[Any]) -> Any:
        # This process ignores signals, and a killed server cannot end it.
        server = parent_process()
        while server is not None and server.is_alive():
            try:
                return request_queue.get(timeout=1)
            except Empty:
                continue
        raise _StopLoopError("the server was killed")


class MultiLabelAPI(LitAPI):  # type: ignore[misc]
    """Answers requests, in a process of its own; for the arguments see `ServeArguments`."""

    def __init__(
        self, folder: Path, precision: str | None, threads: int | None, max_batch_size: int, batch_timeout: float
    ) -> None:
        super().__init__(max_batch_size, batch_timeout, loop=BlockingLoop())
        self.folder, self.precision, self.threads = folder, precision, threads

    def setup(self, device: str) -> None:
        """Load the model."""
        ignore_signals()
        logging.disable_progress_bar()
        self.engine = load_engine(self.folder, device, self.precision, self.threads)

    def decode_request(self, request: Annotated[PredictRequest, Depends(admitted)]) -> PredictRequest:
        """Return a request unchanged; it was checked on admission, so that its errors cannot fail a batch."""
        return request

    def predict(self, requests: list[PredictRequest]) -> list[Any]:
        """Answer a batch of requests: the texts of all of them go through the model together."""
        examples = [request.examples for request in requests]
        num_labels = len(self.engine.config.label_names)
        logits = score_rows(self.engine.logits, list(chain.from_iterable(examples)), num_labels)  # (N, L)
        by_request = torch.split(logits, [len(some) for some in examples])
        return [self._answer(request, own) for request, own in zip(requests, by_request, strict=True)]

    def _answer(self, request: PredictRequest, logits: torch.Tensor) -> Any:
        config = _decision_config(self.engine.config, request.parameters)
        records = list(prediction_records(logits, config, top_scores=request.parameters.top_k))
        return records if isinstance(request.inputs, list) else records[0]

    def encode_response(self, output: Any) -> Prediction | list[Prediction]:
        """Return an answer unchanged."""
        answer: Prediction | list[Prediction] = output
        return answer


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM: the server ends this process when all requests are answered."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class SizeLimit:
    """Middleware that refuses a request as soon as its body is longer than `max_bytes`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count the bytes of its body while they are read."""
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_bytes:
                raise HTTPException(413, f"the body is longer than {self.max_bytes} bytes: split the request")
            return message

        await self.app(scope, receive_counted, send)


def configure_app(app: FastAPI, admission: AdmissionController) -> None:
    """Add admission, the format of errors and the OpenAPI description to LitServe's application."""
    app.state.admission = admission
    app.exception_handler(RequestValidationError)(_on_invalid_request)
    app.exception_handler(StarletteHTTPException)(_on_http_error)
    app.title, app.version = "bert-multilabel", __version__
    schema = app.openapi()  # FastAPI caches this object, so that it shows the changes
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        del schemas[name]
    schemas["Refusal"] = Refusal.model_json_schema()
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    responses = {str(status): {"description": text, "content": content} for status, text in REFUSALS.items()}
    operation = schema["paths"]["/predict"]["post"]
    operation["summary"] = "Label texts"
    operation["responses"] |= responses


async def _on_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    problems = error.errors()
    return _error_response(400 if problems[0]["type"] == "json_invalid" else 422, describe(problems))


async def _on_http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    # FastAPI hides why it could not read a body, for example because it is not UTF-8.
    cause = f": {error.__cause__}" if error.status_code == 400 else ""
    return _error_response(error.status_code, f"{error.detail}{cause}", error.headers)


def _error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(Refusal(error=message).model_dump(), status, headers)
