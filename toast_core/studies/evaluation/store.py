"""A whole evaluation in the evidence store, measured once and batch by batch, so that a killed one goes on where it stopped."""

from collections.abc import Callable
from dataclasses import replace

from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.analyses import announce, finish
from toast_core.studies.device_memory import ImageLimit
from toast_core.studies.evaluation.measure import join_outcomes
from toast_core.studies.subject import Subject, statistics_digest
from toast_core.studies.tasks.base import ImageOutcomes, Probe


def evaluation_identity(subject: Subject, schedule: Schedule, execution: str, statistics: Statistics | None = None) -> CellIdentity:
    """The cell of a whole evaluation under a schedule; `stored()` of its outcomes is what is kept of it.

    The baseline is one cell whatever selection its schedule names, and is the one that a sweep stores. `statistics` are what a
    calibrated schedule chooses its channels from.
    """
    plain, details = _plain(schedule), {"execution": "baseline" if schedule.is_baseline else execution, **subject.task.details}
    if subject.bank is not None:
        details["bank"] = subject.bank.digest
    if statistics is not None and not schedule.is_baseline:
        details["calibration"] = statistics_digest(statistics)
    return replace(
        subject.identity, kind="evaluation", metric_version=METRIC_VERSIONS["evaluation"], details=details, schedule_digest=plain.digest(),
        selection=None if schedule.is_baseline else schedule.selection,
    )


def _plain(schedule: Schedule) -> Schedule:
    """The schedule itself; where nothing is pruned, without settings that then mean nothing."""
    return Schedule.uniform(len(schedule.blocks)) if schedule.is_baseline else schedule


def analyze_evaluation(
    subject: Subject, store: EvidenceStore, schedule: Schedule, execution: str, statistics: Statistics | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None, planner: Callable[[], Plan] | None = None,
) -> Analysis:
    """Return the analysis of one cell, measuring it unless it is stored. `progress` is told the images done and all of them.

    `planner` makes the plan where the schedule asks for compensation.

    Raises:
        DataError: no image could be read.
        DeviceError: not even one image fits, or fewer than a batch where the selection depends on the whole batch.
    """
    identity = evaluation_identity(subject, schedule, execution, statistics)
    request = subject.request(metric="evaluation", schedule=_plain(schedule).to_dict(), **identity.detail)
    label = f"evaluation of {identity.model}, {'baseline' if schedule.is_baseline else schedule.selection.replace('_', ' ')}"
    analysis = announce(store, request, label, [identity])
    if not store.has_many([identity.key]):
        model = subject.model
        if not schedule.is_baseline:
            model = apply_plan(model, planner() if planner else make_plan(model, schedule, statistics), execution)
        probe = subject.task.probe(model, subject.model, subject.bank)
        outcomes, parts = _measure(probe, subject, store, identity, progress)
        store.put(identity, evaluation_summary(outcomes), outcomes.stored())
        store.remove(parts)
    return finish(store, analysis)


def _measure(
    probe: Probe, subject: Subject, store: EvidenceStore, identity: CellIdentity, progress: Callable[[int, int], None]
) -> tuple[ImageOutcomes, list[str]]:
    """The outcomes of every image, and the keys of the parts that hold them meanwhile, one a batch."""
    found, keys, done, limit = [], [], 0, ImageLimit(selection=identity.selection)
    for number, batch in enumerate(subject.data.batches(subject.batch_size)):
        part = replace(identity, details={**identity.detail, "part": "evaluation", "batch": number})
        keys.append(part.key)
        if store.has_many([part.key]):
            outcomes = subject.task.read(store.get(part.key).arrays)
        else:
            outcomes = limit.run(batch, probe, join_outcomes)
            store.put(part, {"images": len(outcomes.index)}, outcomes.arrays())
        found.append(outcomes)
        done += len(outcomes.index)
        progress(done, len(subject.data))
    if not found:
        raise subject.data.unread()
    return join_outcomes(found), keys


def evaluation_summary(outcomes: ImageOutcomes) -> dict[str, object]:
    """The figures of an evaluation, each with its 95 % interval."""
    return {"images": len(outcomes.index), **{key: estimate.to_dict() for key, estimate in outcomes.estimates().items()}}
