"""Sketches: what a cell moves is the first-order change of the output, and half its mean square is the damage of small changes."""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support.backbones import grey_backbone, patterns
from tests.support.families import REPRESENTATIVE, images_for, shared_model, shared_statistics
from tests.support.tiers import over
from toast_core.data.load import Batch
from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import SELECTIONS
from toast_core.studies.sensitivity.cells import SITE_GROUPS, Cell, grid
from toast_core.studies.sketch.measure import MOST_RUNS, Sketcher, between, supports
from toast_core.studies.tasks.directions import signed_directions, turning_directions
from toast_core.studies.tasks.registry import task_of

FAMILIES = ("plain", "everything", "siglip", "swin_padded_windows", "eva02", "dinov3", "distilled")


def batch_of(images: torch.Tensor) -> Batch:
    """Labels are never looked at."""
    return Batch(images, torch.zeros(len(images), dtype=torch.int64), np.arange(len(images)))


def plan_of(model: torch.nn.Module, statistics: object, settings: dict, cell: Cell) -> Plan:
    """As a sweep makes it."""
    return make_plan(model, cell.schedule(len(adapter_for(model).blocks(model)), **settings), statistics)


def by_derivative(sketcher: Sketcher, images: torch.Tensor, cell: Cell) -> torch.Tensor:
    """The oracle: the output's derivative along the cell's whole change of the residual stream, times the directions, (K, B).

    The stream is changed where the cell's half of the block ends: behind attention for qk and vo, behind the block for fc1 and fc2.
    """
    suffix, model, task = sketcher.suffix, sketcher.model, sketcher.suffix.task
    layout, plan, block = suffix.adapter.layout(model, cell.block), sketcher.plan_of(cell), suffix.blocks[cell.block]
    pruned, whole = (
        prune_block(block, layout, own, plan, suffix.adapter, "masked") for own in (plan.blocks[cell.block], BlockPlan())
    )
    with torch.no_grad():
        x = suffix.start(images)
        for index in range(cell.block):
            x = suffix.enter(index + 1, suffix.blocks[index](x))
        in_attention = "fc" not in cell.site
        before, after = (one.attend(x)[0] if in_attention else one(x) for one in (whole, pruned))

    def scores(at: torch.Tensor) -> torch.Tensor:
        if in_attention:
            stream, hidden = whole.expand(at, None)
            at = whole.contract(stream, hidden, None).reshape(x.shape)
        y = suffix.enter(cell.block + 1, at)
        for index in range(cell.block + 1, len(suffix.blocks)):
            y = suffix.enter(index + 1, suffix.blocks[index](y))
        return task.scores(task.head(suffix.adapter, model, y))

    step = 1e-4
    with torch.no_grad():
        moved = (scores(before + step * (after - before)) - scores(before - step * (after - before))) / (2 * step)
        output = task.head(suffix.adapter, model, last_of(sketcher, images))
        draws = [np.random.default_rng([sketcher.seed, position]) for position in range(len(images))]
        return torch.einsum("kbc,bc->kb", task.directions(output, draws, sketcher.draws), moved)


def last_of(sketcher: Sketcher, images: torch.Tensor) -> torch.Tensor:
    """The last block's output."""
    suffix = sketcher.suffix
    x = suffix.start(images)
    for index, block in enumerate(suffix.blocks):
        x = suffix.enter(index + 1, block(x))
    return x


@pytest.mark.parametrize("selection", SELECTIONS)
@over("name", FAMILIES, REPRESENTATIVE)
def test_a_cell_moves_the_output_by_its_derivative(name: str, selection: str) -> None:
    model, images = copy.deepcopy(shared_model(name)).double(), images_for(name, 3).double()
    settings = {"selection": selection, "token_fraction": 0.5}
    cells = grid(len(adapter_for(model).blocks(model)), tuple(SITE_GROUPS), (0.3, 0.6))
    sketcher = Sketcher(model, cells, partial(plan_of, model, shared_statistics(name), settings), 3)
    found = sketcher.sketch(batch_of(images))
    for number, cell in enumerate(cells):
        expected = by_derivative(sketcher, images, cell).numpy()
        assert np.abs(found[number] - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-3), cell


