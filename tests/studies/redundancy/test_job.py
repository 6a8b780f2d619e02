"""Redundancy as a job: its command line, and that what is stored costs nothing."""

import shlex

from typer.main import get_command

from analysis_cache.store import EvidenceStore
from toast_core.cli.app import app
from toast_core.studies.redundancy.job import RedundancyRun


def test_the_command_line_is_understood_and_says_the_same(workbench):
    run = RedundancyRun(50, 32)
    toast, command, *words = shlex.split(run.command(workbench.setup))
    given = get_command(app).commands[command].make_context(command, words).params
    assert toast == "toast" and given["images"] == run.images and given["batch_size"] == run.batch_size
    assert given["weights"] == "random" and given["data"] == "fashion-mnist"
    assert given["store"] == workbench.setup.store and given["metrics"] == run.kind


def test_it_is_all_or_nothing(workbench):
    run = RedundancyRun(8, 4)
    with EvidenceStore.open(workbench.setup.store) as store:
        work = run.work(workbench, store)
        assert (work.cells, work.stored, work.images) == (6, 0, 8) and work.macs > 0
        analysis = run.measure(workbench, store, lambda done, total: None)
        assert run.outcome(store, analysis) == "6 rows measured"
        assert run.work(workbench, store).stored == 6 and run.work(workbench, store).macs == 0
