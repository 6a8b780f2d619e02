"""The engine process behind the dashboard: measures schedules while a person edits them. torch is imported after it answers.

    python -m toast_core.engine.server --state DIR [--setup JSON]

Listens on 127.0.0.1, on a port of the system's choosing. DIR/worker.json (mode 0600) holds port, token and pid while it lives.
A request is one line of JSON with the token; the answer is one or more lines of JSON. Nothing is unpickled.

    {"request": "describe"}   one line: state (starting, ready, failed), and once ready the model, data and device
    {"request": "measure", "session": TEXT, "schedule": {...}, "images": COUNT}
                              {"progress": TEXT} while waiting; then after each batch images_done, images_total and the estimates
                              top1, top5, loss, the baseline's on the same images, and delta_top1; the last has "done": true.
                              A newer measure of the same session ends the stream with {"superseded": true}
    {"request": "quote", "run": {...}}   {"progress": TEXT} while waiting, then {"quote": {...}, "title": TEXT, "command": TEXT}: what a
                              job would cost and the command line that measures the same; see `toast_core.jobs` for runs and jobs
    {"request": "submit", "run": {...}}  the same, then {"job": {...}}; an equal job that is open already is not queued twice
    {"request": "jobs"}       {"jobs": [...]}, newest first, of everyone who uses this state folder
    {"request": "pause", "job": NUMBER}, also resume and cancel: {"job": {...}}
    {"request": "log", "job": NUMBER}    {"log": TEXT}, its end
    {"request": "pictures", "index": [POSITION, ...]}   {"pictures": [...]}: PNGs in base64, null for an image that cannot be read
    {"request": "stop"}       one line, then the process ends; running jobs go on, and the next engine finds them

Jobs and their logs are in the folder `jobs` beside DIR, shared by every engine there.

What a user can cause comes back as {"error": one line}.
"""

import argparse
import fcntl
import hmac
import json
import os
import secrets
import signal
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from toast_core.engine.desk import APPLIED_FOLDER, Desk
from toast_core.errors import SetupError, ToastError
from toast_core.jobs.book import JobBook
from toast_core.jobs.queue import JobQueue
from toast_core.machine import wait_asleep
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

PROTOCOL = 2
STATE_FILE, LOCK_FILE, JOBS_FOLDER = "worker.json", "worker.lock", "jobs"
IDLE_LIMIT_S = 30 * 60
_NICE = 10  # pages answer first: while it loads or measures, a server and a browser beside it on two cores would wait for it
_MAX_LINE_BYTES = 1_000_000
_MAX_SESSION_CHARS = 64
_REQUESTS = ("describe", "measure", "quote", "submit", "jobs", "pause", "resume", "cancel", "log", "pictures", "stop")


