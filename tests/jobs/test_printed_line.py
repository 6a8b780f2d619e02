"""A job's process against the command line that the job prints, each in a process of its own."""

import hashlib
import shlex
import subprocess
import sys

import pytest

from analysis_cache.store import EvidenceStore
from tests.support.folders import make_folder
from toast_core.jobs.book import JobBook
from toast_core.jobs.quote import Quoter
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.registry import read_run
from toast_core.workbench import Workbench


@pytest.mark.engine
def test_a_job_and_its_command_write_the_same_file_even_where_the_fit_is_nearly_singular(tmp_path):
    """340 tokens for 768 channels: the fit turns the last bit of a sum into other channels, so both need the same number of threads."""
    setup = Setup(
        "vit_tiny_patch16_224", "random", 3, 64, str(make_folder(tmp_path / "photos", {"bag": 6, "coat": 6, "shirt": 6})), images=8,
        calibration=str(make_folder(tmp_path / "more", {"x": 10, "y": 10})), calibration_images=20, store=str(tmp_path / "job.sqlite"),
        applied=str(tmp_path / "applied"),
    ).completed()
    schedule = Schedule.uniform(12, vo=0.25, fc2=0.5, selection="calibrated", seed=1, compensation=FULL)
    run = read_run({"kind": "apply", "schedule": schedule.to_dict(), "images": 8})
    book = JobBook(tmp_path / "jobs")
    job = book.add(**vars(Quoter(Workbench.load(setup), book, start_s=0.0).offer(run)))
    book.change(job.number, ("queued",), state="running")
    subprocess.run([sys.executable, "-m", "toast_core.jobs.process", "--folder", book.folder, "--number", str(job.number)], check=True)
    assert (done := book.get(job.number)).state == "done", done.message
    (tmp_path / "schedule.json").write_text(schedule.to_json())
    for line in job.command.splitlines():
        subprocess.run([sys.executable, "-m", "toast_core", *shlex.split(line)[1:]], cwd=tmp_path, check=True)
    with EvidenceStore.open(setup.store) as store:
        heads = [head for analysis in store.list_analyses() for head in store.heads(analysis.cell_keys)]
    stored = {head.summary["file_sha256"] for head in heads if "file_sha256" in head.summary}
    assert stored == {hashlib.sha256((tmp_path / "pruned.safetensors").read_bytes()).hexdigest()}
