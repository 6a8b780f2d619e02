"""What the engine process does: one model and one image set, measured for several sessions in turns. torch is imported in `load`."""

import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toast_core.engine.cards import SketchCard
from toast_core.engine.protocol import Description, Figures, Measurement, Predicted, Progress, Superseded
from toast_core.engine.report import figures, measurement
from toast_core.engine.room import MAX_SESSIONS
from toast_core.errors import DataError, ToastError
from toast_core.machine import give_back_memory
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

if TYPE_CHECKING:
    from toast_core.engine.live import LiveEvaluator
    from toast_core.engine.warm import WarmModel
    from toast_core.jobs.book import JobBook
    from toast_core.jobs.quote import Offer
    from toast_core.studies.tasks.base import ImageOutcomes

_HEARTBEAT_S = 0.5
_YIELD_S = 0.01  # a lock taken again at once would never reach a page that waits for it


class _SupersededError(Exception):
    """A newer request of the same session has come."""


@dataclass(eq=False)
class _Session:
    """One page's evaluator; `newest` numbers its requests, so that older ones are superseded, and `wanted` is what it asks."""

    newest: int = 0
    wanted: tuple[Schedule, int | None] | None = None
    evaluator: "LiveEvaluator | None" = None


class Desk:
    """Loads once, then answers `describe` and `measure` from any thread.

    The model is used by one thread at a time: whoever holds `_turn`. Turns last one batch, so sessions share the processor
    evenly, and a superseded measurement gives up within a batch. What the desk does by itself, once the baseline is measured, gives the
    turn back within a part of a block as soon as anyone asks for something, and goes on when nobody does.
    """

    def __init__(self, setup: Setup, memory_gb: float | None = None) -> None:
        self.setup, self.memory_gb = setup, memory_gb
        self.state, self.activity, self.error = "starting", "Starting the engine", ""
        self._model: WarmModel | None = None
        self._ready, self._turn = threading.Event(), threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._sessions_guard = threading.Lock()
        self._is_superseded: Callable[[], bool] = _never
        self._sketch: SketchCard | None = None
        self._baseline: Figures | None = None
        self._refits_begun = False
        self._asking, self._nobody_asks = 0, threading.Condition()

    def load(self) -> None:
        """Import torch, load model and images, then measure the baseline before anyone asks. Records a failure; raises nothing."""
        began = time.monotonic()
        try:
            self._say("Loading PyTorch")
            from toast_core.engine.warm import WarmModel

            self._model = WarmModel.load(self.setup, self._say, self._report, began, self.memory_gb)
            self.state = "ready"
        except Exception as error:
            # Whatever stops the load must be shown by the pages: they have nothing else to go by.
            if not isinstance(error, ToastError):
                traceback.print_exc()
            self.error, self.state = " ".join(str(error).split()) or type(error).__name__, "failed"
            print(self.error, file=sys.stderr)
        self._ready.set()
        if self._model is not None and self._model.batches:
            self._warm_up(self._model)
        if self._model is not None:
            self._draw_map(self._model)

    def prepare(self) -> None:
        """Load, then do while nobody asks what pages show sooner or later: the map of refitted cells, and milliseconds. Raises nothing."""
        self.load()
        model = self._model
        if model is None:
            return
        if model.can_refit and not self._refits_begun:
            self._refits_begun = True
            self._draw_map(model, compensated=True)
        self._time_parts(model)

    def _say(self, what: str) -> None:
        self.activity = what

    def _report(self, what: str, done: int, total: int) -> None:
        """What the workbench is doing, for pages that wait; given up between blocks once the session has a newer request."""
        self._say(f"{what.capitalize()}: {done} of {total} {'images' if what == 'calibrating' else 'blocks'}")
        if what == "compensating":
            give_back_memory()
            if self._is_superseded():
                raise _SupersededError

    def _warm_up(self, model: "WarmModel") -> None:
        """Spend the time until the first edit on what every measurement needs: the baseline, then the calibration."""
        for count in range(1, len(model.batches) + 1):
            with self._turn:
                model.baseline(count)
            time.sleep(_YIELD_S)
        self._baseline = figures(model.baseline(len(model.batches)))
        with self._turn:
            model.calibrate()

    def _draw_map(self, model: "WarmModel", compensated: bool = False) -> None:
        """Sketch how sensitive every site is, unless that is stored; a failure is recorded, since nothing else needs it."""
        with self._turn:
            try:
                model.sketch(self._tell_sketch, self._give_way, compensated)
            except Exception as error:
                if not isinstance(error, ToastError):
                    traceback.print_exc()
                line = " ".join(str(error).split()) or type(error).__name__
                self._sketch = replace(self._sketch or SketchCard("", 0, 0, ""), error=line, compensated=compensated)
                print(f"the sensitivity map was given up: {line}", file=sys.stderr)

    def _time_parts(self, model: "WarmModel") -> None:
        """Measure the table that milliseconds are read off, unless this machine's is stored; a failure is logged: no page waits for it."""
        with self._turn:
            try:
                model.time_parts(self._say, self._give_way)
            except Exception as error:
                if not isinstance(error, ToastError):
                    traceback.print_exc()
                print(f"latency was not measured: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)

    def _draw_refits(self, model: "WarmModel", schedule: Schedule) -> None:
        """Begin the map of refitted cells, once, with the first schedule that it would predict."""
        if not self._refits_begun and model.lacks_refits(schedule):
            self._refits_begun = True
            threading.Thread(target=self._draw_map, args=(model, True), daemon=True, name="refitted map").start()

    def _tell_sketch(self, card: SketchCard) -> None:
        give_back_memory()
        self._sketch = card
        self._say(card.words)

    def _give_way(self) -> None:
        """Where someone asks for something: let go of the turn until nobody does."""
        if not self._asking:
            return
        self._turn.release()
        with self._nobody_asks:
            self._nobody_asks.wait_for(lambda: not self._asking)
        self._turn.acquire()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """While someone waits for an answer."""
        with self._nobody_asks:
            self._asking += 1
        try:
            yield
        finally:
            with self._nobody_asks:
                self._asking -= 1
                self._nobody_asks.notify_all()

    def describe(self) -> Description:
        """State, what it is doing, and once ready the cards of model, data and device."""
        state = self.state
        if state == "ready":
            return replace(self._model.description, sketch=self._sketch, baseline=self._baseline)
        return Description(state, error=self.error) if state == "failed" else Description(state, progress=self.activity)

    def measure(self, session_id: str, schedule: Schedule, images: int | None) -> Iterator[Progress | Predicted | Measurement | Superseded]:
        """Yield progress, then the figures after each batch; Superseded ends it. `images` is rounded up to whole batches.

        Whoever asks for the same again in one session joins in: neither ends the other, and what one has run the other is told.

        Raises:
            ToastError: the engine did not load, has no images, or the schedule does not fit.
        """
        session, number = self._enter(session_id, (schedule, images))
        yield from self._loading()
        with self._asked():
            yield from self._measured(session, number, schedule, images)

    def _measured(
        self, session: _Session, number: int, schedule: Schedule, images: int | None
    ) -> Iterator[Progress | Predicted | Measurement | Superseded]:
        model = self._loaded()
        schedule.check_length(len(model.shape.blocks), model.shape.name)
        batches = min(len(model.batches), -(-images // self.setup.batch_size)) if images else len(model.batches)
        running = None
        if (predicted := self._predict(model, schedule, batches)) is not None:
            yield predicted
        for count in range(1, batches + 1):
            yield from self._wait(session, number)
            try:
                # Asked under the turn: an older request that plans after a newer one has begun would swap its blocks.
                if session.newest != number:
                    break
                running = running or self._begin(model, session, number, schedule)
                baseline, outcomes = model.baseline(count), next(running, None)
                if count == batches == len(model.batches) and outcomes is not None:
                    model.learn(schedule, session.evaluator.damage())
            except _SupersededError:
                break
            finally:
                self._turn.release()
            if outcomes is None:
                break
            yield measurement(outcomes, baseline, model.images_in(batches), predicted and predicted.change)
        else:
            self._draw_refits(model, schedule)
            return
        yield Superseded()

    def predict(self, schedule: Schedule) -> Predicted:
        """What a schedule is predicted to do on all images; nothing is measured, and nobody's turn is taken.

        Raises:
            ScheduleError: it is for a model of another length.
        """
        model = self._model
        if model is None or not model.batches:
            return Predicted(None, None, 0, "the engine has no images loaded")
        schedule.check_length(len(model.shape.blocks), model.shape.name)
        words = "this is the baseline" if schedule.is_baseline else "the baseline is not measured yet"
        return self._predict(model, schedule, len(model.batches)) or Predicted(None, None, 0, words)

    def _predict(self, model: "WarmModel", schedule: Schedule, batches: int) -> Predicted | None:
        """What the schedule is predicted to do, without the turn: it takes no model. A failure is no reason not to measure."""
        try:
            return model.predict(schedule, batches)
        except Exception as error:
            traceback.print_exc()
            return Predicted(None, None, 0, f"the prediction failed ({type(error).__name__}); see the engine's log")

    def offer(self, values: Mapping | None, book: "JobBook") -> "Generator[Progress, None, Offer]":
        """Yield progress while waiting; return what the job would be, with its price.

        Raises:
            ToastError: the engine did not load, has no images, or these values are no run on this model.
        """
        yield from self._loading()
        model = self._loaded()
        from toast_core.studies.registry import read_run

        run = read_run(values)
        with self._asked():
            while not self._turn.acquire(timeout=_HEARTBEAT_S):
                yield Progress(self.activity)
            try:
                return model.offer(run, book)
            finally:
                self._turn.release()

    def pictures(self, index: tuple[int, ...]) -> list[str | None]:
        """Small PNGs of images of the set in base64; None for one that cannot be read.

        Raises:
            DataError: the engine is not ready or has no images, or the set lacks one of these; see `pictures`.
        """
        from toast_core.data.pictures import pictures

        if self._model is None or self._model.source is None:
            raise DataError("the engine has no images loaded; wait until it is ready, or start the dashboard with --data DATA")
        return pictures(self._model.source, index, self._model.workbench.info.preprocessing.exif_rotate)

    def _loading(self) -> Iterator[Progress]:
        """Tell the page every now and then what is loaded, until it is."""
        while not self._ready.wait(_HEARTBEAT_S):
            yield Progress(self.activity)

    def _loaded(self) -> "WarmModel":
        """The model with its images; a DataError says why there is none."""
        if self._model is None:
            raise DataError(f"the engine did not load: {self.error}")
        if not self._model.batches:
            name = self._model.shape.name
            raise DataError(f"no images to measure {name} on; start the dashboard with --data DATA and weights other than none")
        return self._model

    def _enter(self, session_id: str, wanted: tuple[Schedule, int | None]) -> tuple[_Session, int]:
        """Take the next number of a session, or the one that asks the same; the least recently used session makes room for a new one."""
        most = min(MAX_SESSIONS, self._model.sessions) if self._model else MAX_SESSIONS
        with self._sessions_guard:
            session = self._sessions.setdefault(session_id, _Session())
            self._sessions.move_to_end(session_id)
            session.newest += session.wanted != wanted
            session.wanted = wanted
            while len(self._sessions) > most:
                self._sessions.popitem(last=False)
            return session, session.newest

    def _wait(self, session: _Session, number: int) -> Iterator[Progress]:
        """Take the turn, telling the page every now and then that it is waiting."""
        while not self._turn.acquire(timeout=_HEARTBEAT_S):
            if session.newest == number:
                yield Progress(self.activity)

    def _begin(self, model: "WarmModel", session: _Session, number: int, schedule: Schedule) -> "Iterator[ImageOutcomes]":
        """Plan the schedule and start to measure it. Needs the turn; given up between the blocks of a plan."""
        session.evaluator = session.evaluator or model.fork()

        def superseded() -> bool:
            return session.newest != number

        self._is_superseded = superseded
        try:
            plan = model.plan(schedule)
        finally:
            self._is_superseded = _never
        self._say("Measuring")
        return session.evaluator.measure(schedule, superseded, plan)


def _never() -> bool:
    return False
