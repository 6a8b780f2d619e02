"""Small tuning problems with made-up curves."""

from dataclasses import replace

import numpy as np

from toast_core.budget.curves import read_curves
from toast_core.budget.options import make_problem
from toast_core.budget.problem import Budget, Place, Problem
from toast_core.cost.latency import BlockTimes, LatencyTable, Line, Sheet
from toast_core.cost.shapes import BlockShape, ModelShape

SITES = ("qk", "vo", "fc2")
RATIOS = (0.2, 0.5, 0.9)


def tiny_shape(blocks: int = 3, head_dim: int = 4, hidden: int = 12) -> ModelShape:
    """A ViT of 5 tokens and width 8, with as many blocks."""
    block = BlockShape(
        tokens=5, attention_tokens=5, keys=5, width=8, heads=2, head_dim=head_dim, hidden=hidden, stage=0, qkv_bias=True, qk_norm=False,
        fc1_bias=True, fixed_params=40,
    )
    return ModelShape("tiny", "vit", (block,) * blocks, 4, 8, 3, 100, 0, 24, 60)


def made_up_rows(shape: ModelShape, seed: int = 0, sites: tuple[str, ...] = SITES, ratios: tuple[float, ...] = RATIOS) -> list[dict]:
    """A sweep's rows: damage grows with the square of the ratio, at a rate of each site's own, with noise."""
    rng = np.random.default_rng(seed)
    rate = {(block, site): rng.lognormal(-2, 1) for block in range(len(shape.blocks)) for site in sites}
    return [
        {"block": block, "site": site, "ratio": ratio, "kl": steep * ratio**2 * rng.uniform(0.8, 1.2)}
        for (block, site), steep in rate.items()
        for ratio in ratios
    ]


def tiny_problem(
    share: float = 0.6, seed: int = 0, unit: str = "macs", sites: tuple[str, ...] = SITES, shape: ModelShape | None = None,
    locks: dict[Place, float] | None = None, ranges: dict[Place, tuple[float, float]] | None = None, **settings: object,
) -> Problem:
    """A problem whose budget is a share of the baseline's cost."""
    shape = shape or tiny_shape()
    curves = read_curves(made_up_rows(shape, seed, sites), shape, settings.get("multiple_of", 1))
    budget = Budget(unit, 0, tiny_table(shape) if unit == "latency_ns" else None)
    return make_problem(shape, curves, replace(budget, limit=int(share * budget.whole(shape))), sites, locks, ranges, **settings)


def thinned(problem: Problem, most: int) -> Problem:
    """The same problem with at most so many options a group, the first and the last among them."""
    groups = []
    for group in problem.groups:
        step = max(1, -(-(len(group.options) - 1) // (most - 1)))
        groups.append(replace(group, options=tuple(dict.fromkeys((*group.options[::step], group.options[-1])))))
    return replace(problem, groups=tuple(groups))


def tiny_table(shape: ModelShape | None = None) -> LatencyTable:
    """A made-up machine: time is the kept share of each part, half as much again where qk and vo differ, a quarter more in a model."""
    shape = shape or tiny_shape()
    block = shape.blocks[0]
    head, hidden, width = block.head_dim, block.hidden, block.width
    counts, units, inputs = tuple(range(1, head + 1)), tuple(range(1, hidden + 1)), tuple(range(1, width))
    times = BlockTimes(
        equal=Line(counts, tuple(kept / head for kept in counts)),
        unequal=Sheet(counts, counts, tuple(tuple(1.5 * (qk + vo) / (2 * head) for vo in counts) for qk in counts)),
        whole=Line(units, tuple(2 * kept / hidden for kept in units)),
        narrow=Sheet(inputs, units, tuple(tuple(0.1 + (kept / width + 1) * unit / hidden for unit in units) for kept in inputs)),
    )
    blocks = len(shape.blocks)
    return LatencyTable(
        shape=shape, batch_size=1, dtype="float32", device="cpu", processor="made up", threads=1, torch="2", rounds=5, outside_ms=0.5,
        baseline_ms=1.25 * (0.5 + 3 * blocks), blocks=(times,), kinds=(0,) * blocks,
    )
