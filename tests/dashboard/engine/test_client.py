"""The engine process, really running, on the demo with random weights."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dashboard.engine.client import EngineClient, EngineError, shipped_shape
from tests.support.engines import SMALL_ENGINE
from toast_core.engine.protocol import PROTOCOL, STATE_FILE, Address, DescribeRequest, Description, Measurement, Message, Superseded
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

BASELINE = Schedule.uniform(12, selection="calibrated")
PRUNED = Schedule.uniform(12, 0.3, 0.3, 0.3, 0.3, selection="calibrated")
OTHER = Schedule.uniform(12, fc2=0.9, qk=0.5, selection="per_batch")


def await_ready(engine: EngineClient) -> Description:
    """The engine's description, once it is no longer starting."""
    deadline = time.monotonic() + 90
    while (found := engine.describe()).state == "starting" and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def talk(engine: EngineClient, *lines: bytes) -> Iterator[dict]:
    """Send raw lines on one connection and yield every answer until the engine is silent for a while or hangs up."""
    with socket.create_connection(("127.0.0.1", engine.address().port), timeout=120) as connection:
        connection.sendall(b"".join(lines))
        connection.shutdown(socket.SHUT_WR)
        for line in connection.makefile("rb"):
            yield json.loads(line)


def line(engine: EngineClient, **request: object) -> bytes:
    """A request with the right token."""
    return json.dumps({"token": engine.address().token, **request}).encode() + b"\n"


def last(messages: Iterator[Message | None]) -> Message:
    """The end of a stream."""
    return [message for message in messages if message][-1]


def test_describe_names_model_data_and_device(real_engine):
    found = await_ready(real_engine)
    assert found.is_ready and found.protocol == PROTOCOL == real_engine.address().protocol
    assert found.model.name == "demo_vit" and found.model.weights.startswith("random")
    assert found.model.shape == shipped_shape("demo_vit")
    assert found.data.images == 10_000 and found.data.measured == 75 and len(found.data.classes) == 10
    assert found.calibration.images == 50 and "torch" in found.versions


def test_only_this_user_can_read_the_state_file(real_engine):
    await_ready(real_engine)
    assert stat.S_IMODE((real_engine.folder / STATE_FILE).stat().st_mode) == 0o600
    assert real_engine.address().pid != os.getpid()


NO_REQUESTS = (b"\n", b"{\n", b"[]\n", b"\xff\xfe\n", b'{"request": "describe"}\n', b'{"token": 1}\n', b'{"token": "x"}\n')


@pytest.mark.parametrize("text", NO_REQUESTS)
def test_a_line_that_is_no_request_is_an_error(real_engine, text):
    await_ready(real_engine)
    answers = list(talk(real_engine, text))
    assert list(answers[0]) == ["answer", "error"] and answers[0]["answer"] == "refusal" and "\n" not in answers[0]["error"]


@pytest.mark.parametrize(("request_", "says"), [
    ({"request": "format"}, "unknown request 'format'; choose from describe, measure, predict, quote, submit, jobs"),
    ({"request": "log"}, "job is None; send its number"),
    ({"request": "pause", "job": True}, "job is True; send its number"),
    ({"request": "cancel", "job": 7_000}, "there is no job 7000; the Runs page lists them"),
    ({"request": "pictures", "index": "x"}, "index is 'x'; send a list of image positions"),
    ({"request": "quote"}, "a run is a JSON object, not NoneType"),
    ({"request": "submit", "run": {"kind": "distill"}}, "unknown kind of run 'distill'; choose from"),
    ({"request": "measure"}, "session is None"),
    ({"request": "measure", "session": "a" * 65}, "session is"),
    ({"request": "measure", "session": "a", "schedule": BASELINE.to_dict(), "images": 0}, "images is 0"),
    ({"request": "measure", "session": "a", "schedule": BASELINE.to_dict(), "images": "all"}, "images is 'all'"),
    ({"request": "measure", "session": "a"}, "a schedule is a JSON object"),
    ({"request": "measure", "session": "a", "schedule": Schedule.uniform(3).to_dict()}, "has 3 blocks but demo_vit has 12"),
    ({"request": "measure", "session": "a", "schedule": {"version": 1, "blocks": [{"fc2": 50}] * 12}}, "write 0.5 for 50 %"),
])
def test_a_wrong_request_is_one_line_and_the_connection_lives_on(real_engine, request_, says):
    await_ready(real_engine)
    wrong, right = talk(real_engine, line(real_engine, **request_), line(real_engine, request="describe"))
    assert says in wrong["error"] and "\n" not in wrong["error"]
    assert right["state"] == "ready"


def test_a_line_without_end_is_refused(real_engine):
    await_ready(real_engine)
    # The engine hangs up with the rest unread, which can overtake its answer as a reset.
    with contextlib.suppress(OSError):
        assert "longer than" in next(talk(real_engine, b"x" * 1_100_000))["error"]
    assert real_engine.describe().is_ready


