"""The exception for a request that is refused."""

from collections.abc import Mapping

# Status codes, and when a request to /predict is refused with them.
STATUSES = {
    400: "The body is not JSON, or is JSON that names a key twice.",
    401: "The server has an API key, and the request has none or another one.",
    403: "The request comes from a page of another site (header Origin).",
    408: "The client took too long to send the request.",
    413: "The request has more bytes or texts than the server accepts.",
    415: "The body is compressed, or not marked as JSON.",
    421: "The header Host names a host that the server does not answer for (--allowed_hosts).",
    422: "The request does not match the schema, or contains unknown labels.",
    503: "Too many texts are waiting, or the process of the model ended. Try again after the seconds in Retry-After.",
}


class Refused(Exception):
    """A request that is refused; it may come from the process of the model.

    Args:
        status: One of `STATUSES`.
        message: Says which field is wrong, and what to do.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, headers)  # what pickle passes on
        self.status, self.message, self.headers = status, message, headers
