"""The stored latency table from which the equaliser reads milliseconds off while a bar moves. Imports no torch."""

from dataclasses import dataclass

import streamlit as st

from analysis_cache.errors import StoreError
from dashboard.evidence.find import find_evidence
from toast_core.cost.latency import LatencyTable
from toast_core.cost.shapes import ModelShape
from toast_core.setup import Setup

_LOOK_AGAIN_S = 20


@dataclass(frozen=True)
class StoredLatency:
    """The newest table of the model in the dashboard's own store; where there is none, `missing` says that it is on its way."""

    table: LatencyTable | None
    missing: str = ""


@st.cache_resource(ttl=_LOOK_AGAIN_S, show_spinner=False, hash_funcs={ModelShape: hash})
def stored_latency(setup: Setup, shape: ModelShape) -> StoredLatency:
    """Look for a table of this model's shape; those of shipped bundles were measured on other machines and do not count."""
    found = [one for one in find_evidence(setup, shape.name).of("latency") if one.source != "shipped"]
    for one in sorted(found, key=lambda one: one.analysis.created_utc, reverse=True):
        try:
            for row in one.rows():
                table = LatencyTable.from_dict(row)
                if table.shape == shape:
                    return StoredLatency(table)
        except (StoreError, KeyError, TypeError, ValueError):
            continue  # a bundle from elsewhere brought something else under this kind
    return StoredLatency(None, "measured on this machine while the engine is idle")
