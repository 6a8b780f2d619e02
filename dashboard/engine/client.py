"""Talks to the engine process: finds a living one, starts one where there is none, asks it. Imports no torch.

The process outlives the dashboard, so that a restarted dashboard finds its model loaded; it ends by itself when idle.
"""

import base64
import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import toast_core
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ToastError
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

PROTOCOL = 2
SETUP_VARIABLE = "TOAST_SETUP"
STATE_VARIABLE = "TOAST_STATE"
_SHIPPED_SHAPES = Path(__file__).parents[1] / "static" / "demo_shapes.json"
_START_LIMIT_S = 120
_POLL_S = 0.25
_CONNECT_S = 2.0
_SILENCE_S = 60.0
_TICK_S = 0.1


class EngineError(ToastError, RuntimeError):
    """The engine process cannot be started, went away, or refused a request."""


def setup_from_environment() -> Setup:
    """What `launch` was given; the demo where the app was started by hand."""
    return Setup.from_json(os.environ.get(SETUP_VARIABLE, "{}")).completed()


def shipped_shape(model: str) -> ModelShape | None:
    """The shape of an embedded demo, known before any engine runs; None for other models."""
    shapes = json.loads(_SHIPPED_SHAPES.read_text())
    return ModelShape.from_dict(shapes[model]) if model in shapes else None


def state_root() -> Path:
    """Where engine processes leave their address: TOAST_STATE, else the user's state folder."""
    given = os.environ.get(STATE_VARIABLE)
    return Path(given) if given else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "toast"


@cache
def _engine_stamp() -> str:
    """Changes with the engine's code and embedded weights: a process started before an update must not be reused."""
    root = Path(toast_core.__file__).parent
    files = sorted(path for suffix in ("*.py", "*.safetensors") for path in root.rglob(suffix))
    return hashlib.sha256("".join(f"{path}{path.stat().st_mtime_ns}" for path in files).encode()).hexdigest()


