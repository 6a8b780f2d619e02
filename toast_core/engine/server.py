"""The engine process behind the dashboard: measures schedules while a person edits them. torch is imported after it answers.

    python -m toast_core.engine.server --state DIR [--setup JSON]

Listens on 127.0.0.1, on a port of the system's choosing, which the state file in DIR (mode 0600) holds with the token and the process id
while it lives. What is said there is in `toast_core.engine.protocol`.
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

from toast_core.engine import protocol
from toast_core.engine.desk import Desk
from toast_core.engine.values import ProtocolError
from toast_core.errors import SetupError, ToastError
from toast_core.jobs.book import JobBook
from toast_core.jobs.queue import JobQueue
from toast_core.machine import is_alive, wait_asleep
from toast_core.setup import Setup

IDLE_LIMIT_S = 30 * 60
_DESERTED_S = 5.0  # a dashboard that is started anew at once finds its model loaded
_NICE = 10  # pages answer first: while it loads or measures, a server and a browser beside it on two cores would wait for it
_MAX_LINE_BYTES = 1_000_000


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, desk: Desk, queue: JobQueue, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.desk, self.queue, self.token = desk, queue, token
        self.last_request, self.stopping = time.monotonic(), threading.Event()
        self.dashboards: set[int] = set()

    def is_done(self, idle_limit: float) -> bool:
        """Whether nobody needs this engine: it is deserted, or was not asked for so many seconds, and no run waits or goes on."""
        is_idle = time.monotonic() - self.last_request > idle_limit
        return (is_idle or self.is_deserted()) and not self.queue.is_busy()

    def answer(self, line: bytes) -> Iterator[protocol.Message]:
        """Yield the answers to one line, errors included."""
        try:
            self.last_request = time.monotonic()
            for message in self._dispatch(self._read(line)):
                self.last_request = time.monotonic()
                yield message
        except ToastError as error:
            yield protocol.Refusal(" ".join(str(error).split()))
        except Exception as error:
            # A fault of the program must reach the page as a line, and the log as a trace; the other sessions live on.
            traceback.print_exc()
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            yield protocol.Refusal(f"the engine failed ({what}); see the log beside its state file")

    def _read(self, line: bytes) -> protocol.Request:
        try:
            values = json.loads(line)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            raise ProtocolError("the request is not a line of JSON; send one object a line") from None
        if not isinstance(values, dict):
            raise ProtocolError(f"the request is {type(values).__name__}, not an object; send one object a line")
        token = values.get("token")
        if not (isinstance(token, str) and hmac.compare_digest(token.encode(), self.token.encode())):
            raise ProtocolError("the token is wrong; read it from the state file")
        self.know(values.get("server"))
        return protocol.read_request(values)

    def know(self, dashboard: object) -> None:
        """Take the process id of a dashboard that this engine is for; one that cannot be seen from here is none."""
        if isinstance(dashboard, int) and dashboard > 0 and is_alive(dashboard):
            self.dashboards.add(dashboard)

    def is_deserted(self) -> bool:
        """Whether every dashboard that this engine was for is gone, and nobody has asked since; not where none has been known."""
        if not self.dashboards or any(map(is_alive, self.dashboards)):
            return False
        return time.monotonic() - self.last_request > _DESERTED_S

    def _dispatch(self, request: protocol.Request) -> Iterator[protocol.Message]:
        match request:
            case protocol.DescribeRequest():
                yield self.desk.describe()
            case protocol.MeasureRequest():
                yield from self.desk.measure(request.session, request.schedule, request.images)
            case protocol.PredictRequest():
                yield self.desk.predict(request.schedule)
            case protocol.QuoteRequest():
                yield from self._offer(request)
            case protocol.JobsRequest():
                yield protocol.AllJobs(tuple(self.queue.book.jobs()))
            case protocol.PauseRequest() | protocol.ResumeRequest() | protocol.CancelRequest():
                yield protocol.OneJob(getattr(self.queue, request.name)(request.job))
            case protocol.LogRequest():
                yield protocol.LogEnd(self.queue.book.log(request.job))
            case protocol.PicturesRequest():
                yield protocol.Pictures(tuple(self.desk.pictures(request.index)))
            case protocol.StopRequest():
                yield protocol.Stopping()
                self.stopping.set()

    def _offer(self, request: protocol.QuoteRequest) -> Iterator[protocol.Message]:
        offer = yield from self.desk.offer(request.run, self.queue.book)
        yield protocol.Offered(offer.title, offer.command, offer.quote)
        if isinstance(request, protocol.SubmitRequest):
            yield protocol.OneJob(self.queue.submit(**vars(offer)))


class _Connection(socketserver.StreamRequestHandler):
    timeout = 300
    server: _Server

    def handle(self) -> None:
        try:
            while line := self.rfile.readline(_MAX_LINE_BYTES + 1):
                if len(line) > _MAX_LINE_BYTES:
                    self._send(protocol.Refusal(f"the request is longer than {_MAX_LINE_BYTES} bytes; send a smaller one"))
                    return
                for message in self.server.answer(line):
                    self._send(message)
        except OSError:
            return  # the page went away, or said nothing for too long: there is no one to tell

    def _send(self, message: protocol.Message) -> None:
        self.wfile.write(json.dumps(message.to_dict()).encode() + b"\n")


def _write_state(folder: Path, address: protocol.Address) -> Path:
    """Write the state file in one step, readable by this user only."""
    path, temporary = folder / protocol.STATE_FILE, folder / f".{protocol.STATE_FILE}.{os.getpid()}.tmp"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(address.to_dict(), file)
    temporary.replace(path)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m toast_core.engine.server", description="The engine process behind the dashboard.")
    parser.add_argument("--state", type=Path, required=True, help="folder for the state file")
    parser.add_argument("--setup", default="{}", metavar="JSON", help="fields of a Setup; what is left out is the demo's")
    parser.add_argument("--server", type=int, metavar="PID", help="the dashboard's process; the engine ends soon after the last of them")
    parser.add_argument("--memory-gb", type=float, metavar="GB", help="1e9 bytes that it may hold; default: a quarter of the machine")
    parser.add_argument("--idle-limit", type=float, default=IDLE_LIMIT_S, metavar="SECONDS", help="end after so long without a request")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop, left by every dashboard, idle for too long, interrupted or terminated.

    Ends at once where another engine holds the folder.
    """
    wait_asleep()
    os.nice(_NICE)
    options = _parser().parse_args(argv)
    try:
        setup = Setup.from_json(options.setup).completed().anchored()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (options.state / protocol.LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another engine already serves {options.state}; read {protocol.STATE_FILE} there", file=sys.stderr)
            return 0
        return _serve(options, setup)


def _serve(options: argparse.Namespace, setup: Setup) -> int:
    setup, token = replace(setup, applied=str((options.state.parent / protocol.APPLIED_FOLDER).absolute())), secrets.token_urlsafe(32)
    desk = Desk(setup, options.memory_gb)
    queue = JobQueue(JobBook(options.state.parent / protocol.JOBS_FOLDER))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _Server(desk, queue, token) as server:
        server.know(options.server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state = _write_state(options.state, protocol.Address(server.server_address[1], token, os.getpid()))
        threading.Thread(target=desk.prepare, daemon=True).start()
        threading.Thread(target=queue.work_until, args=(server.stopping,), daemon=True).start()
        try:
            while not server.stopping.wait(min(1.0, options.idle_limit)):
                if server.is_done(options.idle_limit):
                    break
        except KeyboardInterrupt:
            pass
        finally:
            state.unlink(missing_ok=True)
            server.shutdown()
    return 0


if __name__ == "__main__":
    ended = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The threads that load, measure and draw may be inside torch, which aborts the process if the interpreter is taken down around it.
    # Nothing is lost with them: stores and files are written in one step.
    os._exit(ended)
