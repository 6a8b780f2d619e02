"""Analyses kept in the evidence store: what is stored is not measured again, and a killed run goes on where it stopped."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, digest_of_subset
from analysis_cache.store import EvidenceStore
from toast_core.analysis.cells import OUTCOME_NAMES, Cell, CellOutcomes
from toast_core.analysis.composition import Measured, composition_row, measure_condition
from toast_core.analysis.evaluate import evaluate
from toast_core.analysis.memory import images_at_once
from toast_core.analysis.redundancy import redundancy
from toast_core.analysis.sensitivity import Sweep
from toast_core.analysis.sweep_run import Rule, run_sweep
from toast_core.analysis_results import REDUNDANCY_SITES
from toast_core.composition_results import Condition, conditions
from toast_core.data.load import ImageData, arranged
from toast_core.errors import PlanError, ScheduleError
from toast_core.models.info import get_info, weights_digest
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.results import OUTCOME_NAMES as IMAGE_OUTCOMES
from toast_core.results import Outcomes
from toast_core.schedule.schedule import BlockSchedule, Schedule

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Subject:
    """The model and images that an analysis is about, with the part of the cells' identity that they fix."""

    model: nn.Module
    data: ImageData
    batch_size: int
    identity: CellIdentity

    @classmethod
    def of(cls, model: nn.Module, data: ImageData, batch_size: int, kind: str) -> "Subject":
        """Describe a baseline model (in the dtype and on the device it is to run) and an image set.

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
            weights_digest(model),
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
            parameter.device.type,
        )
        return cls(model, data, batch_size, identity)

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
    subject: Subject, store: EvidenceStore, memory_gb: float = 8.0, progress: Progress | None = None
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`RedundancyRow.to_dict`), measuring unless every row is stored."""
    identities = redundancy_identities(subject)
    analysis = _announce(store, subject, f"redundancy of {subject.identity.model}", identities, metric="redundancy")
    if len(store.has_many(analysis.cell_keys)) < len(identities):
        rows = redundancy(subject.model, subject.data, subject.batch_size, memory_gb, progress)
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
    parts = StoreParts(store, subject, statistics_digest, settings, lambda done: progress and progress(min(done, total), total))
    if missing:
        if rule.mode == "exact" and baseline.key not in known:
            # first, so that whoever looks on while the sweep runs can pair the parts with it
            outcomes = evaluate(subject.model, subject.data, subject.batch_size, subject.identity.dtype).outcomes
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
        )
    # of every block: a run killed while it stored its cells left parts of blocks that lack nothing any more
    store.remove(parts.keys({cell.block for cell in cells}))
    return _finish(store, analysis)


class StoreParts:
    """Finished parts of a sweep in the store: one cell entry for a block's cells on a batch; removed when the sweep is done."""

    def __init__(
        self, store: EvidenceStore, subject: Subject, statistics_digest: str, settings: dict[str, object],
        counted: Callable[[int], object] = lambda done: None,
    ) -> None:
        self.store, self.subject, self.counted, self.done = store, subject, counted, 0
        self.shared = {"part": "sensitivity", "calibration": statistics_digest, "settings": json.dumps(settings, sort_keys=True)}

    def _identity(self, batch: int, block: int) -> CellIdentity:
        return replace(self.subject.identity, details={**self.shared, "batch": batch, "block": block})

    def keys(self, blocks: Iterable[int]) -> list[str]:
        """The keys of these blocks' parts on every batch, stored or not."""
        batches = math.ceil(len(self.subject.data) / self.subject.batch_size)
        return [self._identity(batch, block).key for block in blocks for batch in range(batches)]

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Return what is stored of this part, possibly nothing."""
        key = self._identity(batch, block).key
        if not self.store.has_many([key]):
            return {}
        stored = self.store.get(key)
        known = {
            Cell(block, site, ratio): CellOutcomes(*(stored.arrays[name][row] for name in OUTCOME_NAMES))
            for row, (site, ratio) in enumerate(stored.summary["cells"])
        }
        self._count(known)
        return known

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Store this part; committed when this returns."""
        if not cells:
            return
        arrays = {name: np.stack([getattr(outcomes, name) for outcomes in cells.values()]) for name in OUTCOME_NAMES}
        self.store.put(self._identity(batch, block), {"cells": [[cell.site, cell.ratio] for cell in cells]}, arrays)
        self._count(cells)

    def _count(self, cells: dict[Cell, CellOutcomes]) -> None:
        self.done += sum(len(outcomes) for outcomes in cells.values())
        self.counted(self.done)


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
    subject: Subject, store: EvidenceStore, schedule: Schedule, statistics: Statistics | None = None, progress: Progress | None = None
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
        for number, condition in enumerate(missing):
            advance = _share_of(progress, number, len(missing))
            measured = measure_condition(subject.model, schedule, statistics, subject.data, condition, advance)
            if condition == deployed:
                deployment = measured
                parts.save(deployment)
            row = composition_row(subject.model, schedule, condition, measured, deployment)
            store.put(identities[condition], row.to_dict(), outcome_arrays(measured.outcomes))
        parts.remove()
    return _finish(store, analysis)


class KeptParts:
    """What deployment kept for each image, in the store while conditions are still to be compared with it; removed at the end."""

    BYTES = 8 << 20  # of one entry: the store takes 16 MiB

    def __init__(self, store: EvidenceStore, deployment: CellIdentity) -> None:
        self.store, self.deployment = store, deployment

    def _identity(self, number: int) -> CellIdentity:
        return replace(self.deployment, details={**self.deployment.detail, "part": number})

    def save(self, measured: Measured) -> None:
        """Store it; to be called before deployment's own cell is stored, which `load` relies on."""
        images = len(measured.outcomes.index)
        bits = np.concatenate([np.zeros((images, 0), np.uint8), *measured.kept.values()], axis=1)
        step = max(1, self.BYTES // max(1, bits.shape[1]))
        starts = range(0, images, step)
        sites = [[block, site, kept.shape[1]] for (block, site), kept in measured.kept.items()]
        for number, start in enumerate(starts):
            self.store.put(self._identity(number), {"parts": len(starts), "sites": sites}, {"kept": bits[start : start + step]})

    def load(self) -> Measured | None:
        """Return what is stored of deployment, or None where an entry is missing."""
        keys = self._keys()
        if not keys or len(self.store.has_many(keys)) < len(keys):
            return None
        entries = [self.store.get(key) for key in keys]
        bits = np.concatenate([entry.arrays["kept"] for entry in entries])
        ends = np.cumsum([0, *(width for *_, width in entries[0].summary["sites"])])
        kept = {
            (block, site): bits[:, start:end]
            for (block, site, _), start, end in zip(entries[0].summary["sites"], ends[:-1], ends[1:], strict=True)
        }
        arrays = self.store.get(self.deployment.key).arrays
        return Measured(Outcomes(*(arrays[name] for name in IMAGE_OUTCOMES)), kept)

    def remove(self) -> None:
        """Remove it from the store."""
        self.store.remove(self._keys())

    def _keys(self) -> list[str]:
        first = self.store.heads([self._identity(0).key])
        return [self._identity(number).key for number in range(first[0].summary["parts"])] if first else []


def _share_of(progress: Progress | None, number: int, passes: int) -> Progress:
    """Progress of one of several passes over the same images, told as progress of all."""
    return lambda done, total: progress(number * total + done, passes * total) if progress else None


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
