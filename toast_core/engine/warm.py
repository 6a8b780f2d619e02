"""The loaded model that the engine measures, and what it holds between measurements."""

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch

from analysis_cache.store import EvidenceStore
from toast_core.compensation.one_shot import sums_bytes
from toast_core.data.load import Batch
from toast_core.data.noise import random_images
from toast_core.data.sources import Source
from toast_core.engine.cards import CalibrationCard, DataCard, FormatCard, ModelCard, SketchCard
from toast_core.engine.live import LiveEvaluator
from toast_core.engine.prediction import Foresight
from toast_core.engine.protocol import Description, Predicted
from toast_core.engine.room import Room, held_blocks
from toast_core.errors import DeviceError, ExportError
from toast_core.export.formats import FORMATS
from toast_core.jobs.book import JobBook
from toast_core.jobs.quote import Offer, Quoter
from toast_core.models.info import check_baseline
from toast_core.pruning.plan import Plan
from toast_core.schedule.schedule import Schedule
from toast_core.setup import LIVE_IMAGES, Setup
from toast_core.studies.base import Run
from toast_core.studies.latency.store import find_table, put_table
from toast_core.studies.sketch.job import first_sketch, refitted_sketch
from toast_core.studies.tasks.base import ImageOutcomes
from toast_core.workbench import Report, Workbench

Say = Callable[[str], object]
"""Told what is being done, for pages that wait."""


