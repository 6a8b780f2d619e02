"""What tunings have measured, in the evidence store: another budget costs only what is new, and a killed run goes on."""

from dataclasses import dataclass, replace

import numpy as np

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, Scalar
from analysis_cache.store import EvidenceStore
from toast_core.schedule.schedule import Schedule
from toast_core.studies.subject import Subject
from toast_core.studies.tuning.judging import Judgement

RESULT = "tuning"  # kind of the cells, and metric of the analyses that list them


@dataclass(frozen=True)
class TuningStore:
    """Judgements and answers of one model on one set of calibration images; what curves come from is a sketch, which is in the same store.

    The split into parts follows from the images, so that equal images are also equal parts. Without a store nothing is written and
    nothing found.
    """

    store: EvidenceStore | None = None
    subject: Subject | None = None

    def _identity(self, metric: str, schedule: Schedule | None, **details: Scalar) -> CellIdentity:
        digest, selection = (schedule.digest(), schedule.selection) if schedule else (None, None)
        details = {**details, **self.subject.task.details}
        identity = replace(self.subject.identity, kind=metric, metric_version=METRIC_VERSIONS[metric], details=details)
        return replace(identity, schedule_digest=digest, selection=selection)

    def _look(self, schedule: Schedule, look: int) -> CellIdentity:
        return self._identity(RESULT, schedule, part="candidate", look=look)

    def get_judgement(self, schedule: Schedule, look: int) -> tuple[Judgement, list[str]] | None:
        """A candidate on the images of one look, and the notes of its plan; None where it is not stored."""
        key = self._look(schedule, look).key if self.store else None
        if key is None or not self.store.has_many([key]):
            return None
        stored = self.store.get(key)
        return Judgement(stored.arrays[self.subject.task.damage.key], stored.arrays.get("agrees")), stored.summary["notes"]

    def put_judgement(self, schedule: Schedule, look: int, judged: Judgement, notes: list[str]) -> None:
        """Store what `get_judgement` reads."""
        if self.store is not None:
            arrays = {self.subject.task.damage.key: judged.damage.astype(np.float32)}
            if judged.agrees is not None:
                arrays["agrees"] = judged.agrees.astype(bool)
            self.store.put(self._look(schedule, look), {"images": len(judged.damage), "notes": list(notes)}, arrays)

    def put_result(self, report: dict, asked: dict, judged: dict[Schedule, int]) -> Analysis | None:
        """Store a finished tuning's report under what was asked, in place of an older answer.

        `judged` are the schedules it was chosen from, with the number of looks at each.
        """
        if self.store is None:
            return None
        result = self._identity(RESULT, None, part="result", asked=Analysis(asked, "asked", (), utc_now()).id)
        self.store.remove([result.key])
        self.store.put(result, report, {})
        looks = (self._look(schedule, look).key for schedule, count in judged.items() for look in range(count))
        keys = (result.key, *dict.fromkeys(looks))
        return self._put(RESULT, f"tuned schedule of {self.subject.identity.model}", keys, asked)

    def _put(self, metric: str, label: str, keys: tuple[str, ...], settings: dict, **asked: object) -> Analysis:
        now = utc_now()
        analysis = Analysis(self.subject.request(metric=metric, settings=settings, **asked), label, keys, now, now)
        self.store.put_analysis(analysis)
        return analysis