class EngineClient:
    """One engine process, by its setup. Safe to share between threads: every request has its own connection."""

    def __init__(self, setup: Setup, root: Path | None = None) -> None:
        self.setup = setup = setup.completed().anchored()
        name = hashlib.sha256(f"{setup.to_json()}{sys.executable}{_engine_stamp()}".encode()).hexdigest()[:12]
        self.folder = (root or state_root()) / f"engine-{name}"
        self._process: subprocess.Popen | None = None
        self._answered = False

    def start(self) -> None:
        """Start the engine unless one answers or is on its way; one that failed to load is replaced."""
        state = self._try_describe()
        if state is not None and state["state"] != "failed":
            return
        if state is not None:
            self.stop()
        if self._process is None or self._process.poll() is not None:
            self._spawn()

    def stop(self) -> None:
        """End the engine process, if one answers."""
        try:
            next(self._ask({"request": "stop"}), None)
        except (OSError, EngineError):
            return
        deadline = time.monotonic() + _CONNECT_S
        while (self.folder / "worker.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def describe(self) -> dict:
        """The engine's state and cards (`toast_core.engine.server`, describe), starting it where there is none. Raises nothing."""
        state = self._try_describe()
        if state is not None:
            return state
        # One that has answered and is gone was killed, and is replaced; one that never did would fail again.
        if self._process is not None and self._process.poll() not in (None, 0) and not self._answered:
            return {"state": "failed", "error": f"the engine ended at once ({self._last_words()}); see {self.folder / 'worker.log'}"}
        try:
            if self._process is None or self._process.poll() is not None:
                self._spawn()
        except EngineError as error:
            return {"state": "failed", "error": str(error)}
        return {"state": "starting", "progress": "Starting the engine"}

    def measure(self, session: str, schedule: Schedule, images: int | None = None) -> Iterator[dict]:
        """Yield the engine's messages about one measurement, waiting for an engine that is still starting.

        An empty message says that the engine has been asked, or that nothing has come for a moment, so that a page can look whether it
        is still wanted.

        Raises:
            EngineError: the engine refused, went away, or did not come up.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while (state := self.describe())["state"] == "starting":
            if time.monotonic() > deadline:
                raise EngineError(f"the engine did not answer within {_START_LIMIT_S} s; see {self.folder / 'worker.log'}")
            yield {"progress": state["progress"]}
            time.sleep(_POLL_S)
        if state["state"] == "failed":
            raise EngineError(state["error"])
        try:
            for message in self._ask({"request": "measure", "session": session, "schedule": schedule.to_dict(), "images": images}, _TICK_S):
                if "error" in message:
                    raise EngineError(message["error"])
                yield message
                if message.get("done") or message.get("superseded"):
                    return
        except OSError as error:
            raise EngineError(f"the engine went away while measuring ({error}); measure again to start it anew") from error
        raise EngineError("the engine went away while measuring; measure again to start it anew")

    def jobs(self) -> list[dict]:
        """Every job of this state folder, newest first; see `toast_core.jobs.book.Job` for the fields.

        Raises:
            EngineError: no engine answers, or it refused; the same goes for the requests below.
        """
        return self._answer({"request": "jobs"}, "jobs")["jobs"]

    def quote(self, run: dict) -> dict:
        """What a run would cost ("quote"), its "title", and the "command" line that measures the same. Takes seconds at first."""
        return self._answer({"request": "quote", "run": run}, "quote")

    def submit(self, run: dict) -> dict:
        """Queue a run; return its job, or the open job that does the same already."""
        return self._answer({"request": "submit", "run": run}, "job")["job"]

    def control(self, action: str, number: int) -> dict:
        """`pause`, `resume` or `cancel` a job; return it."""
        return self._answer({"request": action, "job": number}, "job")["job"]

    def log(self, number: int) -> str:
        """The end of a job's log."""
        return self._answer({"request": "log", "job": number}, "log")["log"]

    def pictures(self, index: list[int]) -> list[bytes | None]:
        """PNGs of images of the set, at most 48 at once; None for one that cannot be read."""
        found = self._answer({"request": "pictures", "index": index}, "pictures")["pictures"]
        return [None if one is None else base64.b64decode(one) for one in found]

    def _answer(self, request: dict, wanted: str) -> dict:
        """The message of an answer that holds what is wanted; those before it are about the waiting."""
        try:
            for message in self._ask(request):
                if "error" in message:
                    raise EngineError(message["error"])
                if wanted in message:
                    return message
        except OSError as error:
            raise EngineError(f"the engine went away ({error}); open the page again to start it anew") from error
        raise EngineError("the engine went away without an answer; open the page again to start it anew")

    def _try_describe(self) -> dict | None:
        try:
            state = next(self._ask({"request": "describe"}), None)
        except (OSError, EngineError):
            return None
        if not state or state.get("protocol") != PROTOCOL:
            return None
        self._answered = True
        return state

    def _ask(self, request: dict, tick_s: float | None = None) -> Iterator[dict]:
        """Send one request on a connection of its own; yield what comes back.

        With `tick_s`, {} says that it is sent, and later that nothing came for so long.
        """
        try:
            address = json.loads((self.folder / "worker.json").read_text())
            port, token = int(address["port"]), str(address["token"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"no engine has left its address in {self.folder}; start one") from error
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S) as connection:
            connection.sendall(json.dumps({"token": token, **request}).encode() + b"\n")
            unread, silent_since = b"", time.monotonic()
            if tick_s is not None:
                yield {}
            while time.monotonic() - silent_since < _SILENCE_S:
                if not select.select([connection], [], [], tick_s or _SILENCE_S)[0]:
                    yield {}
                    continue
                received = connection.recv(1 << 16)
                if not received:
                    return
                silent_since = time.monotonic()
                *lines, unread = (unread + received).split(b"\n")
                yield from map(_parse, lines)

    def _spawn(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C in the dashboard's terminal leaves it alive."""
        command = [sys.executable, "-m", "toast_core.engine.server", "--state", str(self.folder), "--setup", self.setup.to_json()]
        home = str(Path(toast_core.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))}
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._answered = False
            with (self.folder / "worker.log").open("ab") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
                )
        except OSError as error:
            raise EngineError(f"cannot start the engine in {self.folder} ({error}); set {STATE_VARIABLE} to a writable folder") from error

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "worker.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "it said nothing"


def _parse(line: bytes) -> dict:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise EngineError("the engine's answer is cut off; measure again") from error
    if not isinstance(message, dict):
        raise EngineError(f"the engine answered {type(message).__name__}, not an object; restart the dashboard")
    return message
