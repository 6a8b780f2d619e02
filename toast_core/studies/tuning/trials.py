"""Candidates of a tuning, fitted when they are first looked at and judged on images that no fit has seen."""

from dataclasses import dataclass, field

from torch import nn

from toast_core.compensation.memory import FitMemory
from toast_core.compensation.plan import plan_on
from toast_core.data.load import Batch
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.tuning.images import CalibrationParts
from toast_core.studies.tuning.judging import Judgement, looks_of, run_candidate
from toast_core.studies.tuning.store import TuningStore

_MEMORY_BYTES = 1 << 30  # of fits and streams: all of a demo's, the last blocks' of a ViT-B


@dataclass(eq=False)
class Trials:
    """Schedules fitted and judged on the judge images, look by look. A look that is stored costs nothing.

    One pruned model is held at a time: the one fitted last. Fits of single blocks are held as well, since candidates share their first
    blocks and many whole ones.

    notes  what each schedule's plan could not do as asked
    seen   how many looks were taken at each schedule
    """

    model: nn.Module
    parts: CalibrationParts
    store: TuningStore
    notes: dict[Schedule, list[str]] = field(default_factory=dict)
    seen: dict[Schedule, int] = field(default_factory=dict)
    _groups: list[list[Batch]] = field(default_factory=list)
    _fitted: tuple[Schedule, nn.Module] | None = None
    _memory: FitMemory = field(default_factory=lambda: FitMemory(_MEMORY_BYTES))

    def __post_init__(self) -> None:
        self._groups = list(looks_of(self.parts.judged()))

    @property
    def looks(self) -> int:
        """How many groups the judge images come in."""
        return len(self._groups)

    def measure(self, schedule: Schedule, look: int) -> Judgement:
        """The schedule on the images of one look."""
        self.seen[schedule] = max(self.seen.get(schedule, 0), look + 1)
        if known := self.store.get_judgement(schedule, look):
            self.notes[schedule] = known[1]
            return known[0]
        if self._fitted is None or self._fitted[0] != schedule:
            self._fitted = None
            plan = plan_on(self.model, schedule, self.parts.fit.images, self._memory)
            self.notes[schedule] = list(plan.notes)
            self._fitted = schedule, apply_plan(self.model, plan, "compact")
        judged = run_candidate(self.model, self._fitted[1], self._groups[look])
        self.store.put_judgement(schedule, look, judged, self.notes[schedule])
        return judged

    def whole(self, schedule: Schedule) -> Judgement:
        """The schedule on all judge images."""
        found = self.measure(schedule, 0)
        for look in range(1, self.looks):
            found = found.joined(self.measure(schedule, look))
        return found
