"""A sweep killed at any moment goes on where it stopped: the same results, nothing measured twice, nothing left behind."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from tests.support.cells import cells_in
from tests.support.greys import grey_data, grey_model
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity
from toast_core.studies.subject import Subject

ROOT = Path(__file__).parents[3]
# a machine that trains models in the background may starve it
TIMEOUT_S = 900
CELLS = grid(3, ("qk", "fc2"), (0.5,))


def run(store: EvidenceStore) -> list[dict]:
    """A small sweep: two batches of three blocks, six cells."""
    model = grey_model("vit")
    return analyze_sensitivity(Subject.of(model, grey_data(model, 8), 4, "sensitivity"), store, SweepRequest(CELLS))[1]


def kinds(store: EvidenceStore) -> list[str]:
    """What is stored: "part", "baseline" or "cell"."""
    details = [head.identity.detail for head in cells_in(store)]
    return ["part" if "part" in detail else "baseline" if "execution" in detail else "cell" for detail in details]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The rows of an undisturbed run."""
    with EvidenceStore.open(tmp_path_factory.mktemp("whole") / "s.db") as store:
        rows = run(store)
        assert sorted(kinds(store)) == ["baseline", *["cell"] * 6]
    return rows


@pytest.mark.kill
def test_twenty_kills_cost_nothing_that_was_stored(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killed_analysis", str(tmp_path), "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(report)
    assert report["complaints"] == []
    assert report["kills"] == 20 and report["sweeps"] >= 1 and report["outcomes"] >= 54 * 16
    assert report["inside"] >= 1, "the kills missed the sweep and show nothing"


class TestStoppedWhileStoring:
    """Between the last batch and the end, cells are stored one by one and then the parts are removed."""

    @pytest.mark.parametrize("cells_stored", range(7))
    def test_the_next_run_leaves_no_part(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: list[dict], cells_stored: int
    ) -> None:
        def stopping(real: Callable, at: int, seen: list) -> Callable:
            def stop(*values: object) -> object:
                if len(seen) == at:
                    raise KeyboardInterrupt
                seen.append(values)
                return real(*values)
            return stop

        with EvidenceStore.open(tmp_path / "s.db") as store:
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                # six parts and the baseline come first; the removal is the first one
                patch.setattr(EvidenceStore, "put", stopping(EvidenceStore.put, 7 + cells_stored, []))
                patch.setattr(EvidenceStore, "remove", stopping(EvidenceStore.remove, 0, []))
                run(store)
            assert sorted(kinds(store)) == ["baseline", *["cell"] * cells_stored, *["part"] * 6]
            assert run(store) == expected
            assert sorted(kinds(store)) == ["baseline", *["cell"] * 6] and store.verify().ok
