"""Predicted accuracy of a whole schedule from stored curves of single sites of single blocks. Pure; imports no torch.

The prediction adds up: the baseline's accuracy plus what each site of each block costs on its own. Sites that make each other
worse or better are not in it, so it is shown as predicted and never as measured.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from toast_core.intervals import wilson_percent
from toast_core.results import Estimate
from toast_core.schedule.rounding import keep_count
from toast_core.schedule.schedule import SITES, Schedule
from toast_core.schedule.shapes import ModelShape
from toast_core.schedule.stops import stop_ratio


@dataclass(frozen=True)
class Point:
    """One measured ratio of one site of one block: the top-1 difference to the baseline in points, with its 95 % interval."""

    ratio: float
    delta: float
    low: float
    high: float


_NO_CHANGE = Point(0.0, 0.0, 0.0, 0.0)


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

    A row has block, site, ratio, top1 (%), top1_delta and ci95 (points) and images. Rows of joint sites are left out.
    """
    single = sorted((row for row in rows if row["site"] in SITES), key=lambda row: (row["site"], row["block"], row["ratio"]))
    if not single:
        return None
    points: dict[tuple[str, int], list[Point]] = {}
    for row in single:
        points.setdefault((row["site"], row["block"]), []).append(Point(row["ratio"], row["top1_delta"], *row["ci95"]))
    images, top1 = single[0]["images"], single[0]["top1"] - single[0]["top1_delta"]
    baseline = Estimate(top1, wilson_percent(round(images * top1 / 100), images))
    return Curves({key: tuple(line) for key, line in points.items()}, baseline, images, selection)


def effective_ratio(width: int, ratio: float, multiple_of: int) -> float:
    """The ratio that drops as much without rounding up: the curves were measured without it."""
    return ratio if multiple_of == 1 else stop_ratio(width, keep_count(width, ratio, multiple_of))


def predict(curves: Curves, shape: ModelShape, schedule: Schedule) -> Estimate | None:
    """Top-1 in percent with its band; None where a site is set beyond what was measured.

    The band joins the baseline's interval and those of the differences as if they were independent (root of the sum of
    squares). What sites do to each other is not in the band either.
    """
    points = [_NO_CHANGE]
    for index, (block, entry) in enumerate(zip(shape.blocks, schedule.blocks, strict=True)):
        for site in SITES:
            point = curves.at(site, index, effective_ratio(block.site_width(site), getattr(entry, site), schedule.multiple_of))
            if point is None:
                return None
            points.append(point)
    base = curves.baseline
    value = base.value + sum(point.delta for point in points)
    down = math.hypot(base.value - base.ci95[0], *(point.delta - point.low for point in points))
    up = math.hypot(base.ci95[1] - base.value, *(point.high - point.delta for point in points))
    return Estimate(_percent(value), (_percent(value - down), _percent(value + up)))


def _percent(value: float) -> float:
    return min(100.0, max(0.0, value))
