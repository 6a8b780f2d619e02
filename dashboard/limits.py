"""Locks and ranges: what each site of each block may be set to. Pure; imports neither Streamlit nor torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES


@dataclass(frozen=True)
class Limit:
    """One site of one block: its ratio stays within [low, high], or stays as it is where `locked`."""

    low: float = 0.0
    high: float = 1.0
    locked: bool = False


Limits = Mapping[tuple[str, int], Limit]  # by site and block; what is not in it is free


def hold(limits: Limits, before: Schedule, wanted: Schedule) -> Schedule:
    """Return `wanted` with locked sites as they are in `before`, and the others moved into their ranges."""
    for (site, block), limit in limits.items():
        ratio = wanted.ratios(site)[block]
        kept = before.ratios(site)[block] if limit.locked else min(max(ratio, limit.low), limit.high)
        if kept != ratio:
            wanted = wanted.with_ratio(block, site, kept)
    return wanted


def held_back(wanted: Schedule, got: Schedule) -> int:
    """How many sites `hold` did not set as wanted."""
    return sum(a != b for site in SITES for a, b in zip(wanted.ratios(site), got.ratios(site), strict=True))
