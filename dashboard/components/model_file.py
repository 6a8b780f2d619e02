"""Pruned models that runs have written beside the engines' folders, for pages to offer. Imports no torch."""

from pathlib import Path

import streamlit as st

from dashboard.session import state
from toast_core.engine.protocol import APPLIED_FOLDER
from toast_core.files import sha256_of


def written_file(key: str) -> Path:
    """Where the model that a stored cell is about lies; the file need not be there."""
    return state.engine_client().folder.parent / APPLIED_FOLDER / f"{key}.safetensors"


@st.cache_data(show_spinner=False, max_entries=100)
def digest_of_file(path: Path, changed_ns: int) -> str:
    """The sha256 of a file, read once for each time it was changed."""
    return sha256_of(path)


def show_download(path: Path, name: str, key: str) -> None:
    """A button that saves the file under that name, with its sha256 below."""
    status = path.stat()
    st.download_button(
        f"Download model ({status.st_size / 1e6:.1f} MB)", path.read_bytes, name, "application/octet-stream", type="primary", key=key,
        on_click="ignore",
    )
    digest = digest_of_file(path, status.st_mtime_ns)
    st.caption(f"One .safetensors file, schedule inside; every toast command takes it as --weights. sha256 `{digest}`")
