"""Replay from a bundle: quick, and without torch."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.exchange import export_bundle, import_bundle
from analysis_cache.replay import Replay, shipped_bundles
from analysis_cache.store import EvidenceStore
from tests.support.cells import TIME, fill, identity, outcomes, summary

ROOT = Path(__file__).parents[2]
FIREWALL = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "torchvision", *REFUSED):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())
"""


def behind_the_firewall(code: str, *arguments: object, refused: tuple[str, ...] = ()) -> None:
    """Run code where importing torch raises."""
    command = [sys.executable, "-c", FIREWALL.replace("REFUSED", repr(refused)) + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As large as the shipped ones: 1,300 cells of 2,000 outcomes."""
    folder = tmp_path_factory.mktemp("bundle")
    with EvidenceStore.open(folder / "a.sqlite") as store:
        fill(store, 1300, 2000)
        export_bundle(store, folder / "a.toastbundle", extras={"card.json": b"{}"})
    return folder / "a.toastbundle"


def test_rows_and_outcomes_of_a_bundle(bundle: Path) -> None:
    replay = Replay.open(bundle)
    analysis = replay.analyses()[0]
    rows = replay.rows(analysis.short_id)
    assert [row["key"] for row in rows] == list(analysis.cell_keys) == [head.key for head in replay.heads(analysis.id)]
    assert rows[13]["block"] == 1 and rows[13]["site"] == "fc1" and rows[13]["ci95"] == [90.5, 92.0]
    assert rows[13]["identity"]["weights_digest"] == "a" * 64
    for number in (1299, 0, 700):
        found, expected = replay.outcomes(identity(number).key), outcomes(number, 2000)
        assert all(np.array_equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in expected)
    assert replay.extras() == {"card.json": b"{}"} and replay.name == str(bundle)
    with pytest.raises(StoreError, match="there is no"):
        replay.rows("ffff")
    replay.close()


def test_the_first_chart_takes_well_under_two_seconds(bundle: Path) -> None:
    spent = time.process_time()
    replay = Replay.open(bundle)
    rows = replay.rows(replay.analyses()[0].id)
    replay.outcomes(rows[-1]["key"])
    assert time.process_time() - spent < 1.0 and len(rows) == 1300
    replay.close()


def test_a_bundle_replays_where_torch_cannot_be_imported(bundle: Path) -> None:
    code = """
from analysis_cache import Replay
replay = Replay.open(sys.argv[1])
rows = replay.rows(replay.analyses()[0].id)
assert len(rows) == 1300 and replay.outcomes(rows[0]["key"])["correct"].shape == (2000,)
"""
    behind_the_firewall(code, bundle, refused=("sqlalchemy",))


def test_no_module_of_the_package_imports_torch(bundle: Path, tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, analysis_cache
for module in pkgutil.iter_modules(analysis_cache.__path__):
    importlib.import_module(f"analysis_cache.{module.name}")
with analysis_cache.EvidenceStore.open(sys.argv[2]) as store:
    assert analysis_cache.import_bundle(store, sys.argv[1]).cells == 1300 and store.verify().ok
assert all(hasattr(analysis_cache, name) for name in analysis_cache.__all__)
"""
    behind_the_firewall(code, bundle, tmp_path / "a.sqlite")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    for source in (tmp_path / "a.toastbundle", tmp_path / "a.sqlite", f"sqlite:///{tmp_path}/b.sqlite"):
        with pytest.raises(StoreError, match=r"cannot be read|there is no store"):
            Replay.open(source)
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_bundles_are_sound() -> None:
    for path in shipped_bundles():
        replay = Replay.open(path)
        assert all(len(replay.heads(analysis.id)) == len(analysis.cell_keys) for analysis in replay.analyses())
        for _ in replay.source.checked_rows():
            pass
        replay.close()


def test_an_unfinished_analysis_travels_with_what_it_has(tmp_path: Path) -> None:
    with EvidenceStore.open(tmp_path / "a.sqlite") as store, EvidenceStore.open(tmp_path / "b.sqlite") as other:
        store.put(identity(0), summary(), outcomes())
        analysis = Analysis({"a": 1}, "half", (identity(0).key, identity(1).key), TIME)
        store.put_analysis(analysis)
        export_bundle(store, tmp_path / "a.toastbundle")
        assert import_bundle(other, tmp_path / "a.toastbundle").cells == 1 and other.list_analyses() == [analysis]
