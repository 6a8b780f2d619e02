"""What the engine expects of a schedule before it is measured: from the sketches in its store, and from what it has measured since."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.key import METRIC_VERSIONS
from analysis_cache.replay import Replay, shipped_bundles
from analysis_cache.store import EvidenceStore
from toast_core.engine.protocol import Predicted
from toast_core.intervals import Estimate
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sketch.parts import is_compensated
from toast_core.studies.sketch.prediction import Predictor, predicted_change
from toast_core.studies.sketch.result import Sketch, Trial
from toast_core.studies.sketch.store import read_sketch
from toast_core.studies.tasks.base import ImageOutcomes
from toast_core.studies.tasks.registry import task_of
from toast_core.workbench import Workbench

_MAX_TRIALS = 64
Kind = tuple[str, bool]
"""How channels are chosen, and whether cells are refitted."""


class Foresight:
    """Predicts schedules of one model; a sketch is read from the store once it is finished, else from what is shipped;
    schedules that were measured teach it.

    Args:
        workbench: whose model it is, and in whose store sketches are looked for.
        transforms: how images become input here, in words: sketches of other input are passed over.
    """

    def __init__(self, workbench: Workbench, transforms: frozenset[str]) -> None:
        self.workbench, self.task, self.transforms = workbench, task_of(workbench.shape), transforms
        self._predictors: dict[Kind, Predictor] = {}
        self._with_program: dict[Kind, Sketch | None] = {}
        self._seen: dict[Kind, tuple[tuple[Trial, np.ndarray | None], ...]] = {}  # each with the baseline's margins of its images

    def predict(self, schedule: Schedule, baseline: ImageOutcomes) -> Predicted:
        """The damage of a schedule and the change of the headline, each with its 95 % band, or why there is none.

        `baseline` are the unpruned model's outcomes on the images that will be measured on.
        """
        wants = schedule.compensation
        if not wants.is_none and (wants.ffn, wants.attention) != (FULL.ffn, FULL.attention):
            return Predicted(None, None, 0, f"sketched are cells refitted by {FULL.ffn} and {FULL.attention} alone")
        kind = schedule.selection, not wants.is_none
        predictor = self._predictor(kind)
        if predictor is None:
            cells = "refitted cells" if kind[1] else f"cells chosen {kind[0].replace('_', ' ')}"
            return Predicted(None, None, 0, f"no sketch of {cells} is stored")
        if any(one.schedule == schedule for one in predictor.more):  # what was measured of it is no prediction
            predictor = replace(predictor, more=tuple(one for one in predictor.more if one.schedule != schedule))
        margins = _margins(baseline)
        found = predictor.damage(schedule, margins)
        change = self._change(found.damage, margins) if found.damage else None
        why = found.why or ("" if change else self._why_no_change(margins))
        return Predicted(found.damage, change, found.calibrated_by, why)

    def knows(self, schedule: Schedule) -> bool:
        """Whether cells of the schedule's kind are sketched."""
        return self._predictor((schedule.selection, not schedule.compensation.is_none)) is not None

    def learn(self, schedule: Schedule, damage: float, images: int, baseline: ImageOutcomes) -> None:
        """Take a measured schedule's mean damage on the baseline's images into account for others of its kind."""
        kind = schedule.selection, not schedule.compensation.is_none
        others = tuple(one for one in self._seen.get(kind, ()) if one[0].schedule != schedule)
        self._seen[kind] = (*others, (Trial(schedule, damage, images), _margins(baseline)))[-_MAX_TRIALS:]
        self._predictors.pop(kind, None)

    def _change(self, damage: Estimate, margins: np.ndarray | None) -> Estimate | None:
        if self.task.damage.key == "distance":  # the headline is one less it
            return Estimate(-damage.value, (-damage.ci95[1], -damage.ci95[0]))
        return None if margins is None else predicted_change(damage, margins)

    def _why_no_change(self, margins: np.ndarray | None) -> str:
        if margins is None:
            return "of this task only the damage is predicted"
        return "more is lost than can be told in points"

    def _predictor(self, kind: Kind) -> Predictor | None:
        if kind not in self._predictors:
            own = self._stored(kind)
            found = own or self._shipped(kind)
            if found is None:
                return None
            bare = Predictor(self.workbench.shape, found, kind[1])
            seen = (replace(trial, damage=trial.damage / bare.factor(margins)) for trial, margins in self._seen.get(kind, ()))
            made = replace(bare, more=tuple(seen))
            if own is None:
                return made  # one of the own store goes first, once it is there
            self._predictors[kind] = made
        return self._predictors[kind]

    def _stored(self, kind: Kind) -> Sketch | None:
        """The sketch of most cells in the setup's store."""
        try:
            with EvidenceStore.open(self.workbench.setup.store) as store:
                return self._widest(store, store.list_analyses(), kind)
        except StoreError:
            return None  # whoever writes to it says what is wrong with it

    def _shipped(self, kind: Kind) -> Sketch | None:
        """The one that comes with the program, for a demo."""
        if kind not in self._with_program:
            self._with_program[kind] = None
            for bundle in shipped_bundles():
                with closing(Replay.open(str(bundle))) as replay:
                    found = self._widest(replay.source, replay.analyses(), kind)
                self._with_program[kind] = self._with_program[kind] or found
        return self._with_program[kind]

    def _widest(self, source: Any, analyses: Iterable[Analysis], kind: Kind) -> Sketch | None:
        fitting = [one for one in analyses if self._fits(one, kind)]
        widest = max(fitting, key=lambda one: len(one.request["cells"]), default=None)  # the newest of equal ones
        return read_sketch(source, widest, self.task.damage.key) if widest else None

    def _fits(self, analysis: Analysis, kind: Kind) -> bool:
        """Whether it is a finished sketch of this model as it is loaded, of cells of this kind."""
        request = analysis.request
        if request.get("metric") != "sketch" or not analysis.finished_utc:
            return False
        own = request["weights_digest"], request["metric_version"], (request["settings"]["selection"], is_compensated(request))
        return own == (self.workbench.weights_digest, METRIC_VERSIONS["sketch"], kind) and request["transform"] in self.transforms


def _margins(baseline: ImageOutcomes) -> np.ndarray | None:
    """The label's logit less the largest other one, (images,); None where there are no logits."""
    found = getattr(baseline, "margin", None)
    return None if found is None else np.asarray(found, np.float64)
