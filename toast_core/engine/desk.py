"""What the engine process does: one model and one image set, measured for several sessions in turns. torch is imported in `load`."""

import copy
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toast_core.errors import DataError, PlanError, ToastError
from toast_core.intervals import paired_interval_of_counts
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.evaluation.result import Estimate

if TYPE_CHECKING:
    from toast_core.data.load import Batch
    from toast_core.data.sources import Source
    from toast_core.engine.live import LiveEvaluator
    from toast_core.jobs.book import JobBook
    from toast_core.jobs.quote import Offer, Quoter
    from toast_core.pruning.plan import Plan
    from toast_core.studies.evaluation.result import Outcomes

MAX_SESSIONS = 4
APPLIED_FOLDER = "applied"  # beside the engines' folders: pruned models, for pages to offer
_CACHE_BYTES = 2 << 30  # all sessions' cached block inputs together; 230 MB a session for the demo ViT on 1000 images
_HEARTBEAT_S = 0.5
_MAX_PLANS = 8  # each holds another set of the model's weights
_YIELD_S = 0.01  # a lock taken again at once would never reach a page that waits for it


class _SupersededError(Exception):
    """A newer request of the same session has come."""


@dataclass(eq=False)
class _Session:
    """One page's evaluator; `newest` numbers its requests, so that older ones see that they are superseded."""

    newest: int = 0
    evaluator: "LiveEvaluator | None" = None


