"""Analyses kept in the evidence store: what is stored is not measured again, and a killed run goes on where it stopped."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, digest_of_subset
from analysis_cache.store import EvidenceStore
from toast_core.data.load import ImageData, arranged
from toast_core.errors import PlanError, ScheduleError
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.models.weights import weights_digest
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.studies.composition.measure import CompositionWork, composition_row
from toast_core.studies.composition.result import Condition, conditions
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.evaluation.result import Outcomes
from toast_core.studies.redundancy.measure import redundancy
from toast_core.studies.redundancy.result import REDUNDANCY_SITES
from toast_core.studies.sensitivity.cells import Cell, CellOutcomes
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.memory import images_at_once
from toast_core.studies.sensitivity.parts import KeptParts, StoreParts
from toast_core.studies.sensitivity.sweep import Rule, run_sweep
from toast_core.workbench import Workbench

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Subject:
    """The model and images that an analysis is about, with the part of the cells' identity that they fix."""

    model: nn.Module
    data: ImageData
    batch_size: int
    identity: CellIdentity

    @classmethod
    def of(
        cls, model: nn.Module, data: ImageData, batch_size: int, kind: str, executor: Executor = LOCAL, digest: str | None = None
    ) -> "Subject":
        """Describe a baseline model (in the dtype it is to run, and on the device unless the executor has its own) and an image set.

        `digest` is the weights' where it is known already; see `weights_digest`.

        Raises:
            PlanError: the model is already pruned.
        """
        info = get_info(model)
        if info.execution != "baseline":
            raise PlanError(f"{info.name} is already pruned ({info.execution}); analyze the baseline model")
        parameter = next(model.parameters())
        identity = CellIdentity(
            kind,
            METRIC_VERSIONS[kind],
            info.name,
            digest or weights_digest(model),
            data.source.digest,
            len(data),
            digest_of_subset(data.index),
            data.transform.description,
            None,
            None,
            data.order,
            batch_size,
            data.seed,
            str(parameter.dtype).removeprefix("torch."),
            parameter.device.type if executor.in_order else executor.device,
        )
        return cls(model, data, batch_size, identity)

    @classmethod
    def on(cls, workbench: Workbench, kind: str, images: int | None, batch_size: int) -> "Subject":
        """The workbench's model on this many of its images, None for all, as a cell of this kind identifies them."""
        return cls.of(workbench.model, workbench.images(images), batch_size, kind, digest=workbench.weights_digest)

    def request(self, **asked: object) -> dict:
        """What identifies an analysis: the shared identity, the weights' file where there is one, and what was asked."""
        file = get_info(self.model).weights_file
        return {**self.identity.to_dict(), **({"weights_file": file} if file else {}), **asked}

    def evaluation(self, schedule: Schedule, execution: str, statistics: Statistics | None = None) -> CellIdentity:
        """The identity of a whole evaluation of this model under a schedule, see `outcome_arrays` for what is stored of it.

        `statistics` are what a calibrated schedule chooses its channels from.
        """
        version, details = METRIC_VERSIONS["evaluation"], {"execution": execution}
        if statistics is not None:
            details["calibration"] = _statistics_digest(statistics)
        selection = None if schedule.is_baseline else schedule.selection
        identity = replace(self.identity, kind="evaluation", metric_version=version, details=details)
        return replace(identity, schedule_digest=schedule.digest(), selection=selection)


def redundancy_identities(subject: Subject) -> list[CellIdentity]:
    """The cells of a redundancy analysis, in the order of its rows."""
    blocks = len(get_info(subject.model).shape.blocks)
    return [replace(subject.identity, details={"block": block, "site": site}) for block in range(blocks) for site in REDUNDANCY_SITES]


def sensitivity_identities(
    subject: Subject, cells: list[Cell], rule: Rule, statistics: Statistics | None = None, settings: dict[str, object] | None = None
) -> dict[Cell, CellIdentity]:
    """The identity of every cell of a sweep, without measuring anything."""
    settings, blocks, calibration = settings or {}, len(get_info(subject.model).shape.blocks), _statistics_digest(statistics)

    def identity(cell: Cell) -> CellIdentity:
        schedule = cell.schedule(blocks, **settings)
        details = {"block": cell.block, "site": cell.site, "ratio": cell.ratio, "mode": rule.mode, "calibration": calibration}
        if rule.mode == "adaptive":
            details |= {"width": rule.width, "tolerance": rule.tolerance}
        return replace(subject.identity, schedule_digest=schedule.digest(), selection=schedule.selection, details=details)

    return {cell: identity(cell) for cell in cells}


