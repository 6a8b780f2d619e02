"""Recovery as a job: the compact model fine-tuned on training images, in a file, every epoch's figures in the store."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData, load_data
from toast_core.data.sources import open_source
from toast_core.errors import DataError, JobError
from toast_core.loading import load_model, save_model
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.agreement.job import file_path
from toast_core.studies.base import Report, Work, as_schedule, check_sizes
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.recovery.checkpoint import Checkpoints
from toast_core.studies.recovery.images import shared_images, split
from toast_core.studies.recovery.loop import RecoveryStart
from toast_core.studies.recovery.processes import World
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.recovery.result import nothing_kept
from toast_core.studies.recovery.store import RecoveryStore, recover_into
from toast_core.workbench import Workbench

_TRAINING_PASSES = 4  # the student forward and backward, and the baseline's forward, at the most
_CHECKPOINT_STEPS = 50
_RECIPE = Recipe()
_OUTPUT = "recovered.safetensors"


@dataclass(frozen=True)
class RecoveryRun:
    """Fine-tune what a schedule leaves, see `toast_core.recovery`. A killed run goes on from its checkpoint, beside the file.

    images       class-balanced subset of the training images; None: all
    recipe       fields of `Recipe`
    test_images  class-balanced subset of the dashboard's images, which baseline and recovered model are measured on in the end; None: all
    """

    kind: ClassVar[str] = "recovery"
    overhead: ClassVar[float] = 1.0
    schedule: Schedule
    images: int | None = None
    recipe: Recipe = field(default=_RECIPE)
    test_images: int | None = 1000

    def __post_init__(self) -> None:
        for images in (self.images, self.test_images):
            check_sizes(images)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        if isinstance(self.recipe, Mapping):
            object.__setattr__(self, "recipe", _recipe(self.recipe))

    @property
    def batch_size(self) -> int:
        """Images of one forward, as other kinds name it."""
        return self.recipe.batch_size

    def title(self) -> str:
        """For example `recover schedule 0123abcd, 10 epochs`."""
        epochs = self.recipe.epochs
        return f"recover schedule {self.schedule.digest()[:8]}, {epochs} epoch{'s' if epochs > 1 else ''}"

    def command(self, setup: Setup) -> str:
        """Two lines: `toast recover` writes the file, `toast evaluate` measures it. The Tune page downloads the schedule."""
        changed = {f.name: getattr(self.recipe, f.name) for f in fields(Recipe) if getattr(self.recipe, f.name) != f.default}
        switches = {name if value else f"no_{name}": True for name, value in changed.items() if isinstance(value, bool)}
        flags = {"images": self.images} | {name: value for name, value in changed.items() if not isinstance(value, bool)} | switches
        training = replace(setup, train=_train(setup))
        written = replace(setup, model=None, weights=_OUTPUT, num_classes=None, img_size=None, images=self.test_images)
        recovered = command_line("recover", training, flags | {"output": _OUTPUT}, self.schedule)
        return f"{recovered}\n{command_line('evaluate', written)}"

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """One cell an epoch that is not trained, then baseline and result on the test images.

        Raises:
            ScheduleError: the schedule has another number of blocks than the model.
            DataError: no training images, test images, or too few.
        """
        self.schedule.check_length(len(workbench.shape.blocks), workbench.shape.name)
        data, recipe = self._data(workbench), self.recipe
        split(data, recipe.validation_share, recipe.batch_size * recipe.accumulate, recipe.seed)
        cells = self._cells(workbench, data, store)
        done, tests, whole = self._is_trained(workbench, store, cells), self._tests(workbench), count_cost(workbench.shape).macs
        stored = recipe.epochs if done else cells.stored_epochs
        epoch = len(data) * _TRAINING_PASSES * whole
        training = 0 if done else (recipe.epochs - stored) * epoch or epoch
        testing = 0 if done and store.has_many([cells.test_key(tests)]) else 2 * len(tests) * whole
        fits = workbench.fitting_macs(self.schedule, self.batch_size) if training else 0
        fitted = workbench.setup.calibration_images if self.schedule.needs_calibration else 0
        return Work(recipe.epochs, stored, len(data), training + testing + fits, fitted)

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Train, write the file, and measure it as another program would load it; steps are training images of all epochs."""
        data, tests = self._data(workbench), self._tests(workbench)
        cells = self._cells(workbench, data, store)
        if not self._is_trained(workbench, store, cells):
            # what is said of a file that is gone must not be said of the next one
            store.remove([cells.test_key(tests)])
            self._train(workbench, store, file_path(workbench.setup, cells.report_key), data, report)
        if not store.has_many([cells.test_key(tests)]):
            recovered = load_model(weights=file_path(workbench.setup, cells.report_key), device=next(workbench.model.parameters()).device)
            cells.put_test(tests, *(evaluate(model, tests).outcomes for model in (workbench.model, recovered)))
        return cells.tested(tests)

    def _train(self, workbench: Workbench, store: EvidenceStore, path: Path, data: ImageData, report: Report) -> None:
        """Go on to the end of training, write the file, and only then forget the checkpoint."""
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        folder = path.with_suffix(".checkpoint")
        alone = World(device=next(workbench.model.parameters()).device)
        recovered, _ = recover_into(
            store, workbench.model, self._start(workbench), data, self.recipe, world=alone,
            checkpoints=Checkpoints(folder, _CHECKPOINT_STEPS), progress=lambda told: report(told.images_done, told.images_total),
        )
        save_model(recovered.model, path)
        shutil.rmtree(folder)

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """Accuracy on the dashboard's images with its interval and paired difference; validation accuracy before and after.

        Where training made it worse, that stands first: the figures are then those of the model before training. What spoke against
        learning from so few images stands last.
        """
        report, test = (store.get(analysis.cell_keys[place]).summary for place in (0, -1))
        (low, high), (worst, best) = test["top1"]["ci95"], test["delta_top1"]["ci95"]
        tested = (
            f"top-1 {test['top1']['value']:.1f} % of {test['images']:,} images (95 %: {low:.1f} to {high:.1f} %), "
            f"{test['delta_top1']['value']:+.1f} points to the baseline ({worst:+.1f} to {best:+.1f})"
        )
        if nothing := nothing_kept(report):
            return f"{nothing}, and the file holds the model as it was before: {tested}; lower the learning rate, or use more images"
        what = "validation_top1" if report["after"]["validation_top1"] is not None else "validation_agreement"
        name = "top-1" if what == "validation_top1" else "agreement with the baseline"
        change, where = f"{report['before'][what]:.1f} -> {report['after'][what]:.1f} %", f"at epoch {report['best_epoch']}"
        kept = f"{tested}; validation {name} {change} of {report['validation_images']:,} images, {where}"
        return "; ".join((kept, *report.get("cautions", ())))  # reports of before have none

    def _data(self, workbench: Workbench) -> ImageData:
        place = _train(workbench.setup)
        data = workbench.training(self.images, self.recipe.seed, self.recipe.labels)
        shared = shared_images(open_source(place, labelled=False), open_source(workbench.setup.data, labelled=False))
        if shared:
            which = data.source.name if shared == len(data.source) else f"{shared:,} of the {len(data.source):,} of {data.source.name}"
            raise DataError(f"{which} are the images that the dashboard measures on; start it with other images, --train FOLDER")
        return data

    def _start(self, workbench: Workbench) -> RecoveryStart:
        setup = workbench.setup
        fitted_on = f"{setup.calibration}, {setup.calibration_images} images" if self.schedule.needs_calibration else ""
        return RecoveryStart(self.schedule, lambda: workbench.plan(self.schedule, self.batch_size), fitted_on)

    def _cells(self, workbench: Workbench, data: ImageData, store: EvidenceStore) -> RecoveryStore:
        return RecoveryStore(store, workbench.model, self._start(workbench), data, self.recipe, processes=1)

    def _tests(self, workbench: Workbench) -> ImageData:
        return load_data(workbench.source or workbench.setup.data, workbench.model, self.test_images, reading=workbench.setup.reading)

    def _is_trained(self, workbench: Workbench, store: EvidenceStore, cells: RecoveryStore) -> bool:
        """Whether the report is stored and the file is there."""
        return bool(store.has_many([cells.report_key])) and Path(file_path(workbench.setup, cells.report_key)).is_file()


def _train(setup: Setup) -> str:
    place = setup.recovery_images
    if place is None:
        raise DataError("recovery needs training images; start the dashboard with --train FOLDER, or with --calibration")
    return place


def _recipe(values: Mapping) -> Recipe:
    known = asdict(_RECIPE)
    if unknown := set(values) - set(known):
        raise JobError(f"unknown field {sorted(map(str, unknown))[0]!r:.80} of a recipe; choose from {', '.join(known)}")
    return Recipe(**values)
