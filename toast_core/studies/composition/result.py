"""Whether a schedule's accuracy depends on which images share a batch: the conditions, a condition's row, the verdict. Free of torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from toast_core.intervals import wilson_percent

BATCH_SIZES = (1, 8, 64, 256)
# what rounding leaves alike, see `judge`: predictions in percent of the images, and the overlap of kept channels
ROUNDING_AGREEMENT = {"float32": 99.9, "float16": 99.0, "bfloat16": 98.0}
ROUNDING_JACCARD = 0.99


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
    top1_delta, delta_ci95     that minus deployment's, in points, with the paired interval (see analysis.cells.paired_interval)
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

    def to_dict(self) -> dict:
        """Plain JSON values."""
        return {**asdict(self), "ci95": list(self.ci95), "delta_ci95": list(self.delta_ci95)}

    @classmethod
    def from_dict(cls, values: Mapping) -> "CompositionRow":
        """Read `to_dict`'s values back, from JSON too.

        Raises:
            KeyError: a field is missing.
        """
        row = {field.name: values[field.name] for field in fields(cls)}
        return cls(**row | {"ci95": tuple(row["ci95"]), "delta_ci95": tuple(row["delta_ci95"])})


@dataclass(frozen=True)
class Verdict:
    """Whether a schedule is safe to deploy as evaluated, None while conditions are missing, and why, in plain words."""

    safe: bool | None
    sentence: str


def judge(rows: Sequence[CompositionRow]) -> Verdict:
    """Decide from one analysis' rows whether order and batch size matter.

    Unsafe when, under any condition with deployment's own token sample, the paired interval of top-1 against deployment excludes
    0, or fewer predictions agree with deployment than rounding explains. Otherwise safe once every condition is there.

    Rounding: another batch size may take other matrix kernels, whose sums differ in the last digits. That flips a prediction only
    where two classes were that close, or where two channels at the limit of what is kept were. In float32 that is far rarer than
    one image in a thousand: 99.9 % must agree. In half precision 99 % (float16) and 98 % (bfloat16) must: a coarser change, running
    the demo models in that dtype instead of float32, flipped at most 0.5 and 0.8 % of 1,000 predictions.

    Where the channels kept do change with the batch, alike predictions prove little on few images: the lower end of the Wilson
    interval of the agreement must then come within a point of those limits (346 images in float32), else it is not decided.

    Another token sample is another plan: it is drawn when the plan is made and stays in the deployed model. It is told, not judged.
    """
    deployment = next((row for row in rows if row.deployment), None)
    if deployment is None:
        return Verdict(None, "Not decided yet: single images are not measured; run toast analyze again to go on.")
    wanted = conditions(deployment.seed, deployment.token_seed)
    same = [row for row in rows if row.token_seed == deployment.token_seed]
    lowest = min(row.agreement for row in same)
    if lowest < ROUNDING_AGREEMENT[deployment.dtype] or any(row.is_off for row in same):
        return Verdict(False, _unsafe(deployment, same, lowest) + _token_sample(deployment, rows))
    if missing := set(wanted) - {row.condition for row in rows}:
        return Verdict(
            None, f"Not decided yet: {len(missing)} of {len(wanted)} conditions are not measured; run toast analyze again to go on."
        )
    overlap = min((value for row in same for value in (row.jaccard_fc1, row.jaccard_fc2) if value is not None), default=1.0)
    sure = wilson_percent(round(lowest / 100 * deployment.images), deployment.images)[0]
    if overlap < ROUNDING_JACCARD and sure < ROUNDING_AGREEMENT[deployment.dtype] - 1:
        return Verdict(
            None,
            f"Not decided yet: the channels kept change with the batch (overlap {overlap:.2f} at worst) and {deployment.images:,} images "
            "are too few to show that predictions do not; measure more of them.",
        )
    low, high = deployment.ci95
    only_attention = "only attention is pruned, chosen from weights, so no choice depends on the batch: "
    start = only_attention if deployment.jaccard_fc1 is deployment.jaccard_fc2 is None else ""
    despite = f" although the channels kept change with the batch (overlap {overlap:.2f} at worst)" if overlap < ROUNDING_JACCARD else ""
    return Verdict(
        True,
        f"Safe to deploy: {start}accuracy is {_top1(deployment)} ({_span(low, high)}) whatever the order, batch size or shuffle; "
        f"{_share(lowest)} of {deployment.images:,} images get the same prediction{despite}.{_token_sample(deployment, rows)}",
    )


def _unsafe(deployment: CompositionRow, same: Sequence[CompositionRow], lowest: float) -> str:
    published = next((row for row in same if row.order == "sorted" and row.batch_size == BATCH_SIZES[-1]), deployment)
    parts = []
    if published is not deployment:
        told = (
            f"the published-style figure is {_difference(published)}"
            if published.is_off
            else f"no difference can be told ({_signed(published)})"
        )
        parts.append(f"{published.words} top-1 reads {_top1(published)}, on single images {_top1(deployment)}: {told}")
    furthest = max(same, key=lambda row: (row.is_off, abs(row.top1_delta)))
    if furthest.is_off and furthest is not published:
        parts.append(f"furthest off is top-1 {furthest.words}, {_top1(furthest)}: {_difference(furthest)}")
    parts.append(f"predictions depend on the batch: at worst {_share(lowest)} of {deployment.images:,} images keep the one they get alone")
    return f"Not safe to deploy as evaluated: {'; '.join(parts)}."


def _token_sample(deployment: CompositionRow, rows: Sequence[CompositionRow]) -> str:
    """Say what another token sample does in deployment, where it does anything beyond rounding."""
    other = next((row for row in rows if row.token_seed != deployment.token_seed and row.batch_size == 1), None)
    if other is None or not (other.is_off or other.agreement < ROUNDING_AGREEMENT[other.dtype]):
        return ""
    return (
        f" The token sample stays as the plan drew it; with another (seed {other.token_seed}) top-1 on single images reads {_top1(other)} "
        f"({_signed(other)}), and {_share(other.agreement)} of the predictions stay."
    )


def _top1(row: CompositionRow) -> str:
    return f"{_number(row.top1, row.ci95)} %"


def _difference(row: CompositionRow) -> str:
    """A difference that is there: its size with the interval, and its direction."""
    low, high = sorted(abs(end) for end in row.delta_ci95)
    return f"{_number(abs(row.top1_delta), row.delta_ci95)} points ({_span(low, high)}) too {'high' if row.top1_delta > 0 else 'low'}"


def _signed(row: CompositionRow) -> str:
    low, high = row.delta_ci95
    delta, low, high = (f"{value:+z.{_digits(*row.delta_ci95)}f}" for value in (row.top1_delta, low, high))
    return f"{delta} points, {low} to {high}"


def _span(low: float, high: float) -> str:
    digits = _digits(low, high)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _number(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.{_digits(*interval)}f}"


def _digits(low: float, high: float) -> int:
    """One decimal, none where the interval reaches 5 points to each side."""
    return 0 if high - low >= 10 else 1


def _share(percent: float) -> str:
    """Percent rounded down, so that only complete agreement reads 100 %."""
    return f"{math.floor(10 * percent + 1e-9) / 10:g} %"
