"""Evidence bundles on a page: one that was sent becomes part of the dashboard's store, and an analysis becomes a file to send."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from analysis_cache.bundle import SUFFIX
from analysis_cache.errors import StoreError
from analysis_cache.exchange import export_bundle, import_bundle
from analysis_cache.store import EvidenceStore
from analysis_cache.upkeep import Added
from dashboard.evidence.find import Evidence
from dashboard.session import state
from dashboard.session.whole import whole
from dashboard.uploads import MAX_BUNDLE_MB

_OUTCOME = "exchange-outcome"
_SHORT = 8


def show_exchange(found: Sequence[Evidence]) -> None:
    """Two halves: take in a bundle, give out one of these analyses. What came of an upload is said above them."""
    if outcome := st.session_state.pop(_OUTCOME, None):
        kind, text = outcome
        (st.success if kind == "taken" else st.error)(text)
    take, give = st.columns(2)
    with take:
        st.markdown("**Import an analysis**")
        st.file_uploader(
            "Evidence bundle (.toastbundle)", type=SUFFIX.removeprefix("."), max_upload_size=MAX_BUNDLE_MB, key=_uploader_key(),
            on_change=whole(_take), help="Every part is checked before any of it is used; a file that is not sound changes nothing.",
        )
    with give:
        st.markdown("**Export an analysis**")
        _show_export([one for one in found if one.source == "your store"])


def _uploader_key() -> str:
    """Another key after each upload, so that the box is empty again and the same file can be imported twice."""
    return f"exchange-upload-{st.session_state.setdefault('exchange-uploads', 0)}"


def _take() -> None:
    file = st.session_state[_uploader_key()]
    if file is None:
        return
    try:
        added = take_bundle(state.engine_client().setup.store, file.getvalue())
        st.session_state[_OUTCOME] = "taken", f"{file.name}: {added_in_words(added)}"
    except StoreError as error:
        st.session_state[_OUTCOME] = "refused", f"{file.name} was not used: {error}"
    st.session_state["exchange-uploads"] += 1


def take_bundle(store: str | None, data: bytes) -> Added:
    """Check a bundle's bytes and take what is in it over into a store (None: the user's own), all or nothing.

    Raises:
        StoreError: too large, not sound in some part, or the store cannot be written.
    """
    if len(data) > MAX_BUNDLE_MB << 20:
        raise StoreError(f"it has {len(data) / 1e6:.0f} MB, more than {MAX_BUNDLE_MB}; take it in with toast cache import")
    with tempfile.TemporaryDirectory() as folder, EvidenceStore.open(store) as opened:
        path = Path(folder) / f"upload{SUFFIX}"
        path.write_bytes(data)
        try:
            return import_bundle(opened, path)
        except StoreError as error:
            # the temporary file's path tells people nothing
            raise StoreError(str(error).replace(str(path), "the bundle").replace("bundle the bundle", "the bundle")) from error


def added_in_words(added: Added) -> str:
    """For example `3 analyses with 120 cells taken over; 1 analysis and 40 cells were here already.`"""
    new = f"{_counted(added.analyses, 'analysis', 'analyses')} and {_counted(added.cells, 'cell', 'cells')} taken over"
    if not added.analyses_present and not added.cells_present:
        return f"{new}."
    here = f"{_counted(added.analyses_present, 'analysis', 'analyses')} and {_counted(added.cells_present, 'cell', 'cells')}"
    return f"{new}; {here} were here already."


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _show_export(own: Sequence[Evidence]) -> None:
    if not own:
        st.caption("No analysis of this model is in the dashboard's store yet.")
        return
    offered = {one.short_id: f"{one.analysis.label}, {one.images:,} images, {one.short_id[:_SHORT]}" for one in own}
    chosen = st.selectbox("Analysis to export", list(offered), format_func=offered.__getitem__, key="exchange-analysis")
    store = state.engine_client().setup.store
    st.download_button(
        "Download bundle", lambda: bundle_of(store, chosen), f"{own[0].analysis.request['model']}-{chosen}{SUFFIX}",
        "application/octet-stream", key="exchange-download", on_click="ignore",
    )


def bundle_of(store: str | None, analysis: str) -> bytes:
    """One analysis with its cells as the bytes of a bundle.

    Raises:
        StoreError: it is not in the store any more, or a cell of it is damaged.
    """
    with tempfile.TemporaryDirectory() as folder, EvidenceStore.open(store, create=False, read_only=True) as opened:
        path = Path(folder) / f"analysis{SUFFIX}"
        export_bundle(opened, path, [analysis])
        return path.read_bytes()
