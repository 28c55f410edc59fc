"""Makes random and mutated inputs from a generator, and checks what all targets expect of messages."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

LONGEST_MESSAGE = 10_000  # characters: 20 rows with what is wrong in each
LONGEST_INPUT = 20_000  # bytes

_MEMORY = Path("/dev/shm")  # a folder in memory, where there is one
_TEMPORARY = tempfile.TemporaryDirectory(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None)
_FOLDER = Path(_TEMPORARY.name)
_TEXTS = [
    *(
        "",
        " ",
        "price",
        "quality",
        "gift",
        "The price is good",
        "Überraschung 价格",
        "price|quality",
        "price, quality",
    ),
    *(
        '["price", "quality"]',
        "['price' 'quality']",
        "(1, 0)",
        "1 0 1",
        "101",
        "<price><gift>",
        "{price,gift}",
        "set()",
    ),
    *("nan", "None", "\\N", "-1", "-100", "NaN", "0", "1", "1.0", "yes", "__label__price", "{'price'}", "1;0", "[]"),
    *(
        "\ud800",
        "\udfff",
        "\0",
        "\ufeff",
        "\u2028",
        "\u202e",
        "a\nb",
        '"',
        "'",
        "\\",
        "[" * 300,
        "9" * 5000,
        "x" * 2000,
    ),
]
_NUMBERS = [
    0,
    1,
    -1,
    2,
    7,
    2**31,
    2**63,
    -(2**70),
    0.0,
    1.0,
    0.5,
    -0.5,
    1e308,
    float("inf"),
    float("nan"),
    True,
    False,
]
_KEYS = [
    *("text", "labels", "label", "id", "annotations", "annotator", "result", "value", "choices", "answer", "accept"),
    *("options", "cats", "data", "meta", "status", "user", "responses", "suggestions", "predictions", "completed_by"),
    *("name", "start", "end", "0", "1", "title", "text_pair", "fields", "type", "from_name", "was_cancelled", ""),
]
_PIECES = [
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b"\r",
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"|",
        b" ",
        b"\\",
        b"[",
        b"]",
        b"{",
        b"}",
        b":",
        b"#",
    ),
    *(
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\xe4",
        b"\xc3",
        b"\xf0\x9f\x98\x80",
        b"sep=;\n",
        b"nan",
        b"null",
        b"-1",
    ),
    *(b"text", b"labels", b"id", b"1e999", b"9" * 5000, b"[" * 300, b'{"a":' * 300, b"__label__a ", b"@relation x\n"),
    *(b"PAR1", b"ARROW1", b"PK\x03\x04", b"\x1f\x8b", b"\xff" * 8, b"\0" * 8),
]


def check_message(error: Exception) -> None:
    """Refuse a message that is too long to read, or that cannot be printed."""
    message = str(error)
    assert 0 < len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} characters"


def write(name: str, data: bytes) -> str:
    """Write a file that the next call of the same name replaces, and return its path."""
    path = _FOLDER / name
    path.write_bytes(data)
    return str(path)


def random_text(generator: Random) -> str:
    """Return a text, perhaps of several that parsers know."""
    return "".join(generator.choice(_TEXTS) for _ in range(generator.choice((1, 1, 1, 2, 3))))


def random_value(generator: Random, depth: int = 0) -> Any:
    """Return a value of JSON, nested up to three levels."""
    kind = generator.randrange(10 if depth < 3 else 7)
    if kind == 0:
        return None
    if kind <= 2:
        return generator.choice(_NUMBERS)
    if kind <= 6:
        return random_text(generator)
    size = generator.randrange(4)
    if kind <= 8:
        return [random_value(generator, depth + 1) for _ in range(size)]
    return {random_key(generator): random_value(generator, depth + 1) for _ in range(size)}


def random_key(generator: Random) -> str:
    """Return a key that formats know, or any text."""
    return generator.choice(_KEYS) if generator.random() < 0.9 else random_text(generator)


def mutated_value(generator: Random, value: Any) -> Any:
    """Return a copy of a JSON value with one place changed, wherever it is."""
    if isinstance(value, dict) and value and generator.random() < 0.8:
        key = generator.choice(list(value))
        if (kind := generator.random()) < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.2:
            return {random_key(generator) if name == key else name: item for name, item in value.items()}
        if kind < 0.25:
            return value | {random_key(generator): random_value(generator, 1)}
        return value | {key: mutated_value(generator, value[key])}
    if isinstance(value, list) and value and generator.random() < 0.8:
        index = generator.randrange(len(value))
        if (kind := generator.random()) < 0.1:
            return value[:index] + value[index + 1 :]
        if kind < 0.2:
            return value[:index] + [value[index]] * 2 + value[index + 1 :]
        return [*value[:index], mutated_value(generator, value[index]), *value[index + 1 :]]
    return generator.choice([[value], {random_key(generator): value}, random_value(generator, 1)])


def mutated_bytes(generator: Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds after up to four changes, or rarely bytes of any kind."""
    if generator.random() < 0.05:
        return b"".join(generator.choice(_PIECES) for _ in range(generator.randrange(8)))
    data = generator.choice(seeds)
    for _ in range(generator.randrange(5)):
        start, end = sorted(generator.randrange(len(data) + 1) for _ in "12")
        end = min(end, start + generator.choice((0, 1, 4, 1000)))
        change = generator.randrange(6)
        if change <= 2:
            data = data[:start] + generator.choice(_PIECES) + data[end:]
        elif change == 3:
            data = data[:start] + generator.randbytes(end - start) + data[end:]
        elif change == 4:
            data = data[:end] + data[start:end] * generator.choice((1, 1, 10)) + data[end:]
        else:
            data = data[:start] + generator.choice(seeds)[start:]
    return data[:LONGEST_INPUT]
