"""The schedule for a budget as a job: curves and candidates measured on calibration images, the answer in the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.budget.curves import read_curves
from toast_core.budget.options import make_problem
from toast_core.budget.problem import Budget
from toast_core.command import SCHEDULE_FILE, command_line
from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData
from toast_core.errors import DataError, JobError
from toast_core.schedule.compensation import FULL, Compensation
from toast_core.schedule.schedule import check_ratio
from toast_core.schedule.sites import SITES
from toast_core.setup import Setup
from toast_core.studies.base import Report, Work, check_sizes
from toast_core.studies.evaluation.pair import evaluate_pair
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sketch.job import request_macs
from toast_core.studies.sketch.store import sketch_identities
from toast_core.studies.subject import Subject
from toast_core.studies.tasks.registry import task_in, task_of
from toast_core.studies.tuning.curves import sketch_request, sketch_subject
from toast_core.studies.tuning.images import split
from toast_core.studies.tuning.measure import tune
from toast_core.studies.tuning.request import DEFAULT_IMAGES, DEFAULT_RATIOS, DEFAULT_SITES, TuningRequest
from toast_core.studies.tuning.store import TuningStore
from toast_core.workbench import Workbench

_CANDIDATES = 2  # fitted and judged, usually
_FIT_PASSES = 8  # forwards of the model that an error-correcting fit takes, its sums among them
_UNITS = ("macs", "params")


@dataclass(frozen=True)
class TuningRun:
    """The least damage within a budget, see `toast_core.tune`.

    unit, limit  the budget, see `budget.problem.Budget`
    locks        (block, site, ratio) each
    ranges       (block, site, low, high) each
    images       calibration images, cut into those to fit, measure and judge on
    evaluate     images of the set that the answer and the baseline are then evaluated on; 0: none
    """

    kind: ClassVar[str] = "tuning"
    overhead: ClassVar[float] = 1.0
    unit: str
    limit: int
    sites: tuple[str, ...] = DEFAULT_SITES
    ratios: tuple[float, ...] = DEFAULT_RATIOS
    locks: tuple[tuple[int, str, float], ...] = ()
    ranges: tuple[tuple[int, str, float, float], ...] = ()
    compensation: Compensation = field(default=FULL)
    multiple_of: int = 1
    images: int = DEFAULT_IMAGES
    batch_size: int = 64
    evaluate: int = 0

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        check_sizes(self.evaluate or None, self.batch_size)
        check_sizes(self.multiple_of)
        if self.images is None:
            raise JobError(f"images is None; send how many calibration images to use, for example {DEFAULT_IMAGES}")
        if self.unit not in _UNITS:
            raise JobError(f"unknown unit {self.unit!r:.80} of a budget; choose from {', '.join(_UNITS)}")
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1:
            raise JobError(f"limit is {self.limit!r:.80}; send a whole number of {self.unit}")
        for name, width in (("sites", 0), ("ratios", 0), ("locks", 3), ("ranges", 4)):
            object.__setattr__(self, name, _plain(name, getattr(self, name), width))
        grid(1, self.sites, self.ratios)
        if unknown := set(self.sites) - set(SITES):
            raise JobError(f"unknown site {sorted(unknown)[0]!r}; choose from {', '.join(SITES)}")
        for entry in (*self.locks, *self.ranges):
            for ratio in entry[2:]:
                check_ratio(ratio, f"the ratio of block {entry[0]} {entry[1]}")
        if isinstance(self.compensation, Mapping):
            object.__setattr__(self, "compensation", _compensation(self.compensation))

    def title(self) -> str:
        """For example `tune to 0.043 GMACs, 2 locks`."""
        of = f", {len(self.locks)} lock{'s' if len(self.locks) > 1 else ''}" if self.locks else ""
        return f"tune to {self._budget().said(self.limit)}{of}"

    def command(self, setup: Setup) -> str:
        """A `toast tune` line."""
        sized = replace(setup, calibration_images=self.images, batch_size=self.batch_size)
        if not self.evaluate:
            sized = replace(sized, data=None, labels=None, class_order=None, class_map=None, random_classifier=False)
        budget = {"gmacs": self.limit / 1e9} if self.unit == "macs" else {"params": self.limit}
        measured = {"sites": ",".join(self.sites), "ratios": ",".join(map(str, self.ratios)), "multiple_of": self.multiple_of}
        wants = dict(zip(("ffn", "attention", "fitting"), vars(self.compensation).values(), strict=True))
        limits = {
            "lock": [f"{block}.{site}={ratio}" for block, site, ratio in self.locks],
            "range": [f"{block}.{site}={low}:{high}" for block, site, low, high in self.ranges],
        }
        rest = {"output": SCHEDULE_FILE, **limits, "evaluate": self.evaluate or None}
        return command_line("tune", sized, {**budget, **measured, **wants, **rest}, calibrated=True)

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """Cells of the curves, then some candidates; how many those are shows when the curves are there.

        Raises:
            ScheduleError: locks, ranges or a budget that cannot be, as far as can be told without curves.
        """
        request, data = self._request(workbench), self._data(workbench)
        self._check(workbench, request)
        shape, whole = workbench.shape, count_cost(workbench.shape).macs
        parts = split(data, self.batch_size)
        sketch, subject = sketch_request(workbench.model, request, parts), sketch_subject(workbench.model, request, parts)
        keys = [one.key for one in sketch_identities(subject, sketch).values()]
        stored = len(store.has_many(keys))
        curves = 0 if stored == len(keys) else request_macs(shape, sketch, len(subject.data))
        fitted = _CANDIDATES * (len(parts.fit.data) * _FIT_PASSES + len(parts.judge)) * whole
        evaluated = 2 * self.evaluate * whole  # the baseline as well; the fit has been made
        return Work(len(sketch.cells), stored * len(sketch.cells) // len(keys), len(data), curves + fitted + evaluated, 0)

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Measure curves and candidates that are not stored, then evaluate where that is asked; steps are percent, as much for each."""
        data, parts = self._data(workbench), ("curves", "candidates", *(["evaluation"] if self.evaluate else []))

        def told(what: str, done: int, total: int) -> None:
            report(round(100 * (done / total + parts.index(what)) / len(parts)), 100)

        stored = self._stored(workbench, data, store)
        tuned = tune(workbench.model, data, self._request(workbench), progress=told, store=stored)
        if self.evaluate:
            evaluate_pair(self._sized(workbench), store, tuned.schedule, (self.evaluate, self.batch_size), partial(told, "evaluation"))
        return store.get_analysis(tuned.analysis)

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """What was reached, and how far held-out images agree with the baseline."""
        report = store.get(analysis.cell_keys[0]).summary
        chosen = next(row for row in report["candidates"] if row["name"] == report["chosen"])
        saved = f"{100 * report['reduction']:.1f} % fewer {'MACs' if self.unit == 'macs' else 'parameters'}"
        return f"{saved}, {task_in(report).judged(chosen)}"

    def _budget(self) -> Budget:
        return Budget(self.unit, self.limit)

    def _request(self, workbench: Workbench) -> TuningRequest:
        locks = {(block, site): ratio for block, site, ratio in self.locks}
        ranges = {(block, site): (low, high) for block, site, low, high in self.ranges}
        settings = (self.compensation, self.multiple_of, workbench.setup.seed, self.batch_size)
        return TuningRequest(self._budget(), self.sites, self.ratios, locks, ranges, *settings)

    def _check(self, workbench: Workbench, request: TuningRequest) -> None:
        """Refuse now what the tuner would refuse after its curves: they are taken to be flat."""
        cells = grid(len(workbench.shape.blocks), self.sites, self.ratios)
        damage = task_of(workbench.shape).damage.key
        rows = [{"block": cell.block, "site": cell.site, "ratio": cell.ratio, damage: 0.0} for cell in cells]
        curves = read_curves(rows, workbench.shape, damage=damage)
        make_problem(workbench.shape, curves, request.budget, request.sites, request.locks, request.ranges, **request.settings)

    def _data(self, workbench: Workbench) -> ImageData:
        if workbench.setup.calibration is None:
            raise DataError("tuning needs calibration images; start the dashboard with --calibration")
        return self._sized(workbench).calibration()

    def _sized(self, workbench: Workbench) -> Workbench:
        """With as many calibration images as this run takes, as its command line has."""
        return Workbench(workbench.model, replace(workbench.setup, calibration_images=self.images))

    def _stored(self, workbench: Workbench, data: ImageData, store: EvidenceStore) -> TuningStore:
        return TuningStore(store, Subject.of(workbench.model, data, self.batch_size, "tuning"))


def _plain(name: str, values: object, width: int) -> tuple:
    """Lists as tuples, entries too; JobError where they have another form."""
    if isinstance(values, list | tuple):
        if not width and values and len(set(map(str, values))) == len(values):
            return tuple(values)
        if width and all(isinstance(one, list | tuple) and len(one) == width and type(one[0]) is int and one[1] in SITES for one in values):
            return tuple(tuple(one) for one in values)
    form = {0: "at least one, each once", 3: "[block, site, ratio] entries", 4: "[block, site, low, high] entries"}[width]
    raise JobError(f"{name} is {values!r:.80}; send a list of {form}")


def _compensation(values: Mapping) -> Compensation:
    if unknown := set(values) - set(vars(FULL)):
        raise JobError(f"unknown field {sorted(map(str, unknown))[0]!r:.80} of a compensation; choose from {', '.join(vars(FULL))}")
    return replace(FULL, **values)
