"""Suggests what a misspelt name may mean."""

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelt most like this one, in whatever case; None if none is similar.

    Examples:
        >>> closest("Serv", ["train", "serve"]), closest("7", ["train", "serve"])
        ('serve', None)
    """
    by_lower = {one.lower(): one for one in known}
    # A text much longer than every name is not a misspelling, and comparing a document takes seconds.
    is_short = len(name) <= 3 * max(map(len, by_lower), default=0)
    found = difflib.get_close_matches(name.lower(), by_lower, n=1) if is_short else []
    return by_lower[found[0]] if found else None