class RequestError(ToastError, ValueError):
    """A line that is no request of this protocol."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, desk: Desk, queue: JobQueue, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.desk, self.queue, self.token = desk, queue, token
        self.last_request, self.stopping = time.monotonic(), threading.Event()

    def answer(self, line: bytes) -> Iterator[dict]:
        """Yield the answers to one line, errors included."""
        try:
            self.last_request = time.monotonic()
            for message in self._dispatch(self._read(line)):
                self.last_request = time.monotonic()
                yield message
        except ToastError as error:
            yield {"error": " ".join(str(error).split())}
        except Exception as error:
            # A fault of the program must reach the page as a line, and the log as a trace; the other sessions live on.
            traceback.print_exc()
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            yield {"error": f"the engine failed ({what}); see the log beside its state file"}

    def _read(self, line: bytes) -> dict:
        try:
            request = json.loads(line)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            raise RequestError("the request is not a line of JSON; send one object a line") from None
        if not isinstance(request, dict):
            raise RequestError(f"the request is {type(request).__name__}, not an object; send one object a line")
        token = request.get("token")
        if not (isinstance(token, str) and hmac.compare_digest(token.encode(), self.token.encode())):
            raise RequestError("the token is wrong; read it from the state file")
        return request

    def _dispatch(self, request: dict) -> Iterator[dict]:
        kind = request.get("request")
        if kind == "describe":
            yield {"protocol": PROTOCOL, **self.desk.describe()}
        elif kind == "measure":
            yield from self.desk.measure(_session(request), Schedule.from_dict(request.get("schedule")), _images(request))
        elif kind in ("quote", "submit"):
            yield from self._offer(request.get("run"), kind == "submit")
        elif kind == "jobs":
            yield {"jobs": [job.to_dict() for job in self.queue.book.jobs()]}
        elif kind in ("pause", "resume", "cancel"):
            yield {"job": getattr(self.queue, kind)(_number(request)).to_dict()}
        elif kind == "log":
            yield {"log": self.queue.book.log(_number(request))}
        elif kind == "pictures":
            yield {"pictures": self.desk.pictures(_positions(request))}
        elif kind == "stop":
            yield {"stopping": True}
            self.stopping.set()
        else:
            raise RequestError(f"unknown request {kind!r}; choose from {', '.join(_REQUESTS)}")

    def _offer(self, values: object, submit: bool) -> Iterator[dict]:
        offer = yield from self.desk.offer(values, self.queue.book)
        yield {"quote": offer.quote, "title": offer.title, "command": offer.command}
        if submit:
            yield {"job": self.queue.submit(**vars(offer)).to_dict()}


class _Connection(socketserver.StreamRequestHandler):
    timeout = 300
    server: _Server

    def handle(self) -> None:
        try:
            while line := self.rfile.readline(_MAX_LINE_BYTES + 1):
                if len(line) > _MAX_LINE_BYTES:
                    self._send({"error": f"the request is longer than {_MAX_LINE_BYTES} bytes; send a smaller one"})
                    return
                for message in self.server.answer(line):
                    self._send(message)
        except OSError:
            return  # the page went away, or said nothing for too long: there is no one to tell

    def _send(self, message: dict) -> None:
        self.wfile.write(json.dumps(message).encode() + b"\n")


def _session(request: dict) -> str:
    session = request.get("session")
    if not isinstance(session, str) or not 0 < len(session) <= _MAX_SESSION_CHARS:
        raise RequestError(f"session is {session!r:.80}; send a text of 1 to {_MAX_SESSION_CHARS} characters")
    return session


def _images(request: dict) -> int | None:
    images = request.get("images")
    if images is not None and (isinstance(images, bool) or not isinstance(images, int) or images < 1):
        raise RequestError(f"images is {images!r:.80}; send a whole number of at least 1, or leave it out for all")
    return images


def _number(request: dict) -> int:
    number = request.get("job")
    if isinstance(number, bool) or not isinstance(number, int):
        raise RequestError(f"job is {number!r:.80}; send its number")
    return number


def _positions(request: dict) -> list[int]:
    index = request.get("index")
    if not isinstance(index, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in index):
        raise RequestError(f"index is {index!r:.80}; send a list of image positions")
    return index


def _write_state(folder: Path, port: int, token: str) -> Path:
    """Write the state file in one step, readable by this user only."""
    path, temporary = folder / STATE_FILE, folder / f".{STATE_FILE}.{os.getpid()}.tmp"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"port": port, "token": token, "pid": os.getpid(), "protocol": PROTOCOL}, file)
    temporary.replace(path)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m toast_core.engine.server", description="The engine process behind the dashboard.")
    parser.add_argument("--state", type=Path, required=True, help="folder for the state file")
    parser.add_argument("--setup", default="{}", metavar="JSON", help="fields of a Setup; what is left out is the demo's")
    parser.add_argument("--idle-limit", type=float, default=IDLE_LIMIT_S, metavar="SECONDS", help="end after so long without a request")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop, idle for too long, interrupted or terminated; ends at once where another worker holds the folder."""
    wait_asleep()
    os.nice(_NICE)
    options = _parser().parse_args(argv)
    try:
        setup = Setup.from_json(options.setup).completed().anchored()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (options.state / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another engine already serves {options.state}; read {STATE_FILE} there", file=sys.stderr)
            return 0
        return _serve(options, setup)


def _serve(options: argparse.Namespace, setup: Setup) -> int:
    desk, token = Desk(replace(setup, applied=str((options.state.parent / APPLIED_FOLDER).absolute()))), secrets.token_urlsafe(32)
    queue = JobQueue(JobBook(options.state.parent / JOBS_FOLDER))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _Server(desk, queue, token) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state = _write_state(options.state, server.server_address[1], token)
        threading.Thread(target=desk.load, daemon=True).start()
        threading.Thread(target=queue.work_until, args=(server.stopping,), daemon=True).start()
        try:
            while not server.stopping.wait(min(1.0, options.idle_limit)):
                if time.monotonic() - server.last_request > options.idle_limit and not queue.is_busy():
                    break
        except KeyboardInterrupt:
            pass
        finally:
            state.unlink(missing_ok=True)
            server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
