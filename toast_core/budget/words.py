"""Budgets, locks and ranges as people write them: --reduction 0.4, --lock 3.fc2=0.5, --range 3.fc2=0.2:0.6."""

import math
from collections.abc import Callable
from typing import Any

from toast_core.budget.problem import Budget, Place
from toast_core.cost.latency import LatencyTable
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import check_ratio
from toast_core.schedule.sites import SITES

_SAMPLES = {"RATIO": "0.5", "LOW:HIGH": "0.2:0.6"}


def read_budget(
    shape: ModelShape,
    reduction: float | None = None,
    gmacs: float | None = None,
    params: float | None = None,
    latency_ms: float | None = None,
    table: Callable[[], LatencyTable] | None = None,
) -> Budget:
    """Return the one budget that is given: a fraction of the baseline's MACs to save, GMACs, parameters, or a latency.

    Args:
        latency_ms: of one forward of the table's batch size.
        table: measures or finds the latency table; asked only for a latency.

    Raises:
        ScheduleError: none or several are given, a latency without a table, or the budget is not below the baseline's cost.
    """
    given = {"--reduction": reduction, "--gmacs": gmacs, "--params": params, "--latency-ms": latency_ms}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        found = f"the budgets {' and '.join(named)} are given together" if named else "no budget is given"
        raise ScheduleError(f"{found}; give one of {', '.join(given)}")
    if reduction is not None:
        if check_ratio(reduction, "reduction") == 0:
            raise ScheduleError("reduction 0 asks for nothing; write the fraction of MACs to save, for example 0.4")
        return Budget("macs", int(count_cost(shape).macs * (1 - reduction)))
    value = next(value for value in given.values() if value is not None)
    if not math.isfinite(value):
        raise ScheduleError(f"a budget of {value:g} is no number; {named[0]} takes one below what the baseline needs")
    if gmacs is not None:
        budget = Budget("macs", round(value * 1e9))
    elif params is not None:
        budget = Budget("params", int(value))
    elif table is None:
        raise ScheduleError(f"a latency of {value:g} ms needs a latency table; measure one with toast bench --table")
    else:
        budget = Budget("latency_ns", round(value * 1e6), table())
    if not 0 < budget.limit < budget.whole(shape):
        raise ScheduleError(
            f"a budget of {budget.said(budget.limit)} is not between 0 and the baseline's {budget.said(budget.whole(shape))}; "
            "give one below what the baseline needs"
        )
    return budget


def goal(shape: ModelShape, max_drop: float | None, *budgets: Any) -> Budget:
    """The budget that is given (see `read_budget`), or that of the whole baseline where a drop takes its place.

    Raises:
        ScheduleError: as `read_budget`; a budget beside a drop.
    """
    if max_drop is None:
        return read_budget(shape, *budgets)
    if any(one is not None for one in budgets[:4]):
        raise ScheduleError("--max-drop and a budget are given together; give one of them")
    return Budget("macs", count_cost(shape).macs)


def read_place(text: str, value: str) -> tuple[Place, str]:
    """Split BLOCK.SITE=... of a lock or range into its place and what follows.

    Raises:
        ScheduleError: it is not written so; `value` names what should follow.
    """
    place, equals, rest = text.partition("=")
    block, dot, site = place.strip().partition(".")
    if not (equals and dot and block.isdecimal() and site in SITES and rest.strip()):
        sample = f"3.fc2={_SAMPLES[value]}"
        raise ScheduleError(f"{text!r} is not BLOCK.SITE={value} with a site of {', '.join(SITES)}; write for example {sample}")
    return (int(block), site), rest.strip()


def read_locks(texts: tuple[str, ...]) -> dict[Place, float]:
    """Read BLOCK.SITE=RATIO entries.

    Raises:
        ScheduleError: an entry that cannot be read, or two that differ about one place.
    """
    locks: dict[Place, float] = {}
    for text in texts:
        place, rest = read_place(text, "RATIO")
        ratio = _ratio(rest, text)
        if locks.setdefault(place, ratio) != ratio:
            raise ScheduleError(f"block {place[0]} {place[1]} is locked to {locks[place]:g} and to {ratio:g}; keep one of them")
    return locks


def read_ranges(texts: tuple[str, ...]) -> dict[Place, tuple[float, float]]:
    """Read BLOCK.SITE=LOW:HIGH entries.

    Raises:
        ScheduleError: an entry that cannot be read, one whose low end is the higher, or two about one place.
    """
    ranges: dict[Place, tuple[float, float]] = {}
    for text in texts:
        place, rest = read_place(text, "LOW:HIGH")
        low, colon, high = rest.partition(":")
        if not colon:
            raise ScheduleError(f"{text!r} gives one ratio; write LOW:HIGH, or use --lock for a single one")
        ends = _ratio(low, text), _ratio(high, text)
        if ends[0] > ends[1]:
            raise ScheduleError(f"{text!r} runs from {ends[0]:g} down to {ends[1]:g}; write the lower ratio first")
        if ranges.setdefault(place, ends) != ends:
            raise ScheduleError(f"block {place[0]} {place[1]} has two ranges; keep one of them")
    return ranges


def _ratio(text: str, where: str) -> float:
    try:
        return check_ratio(float(text), f"the ratio in {where!r}")
    except ValueError as error:
        raise error if isinstance(error, ScheduleError) else ScheduleError(
            f"{text!r} in {where!r} is no number; ratios are fractions dropped, in [0, 1)"
        ) from None
