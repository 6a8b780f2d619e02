"""Stands in for the process of a job: does as many steps as the run says, or breaks. Starts in a moment, since it needs no torch."""

import argparse
import os
import sys
import time
from pathlib import Path

from toast_core.jobs.book import JobBook

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path)
parser.add_argument("--number", type=int)
options = parser.parse_args()
book = JobBook(options.folder)
book.lock_path(options.number).write_text(str(os.getpid()))
steps = book.get(options.number).run.settings["steps"]
if not steps:
    print("Traceback: a long story")
    sys.exit("RuntimeError: it broke")
for step in range(steps):
    book.change(options.number, ("running",), done=step + 1, total=steps)
    time.sleep(0.02)
book.change(options.number, ("running",), state="done", finished_at=time.time())
