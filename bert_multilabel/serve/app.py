"""The application: its paths, who may use them, and one format for all errors."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bert_multilabel.utils.hosts import HostCheck

from .batches import Batches
from .interface import docs_page, openapi
from .metrics import Metered
from .refusal import Refused
from .request_form import ErrorBody, read_request

PATHS = ("/predict", "/health", "/info", "/metrics", "/openapi.json", "/docs")
OPEN_PATHS = ("/health", "/openapi.json", "/docs")  # they tell nothing about the model, and need no key
# The page may load nothing from elsewhere, and send texts nowhere else.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


@dataclass(frozen=True, kw_only=True)
class Application:
    """The application, which `app` builds.

    Args:
        batches: Answers the requests to /predict.
        api_key: What a client must send to use paths other than `OPEN_PATHS`; None: nothing.
        allowed_hosts: See `is_own_host`.
        max_bytes: Maximum size of a body.
        client_timeout: Seconds in which a body must have come.
    """

    batches: Batches
    api_key: str | None
    allowed_hosts: Sequence[str]
    max_bytes: int
    client_timeout: float

    def app(self) -> Starlette:
        """Return it for an ASGI server."""
        middleware = [
            Middleware(Metered, metrics=self.batches.metrics),
            Middleware(HostCheck, allowed_hosts=self.allowed_hosts),
        ]
        if self.api_key is not None:
            middleware.append(Middleware(KeyCheck, api_key=self.api_key))
        get = {"/health": self.health, "/info": self.info, "/metrics": self.metrics}
        get |= {"/openapi.json": self.openapi, "/docs": self.docs}
        return Starlette(
            routes=[Route("/predict", self.predict, methods=["POST"]), *(Route(*route) for route in get.items())],
            middleware=middleware,
            exception_handlers={Refused: _on_refusal, HTTPException: _on_http_error, Exception: _on_fault},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(self.batches.run())
        yield
        running.cancel()

    async def predict(self, request: Request) -> Response:
        """Label texts."""
        _check_headers(request)
        body = await _read_body(request, self.max_bytes, self.client_timeout)
        return Response(await self.batches.answer(read_request(body)), media_type="application/json")

    async def health(self, request: Request) -> Response:
        """Say whether the model is loaded."""
        if not self.batches.is_ready:
            raise Refused(503, "the model is being loaded: try again in a second", {"Retry-After": "1"})
        return JSONResponse({"status": "ok"})

    async def info(self, request: Request) -> Response:
        """Name the labels."""
        model = self.batches.model
        return JSONResponse({"model": {"label_names": model.label_names}, "version": model.version})

    async def metrics(self, request: Request) -> Response:
        """Return what Prometheus reads."""
        return Response(generate_latest(self.batches.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, request: Request) -> Response:
        """Describe the interface."""
        return JSONResponse(self._interface())

    async def docs(self, request: Request) -> Response:
        """Show the interface."""
        return HTMLResponse(docs_page(self._interface()), headers={"Content-Security-Policy": _POLICY})

    def _interface(self) -> dict[str, Any]:
        return openapi(self.batches.model.version, has_key=self.api_key is not None)


class KeyCheck:
    """Middleware that refuses requests without the API key in the header `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self.app, self.expected = app, f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            return await self.app(scope, receive, send)
        sent = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(sent, self.expected):  # in the same time however much of it is right
            return await self.app(scope, receive, send)
        message = "the API key is missing or wrong: send the header 'Authorization: Bearer KEY'"
        refusal = _error_response(Refused(401, message, {"WWW-Authenticate": "Bearer"}))
        await refusal(scope, receive, send)


def _check_headers(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        message = f"the body is encoded as {encoding[:80]!r}: send it without the header Content-Encoding"
        raise Refused(415, message, {"Accept-Encoding": "identity"})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "the body is not marked as JSON: send the header 'Content-Type: application/json'")


async def _read_body(request: Request, max_bytes: int, seconds: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise Refused(413, f"the body is longer than {max_bytes} bytes: split the request")
    except TimeoutError as error:
        raise Refused(408, f"the body did not come within {seconds:g} seconds", {"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise Refused(400, "the connection was closed before the end of the body") from error  # nobody reads it
    return bytes(body)


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error_response(Refused(error.status_code, error.detail, error.headers))


async def _on_fault(request: Request, error: Exception) -> Response:
    return _error_response(Refused(500, "the server made an error, which its log shows"))


def _error_response(refused: Refused) -> Response:
    return JSONResponse(ErrorBody(error=refused.message).model_dump(), refused.status, refused.headers)
