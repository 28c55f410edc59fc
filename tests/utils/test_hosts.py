import asyncio
import json

import pytest

from bert_multilabel.utils.hosts import HostCheck, is_own_host, is_own_origin


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "page.localhost",
        "127.0.0.1:1",
        "10.1.2.3",
        "[::1]:80",
        "[fe80::1]",
        "localhost.",
    ],
)
def test_addresses_and_localhost_are_own_without_being_named(host):
    assert is_own_host(host, [])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "",
        "[",
        "a@127.0.0.1.b",
        "::1x",
    ],
)
def test_other_names_are_not(host):
    assert not is_own_host(host, ["api.example.com"])


def test_names_and_their_subdomains_can_be_allowed():
    assert is_own_host("API.example.com:443", ["api.Example.com"])
    assert not is_own_host("x.api.example.com", ["api.example.com"])
    assert is_own_host("a.b.example.com", ["*.example.com"])
    assert not is_own_host("example.com", ["*.example.com"]) and not is_own_host("badexample.com", ["*.example.com"])
    assert is_own_host("any.thing", ["*"])


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("https://API.example.com", "api.example.com", True),
        ("http://localhost:3000", "localhost:8000", False),  # another program on this machine
        ("http://10.9.8.7", "10.1.2.3", False),
        ("http://evil.example", "localhost:8000", False),
        ("null", "localhost:8000", False),
        ("", "", False),
        ("http://[", "localhost", False),
        ("https://front.example.org", "localhost:8000", True),
    ],
)
def test_pages_of_the_same_host_or_an_allowed_one_are_own(origin, host, is_own):
    assert is_own_origin(origin, host, ["front.example.org"]) == is_own


def ask(kind, headers):
    sent = []

    async def app(scope, receive, send):
        sent.append("passed on")

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(name, value) for name, value in headers.items()]}
    asyncio.run(HostCheck(app, ["x.example"])(scope, None, send))
    return sent


def test_what_is_not_own_is_refused_and_the_rest_passed_on():
    for kind in ("http", "websocket"):
        assert ask(kind, {b"host": b"x.example"}) == ask(kind, {}) == ["passed on"]
    assert ask("lifespan", {}) == ["passed on"]
    start, body = ask("http", {b"host": b"y.example\xff"})
    assert start["status"] == 421 and "y.example\xff" in json.loads(body["body"])["error"]
    assert ask("http", {b"host": b"x.example", b"origin": b"http://y.example"})[0]["status"] == 403
    assert ask("websocket", {b"host": b"y.example"}) == [{"type": "websocket.close", "code": 1008}]
