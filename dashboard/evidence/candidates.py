"""What can be compared: the baseline, the schedule in hand, own drafts and starting points, each with what is known of its accuracy.

Known, best first: an evaluation in the store (per image, so that any two can be paired), what was measured while editing (only
its difference to the baseline is paired), and what the curves of single blocks predict.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay
from dashboard import wording
from dashboard.evidence.damage import paired_change
from dashboard.evidence.draft import Draft, Result
from dashboard.evidence.find import Found
from dashboard.evidence.prediction import Curves, Interaction, predict
from dashboard.evidence.starting_points import BASELINE, StartingPoint, identity
from toast_core.cost.macs import Cost, count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.tasks.registry import task_in, task_of

IN_HAND = "in-hand"


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation in a store or bundle; `outcomes` reads its images."""

    replay: Replay
    key: str
    schedule: Schedule
    headline: Estimate
    images: int

    def outcomes(self) -> Mapping[str, np.ndarray]:
        """Its per-image arrays; StoreError where the source cannot be read any more."""
        return _outcomes(self.replay, self.key)


@dataclass(frozen=True)
class Candidate:
    """One schedule with its cost and accuracy.

    key         names it in the address
    kind        Baseline, In hand, Draft, Starting point or Published
    headline    top-1 in percent or another task's first figure, where anything is known; `badge` says measured or predicted
    images      that it was measured on, 0 where it was not
    change      measured difference to the baseline while editing, in points
    evaluation  its evaluation in the store, where there is one
    """

    key: str
    name: str
    kind: str
    schedule: Schedule
    cost: Cost
    headline: Estimate | None
    badge: str | None
    images: int
    change: Estimate | None
    evaluation: Evaluation | None
    draft: Draft | None

    @property
    def is_measured(self) -> bool:
        """Whether `headline` was measured rather than predicted."""
        return self.badge == "measured"


@st.cache_resource(show_spinner=False, max_entries=32, hash_funcs={Replay: lambda replay: replay.name})
def _outcomes(replay: Replay, key: str) -> Mapping[str, np.ndarray]:
    return replay.outcomes(key)


def stored_evaluations(found: Found) -> dict[str, Evaluation]:
    """The finished evaluations that hold for this dashboard, by `identity`; of several the one of most images."""
    best: dict[str, Evaluation] = {}
    for one in found.evidence:
        if one.concerns:
            continue
        try:
            for evaluation in _evaluations(one.replay, one.analysis.id, one.analysis.request):
                name = identity(evaluation.schedule)
                if name not in best or best[name].images < evaluation.images:
                    best[name] = evaluation
        except (StoreError, ScheduleError):
            continue  # the other analyses still count, and the Overview says what cannot be read
    return best


def _evaluations(replay: Replay, analysis_id: str, request: Mapping) -> list[Evaluation]:
    """An analysis' evaluations: its one cell, or the baseline's that a sweep keeps."""
    asked = request.get("metric") == "evaluation"
    stored = [head for head in replay.heads(analysis_id) if head.identity.kind == "evaluation"]
    heads = [head for head in stored if task_in(head.identity.detail).figures[0].key in head.summary]
    if not asked:
        heads = [head for head in heads if head.identity.detail.get("execution") == "baseline"]
    return [
        Evaluation(
            replay, head.key, Schedule.from_dict(request["schedule"]) if asked else Schedule.uniform(1),
            wording.read_estimate(head.summary[task_in(head.identity.detail).figures[0].key]), int(head.summary["images"]),
        )
        for head in heads
    ]


