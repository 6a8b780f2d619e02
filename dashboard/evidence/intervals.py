"""The 95 % intervals that an analysis' rows do not carry, from the outcomes of its images. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from analysis_cache.replay import Replay
from dashboard.evidence.find import Evidence
from dashboard.evidence.sweep import intervals


def with_intervals(evidence: Evidence, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows with the 95 % intervals of their differences in top-5 and loss, from the stored images' outcomes where there are any.

    Raises:
        StoreError: the source cannot be read any more.
    """
    baseline = evidence.replay.baseline(evidence.analysis.id)
    if baseline is None:
        return list(rows)
    return [{**row, **_stored_intervals(evidence.replay, row["key"], baseline.key)} if "key" in row else row for row in rows]


@st.cache_data(show_spinner=False, max_entries=20_000, hash_funcs={Replay: lambda replay: replay.name})
def _stored_intervals(replay: Replay, key: str, baseline_key: str) -> dict[str, list[float]]:
    return intervals(replay.outcomes(key), _baseline_outcomes(replay, baseline_key))


@st.cache_resource(show_spinner=False, max_entries=8, hash_funcs={Replay: lambda replay: replay.name})
def _baseline_outcomes(replay: Replay, key: str) -> dict[str, np.ndarray]:
    return replay.outcomes(key)