def analyze_redundancy(
    subject: Subject, store: EvidenceStore, memory_gb: float = 8.0, progress: Progress | None = None, executor: Executor = LOCAL
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`RedundancyRow.to_dict`), measuring unless every row is stored."""
    identities = redundancy_identities(subject)
    analysis = _announce(store, subject, f"redundancy of {subject.identity.model}", identities, metric="redundancy")
    if len(store.has_many(analysis.cell_keys)) < len(identities):
        rows = redundancy(subject.model, subject.data, subject.batch_size, memory_gb, progress, executor=executor)
        for identity, row in zip(identities, rows, strict=True):
            store.put(identity, row.to_dict(), {})
    return _finish(store, analysis)


def analyze_sensitivity(
    subject: Subject,
    store: EvidenceStore,
    cells: list[Cell],
    rule: Rule,
    statistics: Statistics | None = None,
    settings: dict[str, object] | None = None,
    progress: Progress | None = None,
    memory_gb: float = 8.0,
    executor: Executor = LOCAL,
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`cells.summarize`), measuring the cells that are not stored, within `memory_gb` (1e9 bytes).

    `progress` is called after each stored part with the cell-images done and all of them, those stored already left out.
    """
    settings, blocks = settings or {}, len(get_info(subject.model).shape.blocks)
    statistics_digest = _statistics_digest(statistics)
    identities = sensitivity_identities(subject, cells, rule, statistics, settings)
    baseline = subject.evaluation(Schedule((BlockSchedule(),) * blocks), "baseline")
    analysis = _announce(
        store,
        subject,
        f"{rule.mode} sensitivity of {subject.identity.model}",
        [*identities.values(), *([baseline] if rule.mode == "exact" else [])],
        metric="sensitivity",
        mode=rule.mode,
        width=rule.width,
        tolerance=rule.tolerance,
        settings={key: settings[key] for key in sorted(settings)},
        calibration=statistics_digest,
        cells=[[cell.block, cell.site, cell.ratio] for cell in cells],
    )
    known = store.has_many(analysis.cell_keys)
    missing = [cell for cell in cells if identities[cell].key not in known]

    total = len(missing) * len(subject.data)
    parts = StoreParts(store, subject.identity, statistics_digest, settings, lambda done: progress and progress(min(done, total), total))
    if missing:
        if rule.mode == "exact" and baseline.key not in known:
            # first, so that whoever looks on while the sweep runs can pair the parts with it
            outcomes = evaluate(subject.model, subject.data, subject.batch_size, subject.identity.dtype, executor=executor).outcomes
            store.put(baseline, evaluation_summary(outcomes), outcome_arrays(outcomes))
        whole, value_bytes = settings.get("selection") == "per_batch", next(subject.model.parameters()).element_size()
        most_images = images_at_once(get_info(subject.model).shape, subject.batch_size, memory_gb, value_bytes, whole)
        sweep = Sweep(subject.model, statistics, most_images, **settings)
        run_sweep(
            sweep,
            subject.data,
            missing,
            subject.batch_size,
            rule,
            parts,
            on_cell=lambda row, outcomes: store.put(identities[Cell(row["block"], row["site"], row["ratio"])], row, _arrays(outcomes)),
            executor=executor,
        )
    # of every block: a run killed while it stored its cells left parts of blocks that lack nothing any more
    store.remove(parts.keys({cell.block for cell in cells}))
    return _finish(store, analysis)


def composition_identities(subject: Subject, schedule: Schedule, statistics: Statistics | None = None) -> dict[Condition, CellIdentity]:
    """The identity of every condition of a composition analysis, deployment first, without measuring anything.

    Raises:
        ScheduleError: the schedule prunes nothing, or has another number of blocks.
        PlanError: calibrated selection without statistics.
    """
    if schedule.is_baseline:
        raise ScheduleError("the schedule prunes nothing, so nothing can depend on the batch; give a ratio above 0 in some block")
    make_plan(subject.model, schedule, statistics)  # refuses what cannot be measured before anything is announced
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
            details={"execution": "masked", "calibration": _statistics_digest(statistics), **compared_with},
        )

    return {condition: identity(condition) for condition in conditions(subject.data.seed, schedule.seed)}


