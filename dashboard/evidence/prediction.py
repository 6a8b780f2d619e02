"""Predicted accuracy of a whole schedule from stored curves of single sites of single blocks. Pure; imports no torch.

The prediction adds up: the baseline's accuracy plus what each site of each block costs on its own. What sites do to each other is
not in the curves. Where enough whole schedules were measured, it is learned from them (`learn`) as one number: points of top-1 for
the joint loss, the sum over all pairs of sites of the product of their losses. That is zero where a single site is pruned, which
the curves know. It is used only where it predicts schedules better that it was not learned from.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toast_core.cost.shapes import ModelShape
from toast_core.intervals import Z95, wilson_percent
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.schedule.stops import effective_ratio
from toast_core.studies.evaluation.result import Estimate


@dataclass(frozen=True)
class Point:
    """One measured ratio of one site of one block: the top-1 difference to the baseline in points, with its 95 % interval."""

    ratio: float
    delta: float
    low: float
    high: float


_NO_CHANGE = Point(0.0, 0.0, 0.0, 0.0)
MIN_LEARNED = 8


@dataclass(frozen=True)
class Curves:
    """The single-block curves of one analysis, and the baseline they were measured against, in percent of `images` images.

    points     by site and block, ascending by ratio; the unpruned block at ratio 0 is not listed
    selection  how the analysis chose channels; None where its rows do not say
    """

    points: Mapping[tuple[str, int], tuple[Point, ...]]
    baseline: Estimate
    images: int
    selection: str | None = None

    def at(self, site: str, block: int, ratio: float) -> Point | None:
        """The difference at a ratio, on the line between its measured neighbours; None beyond the last measured one.

        Below the first measured ratio the line starts at no change: nothing dropped is the baseline itself.
        """
        if ratio == 0:
            return _NO_CHANGE
        line = (_NO_CHANGE, *self.points.get((site, block), ()))
        right = bisect_left(line, ratio, key=lambda point: point.ratio)
        if right == len(line):
            return None
        a, b = line[right - 1], line[right]
        share = (ratio - a.ratio) / (b.ratio - a.ratio)
        return Point(ratio, *(before + share * (after - before) for before, after in zip(_figures(a), _figures(b), strict=True)))


def _figures(point: Point) -> tuple[float, float, float]:
    return point.delta, point.low, point.high


def read_curves(rows: Iterable[Mapping], selection: str | None = None) -> Curves | None:
    """Curves from the rows of an exact sensitivity analysis (`Replay.rows`); None where no row is of a single site.

    A row has block, site, ratio, top1 (%), top1_delta and ci95 (points) and images. Rows of joint sites are left out, and those of a
    model without a classifier.
    """
    chosen = (row for row in rows if row["site"] in SITES and "top1_delta" in row)
    single = sorted(chosen, key=lambda row: (row["site"], row["block"], row["ratio"]))
    if not single:
        return None
    points: dict[tuple[str, int], list[Point]] = {}
    for row in single:
        points.setdefault((row["site"], row["block"]), []).append(Point(row["ratio"], row["top1_delta"], *row["ci95"]))
    images, top1 = single[0]["images"], single[0]["top1"] - single[0]["top1_delta"]
    baseline = Estimate(top1, wilson_percent(round(images * top1 / 100), images))
    return Curves({key: tuple(line) for key, line in points.items()}, baseline, images, selection)


@dataclass(frozen=True)
class Interaction:
    """What sites of a schedule do to each other, learned from measured schedules.

    weight     points of top-1 for one unit of joint loss (points squared)
    most       the largest joint loss that was seen; beyond it the correction stays as it is there
    schedules  how many it was learned from
    error      root mean square error in points of predicting each of them from the others, where there is no joint loss;
               it grows with 1 + joint loss
    plain      the same error without the correction
    misses     the typical (median) miss in points on schedules left out of learning, without and with the correction
    """

    weight: float
    most: float
    schedules: int
    error: float
    plain: float
    misses: tuple[float, float]

    def correction(self, joint: float) -> float:
        """Points to add to the sum of single blocks."""
        return self.weight * min(joint, self.most)

    def spread(self, joint: float) -> float:
        """Half of the 95 % band that schedules of this joint loss are predicted with beside their sites' own."""
        return Z95 * self.error * (1 + joint)


