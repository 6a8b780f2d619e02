"""Batch composition in the evidence store: a cell a condition, each compared with deployment, which is measured first."""

from collections.abc import Callable
from dataclasses import replace

from analysis_cache.analysis import Analysis
from analysis_cache.key import CellIdentity, digest_of_subset
from analysis_cache.store import EvidenceStore
from toast_core.data.load import arranged
from toast_core.errors import ScheduleError
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.compensation import NONE
from toast_core.schedule.schedule import Schedule
from toast_core.studies.analyses import announce, finish, rows_of
from toast_core.studies.composition.measure import CompositionWork, composition_row
from toast_core.studies.composition.parts import DeploymentParts
from toast_core.studies.composition.result import Condition, conditions
from toast_core.studies.subject import Subject, statistics_digest
from toast_core.studies.tasks.registry import check_classifier


def composition_identities(subject: Subject, schedule: Schedule, statistics: Statistics | None = None) -> dict[Condition, CellIdentity]:
    """The identity of every condition of a composition analysis, deployment first, without measuring anything.

    Raises:
        DataError: the model has no classifier.
        ScheduleError: the schedule prunes nothing, or has another number of blocks.
        PlanError: calibrated selection without statistics.
    """
    check_classifier(get_info(subject.model).shape, "composition compares")
    if schedule.is_baseline:
        raise ScheduleError("the schedule prunes nothing, so nothing can depend on the batch; give a ratio above 0 in some block")
    # refuses what cannot be measured before anything is announced
    make_plan(subject.model, replace(schedule, compensation=NONE), statistics)
    compared_with = {"deployed_seed": subject.data.seed, "deployed_token_seed": schedule.seed}

    def identity(condition: Condition) -> CellIdentity:
        return replace(
            subject.identity,
            subset_digest=digest_of_subset(arranged(subject.data, condition.order, condition.seed).index),
            schedule_digest=replace(schedule, seed=condition.token_seed).digest(),
            selection=schedule.selection,
            order=condition.order,
            batch_size=condition.batch_size,
            seed=condition.seed,
            details={"execution": "masked", "calibration": statistics_digest(statistics), **compared_with},
        )

    return {condition: identity(condition) for condition in conditions(subject.data.seed, schedule.seed)}


def analyze_composition(
    subject: Subject, store: EvidenceStore, schedule: Schedule, statistics: Statistics | None = None,
    progress: Callable[[int, int], None] | None = None, executor: Executor = LOCAL, planner: Callable[[], Plan] | None = None,
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`CompositionRow.to_dict`), deployment first, measuring the conditions that are not stored.

    Of the subject's images only the set and the seed matter, and its batch size does not: conditions have orders and sizes of their own.
    `planner` makes the plan where the schedule asks for compensation.

    Raises:
        DataError: the model has no classifier.
        ScheduleError: the schedule prunes nothing, or has another number of blocks.
        PlanError: calibrated selection without statistics.
    """
    identities = composition_identities(subject, schedule, statistics)
    deployed = next(iter(identities))
    request = replace(subject, identity=identities[deployed]).request(metric="composition", schedule=schedule.to_dict())
    label = f"composition of {subject.identity.model}, {schedule.selection}, schedule {schedule.digest()[:8]}"
    analysis = announce(store, request, label, identities.values())
    known = store.has_many(analysis.cell_keys)
    missing = [condition for condition in identities if identities[condition].key not in known]
    if missing:
        parts = DeploymentParts(store, identities[deployed])
        deployment = None if deployed in missing else parts.load()
        if deployment is None:
            missing = list(dict.fromkeys((deployed, *missing)))
        ended, images = 0, len(subject.data)

        def tell(done: int) -> None:
            if progress:
                progress(ended * images + done, len(missing) * images)

        fitted = planner() if planner and not schedule.compensation.is_none else None
        work = CompositionWork(subject.model, schedule, statistics, subject.data, tell, fitted)
        for wave in ([deployed] if deployed in missing else [], [condition for condition in missing if condition != deployed]):
            for condition, measured in executor.map(work, wave):
                if condition == deployed:
                    deployment = measured
                    parts.save(deployment)
                row = composition_row(subject.model, schedule, condition, measured, deployment)
                store.put(identities[condition], row.to_dict(), measured.outcomes.stored())
                ended += 1
                tell(0)
        parts.remove()
    return finish(store, analysis), rows_of(store, analysis)