def test_measurements_stream_and_repeat_whatever_came_between(real_engine):
    await_ready(real_engine)
    messages = [message for message in real_engine.measure("stream", PRUNED) if isinstance(message, Measurement)]
    assert [message.images_done for message in messages] == [25, 50, 75]
    assert [message.is_done for message in messages] == [False, False, True]
    final = messages[-1]
    for figure in (*final.scheduled.estimates, final.change):
        assert figure.ci95[0] <= figure.value <= figure.ci95[1]
    baseline = last(real_engine.measure("stream", BASELINE))
    assert baseline.scheduled.headline == baseline.baseline.headline == final.baseline.headline and baseline.change.value == 0
    assert last(real_engine.measure("stream", PRUNED)) == final


def test_fewer_images_are_whole_batches(real_engine):
    await_ready(real_engine)
    assert last(real_engine.measure("few", PRUNED, 30)).images_done == 50


def test_sessions_do_not_disturb_each_other(real_engine):
    await_ready(real_engine)
    alone = last(real_engine.measure("one", PRUNED, 50)), last(real_engine.measure("two", OTHER, 50))
    streams = real_engine.measure("three", PRUNED, 50), real_engine.measure("four", OTHER, 50)
    ends: list[Message | None] = [None, None]
    while not all(isinstance(end, Measurement) and end.is_done for end in ends):
        for index, stream in enumerate(streams):
            ends[index] = next(stream, ends[index])
    assert ends == list(alone)


def test_a_newer_request_of_a_session_ends_the_older(real_engine):
    await_ready(real_engine)
    right = last(real_engine.measure("reference", OTHER))
    older = real_engine.measure("eager", PRUNED)
    next(message for message in older if isinstance(message, Measurement))
    # The older stream has its first batch; its later ones are in flight or to come, and the newer request overtakes them.
    newer = last(real_engine.measure("eager", OTHER))
    end = last(older)
    assert newer == right
    assert isinstance(end, Superseded) or end.is_done


def test_a_second_dashboard_finds_the_living_engine_and_a_second_engine_gives_way(real_engine, engine_root):
    await_ready(real_engine)
    pid = real_engine.address().pid
    again = EngineClient(SMALL_ENGINE, engine_root)
    again.start()
    assert again.describe().is_ready and again.address().pid == pid
    command = [sys.executable, "-m", "toast_core.engine.server", "--state", str(real_engine.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "another engine already serves" in done.stderr


@pytest.mark.engine
def test_a_failed_load_is_told_and_a_killed_engine_is_replaced(tmp_path):
    engine = EngineClient(Setup("demo_vit", "missing.safetensors"), tmp_path)
    found = await_ready(engine)
    assert found.state == "failed" and "missing.safetensors does not exist" in found.error
    with pytest.raises(EngineError, match="does not exist"):
        list(engine.measure("a", BASELINE))
    pid = engine.address().pid
    os.kill(pid, signal.SIGKILL)
    assert await_ready(engine).state == "failed"
    assert engine.address().pid != pid
    engine.stop()


@pytest.mark.engine
def test_an_engine_that_cannot_run_is_told_with_its_last_words(tmp_path):
    engine = EngineClient(Setup(), tmp_path)
    engine.folder.parent.mkdir(exist_ok=True)
    engine.folder.write_text("a file where its folder should be")
    found = await_ready(engine)
    assert found.state == "failed" and "cannot start the engine in" in found.error


def test_an_engine_asked_for_what_is_no_setup_says_so(tmp_path):
    options = ["--state", str(tmp_path / "wide"), "--setup", '{"img_size": "wide"}']
    done = subprocess.run([sys.executable, "-m", "toast_core.engine.server", *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.strip() == "img-size is 'wide'; write a whole number"


@pytest.mark.engine
def test_an_idle_engine_ends_and_takes_its_address_away(tmp_path):
    options = ["--state", str(tmp_path / "idle"), "--setup", '{"weights": "none"}', "--idle-limit", "0.3"]
    assert subprocess.run([sys.executable, "-m", "toast_core.engine.server", *options], timeout=300).returncode == 0
    assert not (tmp_path / "idle" / STATE_FILE).exists()


@pytest.mark.engine
def test_an_engine_ends_after_its_last_dashboard(tmp_path):
    dashboards = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(2)]
    options = ["--state", str(tmp_path / "left"), "--setup", '{"weights": "none"}', "--server", str(dashboards[0].pid)]
    engine = subprocess.Popen([sys.executable, "-m", "toast_core.engine.server", *options])
    try:
        while not (tmp_path / "left" / STATE_FILE).exists():
            assert engine.poll() is None
            time.sleep(0.05)
        address = Address.read(tmp_path / "left")
        with socket.create_connection(("127.0.0.1", address.port)) as connection:  # a second dashboard has found it
            asked = {"token": address.token, "server": dashboards[1].pid, **DescribeRequest().to_dict()}
            connection.sendall(json.dumps(asked).encode() + b"\n")
            connection.recv(1)
        dashboards[0].kill()
        with pytest.raises(subprocess.TimeoutExpired):
            engine.wait(8)
        dashboards[1].kill()
        assert engine.wait(60) == 0
        assert not (tmp_path / "left" / STATE_FILE).exists()
    finally:
        for process in (engine, *dashboards):
            process.kill()
            process.wait()
