"""The kinds of jobs. A new kind is a frozen dataclass with these methods, and a line in `KINDS`."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import JobError
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.compensation import Compensation
from toast_core.schedule.execution import check_execution
from toast_core.schedule.schedule import SELECTIONS, Schedule
from toast_core.setup import Setup
from toast_core.studies.agreement.job import ApplyRun
from toast_core.studies.base import Report, Run, Work, as_schedule, calibration_images, check_sizes
from toast_core.studies.composition.job import CompositionRun
from toast_core.studies.evaluation.store import analyze_evaluation, evaluation_identity
from toast_core.studies.recovery.job import RecoveryRun
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, SITE_GROUPS, Cell, grid
from toast_core.studies.sensitivity.sweep import Rule
from toast_core.studies.subject import Subject, analyze_redundancy, analyze_sensitivity, redundancy_identities, sensitivity_identities
from toast_core.studies.tuning.job import TuningRun
from toast_core.workbench import Workbench

_CLASS_WEIGHT = 2.0
_SETTINGS_SEED = 0
_FACTORING = 35  # products of C x C matrices that a row of redundancy takes; measured on the demos


@dataclass(frozen=True)
class SensitivityRun:
    """A sweep: sites x ratios over every block, on `images` images (None: all)."""

    kind: ClassVar[str] = "sensitivity"
    sites: tuple[str, ...] = tuple(SITE_GROUPS)
    ratios: tuple[float, ...] = DEFAULT_RATIOS
    images: int | None = None
    mode: str = "exact"
    width: float = Rule.width
    tolerance: float = Rule.tolerance
    selection: str = "per_image"
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        for name in ("sites", "ratios"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or not values or len(set(map(str, values))) < len(values):
                raise JobError(f"{name} is {values!r:.80}; send a list of at least one, each once")
            object.__setattr__(self, name, tuple(values))
        for name in ("width", "tolerance"):
            points = getattr(self, name)
            if isinstance(points, bool) or not isinstance(points, int | float) or not 0 < points <= 100:
                raise JobError(f"{name} is {points!r:.80}; send points above 0 and up to 100")
        if self.selection not in SELECTIONS:
            raise JobError(f"unknown selection {self.selection!r:.80}; choose from {', '.join(SELECTIONS)}")
        grid(1, self.sites, self.ratios)
        Rule(self.mode, self.width, self.tolerance)

    def title(self) -> str:
        """For example `sensitivity of fc2, qk at 3 ratios, exact, calibrated`."""
        ratios = f"{len(self.ratios)} ratios" if len(self.ratios) > 1 else f"ratio {self.ratios[0]:g}"
        return f"sensitivity of {', '.join(self.sites)} at {ratios}, {self.mode}, {self.selection.replace('_', ' ')}"

    def command(self, setup: Setup) -> str:
        """A `toast analyze` line."""
        flags: dict[str, object] = {"sites": ",".join(self.sites), "ratios": ",".join(map(str, self.ratios)), "mode": self.mode}
        if self.mode == "adaptive":
            flags |= {"width": self.width, "tolerance": self.tolerance}
        flags |= {"metrics": self.kind, "selection": self.selection}
        sized = replace(setup, images=self.images, batch_size=self.batch_size)
        return command_line("analyze", sized, flags, calibrated=self.selection == "calibrated")

    def _settings(self) -> dict[str, object]:
        return {"selection": self.selection, "seed": _SETTINGS_SEED}

    def _statistics(self, workbench: Workbench, cells: list[Cell]) -> Statistics | None:
        blocks = len(workbench.shape.blocks)
        needed = any(cell.schedule(blocks, **self._settings()).needs_calibration for cell in cells)
        return workbench.statistics(_CLASS_WEIGHT, self.batch_size) if needed else None

    def _cells(self, workbench: Workbench) -> list[Cell]:
        return grid(len(workbench.shape.blocks), self.sites, self.ratios)

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """Count the cells that are stored; each other one runs its half block and the blocks after it on every image."""
        cells, subject = self._cells(workbench), Subject.on(workbench, self.kind, self.images, self.batch_size)
        rule, statistics = Rule(self.mode, self.width, self.tolerance), self._statistics(workbench, cells)
        keys = {cell: one.key for cell, one in sensitivity_identities(subject, cells, rule, statistics, self._settings()).items()}
        known = store.has_many(keys.values())
        missing = [cell for cell in cells if keys[cell] not in known]
        macs = len(subject.data) * sweep_macs(workbench.shape, missing)
        return Work(len(cells), len(cells) - len(missing), len(subject.data), macs, calibration_images(statistics))

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Steps are cell-images."""
        cells, subject = self._cells(workbench), Subject.on(workbench, self.kind, self.images, self.batch_size)
        rule, statistics = Rule(self.mode, self.width, self.tolerance), self._statistics(workbench, cells)
        return analyze_sensitivity(subject, store, cells, rule, statistics, self._settings(), report)[0]

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """How many cells there are to look at."""
        return f"{len(analysis.request['cells'])} cells measured"


