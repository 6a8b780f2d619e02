"""One student in training: an optimizer step, a look at the validation images, and its state as a checkpoint holds it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from toast_core.data.load import ImageData
from toast_core.errors import DeviceError, ModelError
from toast_core.models.info import get_info
from toast_core.studies.recovery.checkpoint import Checkpoint
from toast_core.studies.recovery.objective import Objective
from toast_core.studies.recovery.processes import World
from toast_core.studies.recovery.randomness import drawn_from, seed_of
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.recovery.timm_parts import make_average, make_mixing, make_optimizer, make_scheduler

_STEP = 4  # what a seed is for, see `images`
_GROUP = "group"


@dataclass(frozen=True)
class Validation:
    """The loss on validation images, accuracy in percent (None without labels), and percent on which the baseline's answer is kept."""

    loss: float
    top1: float | None
    agreement: float


class Trainer:
    """A pruned model and all that changes with it. `student` is trained in place."""

    def __init__(self, student: nn.Module, baseline: nn.Module, recipe: Recipe, world: World, epoch_steps: int) -> None:
        """
        Raises:
            DataError: an optimizer that timm does not have.
            DeviceError: a precision that the device does not have.
        """
        self.student, self.recipe, self.world = student.train(), recipe, world
        self.objective = Objective(recipe, baseline)
        self.mixing = make_mixing(recipe, get_info(baseline).shape.num_classes)
        self.precision = precision_for(recipe.precision, world.device)
        devices = [world.device] if world.device.type == "cuda" else None
        # every process starts from the first one's weights, which DistributedDataParallel hands round
        options: dict[str, Any] = {
            "device_ids": devices, "broadcast_buffers": False, "find_unused_parameters": not (recipe.distill or recipe.labels),
        }
        self.runner = DistributedDataParallel(student, **options) if world.size > 1 else student
        self.average = make_average(student, recipe)
        for watched in {student, self.result}:
            self.objective.watch(watched)
        self.optimizer = make_optimizer(student, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, epoch_steps)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.precision == torch.float16)
        self.scheduler.step_update(0)

    @property
    def result(self) -> nn.Module:
        """The model that is validated and returned: the averaged one where there is one."""
        return self.student if self.average is None else self.average.module

    def step(self, step: int, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> float:
        """Do optimizer step `step` (from 0) on this process's next `accumulate` batches; their summed loss, an image counted once."""
        recipe, world, total = self.recipe, self.world, 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for turn in range(recipe.accumulate):
            images, labels = next(batches)
            last = turn == recipe.accumulate - 1
            waits = contextlib.nullcontext() if last or world.size == 1 else self.runner.no_sync()
            with drawn_from(seed_of(recipe.seed, _STEP, step, turn * world.size + world.rank), world.device), waits:
                loss = self._loss(images.to(world.device), labels.to(world.device))
                self.scaler.scale(loss / recipe.accumulate).backward()
            total += loss.item() * len(images)
        if recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.student.parameters(), recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step_update(step + 1)
        if self.average is not None:
            self.average.update(self.student, step=step)
        return total

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.mixing is not None:
            images, labels = self.mixing(images, labels)
        with self._autocast():
            goal = self.objective.goal(images) if self.objective.needs_goal else None
            return self.objective.loss(self.runner(images), labels, goal)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.world.device.type, self.precision, enabled=self.precision != torch.float32)

    def validate(self, data: ImageData) -> Validation:
        """Look at validation images, every process at its share of them; all processes get the same answer."""
        world, sums = self.world, np.zeros(4)
        share = ImageData(data.source, data.transform, data.index[world.rank :: world.size], data.order, data.seed)
        model, objective = self.result, self.objective
        model.eval()
        with torch.no_grad(), self._autocast():
            for batch in share.batches(self.recipe.batch_size):
                images = batch.images.to(world.device)
                labels = (batch.labels if self.recipe.labels else torch.zeros_like(batch.labels)).to(world.device)
                goal, logits = objective.goal(images), model(images)
                count, answers = len(images), logits.argmax(1)
                hits = [int((answers == right).sum()) for right in (labels, goal.argmax(1))]
                sums += [count, float(objective.loss(logits, labels, goal)) * count, *hits]
        self.student.train()
        count, loss, right, same = world.sums(sums.tolist())
        top1 = 100 * right / count if self.recipe.labels else None
        return Validation(loss / count, top1, 100 * same / count)

    def state(self) -> tuple[dict[str, Mapping[str, torch.Tensor]], dict[str, dict[str, object]]]:
        """Tensors by part and name, and the optimizer's plain values: by a parameter's index, and by `group` and a group's."""
        tensors: dict[str, Mapping[str, torch.Tensor]] = {"model": self.student.state_dict(), "optimizer": {}}
        if self.average is not None:
            tensors["average"] = self.average.module.state_dict()
        plain = {str(index): found for index, found in self.optimizer.state_dict()["state"].items()}
        # some optimizers count their steps in a group; its parameters and settings are those of the recipe
        plain |= {f"{_GROUP}{index}": group for index, group in enumerate(self.optimizer.param_groups)}
        numbers: dict[str, dict[str, object]] = {key: {} for key in plain}
        for key, found in plain.items():
            for name, value in found.items():
                if isinstance(value, torch.Tensor):
                    tensors["optimizer"][f"{key}.{name}"] = value
                elif isinstance(value, int | float):
                    numbers[key][name] = value
        return tensors, numbers

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the state of a checkpoint of the same run; the learning rate and all draws follow from its step.

        Raises:
            ModelError: it does not hold this model's tensors.
        """
        plain = {key: dict(found) for key, found in checkpoint.numbers.items()}
        for key, value in checkpoint.tensors.get("optimizer", {}).items():
            owner, _, name = key.partition(".")
            plain[owner][name] = value
        state = {int(key): found for key, found in plain.items() if not key.startswith(_GROUP)}
        try:
            self.student.load_state_dict(checkpoint.tensors["model"])
            if self.average is not None:
                self.average.module.load_state_dict(checkpoint.tensors["average"])
            groups = self.optimizer.state_dict()["param_groups"]
            groups = [group | plain[f"{_GROUP}{index}"] for index, group in enumerate(groups)]
            self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ModelError(f"the checkpoint does not hold this model ({reason}); delete it to begin again") from error
        if checkpoint.scaler:
            self.scaler.load_state_dict(dict(checkpoint.scaler))
        self.scheduler.step_update(checkpoint.run_state.step)


def precision_for(asked: str, device: torch.device) -> torch.dtype:
    """The dtype of forwards under autocast.

    Raises:
        DeviceError: the device does not compute in it.
    """
    on_gpu = device.type == "cuda"
    if asked == "auto":
        return (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16) if on_gpu else torch.float32
    if asked == "float16" and not on_gpu:
        raise DeviceError(f"precision float16 is for GPUs, and the device is {device.type}; use bfloat16 or float32")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[asked]
