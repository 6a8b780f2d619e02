"""Starting and stopping the dashboard's web server. Imports neither torch nor Streamlit."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dashboard.engine.client import MEMORY_VARIABLE, SETUP_VARIABLE, EngineClient
from dashboard.navigation import pages
from dashboard.server.sharing import PASSWORD_VARIABLE, Sharing
from dashboard.uploads import MAX_BUNDLE_MB
from toast_core.errors import ToastError
from toast_core.setup import Setup

FIRST_PORT = 8501
_PORTS_TRIED = 100
_ADDRESS, _EVERY_ADDRESS = "127.0.0.1", "0.0.0.0"
_START_LIMIT_S = 60
_STOP_LIMIT_S = 5
_LOCK = Path.home() / ".cache" / "toast" / "port.lock"
_SERVER = Path(__file__).with_name("server.py")
_SETTINGS = {
    "server.fileWatcherType": "none",
    "server.maxUploadSize": str(MAX_BUNDLE_MB),
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.showEmailPrompt": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "runner.fastReruns": "false",  # true starts a run beside the one that acts on a click, whose answer is then thrown away
    "client.showErrorLinks": "false",
    "logger.hideWelcomeMessage": "true",
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#2680C2",
}
# What visitors of a shared dashboard must not learn: where files lie on this machine.
_SHARED_SETTINGS = {"client.showErrorDetails": "none", "browser.serverAddress": "localhost"}
_WARNING = (
    "Plain HTTP is not encrypted: whoever listens on the network can read the password and the pages. Put a proxy that ends TLS in front "
    "of it, or share on a network that you trust."
)
_STOPPED = "\ntoast: the dashboard is stopped; drafts and measurements are kept, and its engine ends by itself once no run needs it"


class DashboardError(ToastError, RuntimeError):
    """The dashboard cannot be started as asked."""


def launch(
    setup: Setup, sharing: Sharing = Sharing(), port: int | None = None, headless: bool = False,  # noqa: B008 - frozen
    memory_gb: float | None = None,
) -> int:
    """Serve the dashboard until Ctrl-C and return the exit status: 0 when it was stopped, else the server's own.

    The address is printed on stderr once it answers. The engine process is started first, or found where another
    dashboard of the same setup has one, and ends soon after the last of them unless a run needs it.

    Args:
        setup: the model and images that it is about; what it leaves open is completed as the demo's.
        sharing: whom it answers besides this machine, see `dashboard.server.sharing`.
        port: on 127.0.0.1, on every address where it is shared; None takes 8501 or the next free one.
        headless: True opens no browser.
        memory_gb: 1e9 bytes that the engine may hold; None: a quarter of the machine.

    Raises:
        DashboardError: the port is taken or not a port, or the server does not come up.
        EngineError: the engine process cannot be started.
        NavigationError: two installed packages add the same page.
    """
    pages()
    setup = setup.completed().anchored()
    # neither the server nor the engine needs it, so neither has it
    os.environ.pop(PASSWORD_VARIABLE, None)
    address = _EVERY_ADDRESS if sharing.is_open else _ADDRESS
    if port is not None:
        _checked_port(port, address)
    EngineClient(setup, memory_gb=memory_gb).start()
    environment = _environment(setup, sharing, memory_gb)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = None
    try:
        with _one_at_a_time():
            port = _free_port(address) if port is None else port
            server = subprocess.Popen(_command(port, headless, sharing), env=environment, stdin=subprocess.DEVNULL, stdout=2)
            _await_answer(server, port)
        print(f"Dashboard: http://{_ADDRESS}:{port}  (Ctrl-C stops it)", file=sys.stderr, flush=True)
        for line in _sharing_in_words(sharing, port):
            print(line, file=sys.stderr, flush=True)
        return server.wait()
    except KeyboardInterrupt:
        print(_STOPPED, file=sys.stderr, flush=True)
        return 0
    finally:
        if server is not None:
            _stop(server)
        signal.signal(signal.SIGTERM, before)


def _sharing_in_words(sharing: Sharing, port: int) -> list[str]:
    """What whoever starts a shared dashboard must know; nothing for one that answers this machine alone."""
    if not sharing.is_open:
        return []
    names = ", ".join(f"http://{name}:{port}" for name in sharing.hosts[len(Sharing().hosts) :])
    asked = [*(["the password (any user name)"] if sharing.digest else []), *(["signing in"] if sharing.sign_in else [])]
    lines = [f"Shared: it also answers other machines, as {names}, after {' and '.join(asked)}.", _WARNING]
    if sharing.sign_in:
        lines.append("Everyone who can sign in with the identity provider of secrets.toml gets in; limit there who can.")
    return lines


def _command(port: int, headless: bool, sharing: Sharing) -> list[str]:
    address = {"server.address": _EVERY_ADDRESS, **_SHARED_SETTINGS} if sharing.is_open else {"server.address": _ADDRESS}
    settings = {**_SETTINGS, **address, "server.port": str(port), "server.headless": "true" if headless else "false"}
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    hosts = [part for host in sharing.hosts for part in ("--server.allowedHosts", host)]
    return [sys.executable, "-m", "dashboard.server.quiet_streamlit", "run", str(_SERVER), *flags, *hosts]


def _environment(setup: Setup, sharing: Sharing, memory_gb: float | None = None) -> dict[str, str]:
    """The server's environment: the packages importable from any folder, the setup for the pages, and who is answered."""
    home = str(Path(__file__).parents[2])
    search = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    memory = {} if memory_gb is None else {MEMORY_VARIABLE: str(memory_gb)}
    return {**os.environ, "PYTHONPATH": search, SETUP_VARIABLE: setup.to_json(), **memory, **sharing.to_environment()}


def _is_free(port: int, address: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """From choosing a free port until it is taken, no other dashboard of this user chooses: two would choose the same.

    Where the lock's file cannot be made nobody waits: two that start within the same second are rare.
    """
    with ExitStack() as held:
        with suppress(OSError):
            _LOCK.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(held.enter_context(_LOCK.open("a")), fcntl.LOCK_EX)
        yield


def _free_port(address: str) -> int:
    for port in range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED):
        if _is_free(port, address):
            return port
    raise DashboardError(f"ports {FIRST_PORT} to {FIRST_PORT + _PORTS_TRIED - 1} are all in use; choose another with --port")


def _checked_port(port: int, address: str) -> int:
    if not 0 < port < 65536:
        raise DashboardError(f"port {port} is not between 1 and 65535; choose another, or leave --port out to take a free one")
    if not _is_free(port, address):
        raise DashboardError(f"port {port} is in use or reserved; choose another, or leave --port out to take a free one")
    return port


def _await_answer(server: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DashboardError(f"the web server ended at once with status {server.returncode}; its message is above")
        with socket.socket() as probe:
            if probe.connect_ex((_ADDRESS, port)) == 0:
                return
        time.sleep(0.1)
    raise DashboardError(f"the web server did not answer on port {port} within {_START_LIMIT_S} s; try again on an idle machine")


def _stop(server: subprocess.Popen) -> None:
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
