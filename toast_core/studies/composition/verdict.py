"""Whether a schedule is safe to deploy as it was evaluated: the decision from its conditions' rows, in plain words. Free of torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toast_core.intervals import wilson_percent
from toast_core.studies.composition.result import BATCH_SIZES, CompositionRow, conditions

# what rounding leaves alike, see `judge`: predictions in percent of the images, and the overlap of kept channels
ROUNDING_AGREEMENT = {"float32": 99.9, "float16": 99.0, "bfloat16": 98.0}
ROUNDING_JACCARD = 0.99


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
    digits = _digits(low, high)
    return f"{row.top1_delta:+z.{digits}f} points, {low:+z.{digits}f} to {high:+z.{digits}f}"


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
