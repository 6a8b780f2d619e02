"""Recovery from start to end: where it begins, its epochs, when it stops, and which weights it returns."""

import hashlib
import html
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData
from toast_core.errors import ModelError, PlanError
from toast_core.loading import unfilled
from toast_core.machine import dtype_name
from toast_core.models.info import check_baseline, get_info
from toast_core.models.weights import weights_digest
from toast_core.preprocessing import OWN
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.plan import Plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.recovery.checkpoint import (
    Checkpoint,
    Checkpoints,
    RunState,
    prepare_folder,
    read_checkpoint,
    resumed,
    write_checkpoint,
)
from toast_core.studies.recovery.images import Split, TrainingImages, epoch_steps, looked_at, split
from toast_core.studies.recovery.processes import World
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.recovery.timm_parts import peak
from toast_core.studies.recovery.trainer import Trainer
from toast_core.studies.tasks.registry import check_classifier

_SHOWN_FILES = 20
_TRAINING_PASSES = 3  # a forward, and two products of the same size behind it


@dataclass(frozen=True)
class RecoveryProgress:
    """How far a recovery is, after an optimizer step.

    images_done, images_total   training images, those of all epochs
    epoch       from 1
    loss        mean training loss of this epoch so far
    validation  the last row of the report's history
    left_s      seconds to the last epoch, at the speed of this epoch
    """

    images_done: int
    images_total: int
    epoch: int
    loss: float
    validation: Mapping[str, object]
    left_s: float


@dataclass(frozen=True)
class Recovered:
    """The model of the epoch with the lowest validation loss, the start included, and the report as plain JSON values."""

    model: nn.Module
    report: dict

    def __repr__(self) -> str:
        """For example `Recovered(demo_vit from compensation, validation top-1 88.10 -> 90.30 % of 819 images, epoch 7 of 10)`."""
        report = self.report
        name = "validation_agreement" if report["after"]["validation_top1"] is None else "validation_top1"
        what = name.replace("_", " ").replace("top1", "top-1")
        change = f"{what} {report['before'][name]:.2f} -> {report['after'][name]:.2f} % of {report['validation_images']} images"
        kept = f"epoch {report['best_epoch']} of {report['epochs']}" if report["best_epoch"] else "nothing kept"
        return f"Recovered({report['model']} from {report['start']}, {change}, {kept})"

    def _repr_html_(self) -> str:
        """For a notebook: the line of `repr`, and a row an epoch."""
        names = ("epoch", "training_loss", "validation_loss", "validation_top1", "validation_agreement")
        heads = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in names)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_shown(row[name])}</td>' for name in names)}</tr>" for row in self.report["history"]
        )
        return f"<p>{html.escape(repr(self))}</p><table><tr>{heads}</tr>{rows}</table>"


def _shown(value: float | None) -> str:
    """A figure of the history; nothing where there is none."""
    return "" if value is None else f"{value:.4g}"


@dataclass(frozen=True)
class RecoveryStart:
    """Where a recovery begins: what a schedule leaves of the baseline.

    planner    makes the schedule's plan; not asked where a checkpoint is there
    fitted_on  names the images that the planner looks at, empty for none: a checkpoint that began from others is refused
    """

    schedule: Schedule
    planner: Callable[[], Plan]
    fitted_on: str = ""


