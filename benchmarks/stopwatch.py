"""The one stopwatch of the benchmarks."""

import time
from collections.abc import Callable


def seconds_of(function: Callable[[], object]) -> float:
    """Time one call, in seconds of wall time."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
