"""Connections of clients, which are closed if they wait too long for a request."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def protocol_with_timeout(seconds: float) -> type[asyncio.Protocol]:
    """Return a protocol for uvicorn that closes a connection on which no request is answered for so long.

    uvicorn itself waits without end for the headers of a request. While a request is answered, nothing is closed: how
    long its body may take is for the application to say.
    """

    class TimedProtocol(H11Protocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.untimed, self.app = self.app, self.timed

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.start_timer()

        def start_timer(self) -> None:
            self.timer = self.loop.call_later(seconds, self.transport.abort)

        async def timed(self, scope: Any, receive: Any, send: Any) -> None:
            self.timer.cancel()
            try:
                await self.untimed(scope, receive, send)
            finally:
                self.start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self.timer.cancel()
            super().connection_lost(exc)

    return TimedProtocol
