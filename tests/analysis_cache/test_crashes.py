"""Many writers at once, and writers killed at any instant. Each runs in processes of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from analysis_cache.exchange import export_bundle
from analysis_cache.store import EvidenceStore
from tests.support.cells import fill, identity

ROOT = Path(__file__).parents[2]
# a machine that trains models in the background may starve these
TIMEOUT_S = 600


def start(*arguments: object) -> subprocess.Popen:
    """Start the crash program."""
    command = [sys.executable, "-m", "tests.support.crash", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.kill
def test_eight_processes_write_ten_thousand_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    writers = [start("write", path, 1245 * number, 1245, 40) for number in range(8)]
    printed = [writer.communicate(timeout=TIMEOUT_S)[0] for writer in writers]
    assert all(writer.returncode == 0 for writer in writers), printed
    assert sum(map(int, printed)) == 10_000  # none was stored twice
    with EvidenceStore.open(path) as store:
        result = store.verify()
        assert result.ok and result.cells == 10_000
        wanted = [identity(number).key for number in (*range(9960), *range(900_000, 900_040))]
        assert store.has_many(wanted) == set(wanted)


@pytest.mark.kill
def test_a_writer_killed_at_random_moments_loses_nothing_acknowledged(tmp_path: Path) -> None:
    done = start("kill", tmp_path / "a.sqlite", 20)
    assert done.communicate(timeout=TIMEOUT_S)[0] == "" and done.returncode == 0


@pytest.mark.kill
def test_an_import_that_is_killed_took_over_all_or_nothing(tmp_path: Path) -> None:
    with EvidenceStore.open(tmp_path / "source.sqlite") as store:
        fill(store, 300)
        export_bundle(store, tmp_path / "a.toastbundle")
    done = start("import", tmp_path / "a.sqlite", tmp_path / "a.toastbundle", 8)
    assert done.communicate(timeout=TIMEOUT_S)[0] == "" and done.returncode == 0
