"""timm's parts of training, set up by a recipe: optimizer, learning rate, averaged weights, mixing of images."""

import torch
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn

from toast_core.errors import DataError
from toast_core.files import first_line
from toast_core.studies.recovery.recipe import Recipe

_LOWEST_SHARE = 0.01  # of the peak learning rate, at both ends


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return timm's optimizer of that name; biases and norms are not decayed.

    Raises:
        DataError: timm has none of that name, or it needs more than a recipe says.
    """
    try:
        return create_optimizer_v2(model, opt=recipe.optimizer, lr=peak(recipe), weight_decay=recipe.weight_decay)
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        reason = first_line(error, 120)
        raise DataError(f"optimizer {recipe.optimizer!r} cannot be used ({reason}); write one that timm has, for example adamw") from error


def peak(recipe: Recipe) -> float:
    """The peak learning rate of a recipe that was settled."""
    if recipe.lr is None:
        raise ValueError("the recipe's learning rate is not settled; see Recipe.settled")
    return recipe.lr


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch_steps: int) -> Scheduler:
    """Return a warm-up and a cosine over the optimizer's steps; its value follows from the number of steps done alone."""
    steps, lowest = recipe.epochs * epoch_steps, peak(recipe) * _LOWEST_SHARE
    # a cosine over one step is none, of which timm warns; that step's rate is the same over two
    warmup = min(round(recipe.warmup_epochs * epoch_steps), steps - 1)
    return CosineLRScheduler(
        optimizer, t_initial=max(steps, 2), lr_min=lowest, warmup_t=warmup, warmup_lr_init=lowest, t_in_epochs=False, cycle_limit=1
    )


def make_average(model: nn.Module, recipe: Recipe) -> ModelEmaV3 | None:
    """Return the averaged weights, which start as the model's and follow quickly at first; None where none are wanted."""
    return ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None


def make_mixing(recipe: Recipe, classes: int) -> Mixup | None:
    """Return what mixes the images of a batch and their labels; None where nothing is mixed. It draws from the ambient generators."""
    if not (recipe.mixup or recipe.cutmix):
        return None
    smoothing = recipe.smoothing if recipe.labels else 0.0
    return Mixup(recipe.mixup, recipe.cutmix, label_smoothing=smoothing, num_classes=classes)
