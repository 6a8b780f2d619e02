"""A sketch as a job, and the one that the engine makes by itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.data.load import ImageData
from toast_core.errors import DataError, JobError
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import SELECTIONS
from toast_core.schedule.sites import SITES
from toast_core.setup import Setup
from toast_core.studies.base import Report, Work, as_list, calibration_images, check_sizes
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, Cell, grid
from toast_core.studies.sensitivity.plans import selected_cells
from toast_core.studies.sketch.calibration import MEASURED, MEASURED_IMAGES
from toast_core.studies.sketch.measure import LINEAR, go_on, supports
from toast_core.studies.sketch.result import DRAWS, IMAGES, REFITTED_RATIOS, REFITTED_SITES
from toast_core.studies.sketch.store import FitImages, SketchRequest, analyze_sketch, sketch_identities
from toast_core.studies.sketch.trials import TRIALS
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench

ONE_SHOT = replace(FULL, calibration="one_shot")


@dataclass(frozen=True)
class SketchRun:
    """A sketch: sites x ratios over every block, on `images` images (None: all) of those that `Setup.sketched` names.

    measured      cells of every site that are run, to calibrate the others
    trials        whole schedules that are run, to calibrate predictions of others; None: TRIALS, but none where each must be refitted
    compensation  cells are refitted in one shot, on calibration images that are not sketched
    """

    kind: ClassVar[str] = "sketch"
    overhead: ClassVar[float] = 1.5
    sites: tuple[str, ...] = SITES
    ratios: tuple[float, ...] = DEFAULT_RATIOS
    images: int | None = IMAGES
    draws: int = DRAWS
    selection: str = "per_image"
    measured: int = MEASURED
    trials: int | None = None
    compensation: bool = False
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        if isinstance(self.draws, bool) or not isinstance(self.draws, int) or self.draws < 1:
            raise JobError(f"draws is {self.draws!r:.80}; send a whole number of at least 1")
        if isinstance(self.measured, bool) or not isinstance(self.measured, int) or self.measured < 0:
            raise JobError(f"measured is {self.measured!r:.80}; send how many cells of a site to run, 0 for none")
        if self.trials is not None and (isinstance(self.trials, bool) or not isinstance(self.trials, int) or self.trials < 0):
            raise JobError(f"trials is {self.trials!r:.80}; send how many whole schedules to run, 0 for none")
        if not isinstance(self.compensation, bool):
            raise JobError(f"compensation is {self.compensation!r:.80}; send true to refit cells, or false")
        for name in ("sites", "ratios"):
            object.__setattr__(self, name, as_list(name, getattr(self, name)))
        if self.selection not in SELECTIONS:
            raise JobError(f"unknown selection {self.selection!r:.80}; choose from {', '.join(SELECTIONS)}")
        if self.compensation and self.selection != "calibrated":
            raise JobError(f"selection {self.selection} chooses channels as it runs, which nothing can be refitted to; choose calibrated")
        grid(1, self.sites, self.ratios)

    def title(self) -> str:
        """For example `sketch of fc2, qk at 3 ratios, calibrated`."""
        ratios = f"{len(self.ratios)} ratios" if len(self.ratios) > 1 else f"ratio {self.ratios[0]:g}"
        how = "compensated" if self.compensation else self.selection.replace("_", " ")
        return f"sketch of {', '.join(self.sites)} at {ratios}, {how}"

    def command(self, setup: Setup) -> str:
        """A `toast analyze` line."""
        flags: dict[str, object] = {
            "metrics": self.kind, "sites": ",".join(self.sites), "ratios": ",".join(map(str, self.ratios)), "draws": self.draws,
            "selection": self.selection, "measured": self.measured, "trials": self.trials,
            "compensation": self.compensation,
        }
        sized = replace(setup.sketched, images=self.images, batch_size=self.batch_size)
        return command_line("analyze", sized, flags, calibrated=self.selection == "calibrated")

    def subject(self, workbench: Workbench) -> Subject:
        """The workbench's model on the images to sketch.

        Raises:
            DataError: none are named, or they cannot be read.
        """
        return Subject.of(workbench.model, workbench.sketched(self.images), self.batch_size, self.kind, digest=workbench.weights_digest)

    def request(self, workbench: Workbench, subject: Subject) -> SketchRequest:
        """The sketch over the workbench's blocks, with the seed of its setup; calibrates where the selection needs it.

        Raises:
            DataError: calibration images are needed and none are named, or none are left beside those of the subject.
        """
        if self.compensation:
            settings = {"selection": self.selection, "seed": workbench.setup.seed, "compensation": ONE_SHOT}
            cells, fit = grid(len(workbench.shape.blocks), self.sites, self.ratios), fit_images(workbench, subject.data, self.batch_size)
            return SketchRequest(cells, self.draws, None, settings, self.measured, self.trials or 0, fit)
        cells, settings, statistics = selected_cells(workbench, self.sites, self.ratios, self.selection, self.batch_size)
        return SketchRequest(cells, self.draws, statistics, settings, self.measured, TRIALS if self.trials is None else self.trials)

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """All or nothing: every batch gives all of the cells. Those of a block and site are stored as one."""
        subject = self.subject(workbench)
        request = self.request(workbench, subject)
        keys = [identity.key for identity in sketch_identities(subject, request).values()]
        stored, each = len(store.has_many(keys)), len(request.cells) // len(keys)
        images = len(subject.data)
        macs = 0 if stored == len(keys) else request_macs(workbench.shape, request, images)
        fitted = len(workbench.calibration()) if request.fit else calibration_images(request.statistics)
        return Work(len(request.cells), stored * each, images, macs, fitted)

    def measure(
        self, workbench: Workbench, store: EvidenceStore, report: Report, pause: Callable[[], object] = go_on, memory_gb: float = 8.0
    ) -> Analysis:
        """Sketch unless all is stored; steps are images. For `pause` and `memory_gb` see `analyze_sketch`."""
        subject = self.subject(workbench)
        return analyze_sketch(subject, store, self.request(workbench, subject), report, memory_gb, pause=pause)[0]

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """For example `432 cells predicted`."""
        return f"{len(analysis.request['cells'])} cells predicted"


def fit_images(workbench: Workbench, sketched: ImageData, batch_size: int) -> FitImages:
    """The setup's calibration images less those that are sketched: a refit looks better than it is on images that it has seen.

    Raises:
        DataError: none are named, none are left, or none can be read.
    """
    data = workbench.calibration()
    if data.source.digest == sketched.source.digest:
        data = data.without(sketched.index)
    if not len(data):
        raise DataError(
            f"all {len(sketched)} calibration images are sketched, which leaves none to refit on; pass more as --calibration-images"
        )
    return FitImages(data, batch_size)


def first_sketch(setup: Setup) -> SketchRun | None:
    """What the engine sketches by itself: channels chosen as the desk does at first; None where no images are named."""
    if not setup.is_sketched:
        return None
    return SketchRun(selection="per_image" if setup.calibration is None else "calibrated", batch_size=setup.batch_size)


def refitted_sketch(setup: Setup, images: int) -> SketchRun | None:
    """What the engine sketches once a compensated schedule is in hand: few ratios of the sites that are refitted, as each takes a fit.

    None where no calibration images are named; of `images` that there are, a quarter at most is sketched, and the others are fitted on.
    """
    if setup.calibration is None or not setup.is_sketched:
        return None
    sizes = {"images": min(IMAGES, max(1, images // 4)), "batch_size": setup.batch_size}
    return SketchRun(REFITTED_SITES, REFITTED_RATIOS, selection="calibrated", compensation=True, **sizes)


def request_macs(shape: ModelShape, request: SketchRequest, images: int) -> int:
    """MACs of a sketch with all that calibrates it; refits are not counted."""
    sites = len({cell.site for cell in request.cells})
    runs = sites * min(request.measured, len(request.cells)) * min(images, MEASURED_IMAGES) / 2  # half the blocks, usually
    whole = images * (request.trials + bool(request.trials))  # the baseline once
    return images * sketch_macs(shape, request.cells, request.draws) + round((runs + whole) * count_cost(shape).macs)


def sketch_macs(shape: ModelShape, cells: list[Cell], draws: int) -> int:
    """MACs of a sketch on one image: every block twice forwards and a backward pass a direction, and the half blocks of cells that run."""
    cost = count_cost(shape)

    def own(cell: Cell) -> int:
        block = cost.blocks[cell.block]
        return 0 if cell.site in LINEAR else block.ffn_macs if "fc" in cell.site else block.attention_macs

    runs = [cell for block in range(len(cost.blocks)) for cell in supports([cell for cell in cells if cell.block == block])]
    return (2 + 2 * draws) * cost.macs + sum(map(own, runs))
