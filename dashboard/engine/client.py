"""Talks to the engine process: finds a living one, starts one where there is none, asks it. Imports no torch.

Dashboards of one setup share the process. It ends soon after the last of them, unless a run needs it, and when it is idle for long.
"""

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
from typing import TypeVar

from toast_core.cost.shapes import ModelShape
from toast_core.engine import protocol
from toast_core.engine.protocol import Address, Description, Job, Measurement, Message, Offered, Progress, Request, Superseded
from toast_core.errors import ToastError
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

SETUP_VARIABLE = "TOAST_SETUP"
STATE_VARIABLE = "TOAST_STATE"
MEMORY_VARIABLE = "TOAST_MEMORY_GB"
_SHIPPED_SHAPES = Path(__file__).parents[1] / "static" / "demo_shapes.json"
_PACKAGE = Path(protocol.__file__).parents[1]
_START_LIMIT_S = 120
_POLL_S = 0.25
_CONNECT_S = 2.0
_SILENCE_S = 60.0
_TICK_S = 0.1
_Wanted = TypeVar("_Wanted")


class EngineError(ToastError, RuntimeError):
    """The engine process cannot be started, went away, or refused a request."""


def setup_from_environment() -> Setup:
    """What `launch` was given; the demo where the app was started by hand."""
    return Setup.from_json(os.environ.get(SETUP_VARIABLE, "{}")).completed()


def memory_from_environment() -> float | None:
    """The engine's memory that `launch` was given, in 1e9 bytes; None for the engine's own choice."""
    given = os.environ.get(MEMORY_VARIABLE)
    return float(given) if given else None


def shipped_shape(model: str | None) -> ModelShape | None:
    """The shape of an embedded demo, known before any engine runs; None for other models."""
    shapes = json.loads(_SHIPPED_SHAPES.read_text())
    return ModelShape.from_dict(shapes[model]) if model is not None and model in shapes else None


def state_root() -> Path:
    """Where engine processes leave their address: TOAST_STATE, else the user's state folder."""
    given = os.environ.get(STATE_VARIABLE)
    return Path(given) if given else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "toast"


@cache
def _engine_stamp() -> str:
    """Changes with the engine's code and embedded weights: a process started before an update must not be reused."""
    files = sorted(path for suffix in ("*.py", "*.safetensors") for path in _PACKAGE.rglob(suffix))
    return hashlib.sha256("".join(f"{path}{path.stat().st_mtime_ns}" for path in files).encode()).hexdigest()


