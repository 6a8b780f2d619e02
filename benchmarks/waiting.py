"""What spinning threads cost while another program keeps one core busy: an error-correcting fit of demo_vit, threads spinning or asleep.

    python benchmarks/waiting.py [--images 64] [--repeats 3]

Each run is a process of its own, in turns; a busy loop keeps one core, and once nothing does. Writes benchmarks/results/waiting.json.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from toast_core.files import write_text

RESULTS = Path(__file__).parent / "results"
_FIT = """
import sys, time
from toast_core import Schedule, load_data, load_model
from toast_core.compensation.walk import compensate
from toast_core.schedule.compensation import FULL
model = load_model("demo_vit")
images = [batch.images for batch in load_data("fashion-mnist:calibration", model, int(sys.argv[1]), labelled=False).batches(64)]
schedule = Schedule.uniform(12, qk=0.3, vo=0.3, fc2=0.3, selection="calibrated", compensation=FULL)
compensate(model, schedule, images[:1])
wall, cpu = time.perf_counter(), time.process_time()
compensate(model, schedule, images)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def fit_once(policy: str, images: int) -> tuple[float, float]:
    """Wall and CPU seconds of one fit under an OMP_WAIT_POLICY."""
    environment = {**os.environ, "OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(os.cpu_count())}
    command, root = [sys.executable, "-c", _FIT, str(images)], Path(__file__).parents[1]
    wall, cpu = subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True, text=True).stdout.split()
    return float(wall), float(cpu)


def main(images: int, repeats: int) -> dict:
    """Medians by load and policy."""
    found: dict[str, dict] = {}
    for load in ("alone", "beside a busy core"):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if load != "alone" else None
        try:
            runs = {policy: [] for policy in ("ACTIVE", "PASSIVE")}
            for _ in range(repeats):
                for policy, seen in runs.items():
                    seen.append(fit_once(policy, images))
        finally:
            if busy is not None:
                busy.kill()
        found[load] = {
            policy: {"wall_s": median(wall for wall, _ in seen), "cpu_s": median(cpu for _, cpu in seen)} for policy, seen in runs.items()
        }
        print(load, found[load], flush=True)
    return {"images": images, "repeats": repeats, "cores": os.cpu_count(), "load_average_before": os.getloadavg(), **found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    written = main(**vars(parser.parse_args()))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "waiting.json", json.dumps(written, indent=1) + "\n")