@dataclass(frozen=True)
class RedundancyRun:
    """Redundancy of every block on `images` images (None: all). An interrupted one begins again: its sums are kept in memory only."""

    kind: ClassVar[str] = "redundancy"
    images: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)

    def title(self) -> str:
        """Says which blocks."""
        return "redundancy of every block"

    def command(self, setup: Setup) -> str:
        """A `toast analyze` line."""
        return command_line("analyze", replace(setup, images=self.images, batch_size=self.batch_size), {"metrics": self.kind})

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """All or nothing: one pass makes every row. Each token adds a product of its channels to the sums, then matrices are factored."""
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        keys = [identity.key for identity in redundancy_identities(subject)]
        stored, shape = len(store.has_many(keys)), workbench.shape
        sums = sum(block.tokens * (block.hidden**2 + block.width**2) for block in shape.blocks)
        finish = _FACTORING * sum(block.hidden**3 + block.width**3 for block in shape.blocks)
        macs = 0 if stored == len(keys) else len(subject.data) * (count_cost(shape).macs + sums) + finish
        return Work(len(keys), stored, len(subject.data), macs, 0)

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Steps are images."""
        return analyze_redundancy(Subject.on(workbench, self.kind, self.images, self.batch_size), store, progress=report)[0]

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """How many rows there are to look at."""
        return f"{len(analysis.cell_keys)} rows measured"


@dataclass(frozen=True)
class EvaluationRun:
    """Accuracy and loss of one schedule on `images` images (None: all), kept per image."""

    kind: ClassVar[str] = "evaluation"
    schedule: Schedule
    images: int | None = None
    execution: str = "masked"
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        check_execution(self.execution)

    def title(self) -> str:
        """For example `evaluation of schedule 0123abcd, calibrated, masked`."""
        if self.schedule.is_baseline:
            return "evaluation of the baseline"
        return f"evaluation of schedule {self.schedule.digest()[:8]}, {self.schedule.selection.replace('_', ' ')}, {self.execution}"

    def command(self, setup: Setup) -> str:
        """A `toast evaluate` line; the schedule is the file that the Tune page downloads."""
        sized = replace(setup, images=self.images, batch_size=self.batch_size)
        return command_line("evaluate", sized, {"execution": self.execution}, self.schedule)

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """One cell; a masked model runs at the baseline's cost."""
        statistics = workbench.statistics_for(self.schedule, self.batch_size)
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        stored = len(store.has_many([evaluation_identity(subject, self.schedule, self.execution, statistics).key]))
        cost = count_cost(workbench.shape, self.schedule if self.execution == "compact" else None)
        macs = 0 if stored else len(subject.data) * cost.macs
        return Work(1, stored, len(subject.data), macs, calibration_images(statistics))

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Steps are images."""
        statistics = workbench.statistics_for(self.schedule, self.batch_size)
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        planner = partial(workbench.plan, self.schedule, self.batch_size)
        return analyze_evaluation(subject, store, self.schedule, self.execution, statistics, report, planner)

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """Accuracy with its 95 % interval."""
        top1 = store.get(analysis.cell_keys[0]).summary["top1"]
        low, high = top1["ci95"]
        return f"top-1 {top1['value']:.1f} % (95 %: {low:.1f} to {high:.1f} %)"


_ALL = (SensitivityRun, RedundancyRun, EvaluationRun, CompositionRun, ApplyRun, TuningRun, RecoveryRun)
KINDS: dict[str, type[Run]] = {cls.kind: cls for cls in _ALL}


def read_run(values: object) -> Run:
    """Read `run_to_dict`'s values; fields that are left out take their defaults.

    Raises:
        JobError: not an object, an unknown kind or field, or a value out of range; ToastErrors of schedules and sites alike.
    """
    if not isinstance(values, Mapping):
        raise JobError(f"a run is a JSON object, not {type(values).__name__}; send its kind and fields")
    kind = values.get("kind")
    if kind not in KINDS:
        raise JobError(f"unknown kind of run {kind!r:.80}; choose from {', '.join(KINDS)}")
    given, known = {name: value for name, value in values.items() if name != "kind"}, fields(KINDS[kind])
    if unknown := sorted(set(given) - {field.name for field in known}):
        raise JobError(f"unknown field {unknown[0]!r:.80} of a run of kind {kind}; choose from {', '.join(field.name for field in known)}")
    if lacking := [field.name for field in known if field.default is MISSING and field.name not in given]:
        raise JobError(f"a run of kind {kind} needs a {lacking[0]}; send it")
    return KINDS[kind](**given)


def run_to_dict(run: Run) -> dict:
    """Plain JSON values, every field written out: equal runs give equal values."""
    values = {field.name: getattr(run, field.name) for field in fields(run)}
    return {"kind": run.kind, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: object) -> object:
    if isinstance(value, Schedule):
        return value.to_dict()
    if isinstance(value, Compensation | Recipe):
        return dict(vars(value))
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def sweep_macs(shape: ModelShape, cells: list[Cell]) -> int:
    """MACs of a sweep on one image: the baseline once, and a cell's half block with the blocks after it. What pruning saves is left in."""
    cost = count_cost(shape)
    after = [sum(block.macs for block in cost.blocks[index + 1 :]) for index in range(len(cost.blocks))]

    def own(cell: Cell) -> int:
        block = cost.blocks[cell.block]
        return block.ffn_macs if "fc" in cell.site else block.macs

    return cost.macs + sum(own(cell) + after[cell.block] for cell in cells) if cells else 0
