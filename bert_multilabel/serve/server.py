"""What LitServe runs: requests in at the door, batches through the model, and one form for all refusals."""

import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
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

# What a request may be refused for, beside a path or method that there is not.
REFUSALS = {
    400: "The body is no JSON.",
    413: "The request is longer than the server takes, or has more texts.",
    422: "The request is JSON, but not of the form described here, or names labels that there are not.",
    503: "Too many texts are waiting: the header Retry-After says in how many seconds to try again.",
}


class Door:
    """Lets requests in while not too many texts wait.

    Args:
        config: Of the model, to hold against it what requests say of labels.
        max_waiting: Texts that are accepted and not answered yet, at most.
    """

    def __init__(self, config: MultiLabelConfig, max_waiting: int) -> None:
        self.config = config
        self.max_waiting = max_waiting
        self.waiting = 0

    @contextmanager
    def admit(self, request: PredictRequest) -> Iterator[None]:
        """Count the texts of a request until it is answered.

        Raises:
            HTTPException: 422 if the model cannot decide as it asks, 413 if it has more texts than may ever wait, 503
                if it has more than may wait now.
        """
        try:
            _deciding(self.config, request.parameters)
        except ValueError as error:
            raise HTTPException(422, f"parameters: {error}") from error
        count = len(request.rows)
        if count > self.max_waiting:
            raise HTTPException(
                413, f"inputs holds {count} texts, but at most {self.max_waiting} are taken: send them in parts"
            )
        if self.waiting + count > self.max_waiting:
            raise HTTPException(
                503,
                f"{self.waiting} texts are waiting, {self.max_waiting} may: try again in a second",
                {"Retry-After": "1"},
            )
        self.waiting += count
        try:
            yield
        finally:
            self.waiting -= count


def _deciding(config: MultiLabelConfig, asked: Parameters) -> MultiLabelConfig:
    if asked.threshold is None and asked.min_labels is None:
        return config  # most requests: a copy and its checks would cost more than all else here
    return config.with_decision(asked.threshold, asked.min_labels)


async def admitted(body: PredictRequest, request: Request) -> AsyncIterator[PredictRequest]:
    """Lead a request through the door of the app that received it: FastAPI comes back when it is answered."""
    with request.app.state.door.admit(body):
        yield body


class PatientLoop(BatchedLoop):  # type: ignore[misc]  # LitServe ships no types
    """Sleeps until a request comes, where LitServe's own loop would ask for one without a pause."""

    def get_batch_requests(
        self, lit_api: LitAPI, request_queue: Queue[Any], transport: MessageTransport
    ) -> tuple[list[Any], list[Any]]:
        """Return the requests that go together, and those that waited too long, which none does."""
        taken = [self._first(request_queue)]
        deadline = time.monotonic() + lit_api.batch_timeout
        while len(taken) < lit_api.max_batch_size:
            try:
                taken.append(request_queue.get(timeout=max(0, deadline - time.monotonic())))
            except Empty:
                break
        for consumer, uid, _, _ in taken:  # LitServe answers for a worker that dies, if it knows what it had begun
            self.put_response(transport, consumer, uid, (), LitAPIStatus.START, LoopResponseType.REGULAR)
        return [(consumer, uid, request) for consumer, uid, _, request in taken], []

    def _first(self, request_queue: Queue[Any]) -> Any:
        # A server that is killed outright cannot end this process, and signals do not.
        server = parent_process()
        while server is not None and server.is_alive():
            try:
                return request_queue.get(timeout=1)
            except Empty:
                continue
        raise _StopLoopError("the server was killed: nobody is left to answer")


class MultiLabelAPI(LitAPI):  # type: ignore[misc]
    """Answers requests, in a process of its own.

    Args:
        folder: Of the model, or of its export.
        precision: One of `PRECISIONS`; None: float32, or what an export was written in.
        threads: How many threads compute; None: one for each core.
        max_batch_size: How many requests go through the model together, at most.
        batch_timeout: How many seconds the first of them waits for others.
    """

    def __init__(
        self, folder: Path, precision: str | None, threads: int | None, max_batch_size: int, batch_timeout: float
    ) -> None:
        super().__init__(max_batch_size, batch_timeout, loop=PatientLoop())
        self.folder, self.precision, self.threads = folder, precision, threads

    def setup(self, device: str) -> None:
        """Load the model."""
        ignore_signals()
        logging.disable_progress_bar()
        self.engine = load_engine(self.folder, device, self.precision, self.threads)

    def decode_request(self, request: Annotated[PredictRequest, Depends(admitted)]) -> PredictRequest:
        """Take a request as it is: it was checked at the door, where a refusal is of this request alone."""
        return request

    def predict(self, requests: list[PredictRequest]) -> list[Any]:
        """Answer requests, the texts of all together."""
        rows = [request.rows for request in requests]
        num_labels = len(self.engine.config.label_names)
        logits = score_rows(self.engine.logits, [row for some in rows for row in some], num_labels)  # (N, L)
        parts = torch.split(logits, [len(some) for some in rows])
        return [self._answer(request, part) for request, part in zip(requests, parts, strict=True)]

    def _answer(self, request: PredictRequest, logits: torch.Tensor) -> Any:
        config = _deciding(self.engine.config, request.parameters)
        records = list(prediction_records(logits, config, top_scores=request.parameters.top_k))
        return records if isinstance(request.inputs, list) else records[0]

    def encode_response(self, output: Any) -> Prediction | list[Prediction]:
        """Send an answer as it is."""
        answer: Prediction | list[Prediction] = output
        return answer


def ignore_signals() -> None:
    """Leave it to the server when this process ends, for it has something to answer until then."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class SizeLimit:
    """Refuses a request as soon as it shows that it is too long.

    Args:
        app: What answers the others.
        max_bytes: Length of a body, at most.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count its bytes as they are read."""
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_bytes:
                raise HTTPException(413, f"the body is longer than {self.max_bytes} bytes: send the texts in parts")
            return message

        await self.app(scope, receive_counted, send)


def complete(app: FastAPI, door: Door) -> None:
    """Give LitServe's app its door, its one form of refusals, and a description of itself that says so."""
    app.state.door = door
    app.exception_handler(RequestValidationError)(_refuse_form)
    app.exception_handler(StarletteHTTPException)(_refuse)
    app.title, app.version = "bert-multilabel", __version__
    schema = app.openapi()  # which FastAPI keeps: what is changed here is what it shows
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        del schemas[name]
    schemas["Refusal"] = Refusal.model_json_schema()
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    responses = {str(status): {"description": text, "content": content} for status, text in REFUSALS.items()}
    operation = schema["paths"]["/predict"]["post"]
    operation["summary"] = "Label texts"
    operation["responses"] |= responses


async def _refuse_form(request: Request, error: RequestValidationError) -> JSONResponse:
    problems = error.errors()
    return _refusal(400 if problems[0]["type"] == "json_invalid" else 422, describe(problems))


async def _refuse(request: Request, error: StarletteHTTPException) -> JSONResponse:
    # FastAPI does not say why it could not read a body: for instance, because it is not UTF-8.
    cause = f": {error.__cause__}" if error.status_code == 400 else ""
    return _refusal(error.status_code, f"{error.detail}{cause}", error.headers)


def _refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(Refusal(error=message).model_dump(), status, headers)
