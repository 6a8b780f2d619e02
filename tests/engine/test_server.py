"""When an engine ends: after its last dashboard, or idle for long, and never while a run needs it."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from toast_core.engine.server import IDLE_LIMIT_S, _Server


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_when_its_dashboards_are_gone_unless_a_run_needs_it(busy: bool, ended: int) -> None:
    with _Server(SimpleNamespace(), SimpleNamespace(is_busy=lambda: busy), "token") as server:
        server.last_request = time.monotonic() - 60
        assert not server.is_done(IDLE_LIMIT_S)  # no dashboard has said that it is there
        server.know(os.getpid())
        server.know("a name")
        server.know(ended)  # cannot be seen, as from another container: it must not count as one that has gone
        assert server.dashboards == {os.getpid()} and not server.is_done(IDLE_LIMIT_S)
        server.dashboards = {ended}
        assert server.is_done(IDLE_LIMIT_S) is not busy
        server.last_request = time.monotonic()
        assert not server.is_done(IDLE_LIMIT_S)  # somebody has asked just now
        server.dashboards, server.last_request = set(), time.monotonic() - IDLE_LIMIT_S - 1
        assert server.is_done(IDLE_LIMIT_S) is not busy
