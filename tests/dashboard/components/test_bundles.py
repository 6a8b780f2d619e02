"""Evidence bundles that visitors upload and download."""

import json
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis_cache.errors import StoreError
from analysis_cache.store import EvidenceStore
from analysis_cache.upkeep import Added
from dashboard.components.exchange import added_in_words, bundle_of, take_bundle
from tests.support.cells import cells_in, fill
from tests.support.deliveries import labels, words
from tests.support.evidence import put_redundancy


def _overview() -> None:
    from dashboard.pages.overview import page as overview
    from dashboard.session import state

    state.open_session(state.model_shape())
    overview.render()


def bad_zip(tmp_path: Path, **members: bytes) -> bytes:
    """A zip file with these members."""
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return path.read_bytes()


class TestBundles:
    """What is uploaded is checked before any of it is used; what is exported can be taken in again."""

    @pytest.fixture
    def sound(self, tmp_path: Path) -> bytes:
        """A bundle of one analysis with five cells."""
        with EvidenceStore.open(tmp_path / "other.sqlite") as store:
            analysis = fill(store)
        return bundle_of(str(tmp_path / "other.sqlite"), analysis.short_id)

    def test_there_and_back(self, sound, tmp_path):
        store = str(tmp_path / "own.sqlite")
        first, again = take_bundle(store, sound), take_bundle(store, sound)
        assert (first.analyses, first.cells, again.analyses, again.cells_present) == (1, 5, 0, 5)
        with EvidenceStore.open(store) as opened:
            assert bundle_of(store, opened.list_analyses()[0].short_id) == sound

    @pytest.mark.parametrize("spoil", [
        lambda sound, folder: b"",
        lambda sound, folder: b"not a bundle at all",
        lambda sound, folder: sound[:-10],
        lambda sound, folder: sound[: len(sound) // 2] + bytes([sound[len(sound) // 2] ^ 255]) + sound[len(sound) // 2 + 1 :],
        lambda sound, folder: sound + b"more",
        lambda sound, folder: bad_zip(folder, a=b"x"),
        lambda sound, folder: bad_zip(folder, **{"manifest.json": b"[]"}),
        lambda sound, folder: bad_zip(folder, **{"manifest.json": b"{" * 5000}),
        lambda sound, folder: bad_zip(folder, **{"..__..__etc__passwd": b"x", "manifest.json": b"{}"}),
        lambda sound, folder: bad_zip(folder, **{"manifest.json": json.dumps({"format": "toastbundle", "version": 99}).encode()}),
        lambda sound, folder: bad_zip(folder, **{"analyses.jsonl": b"\x00" * 40_000_000}),
        lambda sound, folder: b"PK\x05\x06" + b"\xff" * 18,
    ])
    def test_what_is_not_sound_is_one_line_and_changes_nothing(self, sound, tmp_path, spoil):
        store = str(tmp_path / "own.sqlite")
        with pytest.raises(StoreError) as caught:
            take_bundle(store, spoil(sound, tmp_path))
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value) and "/tmp" not in str(caught.value)
        with EvidenceStore.open(store) as opened:
            assert not opened.list_analyses() and not cells_in(opened)

    def test_a_bundle_that_is_too_large_is_refused_unread(self, monkeypatch, tmp_path):
        monkeypatch.setattr("dashboard.components.exchange.MAX_BUNDLE_MB", 0)
        with pytest.raises(StoreError, match="more than 0; take it in with toast cache import"):
            take_bundle(str(tmp_path / "own.sqlite"), b"1")

    def test_an_analysis_that_is_gone_is_one_line(self, deliver_engine):
        with pytest.raises(StoreError, match="there is no"):
            bundle_of(deliver_engine.setup.store, "0" * 16)

    def test_what_came_of_it_is_said_in_words(self):
        assert added_in_words(Added(5, 0, 1, 0)) == "1 analysis and 5 cells taken over."
        assert added_in_words(Added(0, 1200, 0, 2)) == "0 analyses and 0 cells taken over; 2 analyses and 1,200 cells were here already."

    def test_the_overview_takes_one_in_and_gives_one_out(self, deliver_engine, tmp_path):
        at = AppTest.from_function(_overview, default_timeout=180).run()
        assert "No analysis of this model is in the dashboard's store yet" in words(at)
        with EvidenceStore.open(tmp_path / "other.sqlite") as store:
            analysis = put_redundancy(store)
        sound = bundle_of(str(tmp_path / "other.sqlite"), analysis.short_id)
        at.file_uploader(key="exchange-upload-0").upload("sent.toastbundle", sound, "application/octet-stream").run()
        assert not at.exception and "sent.toastbundle: 1 analysis and 24 cells taken over." in words(at)
        assert "Download bundle" in labels(at) and at.file_uploader(key="exchange-upload-1")
        at.file_uploader(key="exchange-upload-1").upload("bad.toastbundle", b"PK", "application/octet-stream").run()
        assert not at.exception and any(error.value.startswith("bad.toastbundle was not used: ") for error in at.error)
