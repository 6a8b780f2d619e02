"""Stand-ins for the engine that the pages talk to, and what it says."""

from collections.abc import Iterator
from dataclasses import replace

from dashboard.engine.client import EngineError, shipped_shape
from toast_core.engine.protocol import (
    CalibrationCard,
    DataCard,
    Description,
    Figures,
    Job,
    Measurement,
    ModelCard,
    Offered,
    Predicted,
    Progress,
    Quote,
)
from toast_core.jobs.book import JobRun
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.evaluation.result import Estimate

SMALL_ENGINE = Setup("demo_vit", "random", images=75, batch_size=25, calibration_images=50).completed()
QUOTE = Quote(cells=36, stored=0, images=1000, macs=10**12, calibration=0, seconds=250.0)


def estimate(value: float, half: float) -> Estimate:
    """An estimate with an interval of so much to each side."""
    return Estimate(value, (value - half, value + half))


def message(done: int, total: int, top1: float, delta: float) -> Measurement:
    """One message of a measurement, as the engine sends it."""
    def figures(headline: float) -> Figures:
        return Figures(("top1", "top5", "loss"), (estimate(headline, 2.0), estimate(99.0, 0.5), estimate(0.4, 0.1)))

    return Measurement(done, total, figures(top1), figures(top1 - delta), estimate(delta, 0.5))


class FakeEngine:
    """Answers like `EngineClient`, at once. `description` is what describe says; `measured` collects the schedules asked for."""

    def __init__(self, options: Setup | None = None) -> None:
        self.setup = options or Setup().completed()
        self.measured: list[Schedule] = []
        self.error: Exception | None = None
        self.predicted: Predicted | None = None  # said first of a schedule that drops something
        self.restarts = 0
        self.description = Description(
            "ready", model=ModelCard("demo_vit", "random", shipped_shape("demo_vit")), device="cpu",
            data=DataCard(
                "fashion-mnist", ("T-shirt/top", "Trouser"), 10_000, "0123456789abcdef", 1000, 64, "shuffled", 0,
                "input_size=(1, 28, 28) crop_pct=1.0", (),
            ),
            calibration=CalibrationCard("fashion-mnist:calibration", 500, "fedcba"),
        )

    def describe(self) -> Description:
        """The description."""
        return self.description

    def start(self) -> None:
        """Count, and be ready."""
        self.restarts += 1

    def jobs(self) -> list[Job]:
        """None."""
        return []

    def measure(self, session: str, schedule: Schedule, images: int | None = None) -> Iterator[Progress | Predicted | Measurement | None]:
        """Two batches, after a word of progress."""
        self.measured.append(schedule)
        if self.error:
            raise self.error
        told = None if schedule.is_baseline else self.predicted
        if told is not None:
            yield told
        yield Progress("Measuring the baseline")
        yield None
        delta = 0.0 if schedule.is_baseline else -3.2
        for done, top1 in ((500, 85.0), (1000, 87.4)):
            yield replace(message(done, 1000, top1 + delta, delta), predicted=told and told.change)


def job(number: int, state_: str, run: dict | None = None, **values: object) -> Job:
    """A job as the engine lists it; `run` is one's values, a sensitivity run's if left out."""
    listed = Job(
        number=number, title=f"sensitivity {number}", run=JobRun.from_dict(run or {"kind": "sensitivity"}),
        command=f"toast analyze --number {number}", basis={"model": "demo_vit", "data": "fashion-mnist"}, quote=QUOTE, state=state_,
        queued_at=0.0, submitted_at=1e9, wish=None, done=0, total=0, left_s=None, message="", analysis=None, crashes=0, lives=1,
        started_at=1e9, finished_at=None, measured_s=None,
    )
    return replace(listed, **values)


class RunsEngine(FakeEngine):
    """An engine with these jobs; `asked` collects what the page wants of it."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[Job] = []
        self.asked: list[tuple] = []
        self.refusal: str | None = None
        self.price = QUOTE

    def jobs(self) -> list[Job]:
        """The jobs."""
        return self.listed

    def quote(self, run: dict) -> Offered:
        """The price."""
        self.asked.append(("quote", run))
        return Offered("a run", "toast analyze --of this", self.price)

    def submit(self, run: dict) -> Job:
        """Refuse, or take it."""
        if self.refusal:
            raise EngineError(self.refusal)
        self.asked.append(("submit", run))
        self.listed = [job(1, "queued")]
        return self.listed[0]

    def control(self, action: str, number: int) -> Job:
        """Refuse, or do it."""
        if self.refusal:
            raise EngineError(self.refusal)
        self.asked.append((action, number))
        return self.listed[0]

    def log(self, number: int) -> str:
        """A line."""
        return f"the log of {number}"
