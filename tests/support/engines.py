"""Stand-ins for the engine that the pages talk to, and what it says."""

import json
from collections.abc import Iterator

from dashboard.engine.client import EngineClient, EngineError, shipped_shape
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

SMALL_ENGINE = Setup("demo_vit", "random", images=75, batch_size=25, calibration_images=50).completed()
QUOTE = {"cells": 36, "stored": 0, "images": 1000, "macs": 10**12, "calibration": 0, "seconds": 250.0}


def estimate(value: float, half: float) -> dict:
    """An estimate's JSON values."""
    return {"value": value, "ci95": [value - half, value + half]}


def message(done: int, total: int, top1: float, delta: float) -> dict:
    """One message of a measurement, as the engine sends it."""
    figures = {"top1": estimate(top1, 2.0), "top5": estimate(99.0, 0.5), "loss": estimate(0.4, 0.1)}
    before = {**figures, "top1": estimate(top1 - delta, 2.0)}
    return {
        "images_done": done, "images_total": total, "done": done == total, **figures, "baseline": before,
        "delta_top1": estimate(delta, 0.5),
    }


def job(number: int, state_: str, **values: object) -> dict:
    """A job as the engine lists it."""
    return {
        "number": number, "title": f"sensitivity {number}", "run": {"kind": "sensitivity"}, "command": f"toast analyze --number {number}",
        "basis": {"model": "demo_vit", "data": "fashion-mnist"}, "quote": QUOTE, "state": state_, "queued_at": 0.0, "submitted_at": 1e9,
        "wish": None, "done": 0, "total": 0, "left_s": None, "message": "", "analysis": None, "crashes": 0, "lives": 1, "started_at": 1e9,
        "finished_at": None, "measured_s": None,
    } | values


class FakeEngine:
    """Answers like `EngineClient`, at once. `state` is what describe says; `measured` collects the schedules asked for."""

    def __init__(self, options: Setup | None = None) -> None:
        self.setup = options or Setup().completed()
        self.measured: list[Schedule] = []
        self.error: Exception | None = None
        self.restarts = 0
        data = {
            "name": "fashion-mnist", "classes": ["T-shirt/top", "Trouser"], "images": 10_000, "digest": "0123456789abcdef",
            "measured": 1000, "batch_size": 64, "order": "shuffled", "seed": 0,
        }
        self.state = {
            "state": "ready", "data": data, "calibration": {"name": "fashion-mnist:calibration", "images": 500, "digest": "fedcba"},
            "model": {"name": "demo_vit", "weights": "random", "shape": shipped_shape("demo_vit").to_dict()},
            "device": "cpu", "versions": {},
        }

    def describe(self) -> dict:
        """The state."""
        return self.state

    def start(self) -> None:
        """Count, and be ready."""
        self.restarts += 1

    def measure(self, session: str, schedule: Schedule, images: int | None = None) -> Iterator[dict]:
        """Two batches, after a word of progress."""
        self.measured.append(schedule)
        if self.error:
            raise self.error
        yield {"progress": "Measuring the baseline"}
        yield {}
        delta = 0.0 if schedule.is_baseline else -3.2
        yield message(500, 1000, 85.0 + delta, delta)
        yield message(1000, 1000, 87.4 + delta, delta)


class RunsEngine(FakeEngine):
    """An engine with these jobs; `asked` collects what the page wants of it."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[dict] = []
        self.asked: list[tuple] = []
        self.refusal: str | None = None
        self.price = QUOTE

    def jobs(self) -> list[dict]:
        """The jobs."""
        return self.listed

    def quote(self, run: dict) -> dict:
        """The price."""
        self.asked.append(("quote", run))
        return {"quote": self.price, "title": "a run", "command": "toast analyze --of this"}

    def submit(self, run: dict) -> dict:
        """Refuse, or take it."""
        if self.refusal:
            raise EngineError(self.refusal)
        self.asked.append(("submit", run))
        self.listed = [job(1, "queued")]
        return self.listed[0]

    def control(self, action: str, number: int) -> dict:
        """Refuse, or do it."""
        if self.refusal:
            raise EngineError(self.refusal)
        self.asked.append((action, number))
        return self.listed[0]

    def log(self, number: int) -> str:
        """A line."""
        return f"the log of {number}"


def read_state_file(client: EngineClient) -> dict:
    """Port, token and pid of a running engine."""
    return json.loads((client.folder / "worker.json").read_text())