class Desk:
    """Loads once, then answers `describe` and `measure` from any thread.

    The model is used by one thread at a time: whoever holds `_turn`. Turns last one batch, so sessions share the processor
    evenly, and a superseded measurement gives up within a batch.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.state, self.activity, self.error = "starting", "Starting the engine", ""
        self.card: dict = {}
        self.batches: list[Batch] = []
        self.source: Source | None = None
        self._ready, self._turn = threading.Event(), threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._sessions_guard, self._session_limit = threading.Lock(), MAX_SESSIONS
        self._baseline_outcomes: list[Outcomes] = []
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._is_superseded: Callable[[], bool] = lambda: False
        self._quoter: Quoter | None = None
        self._start_s = 0.0

    def load(self) -> None:
        """Import torch, load model and images, then measure the baseline before anyone asks. Records a failure; raises nothing."""
        try:
            self._load()
            self.state = "ready"
        except Exception as error:
            # Whatever stops the load must be shown by the pages: they have nothing else to go by.
            if not isinstance(error, ToastError):
                traceback.print_exc()
            self.error, self.state = " ".join(str(error).split()) or type(error).__name__, "failed"
            print(self.error, file=sys.stderr)
            self.batches = []
        self._ready.set()
        self._warm()

    def _load(self) -> None:
        setup, before = self.setup, time.monotonic()
        self.activity = "Loading PyTorch"
        from importlib.metadata import version

        import torch

        from toast_core.workbench import Workbench

        self.activity = f"Loading {setup.model}"
        self.workbench = Workbench.load(setup, self._tell)
        self.model, info = self.workbench.model, self.workbench.info
        if info.execution != "baseline":
            raise PlanError(f"{info.name} is already pruned ({info.execution}); open the dashboard on the baseline model")
        self.shape, self._start_s = info.shape, time.monotonic() - before
        self.card = {
            "model": {"name": info.name, "weights": info.weights, "shape": info.shape.to_dict()}, "data": None, "calibration": None,
            "device": str(next(self.model.parameters()).device),
            "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "timm": version("timm")},
        }
        if setup.weights != "none" and setup.data is not None:
            self._load_data(setup)

    def _load_data(self, setup: Setup) -> None:
        from toast_core.engine.live import LiveEvaluator

        self.activity = f"Reading {setup.data}"
        image_bytes = 4 * sum(block.tokens * block.width for block in self.shape.blocks)
        data = self.workbench.images(min(setup.images, max(setup.batch_size, _CACHE_BYTES // image_bytes)))
        self._session_limit = max(1, min(MAX_SESSIONS, _CACHE_BYTES // (image_bytes * len(data))))
        self.batches = list(data.batches(setup.batch_size))
        if not self.batches:
            raise DataError(f"none of the {len(data)} images of {setup.data} could be read; first {data.skipped[0]}")
        self.source = source = data.source
        self.card["data"] = {
            "name": source.name, "classes": list(source.classes), "images": len(source), "digest": source.digest,
            "measured": sum(len(batch.index) for batch in self.batches), "batch_size": setup.batch_size, "order": data.order,
            "seed": data.seed,
        }
        self._baseline_evaluator = LiveEvaluator(self.model, self.batches)
        self._baseline_run = self._baseline_evaluator.measure(Schedule.uniform(len(self.shape.blocks)))
        if setup.calibration:
            calibration = self.workbench.calibration()
            self.card["calibration"] = {
                "name": calibration.source.name, "images": len(calibration), "digest": calibration.source.digest
            }

    def _tell(self, what: str, done: int, total: int) -> None:
        """What the workbench is doing, for pages that wait; given up between blocks once the session has a newer request."""
        self.activity = f"{what.capitalize()}: {done} of {total} {'images' if what == 'calibrating' else 'blocks'}"
        if what == "compensating" and self._is_superseded():
            raise _SupersededError

    def _warm(self) -> None:
        """Spend the time until the first edit on what every measurement needs: the baseline, then the calibration."""
        for count in range(1, len(self.batches) + 1):
            with self._turn:
                self._baseline(count)
            time.sleep(_YIELD_S)
        if self.batches and self.setup.calibration:
            with self._turn:
                self.workbench.statistics(Schedule.class_weight)

    def describe(self) -> dict:
        """State, what it is doing, and once ready the cards of model, data and device."""
        state = self.state
        return {"state": state, **{"failed": {"error": self.error}, "starting": {"progress": self.activity}}.get(state, self.card)}

    def measure(self, session_id: str, schedule: Schedule, images: int | None) -> Iterator[dict]:
        """Yield progress, then the estimates after each batch; see `toast_core.engine.server`. `images` is rounded up to whole batches.

        Raises:
            ToastError: the engine did not load, has no images, or the schedule does not fit.
        """
        session, number = self._enter(session_id)
        while not self._ready.wait(_HEARTBEAT_S):
            yield {"progress": self.activity}
        self._check(schedule)
        total = min(len(self.batches), -(-images // self.setup.batch_size)) if images else len(self.batches)
        measurement = None
        for count in range(1, total + 1):
            yield from self._wait(session, number)
            try:
                # Asked under the turn: an older request that plans after a newer one has begun would swap its blocks.
                if session.newest != number:
                    break
                measurement = measurement or self._begin(session, number, schedule)
                baseline, outcomes = self._baseline(count), next(measurement, None)
            except _SupersededError:
                break
            finally:
                self._turn.release()
            if outcomes is None:
                break
            yield self._report(outcomes, baseline, count == total, total)
        else:
            return
        yield {"superseded": True}

    def offer(self, values: object, book: "JobBook") -> "Generator[dict, None, Offer]":
        """Yield progress while waiting; return what the job would be, with its price.

        Raises:
            ToastError: the engine did not load, has no images, or these values are no run on this model.
        """
        while not self._ready.wait(_HEARTBEAT_S):
            yield {"progress": self.activity}
        self._check_images()
        from toast_core.jobs.quote import Quoter
        from toast_core.studies.sensitivity.job import read_run

        run = read_run(values)
        while not self._turn.acquire(timeout=_HEARTBEAT_S):
            yield {"progress": self.activity}
        try:
            self._quoter = self._quoter or Quoter(self.workbench, book, self._start_s)
            return self._quoter.offer(run)
        finally:
            self._turn.release()

    def pictures(self, index: list[int]) -> list[str | None]:
        """Small PNGs of images of the set in base64; None for one that cannot be read.

        Raises:
            DataError: the engine is not ready or has no images, or the set lacks one of these; see `pictures`.
        """
        from toast_core.data.pictures import pictures

        if self.source is None:
            raise DataError("the engine has no images loaded; wait until it is ready, or start the dashboard with --data DATA")
        return pictures(self.source, index)

    def _check(self, schedule: Schedule) -> None:
        self._check_images()
        schedule.check_length(len(self.shape.blocks), self.shape.name)

    def _check_images(self) -> None:
        if self.state == "failed":
            raise DataError(f"the engine did not load: {self.error}")
        if not self.batches:
            raise DataError(f"no images to measure {self.shape.name} on; start the dashboard with --data DATA and weights other than none")

    def _enter(self, session_id: str) -> tuple[_Session, int]:
        """Take the next number of a session; the least recently used session makes room for a new one."""
        with self._sessions_guard:
            session = self._sessions.setdefault(session_id, _Session())
            self._sessions.move_to_end(session_id)
            session.newest += 1
            while len(self._sessions) > self._session_limit:
                self._sessions.popitem(last=False)
            return session, session.newest

    def _wait(self, session: _Session, number: int) -> Iterator[dict]:
        """Take the turn, telling the page every now and then that it is waiting."""
        while not self._turn.acquire(timeout=_HEARTBEAT_S):
            if session.newest == number:
                yield {"progress": self.activity}

    def _begin(self, session: _Session, number: int, schedule: Schedule) -> "Iterator[Outcomes]":
        session.evaluator = session.evaluator or self._fork_baseline()
        self._is_superseded = lambda: session.newest != number
        plan = self._plan(schedule)
        self.activity = "Measuring"
        return session.evaluator.measure(schedule, self._is_superseded, plan)

    def _plan(self, schedule: Schedule) -> "Plan":
        """The schedule's plan, the last compensated ones held; given up between blocks once a newer request is there. Needs the turn."""
        if schedule.compensation.is_none or schedule.is_baseline:
            return self.workbench.plan(schedule)
        digest = schedule.digest()
        if digest not in self._plans:
            self._plans[digest] = self.workbench.plan(schedule)
        self._plans.move_to_end(digest)
        while len(self._plans) > _MAX_PLANS:
            self._plans.popitem(last=False)
        return self._plans[digest]

    def _baseline(self, count: int) -> "Outcomes":
        """The unpruned model's outcomes on the first `count` batches, each measured once. Needs the turn."""
        while len(self._baseline_outcomes) < count:
            self.activity = "Measuring the baseline"
            self._baseline_outcomes.append(next(self._baseline_run))
        return self._baseline_outcomes[count - 1]

    def _fork_baseline(self) -> "LiveEvaluator":
        """A session's evaluator that starts from the baseline's block inputs; the tensors are shared, since no block changes its input."""
        fork = copy.copy(self._baseline_evaluator)
        fork.chunks = [replace(chunk, inputs=list(chunk.inputs)) for chunk in fork.chunks]
        fork.current_blocks = list(fork.current_blocks)
        return fork

    def _report(self, outcomes: "Outcomes", baseline: "Outcomes", done: bool, batches: int) -> dict:
        gained, lost = int((outcomes.correct & ~baseline.correct).sum()), int((~outcomes.correct & baseline.correct).sum())
        count = len(outcomes.label)
        delta = Estimate(100 * (gained - lost) / count, paired_interval_of_counts(gained, lost, count))
        return {
            "images_done": count, "images_total": sum(len(batch.index) for batch in self.batches[:batches]), "done": done,
            **_figures(outcomes), "baseline": _figures(baseline), "delta_top1": delta.to_dict(),
        }


def _figures(outcomes: "Outcomes") -> dict:
    return {name: getattr(outcomes, f"{name}_estimate").to_dict() for name in ("top1", "top5", "loss")}
