"""A sensitivity sweep as a job."""

from dataclasses import dataclass, replace
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import JobError
from toast_core.schedule.schedule import SELECTIONS
from toast_core.setup import Setup
from toast_core.studies.analyses import rows_of
from toast_core.studies.base import Report, Work, as_list, calibration_images, check_sizes
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, SITE_GROUPS, Cell, grid
from toast_core.studies.sensitivity.plans import selected_cells
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity, sensitivity_identities
from toast_core.studies.sensitivity.sweep import Rule
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench


@dataclass(frozen=True)
class SensitivityRun:
    """A sweep: sites x ratios over every block, on `images` images (None: all)."""

    kind: ClassVar[str] = "sensitivity"
    overhead: ClassVar[float] = 1.05
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
            object.__setattr__(self, name, as_list(name, getattr(self, name)))
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

    def _request(self, workbench: Workbench) -> SweepRequest:
        """The sweep over the workbench's blocks, with the seed of its setup; calibrates where the selection needs it."""
        cells, settings, statistics = selected_cells(workbench, self.sites, self.ratios, self.selection, self.batch_size)
        return SweepRequest(cells, Rule(self.mode, self.width, self.tolerance), statistics, settings)

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """Count the cells that are stored; each other one runs its half block and the blocks after it on every image."""
        subject, request = Subject.on(workbench, self.kind, self.images, self.batch_size), self._request(workbench)
        keys = {cell: one.key for cell, one in sensitivity_identities(subject, request).items()}
        known = store.has_many(keys.values())
        missing = [cell for cell in request.cells if keys[cell] not in known]
        macs = len(subject.data) * sweep_macs(workbench.shape, missing)
        return Work(len(keys), len(keys) - len(missing), len(subject.data), macs, calibration_images(request.statistics))

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Measure the cells that are not stored; steps are cell-images."""
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        return analyze_sensitivity(subject, store, self._request(workbench), report)[0]

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """For example `432 cells measured`; of an adaptive one also how many of them rest on predictions."""
        predicted = sum(bool(row.get("predicted")) for row in rows_of(store, analysis)) if self.mode == "adaptive" else 0
        cells = len(analysis.request["cells"])
        return f"{cells - predicted} cells measured, {predicted} predicted" if predicted else f"{cells} cells measured"


def sweep_macs(shape: ModelShape, cells: list[Cell]) -> int:
    """MACs of a sweep on one image: the baseline once, and a cell's half block with the blocks after it. What pruning saves is left in."""
    cost = count_cost(shape)
    after = [sum(block.macs for block in cost.blocks[index + 1 :]) for index in range(len(cost.blocks))]

    def own(cell: Cell) -> int:
        block = cost.blocks[cell.block]
        return block.ffn_macs if "fc" in cell.site else block.macs

    return cost.macs + sum(own(cell) + after[cell.block] for cell in cells) if cells else 0
