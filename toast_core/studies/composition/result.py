"""Whether a schedule's accuracy depends on which images share a batch: the conditions and what each measured. Free of torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from toast_core.studies.evaluation.result import Outcomes

BATCH_SIZES = (1, 8, 64, 256)
Kept = dict[tuple[int, str], np.ndarray]


@dataclass(frozen=True)
class Condition:
    """One way to feed the same images to the same schedule.

    order       shuffled or sorted (by class)
    batch_size  images that are asked for in a batch; the last batch, or the only one, may hold fewer
    seed        of the shuffle
    token_seed  of the token sample that dynamic selection scores: the schedule's seed
    """

    order: str
    batch_size: int
    seed: int
    token_seed: int


def conditions(seed: int, token_seed: int) -> tuple[Condition, ...]:
    """Every condition, each once: deployment, the published way of evaluating, then the rest.

    Deployment answers one request at a time, in any order. The published evaluation walks the classes in large batches. The rest
    are both orders, shuffled by two seeds, at every batch size; and deployment and the published way with another token sample.
    """
    deployment, published = Condition("shuffled", 1, seed, token_seed), Condition("sorted", BATCH_SIZES[-1], seed, token_seed)
    orders = (("sorted", seed), ("shuffled", seed), ("shuffled", _next(seed)))
    grid = (Condition(order, size, order_seed, token_seed) for order, order_seed in orders for size in BATCH_SIZES)
    other = (Condition(one.order, one.batch_size, one.seed, _next(token_seed)) for one in (deployment, published))
    return tuple(dict.fromkeys((deployment, published, *grid, *other)))


def _next(seed: int) -> int:
    return (seed + 1) % 2**63


@dataclass(frozen=True, eq=False)
class Measured:
    """One condition: per-image outcomes in evaluation order, and in the same order what each image's channels were.

    kept  by (block, site) of the pruned feed-forward sites, one bit a channel: (images, ceil(width / 8)) uint8
    """

    outcomes: Outcomes
    kept: Kept


@dataclass(frozen=True)
class CompositionRow:
    """What one condition measured, and how it compares with deployment on the same images.

    model, selection           what was pruned, and how its feed-forward channels are chosen
    schedule                   digest of the schedule in deployment, with its own token sample
    dtype                      of the computation
    deployment                 whether this is the condition that the others are compared with
    order ... token_seed       see Condition
    images                     how many were read
    top1, ci95                 accuracy in percent with its Wilson interval
    top1_delta, delta_ci95     that minus deployment's, in points, with the paired interval (see intervals.paired_interval)
    agreement                  percent of the images that are given the same class as in deployment
    jaccard_fc1, jaccard_fc2   kept channels in common with deployment's choice for the same image, over those that either keeps, mean
                               over images and pruned blocks; two random choices of a fraction f have about f / (2 - f) in common;
                               None where no block prunes that site
    """

    model: str
    selection: str
    schedule: str
    dtype: str
    deployment: bool
    order: str
    batch_size: int
    seed: int
    token_seed: int
    images: int
    top1: float
    ci95: tuple[float, float]
    top1_delta: float
    delta_ci95: tuple[float, float]
    agreement: float
    jaccard_fc1: float | None
    jaccard_fc2: float | None

    @property
    def condition(self) -> Condition:
        """The condition that was measured."""
        return Condition(self.order, self.batch_size, self.seed, self.token_seed)

    @property
    def is_off(self) -> bool:
        """Whether top-1 differs from deployment's by more than chance: the paired interval excludes 0."""
        low, high = self.delta_ci95
        return not low <= 0 <= high

    @property
    def words(self) -> str:
        """Order and batch size in words, such as "in class order with batches of 256"."""
        size = min(self.batch_size, self.images)
        order = "in class order" if self.order == "sorted" else "shuffled"
        return f"{order} on single images" if size == 1 else f"{order} with batches of {size}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "ci95": list(self.ci95), "delta_ci95": list(self.delta_ci95)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CompositionRow":
        """Read `to_dict`'s values back, from JSON too.

        Raises:
            KeyError: a field is missing.
        """
        row = {field.name: values[field.name] for field in fields(cls)}
        return cls(**row | {"ci95": tuple(row["ci95"]), "delta_ci95": tuple(row["delta_ci95"])})
