"""The prediction checked against every schedule that was measured, and what that teaches it. Pure; imports no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dashboard import wording
from dashboard.evidence.damage import Arrays, paired_change
from dashboard.evidence.draft import Result
from dashboard.evidence.prediction import Curves, Interaction, effects, joint_loss, learn, predict_change
from dashboard.evidence.starting_points import BASELINE, identity
from toast_core.cost.shapes import ModelShape
from toast_core.intervals import wilson_percent
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.result import Estimate

MIN_IMAGES = 500
MAX_CHECKED = 200
LEARN_DOWN_TO = 0.5  # of the baseline's accuracy: below, losses run into the floor of guessing and teach nothing about sums


class Evaluated(Protocol):
    """A schedule whose outcomes are known image by image; see `candidates.Evaluation`."""

    schedule: Schedule

    def outcomes(self) -> Arrays: ...


@dataclass(frozen=True)
class Check:
    """One schedule's predicted and measured difference to the baseline, in points, on `images` images; `sites` are pruned in it."""

    schedule: Schedule
    predicted: Estimate
    measured: Estimate
    images: int
    sites: int
    joint: float

    @property
    def is_inside(self) -> bool:
        """Whether the measured value lies in the prediction's 95 % band."""
        low, high = self.predicted.ci95
        return low <= self.measured.value <= high

    @property
    def miss(self) -> float:
        """Measured less predicted difference in points: negative where more was lost than predicted."""
        return self.measured.value - self.predicted.value


@dataclass(frozen=True)
class Audit:
    """The checks, newest first, the plain sums' coverage, and the correction learned from them, where it helps."""

    checks: tuple[Check, ...]
    interaction: Interaction | None

    @property
    def inside(self) -> int:
        """How many measured values lie inside the band."""
        return sum(check.is_inside for check in self.checks)

    @property
    def coverage(self) -> Estimate:
        """The share inside in percent, with its Wilson interval."""
        return Estimate(100 * self.inside / len(self.checks), wilson_percent(self.inside, len(self.checks)))


def audit(
    curves: Curves, shape: ModelShape, selection: str, evaluations: Mapping[str, Evaluated], results: Iterable[Result]
) -> Audit:
    """Check the plain sums on every measured schedule of one selection mode: evaluations first, then those measured while editing.

    Compensated schedules are left out: the curves know nothing of compensation.

    Raises:
        StoreError: an evaluation cannot be read any more.
    """
    checks: dict[str, Check] = {}
    for schedule, measured, images in (*_evaluated(evaluations), *_edited(results)):
        name = identity(schedule)
        fits = schedule.selection == selection and schedule.compensation.is_none and len(schedule.blocks) == len(shape.blocks)
        if fits and images >= MIN_IMAGES and name not in checks and len(checks) < MAX_CHECKED:
            predicted, points = predict_change(curves, shape, schedule), effects(curves, shape, schedule)
            if predicted and points:
                checks[name] = Check(schedule, predicted, measured, images, len(points), joint_loss(points))
    learnable = [
        check for check in checks.values()
        if check.sites > 1 and check.predicted.value > -LEARN_DOWN_TO * curves.baseline.value
    ]
    interaction = learn([check.joint for check in learnable], [check.miss for check in learnable])
    return Audit(tuple(checks.values()), interaction)


def _evaluated(evaluations: Mapping[str, Evaluated]) -> Iterable[tuple[Schedule, Estimate, int]]:
    before = evaluations.get(BASELINE)
    for one in evaluations.values():
        if before and not one.schedule.is_baseline and (found := paired_change(before.outcomes(), one.outcomes())):
            yield one.schedule, *found


def _edited(results: Iterable[Result]) -> Iterable[tuple[Schedule, Estimate, int]]:
    for one in results:
        yield one.schedule, wording.read_estimate(one.figures["delta_top1"]), one.figures["images"]
