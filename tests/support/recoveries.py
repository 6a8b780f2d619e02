"""Small recoveries of a tiny grey model."""

from functools import cache

import torch

from tests.support.greys import grey_data, grey_model
from toast_core.data.load import ImageData
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import collect_statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.recovery.checkpoint import Checkpoints
from toast_core.studies.recovery.loop import Recovered, RecoveryStart, recover
from toast_core.studies.recovery.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=4, lr=3e-3, ema=0.9)  # 40 images: 36 to train on, 9 steps an epoch
BLOCKS = {"vit": 3, "swin": 4}


def schedule_for(kind: str = "vit", selection: str = "calibrated", **settings: object) -> Schedule:
    """Every site of every block pruned."""
    return Schedule.uniform(BLOCKS[kind], qk=0.5, vo=0.4, fc1=0.2, fc2=0.5, selection=selection, token_fraction=0.5, **settings)


def plan_of(kind: str, schedule: Schedule) -> Plan:
    """Its plan, from ten calibration images where it needs them."""
    model = grey_model(kind)
    images = [batch.images for batch in grey_data(model, 10, seed=5).batches(5)]
    return make_plan(model, schedule, collect_statistics(model, images) if schedule.needs_calibration else None)


def recovered(
    recipe: Recipe = RECIPE, kind: str = "vit", schedule: Schedule | None = None, data: ImageData | None = None,
    checkpoints: Checkpoints = Checkpoints(),  # noqa: B008 - frozen
    **settings: object,
) -> Recovered:
    """One recovery."""
    model, schedule = grey_model(kind), schedule or schedule_for(kind)
    data = data or grey_data(model, 40)
    return recover(model, RecoveryStart(schedule, lambda: plan_of(kind, schedule)), data, recipe, checkpoints=checkpoints, **settings)


@cache
def undisturbed(recipe: Recipe = RECIPE) -> Recovered:
    """The recovery by this recipe from beginning to end, made once: never change its model."""
    return recovered(recipe)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Bit for bit, indices included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
