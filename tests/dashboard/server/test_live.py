"""The channel past the page: who is answered, what comes line by line, and what is refused."""

import json

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboard.engine.client import EngineError, shipped_shape
from dashboard.server import live
from dashboard.session import channel
from tests.support.engines import FakeEngine, estimate
from toast_core.cost.macs import count_cost
from toast_core.engine.protocol import Predicted
from toast_core.schedule.schedule import Schedule

SHAPE = shipped_shape("demo_vit")
SCHEDULE = Schedule.uniform(12, fc2=0.5, selection="calibrated")


@pytest.fixture
def fake() -> FakeEngine:
    """An engine that the session `open` may ask."""
    engine = FakeEngine()
    channel.admit("open", engine, SHAPE)
    return engine


@pytest.fixture
def client() -> TestClient:
    """A browser's script."""
    return TestClient(Starlette(routes=[live.ROUTE]))


def lines(response) -> list[dict]:
    return [json.loads(line) for line in response.text.splitlines()]


def test_cost_comes_first_then_what_the_engine_says(client, fake):
    fake.predicted = Predicted(estimate(0.01, 0.005), estimate(-0.4, 0.3), 6)
    found = lines(client.post(channel.PATH, json={"session": "open", "schedule": SCHEDULE.to_dict(), "measure": True}))
    cost = count_cost(SHAPE, SCHEDULE)
    assert found[0] == {"answer": "cost", "macs": cost.macs, "params": cost.params}
    assert [one["answer"] for one in found[1:]] == ["predicted", "progress", "measurement", "measurement"]
    assert found[-1]["images_done"] == 1000 and fake.measured == [SCHEDULE]


def test_a_prediction_alone_measures_nothing(client, fake):
    fake.predict = lambda schedule: Predicted(None, None, 0, f"of {len(schedule.blocks)} blocks")
    found = lines(client.post(channel.PATH, json={"session": "open", "schedule": SCHEDULE.to_dict()}))
    assert [one["answer"] for one in found] == ["cost", "predicted"] and found[1]["why"] == "of 12 blocks" and not fake.measured


def test_what_the_engine_refuses_is_a_line(client, fake):
    fake.error = EngineError("the engine went away")
    found = lines(client.post(channel.PATH, json={"session": "open", "schedule": SCHEDULE.to_dict(), "measure": True}))
    assert found[-1] == {"answer": "refusal", "error": "the engine went away"}


@pytest.mark.parametrize(("body", "status", "words"), [
    (b"{", 400, "the request is not an object of JSON; send session and schedule"),
    (b"[" * 100_000, 400, "the request is not an object of JSON"),
    (b'"open"', 400, "the request is not an object of JSON"),
    (b'{"schedule": {}}', 403, "no page of this server has opened this session; load the page again"),
    (b'{"session": "guessed", "schedule": {}}', 403, "no page of this server has opened this session"),
    (b'{"session": ["open"]}', 403, "no page of this server has opened this session"),
    (b'{"session": "open", "schedule": 3}', 400, "a schedule is a JSON object, not int; save one with to_json"),
    (json.dumps({"session": "open", "schedule": Schedule.uniform(2).to_dict()}).encode(), 400,
     "the schedule has 2 blocks but demo_vit has 12"),
    (b" " * ((1 << 20) + 1), 413, "the request is longer than 1048576 bytes; send one schedule"),
], ids=str)
def test_what_is_no_request_of_an_open_session_is_refused(client, fake, body, status, words):
    found = client.post(channel.PATH, content=body)
    assert found.status_code == status and found.json()["error"].startswith(words) and not fake.measured


def test_only_so_many_sessions_stay_open(client, fake):
    for number in range(1000):
        channel.admit(str(number), fake, SHAPE)
    assert channel.engine_of("open") is None and channel.engine_of("999") is not None