def analyze_composition(
    subject: Subject, store: EvidenceStore, schedule: Schedule, statistics: Statistics | None = None, progress: Progress | None = None,
    executor: Executor = LOCAL,
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`CompositionRow.to_dict`), deployment first, measuring the conditions that are not stored.

    Of the subject's images only the set and the seed matter, and its batch size does not: conditions have orders and sizes of their own.

    Raises:
        ScheduleError: the schedule prunes nothing, or has another number of blocks.
        PlanError: calibrated selection without statistics.
    """
    identities = composition_identities(subject, schedule, statistics)
    deployed = next(iter(identities))
    analysis = _announce(
        store,
        replace(subject, identity=identities[deployed]),
        f"composition of {subject.identity.model}, {schedule.selection}, schedule {schedule.digest()[:8]}",
        list(identities.values()),
        metric="composition",
        schedule=schedule.to_dict(),
    )
    known = store.has_many(analysis.cell_keys)
    missing = [condition for condition in identities if identities[condition].key not in known]
    if missing:
        parts = KeptParts(store, identities[deployed])
        deployment = None if deployed in missing else parts.load()
        if deployment is None:
            missing = list(dict.fromkeys((deployed, *missing)))
        ended, images = 0, len(subject.data)

        def tell(done: int) -> None:
            if progress:
                progress(ended * images + done, len(missing) * images)

        work = CompositionWork(subject.model, schedule, statistics, subject.data, tell)
        for wave in ([deployed] if deployed in missing else [], [condition for condition in missing if condition != deployed]):
            for condition, measured in executor.map(work, wave):
                if condition == deployed:
                    deployment = measured
                    parts.save(deployment)
                row = composition_row(subject.model, schedule, condition, measured, deployment)
                store.put(identities[condition], row.to_dict(), outcome_arrays(measured.outcomes))
                ended += 1
                tell(0)
        parts.remove()
    return _finish(store, analysis)


def _arrays(outcomes: CellOutcomes) -> dict[str, np.ndarray]:
    bits = {"correct": outcomes.correct, "top5": outcomes.top5}
    return bits | {"loss": _float16(outcomes.loss), "margin": _float16(outcomes.margin)}


def outcome_arrays(outcomes: Outcomes) -> dict[str, np.ndarray]:
    """What is kept of an evaluation: position, class and prediction of every image, top-5 hit, loss and margin."""
    whole = {name: getattr(outcomes, name).astype(np.int32) for name in ("index", "label", "predicted")}
    return whole | {"top5": outcomes.top5, "loss": _float16(outcomes.loss), "margin": _float16(outcomes.margin)}


def evaluation_summary(outcomes: Outcomes) -> dict[str, object]:
    """The figures of an evaluation, accuracies in percent, each with its 95 % interval."""
    estimates = {"top1": outcomes.top1_estimate, "top5": outcomes.top5_estimate, "loss": outcomes.loss_estimate}
    return {"images": len(outcomes.label), **{name: estimate.to_dict() for name, estimate in estimates.items()}}


def _float16(values: np.ndarray) -> np.ndarray:
    largest = float(np.finfo(np.float16).max)
    return np.clip(values, -largest, largest).astype(np.float16)


def _announce(store: EvidenceStore, subject: Subject, label: str, identities: list[CellIdentity], **asked: object) -> Analysis:
    analysis = Analysis(subject.request(**asked), label, tuple(identity.key for identity in identities), utc_now())
    store.put_analysis(analysis)
    return analysis


def _finish(store: EvidenceStore, analysis: Analysis) -> tuple[Analysis, list[dict]]:
    finished = analysis.finished(utc_now())
    store.put_analysis(finished)
    metric = analysis.request["metric"]
    return finished, [head.summary for head in store.heads(analysis.cell_keys) if head.identity.kind == metric]


def _statistics_digest(statistics: Statistics | None) -> str:
    if statistics is None:
        return "none"
    digest = hashlib.sha256(str(statistics.images).encode())
    for key in sorted(statistics.score_sums):
        digest.update(f"{key}".encode() + torch.as_tensor(statistics.score_sums[key], dtype=torch.float64).numpy().tobytes())
    return digest.hexdigest()[:16]
