"""Starting and stopping the dashboard's web server. Imports neither torch nor Streamlit."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from dashboard.client import OPTIONS_VARIABLE, EngineClient, EngineOptions
from toast_core.errors import ToastError

FIRST_PORT = 8501
_PORTS_TRIED = 100
_ADDRESS = "127.0.0.1"
_START_LIMIT_S = 60
_STOP_LIMIT_S = 5
_SERVER = Path(__file__).with_name("server.py")
_SETTINGS = {
    "server.address": _ADDRESS,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "1",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.showEmailPrompt": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorLinks": "false",
    "logger.hideWelcomeMessage": "true",
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#2680C2",
}
_HOSTS = ("localhost", _ADDRESS)


class DashboardError(ToastError, RuntimeError):
    """The dashboard cannot be started as asked."""


def launch(
    port: int | None = None, headless: bool = False, demo: bool = False, *, model: str = "demo_vit", weights: str | None = None,
    num_classes: int | None = None, img_size: int | None = None, data: str | None = None, calibration: str | None = None,
    device: str = "auto", store: str | None = None,
) -> int:
    """Serve the dashboard until Ctrl-C and return the exit status: 0 when it was stopped, else the server's own.

    The address is printed on stderr once it answers. The engine process is started first and outlives the dashboard.

    Args:
        port: on 127.0.0.1; None takes 8501 or the next free one.
        headless: True opens no browser.
        demo: show the embedded model and data, whatever the other options but `store` say.
        model, weights, num_classes, img_size, data, calibration, device, store: as `python -m toast_core.worker` takes them.

    Raises:
        DashboardError: the port is taken or not a port, or the server does not come up.
        EngineError: the engine process cannot be started.
    """
    given = EngineOptions(model, weights, num_classes, img_size, data, calibration, device, store)
    options = EngineOptions(store=store) if demo else given
    port = _free_port() if port is None else _checked_port(port)
    EngineClient(options).start()
    server = subprocess.Popen(_command(port, headless), env=_environment(options), stdin=subprocess.DEVNULL, stdout=2)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _await_answer(server, port)
        print(f"Dashboard: http://{_ADDRESS}:{port}  (Ctrl-C stops it)", file=sys.stderr, flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(server)
        signal.signal(signal.SIGTERM, before)


def _command(port: int, headless: bool) -> list[str]:
    settings = {**_SETTINGS, "server.port": str(port), "server.headless": "true" if headless else "false"}
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    hosts = [part for host in _HOSTS for part in ("--server.allowedHosts", host)]
    return [sys.executable, "-m", "streamlit", "run", str(_SERVER), *flags, *hosts]


def _environment(options: EngineOptions) -> dict[str, str]:
    """The server's environment: the packages importable from any folder, and the options for the pages."""
    home = str(Path(__file__).parents[1])
    search = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": search, OPTIONS_VARIABLE: options.to_json()}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_ADDRESS, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED):
        if _is_free(port):
            return port
    raise DashboardError(f"ports {FIRST_PORT} to {FIRST_PORT + _PORTS_TRIED - 1} are all in use; choose another with --port")


def _checked_port(port: int) -> int:
    if not 0 < port < 65536:
        raise DashboardError(f"port {port} is not between 1 and 65535; choose another, or leave --port out to take a free one")
    if not _is_free(port):
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