def test_sides_that_keep_different_dimensions_both_count() -> None:
    model, images = copy.deepcopy(shared_model("plain")).double(), images_for("plain", 3).double()
    cells = grid(3, ("vo", "qk+vo"), (0.5,))
    sketcher = Sketcher(model, cells, partial(plan_of, model, None, {"selection": "per_image", "coupling": "uncoupled"}), 2)
    assert not sketcher.plan_of(cells[0]).blocks[0].vo.is_coupled
    found = sketcher.sketch(batch_of(images))
    for number, cell in enumerate(cells):
        assert np.allclose(found[number], by_derivative(sketcher, images, cell).numpy(), atol=1e-4)


@pytest.mark.parametrize("selection", ["calibrated", "per_image"])
def test_an_image_is_sketched_alike_in_any_batch(selection: str) -> None:
    model, images = shared_model("plain"), images_for("plain", 4)
    cells = grid(3, ("qk", "vo", "fc1", "fc2"), (0.5,))
    planner = partial(plan_of, model, shared_statistics("plain"), {"selection": selection})
    whole = Sketcher(model, cells, planner, 2).sketch(batch_of(images))
    second = Sketcher(model, cells, planner, 2).sketch(Batch(images[2:], torch.zeros(2), np.array([2, 3])))
    assert np.allclose(whole[:, :, 2:], second, atol=1e-5)
    other = Sketcher(model, cells, planner, 2, seed=1).sketch(batch_of(images))
    assert not np.allclose(whole, other, atol=1e-3)


def test_gradients_never_touch_weights() -> None:
    model, images = shared_model("swin"), images_for("swin", 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Sketcher(model, grid(4, ("fc2",), (0.5,)), partial(plan_of, model, shared_statistics("swin"), {}), 2).sketch(batch_of(images))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_backbones_features_are_sketched_too() -> None:
    model = copy.deepcopy(grey_backbone("vit")).double()
    assert task_of(get_info(model).shape).name == "features"
    batch = next(iter(patterns(model, 4).batches(4)))
    cells = grid(3, ("vo", "fc2"), (0.3, 0.6))
    sketcher = Sketcher(model, cells, partial(plan_of, model, None, {"selection": "per_image"}), 3)
    images = batch.images.double()
    found = sketcher.sketch(batch_of(images))
    for number, cell in enumerate(cells):
        assert np.allclose(found[number], by_derivative(sketcher, images, cell).numpy(), atol=1e-4), cell


class TestDirections:
    """Half the mean squared change along them is the damage, to second order."""

    @pytest.mark.parametrize(("drawn", "damage"), [
        (signed_directions, lambda one, other: F.kl_div(other.log_softmax(1), one.softmax(1), reduction="none").sum(1)),
        (turning_directions, lambda one, other: 1 - F.cosine_similarity(one, other)),
    ], ids=["divergence of classes", "cosine distance of features"])
    def test_give_the_damage_of_a_small_change(self, drawn: Callable, damage: Callable) -> None:
        generator = torch.Generator().manual_seed(0)
        output, step = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
        draws = [np.random.default_rng([0, image]) for image in range(3)]
        found = 0.5 * torch.einsum("kbc,bc->kb", drawn(output, draws, 40_000), 0.01 * step).square().mean(0)
        assert torch.allclose(found, damage(output, output + 0.01 * step), rtol=0.05)

    def test_a_sure_answer_bends_nothing(self) -> None:
        logits = torch.tensor([[0.0, 200.0, 0.0]])
        assert signed_directions(logits, [np.random.default_rng(0)], 5).abs().max() < 1e-6


class TestRuns:
    """Which cells are run, and what lies between."""

    def test_few_ratios_are_all_run_and_linear_sites_always(self) -> None:
        few, many = grid(1, ("qk", "vo"), (0.1, 0.5)), grid(1, ("qk", "vo"))
        assert supports(few) == few
        ratios = [cell.ratio for cell in supports(many) if cell.site == "qk"]
        assert ratios == [0.1, 0.3, 0.5, 0.7, 0.9] and len(ratios) == MOST_RUNS
        assert len([cell for cell in supports(many) if cell.site == "vo"]) == 9

    def test_others_lie_on_the_line_between(self) -> None:
        moved = {Cell(0, "qk", 0.1): torch.zeros(2, 1), Cell(0, "qk", 0.3): torch.full((2, 1), 4.0), Cell(0, "vo", 0.2): torch.ones(2, 1)}
        assert torch.allclose(between(Cell(0, "qk", 0.2), moved), torch.full((2, 1), 2.0))