def learn(joints: Sequence[float], misses: Sequence[float]) -> Interaction | None:
    """Ridge regression of what the sums missed (measured less predicted difference, in points) on the schedules' joint losses.

    Each schedule counts by 1 / (1 + joint loss) squared, as misses grow with it, and the penalty is worth one more schedule without
    a miss. No intercept: without joint loss there is nothing to correct. None below MIN_LEARNED schedules, without joint loss in any, and
    where leaving each out in turn predicts them no better than the sum alone.
    """
    if len(misses) < MIN_LEARNED or not any(joints):
        return None
    joint, missed = np.array(joints, np.float64), np.array(misses, np.float64)
    scale = 1 + joint
    term, target = joint / scale, missed / scale
    weight = float(term @ target / (term @ term + np.mean(term**2)))
    leverage = term**2 / (term @ term + np.mean(term**2))
    left_out = (target - weight * term) / (1 - leverage)
    error, plain = (math.sqrt(float(np.mean(values**2))) for values in (left_out, target))
    if error >= plain:
        return None
    typical = (float(np.median(np.abs(missed))), float(np.median(np.abs(left_out * scale))))
    return Interaction(weight, float(joint.max()), len(missed), error, plain, typical)


def effects(curves: Curves, shape: ModelShape, schedule: Schedule) -> list[Point] | None:
    """What each pruned site costs alone; None where one is set beyond what was measured."""
    found = []
    for index, (block, entry) in enumerate(zip(shape.blocks, schedule.blocks, strict=True)):
        for site in SITES:
            point = curves.at(site, index, effective_ratio(block.site_width(site), getattr(entry, site), schedule.multiple_of))
            if point is None:
                return None
            if point.ratio:
                found.append(point)
    return found


def joint_loss(points: Sequence[Point]) -> float:
    """The sum over all pairs of sites of the product of their losses, in points squared; 0 where they gain together.

    Gains count as negative losses: most are noise of measuring, and so cancel the losses that are.
    """
    lost = -sum(point.delta for point in points)
    return max(0.0, (lost**2 - sum(point.delta**2 for point in points)) / 2) if lost > 0 else 0.0


def predict_change(
    curves: Curves, shape: ModelShape, schedule: Schedule, interaction: Interaction | None = None
) -> Estimate | None:
    """The difference to the baseline in points, with its band; None where a site is set beyond what was measured.

    The band joins those of the sites as if they were independent (root of the sum of squares). What sites do to each other is in
    it only with an interaction: then its error on schedules that it did not see is joined in, too.
    """
    points = effects(curves, shape, schedule)
    if points is None:
        return None
    value, unseen = sum(point.delta for point in points), 0.0
    if interaction is not None and len(points) > 1:
        joint = joint_loss(points)
        value, unseen = value + interaction.correction(joint), interaction.spread(joint)
    down = math.hypot(unseen, *(point.delta - point.low for point in points))
    up = math.hypot(unseen, *(point.high - point.delta for point in points))
    return Estimate(value, (value - down, value + up))


def predict(curves: Curves, shape: ModelShape, schedule: Schedule, interaction: Interaction | None = None) -> Estimate | None:
    """Top-1 in percent with its band: that of the difference, joined with the baseline's interval as if independent."""
    change, base = predict_change(curves, shape, schedule, interaction), curves.baseline
    if change is None:
        return None
    value = base.value + change.value
    down = math.hypot(base.value - base.ci95[0], change.value - change.ci95[0])
    up = math.hypot(base.ci95[1] - base.value, change.ci95[1] - change.value)
    return Estimate(_percent(value), (_percent(value - down), _percent(value + up)))


def _percent(value: float) -> float:
    return min(100.0, max(0.0, value))
