"""Latency tables in the evidence store: one for each model shape, machine and way of running, measured once."""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.cost.latency import LatencyTable
from toast_core.data.noise import random_images
from toast_core.machine import dtype_name, processor_name
from toast_core.models.info import get_info
from toast_core.studies.latency.measure import measure_table

KIND = "latency"
_SEED = 0
Progress = Callable[[int, int], None]


def table_identity(model: nn.Module, batch_size: int) -> CellIdentity:
    """The cell of a model's table: its shape, dtype, device, processor, threads and PyTorch count; weights and images do not."""
    info, parameter = get_info(model), next(model.parameters())
    shape = hashlib.sha256(json.dumps(info.shape.to_dict(), sort_keys=True).encode()).hexdigest()
    return CellIdentity(
        kind=KIND, metric_version=METRIC_VERSIONS[KIND], model=info.name, weights_digest="any", data_digest="random", images=batch_size,
        subset_digest="random", transform="random normal values", schedule_digest=None, selection=None, order="none",
        batch_size=batch_size, seed=_SEED, dtype=dtype_name(parameter.dtype), device_kind=parameter.device.type,
        details={
            "shape": shape, "processor": processor_name(parameter.device), "threads": torch.get_num_threads(), "torch": version("torch"),
        },
    )


def find_table(store: EvidenceStore, model: nn.Module, batch_size: int) -> LatencyTable | None:
    """Return the stored table of this model on this machine with as many threads as PyTorch uses now; None where there is none."""
    found = store.heads([table_identity(model, batch_size).key])
    try:
        return LatencyTable.from_dict(found[0].summary) if found else None
    except (KeyError, TypeError, ValueError):
        return None  # a bundle from elsewhere brought something else under this key


def put_table(
    store: EvidenceStore, model: nn.Module, batch_size: int, progress: Progress = lambda done, total: None
) -> LatencyTable:
    """Measure a table, put it in the place of an older one, and return it.

    Raises:
        PlanError: the model is already pruned.
        DeviceError: the device ran out of memory.
    """
    identity = table_identity(model, batch_size)
    table = measure_table(model, random_images(model, batch_size, _SEED), progress=progress)
    now = utc_now()
    request = {"metric": KIND, "model": identity.model, "dtype": identity.dtype, "batch_size": batch_size, **identity.detail}
    label = f"latency table of {identity.model}, batch {batch_size}, {identity.dtype}, {table.threads} threads"
    store.remove([identity.key])
    store.put(identity, table.to_dict(), {})
    store.put_analysis(Analysis(request, label, (identity.key,), now, now))
    return table


def table_for(
    store: EvidenceStore, model: nn.Module, batch_size: int, progress: Progress = lambda done, total: None
) -> LatencyTable:
    """Return the stored table, or measure it; raises what `put_table` does."""
    return find_table(store, model, batch_size) or put_table(store, model, batch_size, progress)