class EngineClient:
    """One engine process, by its setup. Safe to share between threads: every request has its own connection."""

    def __init__(self, setup: Setup, root: Path | None = None, memory_gb: float | None = None) -> None:
        self.setup = setup = setup.completed().anchored()
        self.memory_gb = memory_gb
        named = f"{setup.to_json()}{sys.executable}{_engine_stamp()}{'' if memory_gb is None else memory_gb}"
        name = hashlib.sha256(named.encode()).hexdigest()[:12]
        self.folder = (root or state_root()) / f"engine-{name}"
        self._process: subprocess.Popen | None = None
        self._answered = False

    def start(self) -> None:
        """Start the engine unless one answers or is on its way; one that failed to load is replaced."""
        found = self._try_describe()
        if found is not None and found.state != "failed":
            return
        if found is not None:
            self.stop()
        if self._process is None or self._process.poll() is not None:
            self._spawn()

    def stop(self) -> None:
        """End the engine process, if one answers."""
        try:
            next(self._ask(protocol.StopRequest()), None)
        except (OSError, EngineError):
            return
        deadline = time.monotonic() + _CONNECT_S
        while (self.folder / protocol.STATE_FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def address(self) -> Address:
        """Where the engine listens, as it has written it down.

        Raises:
            EngineError: there is none.
        """
        try:
            return Address.read(self.folder)
        except (OSError, ValueError) as error:
            raise EngineError(f"no engine has left its address in {self.folder}; start one") from error

    def describe(self) -> Description:
        """How the engine is, with its cards once it is ready; it is started where there is none. Raises nothing."""
        found = self._try_describe()
        if found is not None:
            return found
        # One that has answered and is gone was killed, and is replaced; one that never did would fail again.
        if self._process is not None and self._process.poll() not in (None, 0) and not self._answered:
            return Description("failed", error=f"the engine ended at once ({self._last_words()}); see {self._log_file}")
        try:
            if self._process is None or self._process.poll() is not None:
                self._spawn()
        except EngineError as error:
            return Description("failed", error=str(error))
        return Description("starting", progress="Starting the engine")

    @property
    def _log_file(self) -> Path:
        return self.folder / protocol.LOG_FILE

    def measure(
        self, session: str, schedule: Schedule, images: int | None = None
    ) -> Iterator[Progress | Measurement | Superseded | None]:
        """Yield the engine's messages about one measurement, waiting for an engine that is still starting.

        None says that the engine has been asked, or that nothing has come for a moment, so that a page can look whether it is still
        wanted.

        Raises:
            EngineError: the engine refused, went away, or did not come up.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while (found := self.describe()).state == "starting":
            if time.monotonic() > deadline:
                raise EngineError(f"the engine did not answer within {_START_LIMIT_S} s; see {self._log_file}")
            yield Progress(found.progress)
            time.sleep(_POLL_S)
        if found.state == "failed":
            raise EngineError(found.error)
        try:
            for message in self._ask(protocol.MeasureRequest(session, schedule, images), _TICK_S):
                if isinstance(message, protocol.Refusal):
                    raise EngineError(message.error)
                yield message
                if isinstance(message, Superseded) or (isinstance(message, Measurement) and message.is_done):
                    return
        except OSError as error:
            raise EngineError(f"the engine went away while measuring ({error}); measure again to start it anew") from error
        raise EngineError("the engine went away while measuring; measure again to start it anew")

    def predict(self, schedule: Schedule) -> protocol.Predicted:
        """What a schedule is predicted to do, at once; nothing is measured.

        Raises:
            EngineError: no engine answers, or it refused.
        """
        return self._answer(protocol.PredictRequest(schedule), protocol.Predicted)

    def jobs(self) -> tuple[Job, ...]:
        """Every open job of this state folder and the latest ended ones, newest first.

        Raises:
            EngineError: no engine answers, or it refused; the same goes for the requests below.
        """
        return self._answer(protocol.JobsRequest(), protocol.AllJobs).jobs

    def quote(self, run: dict) -> Offered:
        """What a run would cost, its title, and the command line that measures the same. Takes seconds at first."""
        return self._answer(protocol.QuoteRequest(run), Offered)

    def submit(self, run: dict) -> Job:
        """Queue a run; return its job, or the open job that does the same already."""
        return self._answer(protocol.SubmitRequest(run), protocol.OneJob).job

    def control(self, action: str, number: int) -> Job:
        """`pause`, `resume` or `cancel` a job; return it."""
        return self._answer(protocol.REQUESTS[action](number), protocol.OneJob).job

    def log(self, number: int) -> str:
        """The end of a job's log."""
        return self._answer(protocol.LogRequest(number), protocol.LogEnd).text

    def pictures(self, index: list[int]) -> list[bytes | None]:
        """PNGs of images of the set, at most 48 at once; None for one that cannot be read."""
        return self._answer(protocol.PicturesRequest(tuple(index)), protocol.Pictures).decoded()

    def _answer(self, request: Request, wanted: type[_Wanted]) -> _Wanted:
        """The message of an answer that is wanted; those before it are about the waiting."""
        try:
            for message in self._ask(request):
                if isinstance(message, protocol.Refusal):
                    raise EngineError(message.error)
                if isinstance(message, wanted):
                    return message
        except OSError as error:
            raise EngineError(f"the engine went away ({error}); open the page again to start it anew") from error
        raise EngineError("the engine went away without an answer; open the page again to start it anew")

    def _try_describe(self) -> Description | None:
        try:
            found = next(self._ask(protocol.DescribeRequest()), None)
        except (OSError, EngineError):
            return None
        if not isinstance(found, Description) or found.protocol != protocol.PROTOCOL:
            return None
        self._answered = True
        return found

    def _ask(self, request: Request, tick_s: float | None = None) -> Iterator[Message | None]:
        """Send one request on a connection of its own; yield what comes back.

        With `tick_s`, None says that it is sent, and later that nothing came for so long.
        """
        address = self.address()
        with socket.create_connection(("127.0.0.1", address.port), timeout=_CONNECT_S) as connection:
            connection.sendall(json.dumps({"token": address.token, "server": os.getpid(), **request.to_dict()}).encode() + b"\n")
            unread, silent_since = b"", time.monotonic()
            if tick_s is not None:
                yield None
            while time.monotonic() - silent_since < _SILENCE_S:
                if not select.select([connection], [], [], tick_s or _SILENCE_S)[0]:
                    yield None
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
        command += ["--server", str(os.getpid()), *([] if self.memory_gb is None else ["--memory-gb", str(self.memory_gb)])]
        home = str(_PACKAGE.parent)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))}
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._answered = False
            with self._log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
                )
        except OSError as error:
            raise EngineError(f"cannot start the engine in {self.folder} ({error}); set {STATE_VARIABLE} to a writable folder") from error

    def _last_words(self) -> str:
        try:
            lines = self._log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "it said nothing"


def _parse(line: bytes) -> Message:
    try:
        return protocol.read_message(json.loads(line))
    except protocol.ProtocolError as error:
        raise EngineError(str(error)) from error
    except ValueError as error:
        raise EngineError("the engine's answer is cut off; measure again") from error
