"""Recoveries in the evidence store: every epoch's figures as they come, and the report when it is done."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace

from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, Scalar, digest_of_subset
from analysis_cache.store import EvidenceStore
from toast_core.data.load import ImageData
from toast_core.intervals import paired_interval
from toast_core.studies.evaluation.result import Estimate, Outcomes
from toast_core.studies.recovery.checkpoint import Checkpoints
from toast_core.studies.recovery.loop import Recovered, RecoveryProgress, RecoveryStart, recover
from toast_core.studies.recovery.processes import World
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.subject import Subject

METRIC = "recovery"


class RecoveryStore:
    """The cells of one recovery: one an epoch, the start as epoch 0, one with the report, and where it is then measured, one with that.

    What asks the same finds the same cells.
    """

    def __init__(
        self, store: EvidenceStore, baseline: nn.Module, start: RecoveryStart, data: ImageData, recipe: Recipe, processes: int
    ) -> None:
        self.store, self.schedule, self.recipe = store, start.schedule, recipe.settled(len(data), processes)
        self.shared: dict[str, Scalar] = {"fitted_on": start.fitted_on, "processes": processes}
        self.subject = Subject.of(baseline, data, recipe.batch_size, METRIC)

    def identity(self, **part: Scalar) -> CellIdentity:
        """The cell of one part: an epoch, the report, or a test."""
        details: dict[str, Scalar] = {"recipe": json.dumps(asdict(self.recipe), sort_keys=True), **self.shared, **part}
        identity = replace(self.subject.identity, metric_version=METRIC_VERSIONS[METRIC], details=details)
        return replace(identity, schedule_digest=self.schedule.digest(), selection=self.schedule.selection)

    @property
    def report_key(self) -> str:
        """The key of the cell that holds the finished report; files are named after it."""
        return self.identity(part="report").key

    @property
    def stored_epochs(self) -> int:
        """How many epochs are in the store, the start left out."""
        keys = [self.identity(part="epoch", epoch=epoch).key for epoch in range(1, self.recipe.epochs + 1)]
        return len(self.store.has_many(keys))

    def put_epoch(self, row: dict) -> None:
        """Store a row of the history, and announce the analysis with what there is of it."""
        identity = self.identity(part="epoch", epoch=row["epoch"])
        if not self.store.has_many([identity.key]):
            self.store.put(identity, row, {})
        self._announce(row["epoch"], None)

    def put_report(self, report: dict) -> Analysis:
        """Store the report, in place of an older one, and return the finished analysis."""
        identity = self.identity(part="report")
        self.store.remove([identity.key])
        self.store.put(identity, report, {})
        return self._announce(report["epochs"], utc_now())

    def test_key(self, data: ImageData) -> str:
        """The key of what the recovered model does on these images."""
        return self._test_identity(data).key

    def put_test(self, data: ImageData, baseline: Outcomes, recovered: Outcomes) -> None:
        """Store what baseline and recovered model do on images that recovery never saw."""
        before, after = baseline.correct, recovered.correct
        delta = Estimate(100.0 * (int(after.sum()) - int(before.sum())) / len(after), paired_interval(before, after))
        estimates = {"baseline_top1": baseline.top1_estimate, "top1": recovered.top1_estimate, "delta_top1": delta}
        figures = {name: estimate.to_dict() for name, estimate in estimates.items()}
        self.store.put(self._test_identity(data), {"data": data.source.name, "images": len(after), **figures}, {})

    def tested(self, data: ImageData) -> Analysis:
        """The finished analysis, its last cell what `put_test` stored of these images."""
        return self._announce(self.store.get(self.report_key).summary["epochs"], utc_now(), (self.test_key(data),))

    def _test_identity(self, data: ImageData) -> CellIdentity:
        return self.identity(part="test", test_data=data.source.digest, test_subset=digest_of_subset(data.index))

    def _announce(self, epochs: int, finished: str | None, more: tuple[str, ...] = ()) -> Analysis:
        keys = [self.identity(part="epoch", epoch=epoch).key for epoch in range(epochs + 1)]
        asked = {"metric": METRIC, "schedule": self.schedule.to_dict(), "recipe": asdict(self.recipe), **self.shared}
        label = f"recovery of {self.subject.identity.model}, schedule {self.schedule.digest()[:8]}"
        analysis = Analysis(self.subject.request(**asked), label, (self.report_key, *keys, *more), utc_now(), finished)
        self.store.put_analysis(analysis)
        return analysis


def recover_into(
    store: EvidenceStore,
    baseline: nn.Module,
    start: RecoveryStart,
    data: ImageData,
    recipe: Recipe,
    *,
    world: World = World(),  # noqa: B008 - frozen
    checkpoints: Checkpoints = Checkpoints(),  # noqa: B008 - frozen
    progress: Callable[[RecoveryProgress], object] = lambda told: None,
) -> tuple[Recovered, Analysis]:
    """Do what `toast_core.studies.recovery.loop.recover` does and store its figures; for the first of several processes only.

    Raises:
        StoreError: the store cannot be written; ToastErrors of `recover`.
    """
    cells = RecoveryStore(store, baseline, start, data, recipe, world.size)
    recovered = recover(
        baseline, start, data, cells.recipe, world=world, checkpoints=checkpoints, progress=progress,
        on_epoch=lambda row, model: cells.put_epoch(row),
    )
    return recovered, cells.put_report(recovered.report)
