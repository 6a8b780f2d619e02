"""Analyses kept in the evidence store: what is stored is not measured again, and a killed run goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, digest_of_subset
from analysis_cache.store import EvidenceStore
from toast_core.analysis.cells import OUTCOME_NAMES, Cell, CellOutcomes
from toast_core.analysis.redundancy import redundancy
from toast_core.analysis.sensitivity import Sweep
from toast_core.analysis.sweep_run import Rule, run_sweep
from toast_core.analysis_results import REDUNDANCY_SITES
from toast_core.data.load import ImageData
from toast_core.errors import PlanError
from toast_core.models.info import get_info, weights_digest
from toast_core.pruning.statistics import Statistics
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

    def evaluation(self, schedule: Schedule, execution: str) -> CellIdentity:
        """The identity of a whole evaluation of this model under a schedule, see `outcome_arrays` for what is stored of it."""
        version, details = METRIC_VERSIONS["evaluation"], {"execution": execution}
        selection = None if schedule.is_baseline else schedule.selection
        identity = replace(self.identity, kind="evaluation", metric_version=version, details=details)
        return replace(identity, schedule_digest=schedule.digest(), selection=selection)


def analyze_redundancy(
    subject: Subject, store: EvidenceStore, memory_gb: float = 8.0, progress: Progress | None = None
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`RedundancyRow.to_dict`), measuring unless every row is stored."""
    blocks = len(get_info(subject.model).shape.blocks)
    identities = [replace(subject.identity, details={"block": block, "site": site}) for block in range(blocks) for site in REDUNDANCY_SITES]
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
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`cells.summarize`), measuring the cells that are not stored."""
    settings, blocks = settings or {}, len(get_info(subject.model).shape.blocks)
    statistics_digest = _statistics_digest(statistics)

    def identity(cell: Cell) -> CellIdentity:
        schedule = cell.schedule(blocks, **settings)
        details = {"block": cell.block, "site": cell.site, "ratio": cell.ratio, "mode": rule.mode, "calibration": statistics_digest}
        if rule.mode == "adaptive":
            details |= {"width": rule.width, "tolerance": rule.tolerance}
        return replace(subject.identity, schedule_digest=schedule.digest(), selection=schedule.selection, details=details)

    identities = {cell: identity(cell) for cell in cells}
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

    def put_baseline(outcomes: Outcomes) -> None:
        if rule.mode == "exact":
            store.put(baseline, evaluation_summary(outcomes), outcome_arrays(outcomes))

    if missing:
        parts = StoreParts(store, subject, statistics_digest, settings)
        sweep = Sweep(subject.model, statistics, **settings)
        run_sweep(
            sweep,
            subject.data,
            missing,
            subject.batch_size,
            rule,
            parts,
            on_cell=lambda row, outcomes: store.put(identities[Cell(row["block"], row["site"], row["ratio"])], row, _arrays(outcomes)),
            on_baseline=put_baseline,
            progress=progress or (lambda done, total: None),
        )
        store.remove(parts.keys)
    return _finish(store, analysis)


class StoreParts:
    """Finished parts of a sweep in the store: one cell entry for a block's cells on a batch; removed when the sweep is done."""

    def __init__(self, store: EvidenceStore, subject: Subject, statistics_digest: str, settings: dict[str, object]) -> None:
        self.store, self.subject, self.keys = store, subject, []
        self.shared = {"part": "sensitivity", "calibration": statistics_digest, "settings": json.dumps(settings, sort_keys=True)}

    def _identity(self, batch: int, block: int) -> CellIdentity:
        identity = replace(self.subject.identity, details={**self.shared, "batch": batch, "block": block})
        self.keys.append(identity.key)
        return identity

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Return what is stored of this part, possibly nothing."""
        key = self._identity(batch, block).key
        if not self.store.has_many([key]):
            return {}
        stored = self.store.get(key)
        return {
            Cell(block, site, ratio): CellOutcomes(*(stored.arrays[name][row] for name in OUTCOME_NAMES))
            for row, (site, ratio) in enumerate(stored.summary["cells"])
        }

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Store this part; committed when this returns."""
        if not cells:
            return
        arrays = {name: np.stack([getattr(outcomes, name) for outcomes in cells.values()]) for name in OUTCOME_NAMES}
        self.store.put(self._identity(batch, block), {"cells": [[cell.site, cell.ratio] for cell in cells]}, arrays)


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
