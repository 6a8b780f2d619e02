"""Dashboards in a process of their own, for tests with a browser."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dashboard.engine.client import STATE_VARIABLE
from toast_core.setup import Setup

LAUNCH = (
    "import sys; from dashboard.server.launch import launch; from toast_core.setup import Setup\n"
    "sys.exit(launch(Setup.from_json(sys.argv[1]), port=int(sys.argv[2]) if len(sys.argv) > 2 else None, headless=True))"
)


@contextmanager
def launched(setup: Setup, state: Path, folder: Path, *more: str, script: str = LAUNCH, **environment: str) -> Iterator[str]:
    """The address of a dashboard that is launched from `folder`, with its engine's files in `state`; stopped as Ctrl-C does, without error.

    Args:
        more: further words for the script.
        script: what launches it; its first word is the setup as JSON.
        environment: more of it.
    """
    around = {**os.environ, STATE_VARIABLE: str(state), "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    command = [sys.executable, "-c", script, setup.to_json(), *more]
    process = subprocess.Popen(command, env=around, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        yield next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(20)
    assert ended == 0
