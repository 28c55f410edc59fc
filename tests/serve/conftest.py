from multiprocessing import forkserver

import pytest

from tests import forked  # says what is to be imported there


@pytest.fixture(scope="session", autouse=True)
def shared_forkserver():
    """Start what tests fork from before `ModelProcess` does it, whose processes ignore signals for good."""
    assert forked.FORKSERVER
    forkserver.ensure_running()