def candidates(
    shape: ModelShape, in_hand: Schedule, drafts: Sequence[Draft], points: Sequence[StartingPoint], evaluations: Mapping[str, Evaluation],
    results: Mapping[str, Result], curves: Curves | None, interaction: Interaction | None = None,
) -> list[Candidate]:
    """All candidates, the baseline first. A schedule is listed once: as a draft rather than in hand, and as a starting point before.

    `interaction` was learned from schedules of the selection mode in hand, and is used for those only.
    """
    listed: dict[str, tuple[str, str, str, Schedule, Draft | None]] = {}
    for point in points:
        kind = "Baseline" if point.schedule.is_baseline else "Published" if point.reported else "Starting point"
        key = BASELINE if point.schedule.is_baseline else point.name.lower().replace(" %", "").replace(" ", "-")
        listed.setdefault(identity(point.schedule), (key, point.name, kind, point.schedule, None))
    for draft in drafts:
        listed.setdefault(identity(draft.schedule), (f"draft-{draft.number}", draft.name, "Draft", draft.schedule, draft))
    listed.setdefault(identity(in_hand), (IN_HAND, "In hand", "In hand", in_hand, None))
    measured, key_of = {identity(result.schedule): result for result in reversed(results.values())}, task_of(shape).figures[0].key
    return [
        Candidate(key, name, kind, schedule, count_cost(shape, schedule), *known, draft)
        for same, (key, name, kind, schedule, draft) in listed.items()
        for known in [
            _measured(schedule, evaluations, measured, key_of)
            or _predicted(shape, schedule, curves, interaction if schedule.selection == in_hand.selection else None)
        ]
    ]


def _measured(
    schedule: Schedule, evaluations: Mapping[str, Evaluation], measured: Mapping[str, Result], key: str
) -> tuple[Estimate, str, int, Estimate | None, Evaluation | None] | None:
    """The headline (by `key`), badge, images, change and evaluation of a schedule that was measured; None of another one."""
    evaluation, result = evaluations.get(identity(schedule)), measured.get(identity(schedule))
    figures = result.figures if result else None
    if figures is None and schedule.is_baseline and measured:
        # every measurement was paired with the baseline on the same images
        figures = {**max(measured.values(), key=lambda one: one.figures["images"]).figures}
        figures |= {key: figures["baseline"], f"delta_{key}": {"value": 0.0, "ci95": [0.0, 0.0]}}
    change = wording.read_estimate(figures[f"delta_{key}"]) if figures else None
    # a sweep stores the baseline on images of its own: beside candidates measured while editing it would be of other images than they
    if evaluation and (not figures or not schedule.is_baseline or len(evaluations) > 1):
        return evaluation.headline, "measured", evaluation.images, change, evaluation
    return (wording.read_estimate(figures[key]), "measured", figures["images"], change, evaluation) if figures else None


def _predicted(
    shape: ModelShape, schedule: Schedule, curves: Curves | None, interaction: Interaction | None
) -> tuple[Estimate | None, str | None, int, None, None]:
    found = predict(curves, shape, schedule, interaction) if curves and schedule.compensation.is_none else None
    return found, "predicted" if found else None, 0, None, None


def pareto(found: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the (cost, accuracy) pairs that no other one beats: none is at most as costly and at least as accurate, and better
    in one. By cost, ascending."""
    front: list[int] = []
    for position in sorted(range(len(found)), key=lambda one: (found[one][0], -found[one][1])):
        if not front or found[position][1] > found[front[-1]][1]:
            front.append(position)
    return front


def on_same_images(found: Sequence[Candidate]) -> list[Candidate]:
    """The measured candidates that can be ranked with each other: those on the most images that at least two have seen."""
    counts = Counter(one.images for one in found if one.is_measured)
    images = max((images for images, count in counts.items() if count > 1), default=0)
    return [one for one in found if one.is_measured and one.images == images]


def change_to(candidate: Candidate, reference: Candidate) -> tuple[Estimate, int] | None:
    """The measured difference in the headline on the same images, and on how many; None where that was not measured.

    Raises:
        StoreError: a source cannot be read any more.
    """
    if candidate.evaluation and reference.evaluation:
        return paired_change(reference.evaluation.outcomes(), candidate.evaluation.outcomes())
    if reference.schedule.is_baseline and candidate.change:
        return candidate.change, candidate.images
    return None