def recover(
    baseline: nn.Module,
    start: RecoveryStart,
    data: ImageData,
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    world: World = World(),  # noqa: B008 - frozen
    checkpoints: Checkpoints = Checkpoints(),  # noqa: B008 - frozen
    progress: Callable[[RecoveryProgress], object] = lambda told: None,
    on_epoch: Callable[[dict, nn.Module], object] = lambda row, model: None,
) -> Recovered:
    """Fine-tune what a schedule leaves of a model, on images of which a part is held out to choose the epoch.

    Nothing in a step depends on the one before but weights and optimizer: order, augmentation and draws follow from the recipe's seed
    and the step. So a run that is killed and started again with its checkpoint folder does the same steps, and several processes do
    together what one does with their batches as one.

    Args:
        baseline: a loaded model, on the world's device; left as it is.
        recipe: a learning rate that it leaves open is settled here, see `Recipe.settled`.
        data: training images, never test images; their order is not used. Those that cannot be read are left out, see `looked_at`.
        progress: is told how far it is after each optimizer step.
        on_epoch: is given each finished epoch's row of the report's history, and the model as validated.

    Raises:
        PlanError: the model is already pruned, or the schedule drops each side of a pair on its own.
        DataError: test images, too few images, more than a quarter that cannot be read, or one that no longer can.
        ModelError: a checkpoint of another run, or a damaged one; a loss that is not finite.
        DeviceError: a precision that the device lacks.
    """
    info, schedule, checkpoint = get_info(baseline), start.schedule, checkpoints.folder
    recipe, cautions = resumed(recipe, checkpoint).settled(len(data), world.size), recipe.cautions(len(data), world.size)
    check_baseline(info, "recover from the baseline model and a schedule")
    check_classifier(info.shape, "recovery learns")
    _check(schedule)
    schedule.check_length(len(info.shape.blocks), info.name)
    step_images = recipe.batch_size * recipe.accumulate * world.size
    data = looked_at(data, world)
    parts = split(data, recipe.validation_share, step_images, recipe.seed)
    found = None
    if checkpoint is not None:
        identity = _identity(baseline, schedule, data, parts, recipe, step_images) | {"calibration": start.fitted_on}
        prepare_folder(checkpoint)
        # checkpoints did not name the transform while it was always the model's own
        found = read_checkpoint(checkpoint, identity, {"transform": identity["transform"]} if info.preprocessing == OWN else {})
        _check_shared(checkpoint, found, world)
    student = unfilled(baseline, schedule, recipe.execution) if found else apply_plan(baseline, start.planner(), recipe.execution)
    trainer = Trainer(student.to(world.device), baseline, recipe, world, len(parts.train) // step_images)
    run = _Run(trainer, data, parts, recipe, world, step_images, found)
    if checkpoint is not None and world.is_first:
        run.save = lambda: write_checkpoint(checkpoint, run.state(identity))
    try:
        run.epochs(checkpoints.steps, progress, on_epoch)
    finally:
        trainer.objective.forget()
    model = unfilled(baseline, schedule, recipe.execution)
    model.load_state_dict(run.best)
    return Recovered(model.eval(), run.report(baseline, schedule) | {"cautions": cautions})


def _check(schedule: Schedule) -> None:
    if schedule.coupling == "uncoupled" and any((*schedule.ratios("qk"), *schedule.ratios("vo"))):
        raise PlanError("coupling uncoupled keeps other dimensions on each side of a pair, and training would fill both; choose coupled")


def _check_shared(folder: Path, found: Checkpoint | None, world: World) -> None:
    """Raise a ModelError unless all processes see the same checkpoint, or none."""
    step = float(found.run_state.step) + 1 if found else 0.0
    if world.sums([step]) != [step * world.size]:
        raise ModelError(f"checkpoint folder {folder} is not the same for all {world.size} processes; use one that every machine shares")


def _identity(
    baseline: nn.Module, schedule: Schedule, data: ImageData, parts: Split, recipe: Recipe, step_images: int
) -> dict[str, object]:
    """What two lives of a run must have in common; how its steps are spread over processes may change."""
    positions = hashlib.sha256(parts.train.astype("<i8").tobytes() + parts.validation.astype("<i8").tobytes()).hexdigest()
    named = {"model": get_info(baseline).name, "schedule": schedule.digest(), "weights": weights_digest(baseline)}
    named |= {"training_data": data.source.digest, "image_positions": positions, "images_of_a_step": step_images}
    named["transform"] = data.transform.description
    return named | {name: value for name, value in asdict(recipe).items() if name != "accumulate"}


def _left_out(data: ImageData) -> dict[str, object]:
    """How many training images could not be read, and the first of them with the reason of each."""
    found = data.left_out or ()
    return {"images": len(found), "files": [{"file": name, "reason": reason} for name, reason in found[:_SHOWN_FILES]]}


class _Run:
    """The epochs of one life of a run."""

    def __init__(
        self, trainer: Trainer, data: ImageData, parts: Split, recipe: Recipe, world: World, step_images: int, found: Checkpoint | None
    ) -> None:
        self.trainer, self.data, self.parts, self.recipe, self.world, self.step_images = trainer, data, parts, recipe, world, step_images
        self.images = TrainingImages(data, recipe.labels, recipe.augment, recipe.seed)
        self.held = ImageData(data.source, data.transform, parts.validation, data.order, data.seed)
        self.steps = len(parts.train) // step_images
        self.run_state, self.best = RunState(), {}
        self.save: Callable[[], object] = lambda: None
        self.began, self.before_s = time.monotonic(), 0.0
        if found:
            trainer.restore(found)
            self.run_state, self.best, self.before_s = found.run_state, dict(found.tensors["best"]), found.run_state.seconds

    def epochs(self, every: int, progress: Callable[[RecoveryProgress], object], on_epoch: Callable[[dict, nn.Module], object]) -> None:
        """Go on from where it is to the last epoch, or to where patience ends."""
        if not self.run_state.history:
            self._finish_epoch(0, on_epoch)
        while self.run_state.step < self.recipe.epochs * self.steps and not self._gave_up():
            epoch = self.run_state.step // self.steps
            self._train(epoch, every, progress)
            self._finish_epoch(epoch + 1, on_epoch)

    def _gave_up(self) -> bool:
        return 0 < self.recipe.patience <= len(self.run_state.history) - 1 - self.run_state.best_epoch

    def _train(self, epoch: int, every: int, progress: Callable[[RecoveryProgress], object]) -> None:
        run_state, recipe, world = self.run_state, self.recipe, self.world
        order = epoch_steps(self.parts.train, self.step_images, recipe.seed, epoch)[run_state.step - epoch * self.steps :]
        # batch c of a step belongs to process c % size, at its turn c // size
        mine = order.reshape(len(order), recipe.accumulate, world.size, recipe.batch_size)[:, :, world.rank]
        batches = self.images.batches(list(mine.reshape(-1, recipe.batch_size)), epoch)
        first, began = run_state.step, time.monotonic()
        loss = 0.0  # of this process since the last sum over all
        for number in range(len(order)):
            loss += self._finite(self.trainer.step(run_state.step, batches))
            run_state.step += 1
            run_state.images_seen += self.step_images
            ends = number == len(order) - 1
            if ends or run_state.step % every == 0:
                (loss,) = world.sums([loss])
                run_state.loss_sum += loss
                if not ends:  # an epoch's end is saved with its validation
                    self._save()
                loss = 0.0
            shown = (run_state.loss_sum + loss * world.size) / run_state.images_seen
            left = (recipe.epochs * self.steps - run_state.step) * (time.monotonic() - began) / (run_state.step - first)
            total = recipe.epochs * self.steps * self.step_images
            progress(RecoveryProgress(run_state.step * self.step_images, total, epoch + 1, shown, run_state.history[-1], left))

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            rate = peak(self.recipe)
            raise ModelError(f"the loss is {loss} after {self.run_state.step} steps; lower --lr, now {rate:g}, and begin again")
        return loss

    def _finish_epoch(self, epoch: int, on_epoch: Callable[[dict, nn.Module], object]) -> None:
        run_state, seen = self.run_state, self.trainer.validate(self.held)
        self._finite(seen.loss)
        row = {
            "epoch": epoch, "images": run_state.step * self.step_images,
            "training_loss": run_state.loss_sum / run_state.images_seen if epoch else None,
            "validation_loss": seen.loss, "validation_top1": seen.top1, "validation_agreement": seen.agreement,
            "validation_images": len(self.held),
        }
        run_state.history.append(row)
        run_state.loss_sum, run_state.images_seen = 0.0, 0
        if not epoch or seen.loss < run_state.history[run_state.best_epoch]["validation_loss"]:
            run_state.best_epoch = epoch
            self.best = {name: value.detach().cpu().clone() for name, value in self.trainer.result.state_dict().items()}
        self._save()
        on_epoch(row, self.trainer.result)

    def _save(self) -> None:
        self.run_state.seconds = self.before_s + time.monotonic() - self.began
        self.save()

    def state(self, identity: dict[str, object]) -> Checkpoint:
        """What a checkpoint holds of this life."""
        tensors, numbers = self.trainer.state()
        return Checkpoint(identity, self.run_state, tensors | {"best": self.best}, numbers, self.trainer.scaler.state_dict())

    def report(self, baseline: nn.Module, schedule: Schedule) -> dict:
        """Plain JSON values; figures are of validation images, in percent, and MACs are those of matrix products."""
        info, run_state, recipe = get_info(baseline), self.run_state, self.recipe
        whole, pruned = count_cost(info.shape).macs, count_cost(info.shape, schedule).macs
        own = pruned if recipe.execution == "compact" else whole
        image_macs = _TRAINING_PASSES * own + (whole if self.trainer.objective.needs_goal else 0)
        seen = run_state.step * self.step_images
        return {
            "model": info.name, "weights": info.weights, "schedule_digest": schedule.digest(), "selection": schedule.selection,
            "start": "selection" if schedule.compensation.is_none else "compensation",
            "training_data": self.data.source.name, "training_images": len(self.parts.train),
            "validation_images": len(self.parts.validation), "recipe": asdict(recipe), "processes": self.world.size,
            "images_of_a_step": self.step_images, "device": str(self.world.device),
            "precision": dtype_name(self.trainer.precision), "macs": pruned, "baseline_macs": whole,
            "epochs": len(run_state.history) - 1, "best_epoch": run_state.best_epoch, "kept": run_state.best_epoch > 0,
            "stopped_early": run_state.step < recipe.epochs * self.steps,
            "history": run_state.history, "before": run_state.history[0], "after": run_state.history[run_state.best_epoch],
            "cost": {"images": seen, "macs_an_image": image_macs, "macs": seen * image_macs, "seconds": run_state.seconds},
            "threads": torch.get_num_threads(), "seed": recipe.seed, "left_out": _left_out(self.data),
        }
