"""Recovery as a job: the compact model fine-tuned on training images, in a file, every epoch's figures in the store."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.data.load import ImageData, load_data
from toast_core.data.sources import open_source
from toast_core.errors import DataError, JobError
from toast_core.jobs.apply import file_path
from toast_core.jobs.basis import Basis, Ground
from toast_core.jobs.run import Report, Work, as_schedule, check_sizes, command_line
from toast_core.pruning.saved import save_model
from toast_core.recipe import Recipe
from toast_core.recover import KeptRecovery, recover_kept
from toast_core.recovery.images import split
from toast_core.recovery.processes import World
from toast_core.schedule.cost import count_cost
from toast_core.schedule.schedule import Schedule

_TRAINING_PASSES = 4  # the student forward and backward, and the baseline's forward, at the most
_CHECKPOINT_STEPS = 50
_RECIPE = Recipe()
_FLAGS = {"distill": "--no-distill", "labels": "--no-labels", "augment": "--no-augment"}  # fields that are on unless said otherwise


@dataclass(frozen=True)
class RecoveryRun:
    """Fine-tune what a schedule leaves, see `toast_core.recovery`. A killed run goes on from its checkpoint, beside the file.

    images  class-balanced subset of the training images; None: all
    recipe  fields of `Recipe`
    """

    kind: ClassVar[str] = "recovery"
    schedule: Schedule
    images: int | None = None
    recipe: Recipe = field(default=_RECIPE)

    def __post_init__(self) -> None:
        check_sizes(self.images)
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

    def command(self, basis: Basis) -> str:
        """A `toast recover` line; the schedule is the file that the Tune page downloads."""
        flags = {name: value for name, value in basis.options().items() if name != "data"}
        flags |= {"schedule": "schedule.json", "train": _train(basis), "images": self.images}
        flags |= basis.calibration_options() if self.schedule.needs_calibration else {}
        changed = {f.name: getattr(self.recipe, f.name) for f in fields(Recipe) if getattr(self.recipe, f.name) != f.default}
        flags |= {name.replace("_", "-"): value for name, value in changed.items() if not isinstance(value, bool)}
        words = [_FLAGS.get(name, "--distill-blocks") for name, value in changed.items() if isinstance(value, bool)]
        flags |= {"store": basis.store, "output": "recovered.safetensors"}
        return " ".join([command_line("recover", flags), *words])

    def work(self, ground: Ground, store: EvidenceStore) -> Work:
        """One cell an epoch.

        Raises:
            ScheduleError: the schedule has another number of blocks than the model.
            DataError: no training images, test images, or too few.
        """
        self.schedule.check_length(len(ground.shape.blocks), ground.shape.name)
        data, recipe = self._data(ground), self.recipe
        split(data, recipe.validation_share, recipe.batch_size * recipe.accumulate, recipe.seed)
        kept = self._kept(ground, data, store)
        done = self._is_done(ground, store, kept)
        stored = recipe.epochs if done else kept.stored_epochs
        epoch = len(data) * _TRAINING_PASSES * count_cost(ground.shape).macs
        fitted = ground.basis.calibration_images if self.schedule.needs_calibration else 0
        return Work(recipe.epochs, stored, len(data), 0 if done else (recipe.epochs - stored) * epoch or epoch, fitted)

    def measure(self, ground: Ground, store: EvidenceStore, report: Report) -> Analysis:
        """Steps are training images of all epochs."""
        data = self._data(ground)
        kept = self._kept(ground, data, store)
        path = file_path(ground.basis, kept.report_key)
        if self._is_done(ground, store, kept):
            return kept.stored()
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        folder = path.with_suffix(".checkpoint")
        recovered, analysis = recover_kept(
            store, ground.model, self.schedule, lambda: ground.plan(self.schedule, self.batch_size), data, self.recipe,
            World(device=next(ground.model.parameters()).device), self._fitted_on(ground), checkpoint=folder,
            checkpoint_steps=_CHECKPOINT_STEPS, progress=lambda told: report(told.images_done, told.images_total),
        )
        save_model(recovered.model, path)
        shutil.rmtree(folder)
        return analysis

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """Validation accuracy before and after."""
        report = store.get(analysis.cell_keys[0]).summary
        what = "validation_top1" if report["after"]["validation_top1"] is not None else "validation_agreement"
        name = "top-1" if what == "validation_top1" else "agreement with the baseline"
        change, where = f"{report['before'][what]:.1f} -> {report['after'][what]:.1f} %", f"at epoch {report['best_epoch']}"
        return f"validation {name} {change} of {report['validation_images']:,} images, {where}"

    def _data(self, ground: Ground) -> ImageData:
        data = load_data(_train(ground.basis), ground.model, self.images, seed=self.recipe.seed, labelled=self.recipe.labels)
        if data.source.digest == open_source(ground.basis.data).digest:
            raise DataError(f"{data.source.name} are the images that the dashboard measures on; start it with other images, --train FOLDER")
        return data

    def _fitted_on(self, ground: Ground) -> str:
        basis = ground.basis
        return f"{basis.calibration}, {basis.calibration_images} images" if self.schedule.needs_calibration else ""

    def _kept(self, ground: Ground, data: ImageData, store: EvidenceStore) -> KeptRecovery:
        return KeptRecovery(store, ground.model, self.schedule, data, self.recipe, self._fitted_on(ground), 1)

    def _is_done(self, ground: Ground, store: EvidenceStore, kept: KeptRecovery) -> bool:
        """Whether the report is stored and the file is there."""
        return bool(store.has_many([kept.report_key])) and Path(file_path(ground.basis, kept.report_key)).is_file()


def _train(basis: Basis) -> str:
    place = basis.train or basis.calibration
    if place is None:
        raise DataError("recovery needs training images; start the dashboard with --train FOLDER, or with --calibration")
    return place


def _recipe(values: Mapping) -> Recipe:
    known = asdict(_RECIPE)
    if unknown := set(values) - set(known):
        raise JobError(f"unknown field {sorted(map(str, unknown))[0]!r:.80} of a recipe; choose from {', '.join(known)}")
    return Recipe(**values)
