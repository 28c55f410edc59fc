"""Which hosts a server answers for: against pages of other sites that reach it through a visitor's browser.

Such a page may let its own name point to this machine (DNS rebinding); the browser then takes the server for a part of
that site, and shows it the answers. But it still sends that name in the header Host.
"""

import ipaddress
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

# Help text of the option of commands that listen.
ALLOWED_HOSTS = (
    "Names under which clients reach this command, besides localhost and its addresses: api.example.com, "
    "*.example.com, or * for all."
)
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
_App = Callable[[Any, _Receive, _Send], Awaitable[None]]


def is_own_host(host: str, allowed: Sequence[str]) -> bool:
    """Whether a header Host names this server: by an address, as localhost, or by an allowed name.

    Args:
        host: Name or address, maybe with a port.
        allowed: Names; `*.example.com` are all names that end in `.example.com`, and `*` are all.
    """
    name = _name_of(f"//{host}")
    return _is_address(name) or name == "localhost" or name.endswith(".localhost") or _is_among(name, allowed)


def is_own_origin(origin: str, host: str, allowed: Sequence[str]) -> bool:
    """Whether a header Origin names a page of this server, or of an allowed name.

    Args:
        origin: As browsers send it: `https://example.com:8000`, or `null`.
        host: The header Host of the same request.
        allowed: As for `is_own_host`.
    """
    is_same = bool(host) and origin.partition("://")[2].lower() == host.lower()
    return is_same or _is_among(_name_of(origin), allowed)


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_among(name: str, allowed: Sequence[str]) -> bool:
    patterns = [pattern.lower() for pattern in allowed]
    named = [pattern for pattern in patterns if name == pattern or pattern[:2] == "*." and name.endswith(pattern[1:])]
    return "*" in patterns or (bool(name) and bool(named))


class HostCheck:
    """ASGI middleware that refuses requests for other hosts (421), and from pages of other sites (403).

    A request without a header Host is answered: it comes from no browser.

    Args:
        app: What answers the others.
        allowed_hosts: See `is_own_host`.
    """

    def __init__(self, app: _App, allowed_hosts: Sequence[str]) -> None:
        self.app, self.allowed_hosts = app, allowed_hosts

    async def __call__(self, scope: Any, receive: _Receive, send: _Send) -> None:
        """Pass a request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            status, message = refusal
            body = json.dumps({"error": message}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Any) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host"), headers.get(b"origin")
        if host and not is_own_host(host, self.allowed_hosts):
            return 421, f"this server does not answer for the host {host[:80]!r}: allow it with --allowed_hosts"
        if origin is not None and not is_own_origin(origin, host or "", self.allowed_hosts):
            return 403, f"pages of {origin[:80]!r} may not use this server: allow their host with --allowed_hosts"
        return None
