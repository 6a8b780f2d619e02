"""Ray alone: workers that are killed, a run left and gone on with."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.ray

from analysis_cache.store import EvidenceStore  # noqa: E402 - not without Ray
from tests.support.greys import grey_data, grey_model  # noqa: E402
from tests.support.works import Squares, lethal  # noqa: E402
from toast_core.errors import ExecutorError  # noqa: E402
from toast_core.executors import Executor, open_executor  # noqa: E402
from toast_core.studies.sensitivity.cells import grid  # noqa: E402
from toast_core.studies.sensitivity.parts import StoreParts  # noqa: E402
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity  # noqa: E402
from toast_core.studies.subject import Subject  # noqa: E402

ROOT = Path(__file__).parents[2]
CELLS = grid(3, ("qk", "fc2"), (0.3, 0.6))


@pytest.fixture(scope="module")
def executor(cluster: str) -> Iterator[Executor]:
    """Workers on both nodes."""
    with open_executor(f"ray:{cluster}", "cpu") as executor:
        yield executor


def sweep(store: EvidenceStore, executor: Executor | None = None, marker: Path | None = None, at: int = 0) -> list[dict]:
    """A small sweep, six batches of three blocks; with `marker`, a worker is killed at the last block's `at`-th call."""
    model = grey_model("vit")
    changed = lethal(model, marker, at) if marker else model
    more = {"executor": executor} if executor else {}
    subject = Subject.of(changed, grey_data(model), 4, "sensitivity", **more)
    return analyze_sensitivity(subject, store, SweepRequest(CELLS), **more)[1]


def test_tasks_run_in_other_processes_on_the_device_asked_for(executor: Executor) -> None:
    found = [result for _, result in executor.map(Squares(pause_s=0.3), range(8))]
    assert len({process for *_, process in found} | {os.getpid()}) == 3
    assert {device for _, device, _ in found} == {"cpu"}
    assert executor.workers == 2


@pytest.mark.parametrize("at", [1, 20], ids=["evaluating the baseline", "measuring cells"])
def test_a_worker_killed_in_a_sweep_changes_nothing(executor: Executor, tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int) -> None:
    marker = tmp_path / "killed"
    with EvidenceStore.open(tmp_path / "local.db") as store:
        expected = sweep(store)
    with EvidenceStore.open(tmp_path / "ray.db") as store:
        assert sweep(store, executor, marker, at) == expected
        assert store.verify().ok and store.verify().cells == len(CELLS) + 1
    assert marker.exists(), "nobody was killed"
    assert "a worker died" in caplog.text and "its task runs again on another" in caplog.text


def test_a_task_that_kills_every_worker_ends_the_run(executor: Executor) -> None:
    with pytest.raises(ExecutorError, match=r"3 workers died at the same task .*; if their memory was full, use a smaller --batch-size"):
        list(executor.map(Squares(kills_at=2), range(4)))
    assert len(list(executor.map(Squares(), range(4)))) == 4, "the executor is still good for other work"


def test_a_run_that_was_left_goes_on_where_it_stopped(executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EvidenceStore.open(tmp_path / "local.db") as store:
        expected = sweep(store)
    real, saved, again = StoreParts.save, [], []

    def stopping(self: StoreParts, batch: int, block: int, part: dict) -> None:
        if len(saved) == 5:
            raise KeyboardInterrupt
        real(self, batch, block, part)
        saved.append((batch, block))

    with EvidenceStore.open(tmp_path / "ray.db") as store:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(StoreParts, "save", stopping)
            sweep(store, executor)
        monkeypatch.setattr(
            StoreParts, "save", lambda self, batch, block, part: again.append((batch, block)) or real(self, batch, block, part)
        )
        assert sweep(store, executor) == expected
    assert not set(saved) & set(again), "a stored part was measured again"
    assert len(saved) + len(again) == 18, "a part came twice"


ALONE = """
from tests.support.works import Squares
from toast_core.errors import ExecutorError
from toast_core.executors import open_executor
with open_executor("ray", "auto", 1) as executor:
    try:
        list(executor.map(Squares(kills_at=2), range(4)))
    except ExecutorError:
        print(sorted(square for _, (square, *_) in executor.map(Squares(), range(4))))
print("done")
"""


def test_without_a_cluster_workers_start_here_and_stdout_is_left_to_results() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n", "Ray, or what was printed beside it, is on stdout"
    assert "[0, 1, 4, 9]" in done.stderr
