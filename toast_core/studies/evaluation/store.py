"""A whole evaluation kept in the evidence store, measured once and batch by batch, so that a killed one goes on where it stopped."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.data.load import Batch
from toast_core.errors import DataError, DeviceError
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.studies.evaluation.measure import join_outcomes, outcomes_of
from toast_core.studies.evaluation.result import OUTCOME_NAMES, Outcomes
from toast_core.studies.subject import Subject, evaluation_summary, outcome_arrays

_notes = logging.getLogger(__name__)


def evaluation_identity(subject: Subject, schedule: Schedule, execution: str, statistics: Statistics | None) -> CellIdentity:
    """The cell of an evaluation. The baseline is one cell whatever selection its schedule names: the one that a sweep stores."""
    plain = _plain(schedule)
    return subject.evaluation(plain, "baseline") if plain.is_baseline else subject.evaluation(plain, execution, statistics)


def _plain(schedule: Schedule) -> Schedule:
    """The schedule itself; where nothing is pruned, without settings that then mean nothing."""
    return Schedule((BlockSchedule(),) * len(schedule.blocks)) if schedule.is_baseline else schedule


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
    analysis = Analysis(request, label, (identity.key,), utc_now())
    store.put_analysis(analysis)
    if not store.has_many([identity.key]):
        model = subject.model
        if not schedule.is_baseline:
            model = apply_plan(model, planner() if planner else make_plan(model, schedule, statistics), execution)
        outcomes, parts = _measure(model, subject, store, identity, progress)
        store.put(identity, evaluation_summary(outcomes), outcome_arrays(outcomes))
        store.remove(parts)
    finished = analysis.finished(utc_now())
    store.put_analysis(finished)
    return finished


def _measure(
    model: nn.Module, subject: Subject, store: EvidenceStore, identity: CellIdentity, progress: Callable[[int, int], None]
) -> tuple[Outcomes, list[str]]:
    """The outcomes of every image, and the keys of the parts they were kept in meanwhile, one a batch."""
    found, keys, done = [], [], 0
    for number, batch in enumerate(subject.data.batches(subject.batch_size)):
        part = replace(identity, details={**identity.detail, "part": "evaluation", "batch": number})
        keys.append(part.key)
        if store.has_many([part.key]):
            stored = store.get(part.key)
            outcomes = Outcomes(*(stored.arrays[name] for name in OUTCOME_NAMES))
        else:
            outcomes = _outcomes(model, batch, halves=identity.selection != "per_batch")
            arrays = {name: np.ascontiguousarray(getattr(outcomes, name)) for name in OUTCOME_NAMES}
            store.put(part, {"images": len(outcomes.label)}, arrays)
        found.append(outcomes)
        done += len(outcomes.label)
        progress(done, len(subject.data))
    if not found:
        data = subject.data
        raise DataError(f"none of the {len(data)} images of {data.source.name} could be read; first {data.skipped[0]}")
    return join_outcomes(found), keys


def _outcomes(model: nn.Module, batch: Batch, halves: bool) -> Outcomes:
    """One batch, in halves where the device runs out of memory; not where an image's result depends on its neighbours."""
    parameter = next(model.parameters())
    try:
        with torch.inference_mode():
            return outcomes_of(model(batch.images.to(parameter.device, parameter.dtype)), batch.labels, batch.index)
    except torch.OutOfMemoryError as error:
        count = len(batch.index)
        if not halves or count == 1:
            hint = "choose another selection or fewer images a batch" if count > 1 else "use a smaller --img-size"
            raise DeviceError(f"{parameter.device} ran out of memory at {count} images; {hint}") from error
    _notes.warning("out of memory with %d images at once; going on with %d", count, count // 2)
    middle = count // 2
    parts = (slice(middle), slice(middle, None))
    return join_outcomes([_outcomes(model, Batch(batch.images[part], batch.labels[part], batch.index[part]), halves) for part in parts])
