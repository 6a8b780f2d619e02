"""Who may talk to the web server, how it is started, and that no page needs torch."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import dashboard
from dashboard.engine.client import EngineClient, setup_from_environment
from dashboard.server import launch
from dashboard.server.server import OWN_HOSTS, OwnHosts, is_own
from dashboard.server.sharing import Sharing
from tests.support.servers import launched
from toast_core.setup import Setup

PACKAGE = Path(dashboard.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "entry"
)


@pytest.mark.parametrize(("host", "origin", "own"), [
    ("localhost:8501", None, True),
    ("127.0.0.1:8501", "http://127.0.0.1:8501", True),
    ("localhost:8501", "http://127.0.0.1:8501", False),
    ("localhost:8501", "http://localhost:3000", False),
    ("localhost:8501", "https://elsewhere.example", False),
    ("localhost:8501", "null", False),
    ("rebound.example:8501", None, False),
    ("rebound.example:8501", "http://rebound.example:8501", False),
    ("localhost.rebound.example", None, False),
    ("", None, False),
    ("[", None, False),
])
def test_only_the_own_address_is_answered(host, origin, own):
    headers = {b"host": host.encode()} | ({b"origin": origin.encode()} if origin else {})
    assert is_own(headers, OWN_HOSTS) is own


@pytest.mark.parametrize(("kind", "first"), [("http", "http.response.start"), ("websocket", "websocket.close")])
def test_foreign_requests_never_reach_the_pages(kind, first):
    sent = []

    async def pages(*_: object) -> None:
        raise AssertionError("reached the pages")

    async def send(event: dict) -> None:
        sent.append(event)

    asyncio.run(OwnHosts(pages)({"type": kind, "headers": [(b"host", b"rebound.example")]}, None, send))
    assert sent[0]["type"] == first


def test_a_port_in_use_or_out_of_range_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(launch.DashboardError, match="is in use or reserved; choose another") as caught:
            launch.launch(Setup(), port=taken.getsockname()[1], headless=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(launch.DashboardError, match="not between 1 and 65535"):
        launch.launch(Setup(), port=70_000, headless=True)


def test_the_next_free_port_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(launch, "FIRST_PORT", taken.getsockname()[1])
        assert launch._free_port("127.0.0.1") > taken.getsockname()[1]


def test_the_server_is_told_to_stay_on_this_machine():
    command = " ".join(launch._command(8501, headless=True, sharing=Sharing()))
    for setting in (
        "server.address 127.0.0.1", "browser.gatherUsageStats false", "server.maxUploadSize 100", "server.fileWatcherType none"
    ):
        assert f"--{setting}" in command
    assert setup_from_environment() == Setup().completed()


def test_pages_import_where_torch_cannot_be():
    blocked = (
        "import sys, importlib\n"
        "for name in ('torch', 'timm', 'torchvision', 'toast_core.engine.server', 'toast_core.engine.desk'): sys.modules[name] = None\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_says_what_is_kept_and_streamlit_nothing(tmp_path):
    """As a terminal sends it: to the web server too, which ends by itself."""
    script = tmp_path / "page.py"
    script.write_text("")
    code = (
        "import signal, sys, threading, os\nfrom dashboard.server import launch\nfrom toast_core.setup import Setup\n"
        "launch.EngineClient.start = lambda self: None\n"
        "launch._SERVER = sys.argv[1]\n"
        "launch._sharing_in_words = lambda *_: threading.Timer(0.5, os.killpg, (os.getpgrp(), signal.SIGINT)).start() or []\n"
        "sys.exit(launch.launch(Setup(), headless=True))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=90,
        start_new_session=True, check=False,
    )
    assert ended.returncode == 0 and ended.stdout == ""
    assert "Dashboard: http://127.0.0.1:" in ended.stderr and "Aborted" not in ended.stderr and "Traceback" not in ended.stderr
    assert "\ntoast: the dashboard is stopped; " in ended.stderr


@pytest.mark.engine
def test_two_that_start_at_once_take_two_ports(tmp_path):
    setup = Setup("demo_vit", "none").completed()
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()

    def address(folder: Path) -> str:
        with launched(setup, folder, folder) as found:
            together.wait(60)
            return found

    together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(address, folders))
    assert len(set(found)) == 2
    for folder in folders:
        EngineClient(setup, folder).stop()
