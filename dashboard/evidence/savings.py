"""What can be saved: schedules that were tuned for this model, with what is measured of them. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import streamlit as st

from analysis_cache.errors import StoreError
from dashboard.evidence.candidates import Evaluation
from dashboard.evidence.damage import paired_change
from dashboard.evidence.find import Found, find_evidence
from dashboard.evidence.starting_points import BASELINE, StartingPoint, identity, starting_points
from toast_core.cost.latency import LatencyTable
from toast_core.cost.macs import Cost, count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.evaluation.result import Estimate

_LOOK_AGAIN_S = 20
GOALS = (40, 50, 60)
"""Percent of the MACs that a model that was never seen is tuned to save."""


@dataclass(frozen=True)
class Saving:
    """One tuned schedule.

    percent   of the MACs that it saves, whole
    cost      what it costs
    change    its headline's difference to the baseline on `images` images that both were evaluated on; None where they were not
    speed     how many times as fast as the baseline single images are, by this machine's latency table; None where there is none
    """

    percent: int
    schedule: Schedule
    cost: Cost
    change: Estimate | None = None
    images: int = 0
    speed: float | None = None

    @property
    def name(self) -> str:
        """For example `Tuned, 40 % fewer MACs`."""
        return f"Tuned, {self.percent} % fewer MACs"


def tuned_schedules(found: Found, shape: ModelShape) -> list[Saving]:
    """The schedules of finished tunings that hold for this dashboard, by what they save, ascending; of equal ones the newest."""
    whole, best = count_cost(shape).macs, dict[int, Saving]()
    for one in found.of("tuning"):
        if one.concerns or not one.finished:
            continue
        try:
            heads = one.replay.heads(one.analysis.id)
            schedule = Schedule.from_dict(heads[0].summary["schedule"])
            cost = count_cost(shape, schedule)
        except (StoreError, ScheduleError, KeyError, IndexError, TypeError):
            continue  # the list of analyses says what cannot be read
        percent = round(100 * (1 - cost.macs / whole))
        if percent > 0:
            best.setdefault(percent, Saving(percent, schedule, cost))
    return [best[percent] for percent in sorted(best)]


def measured_savings(
    tuned: list[Saving], evaluations: Mapping[str, Evaluation], table: LatencyTable | None
) -> list[Saving]:
    """The same with what is measured of each."""
    return [_measured(one, evaluations.get(BASELINE), evaluations.get(identity(one.schedule)), table) for one in tuned]


def _measured(one: Saving, baseline: Evaluation | None, own: Evaluation | None, table: LatencyTable | None) -> Saving:
    if table is not None and one.schedule.selection == "calibrated":
        one = replace(one, speed=table.predict_ms() / table.predict_ms(one.schedule))
    if baseline is None or own is None:
        return one
    try:
        change = paired_change(baseline.outcomes(), own.outcomes())
    except StoreError:
        return one
    return one if change is None else replace(one, change=change[0], images=change[1])


@st.cache_resource(ttl=_LOOK_AGAIN_S, show_spinner=False, hash_funcs={ModelShape: hash, Schedule: Schedule.digest})
def offered_points(setup: Setup, shape: ModelShape, like: Schedule) -> list[StartingPoint]:
    """What a schedule can start from, with the settings of `like`: those for any model, and what tunings have found for this one."""
    first, *others = starting_points(shape, like)
    tuned = tuned_schedules(find_evidence(setup, shape.name), shape)
    return [first, *(StartingPoint(one.name, one.schedule) for one in tuned), *others]