class WarmModel:
    """A baseline model with its images, the baseline's outcomes and block inputs, its calibration, and fits of compensation.

    Nothing is locked: one thread at a time may call what measures.

    Attributes:
        description: what the engine says of itself once this is loaded.
        batches: the images that are measured on, as inputs; empty where none were given, or no weights.
        source: the image set that they are from.
        sessions: how many forks of the baseline may be held at once.
    """

    def __init__(self, workbench: Workbench, say: Say, start_s: float, memory_gb: float | None = None) -> None:
        setup, info = workbench.setup, workbench.info
        check_baseline(info, "open the dashboard on the baseline model")
        self.workbench, self.shape, self._say, self._start_s = workbench, info.shape, say, start_s
        self.batches: list[Batch] = []
        self.source: Source | None = None
        self.sessions = 1
        self._outcomes: list[ImageOutcomes] = []
        self._quoter: Quoter | None = None
        self.description = Description(
            "ready", model=ModelCard(info.name, info.weights, info.shape), device=str(next(workbench.model.parameters()).device),
            versions={"python": sys.version.split()[0], "torch": torch.__version__, "timm": version("timm")},
            formats=_formats(),
        )
        if setup.weights != "none":
            self._room = self._shared_out(setup, memory_gb)
        if setup.weights != "none" and setup.data is not None:
            self._load_images(setup)

    @classmethod
    def load(cls, setup: Setup, say: Say, report: Report, began: float, memory_gb: float | None = None) -> "WarmModel":
        """Load model and images; nothing is measured yet.

        Args:
            say: told what is loaded and measured.
            report: told of calibration and compensation, see `Workbench`.
            began: when loading began, by `time.monotonic`: PyTorch's import counts to what starting a job takes.
            memory_gb: 1e9 bytes that the process may hold; None: a quarter of the machine.

        Raises:
            ToastError: model or images cannot be loaded, the model is already pruned, or the memory is too small for it.
        """
        say(f"Loading {setup.model or setup.weights}")
        workbench = Workbench.load(setup, report)
        return cls(workbench, say, time.monotonic() - began, memory_gb)

    def _load_images(self, setup: Setup) -> None:
        self._say(f"Reading {setup.data}")
        room = self._room
        self.workbench.memory.budget, self.sessions = room.fits, room.sessions
        data = self.workbench.images(room.images)
        self.batches = list(data.batches(setup.batch_size))
        if not self.batches:
            raise data.unread()
        self.source = source = data.source
        card = DataCard(
            source.name, tuple(source.classes), len(source), source.digest, self.images_in(len(self.batches)), setup.batch_size, data.order,
            data.seed, data.transform.description, (*self.workbench.info.told, *data.notes()),
        )
        held = held_blocks(len(self.shape.blocks), room.slots)
        self._evaluator = LiveEvaluator(self.workbench.model, self.batches, held=held)
        self._run = self._evaluator.measure(Schedule.uniform(len(self.shape.blocks)))
        calibration, transforms = None, {data.transform.description}
        if setup.calibration:
            images = self.workbench.calibration()
            transforms.add(images.transform.description)
            calibration = CalibrationCard(images.source.name, len(images), images.source.digest)
        self._foresight = Foresight(self.workbench, frozenset(transforms))
        self.description = replace(self.description, data=card, calibration=calibration)

    def _shared_out(self, setup: Setup, memory_gb: float | None) -> Room:
        """What this engine may hold of what."""
        model = self.workbench.model
        weights = sum(x.numel() * x.element_size() for x in model.state_dict().values())
        image = random_images(model, 1)
        calibration = setup.calibration_images if setup.calibration else 0
        sizes = image.numel() * image.element_size(), setup.images or LIVE_IMAGES, calibration, setup.batch_size
        return Room.within(memory_gb, self.shape, weights, *sizes)

    def images_in(self, batches: int) -> int:
        """How many images the first batches hold."""
        return sum(len(batch.index) for batch in self.batches[:batches])

    def baseline(self, batches: int) -> ImageOutcomes:
        """The unpruned model's outcomes on the first batches, each measured once."""
        while len(self._outcomes) < batches:
            self._say("Measuring the baseline")
            self._outcomes.append(next(self._run))
        return self._outcomes[batches - 1]

    def predict(self, schedule: Schedule, batches: int) -> Predicted | None:
        """What the schedule is predicted to do on the first batches; None of the baseline, and before that was measured on all of them."""
        if schedule.is_baseline or len(self._outcomes) < batches:
            return None
        return self._foresight.predict(schedule, self._outcomes[batches - 1])

    def learn(self, schedule: Schedule, damage: np.ndarray | None) -> None:
        """Take a schedule's damage, an image each, into account for others; nothing where it is None."""
        if damage is not None:
            self._foresight.learn(schedule, float(damage.mean(dtype=np.float64)), len(damage), self._outcomes[-1])

    def calibrate(self) -> None:
        """Compute the statistics that calibrated selection needs, so that the first edit need not wait for them."""
        if self.workbench.setup.calibration:
            self.workbench.statistics(Schedule.class_weight)

    @property
    def can_refit(self) -> bool:
        """Whether there are images to fit on."""
        return self.workbench.setup.calibration is not None and bool(self.batches)

    def lacks_refits(self, schedule: Schedule) -> bool:
        """Whether the schedule would be predicted from refitted cells that nobody has sketched, and could be."""
        wanted = not schedule.compensation.is_none and not schedule.is_baseline and self.can_refit
        return wanted and not self._foresight.knows(schedule)

    def sketch(self, tell: Callable[[SketchCard], object], pause: Callable[[], object], compensated: bool = False) -> None:
        """Put a sketch of the setup into its store, unless it is there or no images are named.

        Args:
            tell: told how far it is, after every part.
            pause: called between two steps of the model, which others may use until it returns.
            compensated: not the first one (`first_sketch`), but that of refitted cells (`refitted_sketch`).

        Raises:
            ToastError: images cannot be read, the model is too large for memory, or the store cannot be written.
        """
        setup = self.workbench.setup
        run = refitted_sketch(setup, len(self.workbench.calibration())) if compensated else first_sketch(setup)
        if run is None:
            return
        data = self.workbench.sketched(run.images)
        card = SketchCard(data.source.name, 0, len(data), run.selection, compensated=compensated)
        if compensated and sums_bytes(self.shape) > self._room.sketch * 1e9 / 2:
            raise DeviceError(
                f"the sums that refits of {self.shape.name} follow from take {sums_bytes(self.shape) / 1e9:.1f} GB; give more --memory-gb"
            )
        with EvidenceStore.open(self.workbench.setup.store) as store:
            work = run.work(self.workbench, store)
            if work.stored < work.cells:
                tell(card)
                run.measure(self.workbench, store, lambda done, total: tell(replace(card, done=done)), pause, self._room.sketch)
        tell(replace(card, done=len(data), finished=True))

    def time_parts(self, say: Say, pause: Callable[[], object]) -> None:
        """Put this machine's latency table of single images into the store, unless it is there; nothing without weights.

        Args:
            say: told that it is measured.
            pause: called between two timings, see `sketch`.

        Raises:
            ToastError: the device ran out of memory, or the store cannot be written.
        """
        if self.workbench.setup.weights == "none":
            return
        with EvidenceStore.open(self.workbench.setup.store) as store:
            if find_table(store, self.workbench.model, 1) is None:
                say("Measuring latency")
                put_table(store, self.workbench.model, 1, lambda done, total: pause())

    def fork(self) -> LiveEvaluator:
        """An evaluator that starts from the baseline's block inputs; the tensors are shared, since no block changes its input."""
        fork = copy.copy(self._evaluator)
        fork.chunks = [replace(chunk, inputs=list(chunk.inputs)) for chunk in fork.chunks]
        fork.current_blocks = list(fork.current_blocks)
        return fork

    def plan(self, schedule: Schedule) -> Plan:
        """The schedule's plan; fits of compensation, which take seconds, are held block by block.

        Raises:
            ToastError: it does not fit the model, or needs calibration images that are not there.
        """
        return self.workbench.plan(schedule)

    def offer(self, run: Run, book: JobBook) -> Offer:
        """What a run would be as a job, with its price.

        Raises:
            ToastError: the run does not fit the model or the images.
        """
        self._quoter = self._quoter or Quoter(self.workbench, book, self._start_s)
        return self._quoter.offer(run)


def _formats() -> tuple[FormatCard, ...]:
    """Every format of the registry, and why one cannot serve on this machine."""
    cards = []
    for name in FORMATS:
        suffix = ""
        try:
            form = FORMATS[name]
            suffix = form.suffix
            form.check(None)
        except ExportError as error:
            cards.append(FormatCard(name, suffix, str(error)))
        else:
            cards.append(FormatCard(name, suffix))
    return tuple(cards)
