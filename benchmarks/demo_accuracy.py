"""Accuracy of the demo models on all test images, unpruned and under uniform schedules, calibrated and without training after pruning.

    python benchmarks/demo_accuracy.py

Runs `toast evaluate` for each; takes some minutes. Writes benchmarks/results/demo_accuracy.json, from which
`python -m benchmarks.documents --write` makes the table of docs/results.md.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from toast_core.files import write_text
from toast_core.schedule.schedule import Schedule

RESULTS = Path(__file__).parent / "results"
MODELS = ("demo_vit", "demo_swin")
BLOCKS = 12  # of both
SCHEDULES = {
    "baseline": None,
    "fc2 0.3 in every block": Schedule.uniform(BLOCKS, fc2=0.3),
    "fc2 0.5 in every block": Schedule.uniform(BLOCKS, fc2=0.5),
    "qk and vo 0.5 in every block": Schedule.uniform(BLOCKS, qk=0.5, vo=0.5),
    "qk and vo 0.9 but for block 0 (the paper's, before its recovery training)": (
        Schedule.uniform(BLOCKS, qk=0.9, vo=0.9).with_ratio(0, "qk", 0.0).with_ratio(0, "vo", 0.0)
    ),
}
PRUNED = ("--selection", "calibrated", "--calibration", "fashion-mnist:calibration", "--execution", "compact")


def measured(model: str, schedule: Schedule | None) -> dict:
    """What `toast evaluate --json` says."""
    command = [sys.executable, "-m", "toast_core", "evaluate", "--model", model, "--data", "fashion-mnist", "--device", "cpu", "--json"]
    with tempfile.TemporaryDirectory() as folder:
        if schedule is not None:
            file = Path(folder) / "schedule.json"
            file.write_text(schedule.to_json())
            command += ["--schedule", str(file), *PRUNED]
        return json.loads(subprocess.check_output(command))


if __name__ == "__main__":
    rows = []
    for label, schedule in SCHEDULES.items():
        for model in MODELS:
            found = measured(model, schedule)
            rows.append({"schedule": label, "model": model} | {name: found[name] for name in ("top1", "images", "macs", "dtype", "device")})
            print(json.dumps(rows[-1]), flush=True)
    facts = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": version("torch")}
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "demo_accuracy.json", json.dumps(facts | {"rows": rows}, indent=1) + "\n")
