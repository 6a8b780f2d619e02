"""A sweep that is killed again and again, in a process of its own that can be forked: torch is loaded once and runs on one thread.

    python -m tests.support.killed_analysis FOLDER TIMES

A life is a child that runs the whole of `analyze_sensitivity` into a store. It is killed after a random number of newly stored
things and a random wait, TIMES times; a sweep that ends before is checked, and another one begins. Prints JSON: how many kills,
how many of them inside `Sweep.measure`, how many things were stored, and complaints.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from analysis_cache.store import EvidenceStore
from tests.support.cells import cells_in
from tests.support.greys import grey_data, grey_model
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity
from toast_core.studies.subject import Subject

BATCH_SIZE, BATCHES, MOST_NEW, LONGEST_WAIT_S = 4, 16, 9, 0.03
DATA = grey_data(grey_model("vit"), BATCH_SIZE * BATCHES)
CELLS = grid(3, ratios=(0.3, 0.6, 0.9))
Measured = set[tuple[int, int, str, float]]


def sweep(path: Path) -> None:
    """The whole analysis, from wherever the store stands."""
    with EvidenceStore.open(path) as store:
        analyze_sensitivity(Subject.of(grey_model("vit"), DATA, BATCH_SIZE, "sensitivity"), store, SweepRequest(CELLS))


def watched(path: Path, log: Path, life: int, pipe: int) -> None:
    """The analysis in a child: a line of `log` before and after each measurement, a byte in `pipe` at the start and after each put."""
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    measure, put = Sweep.measure, EvidenceStore.put

    def logged(self: Sweep, batch: object, cells: list, **rest: object) -> object:
        number = int(np.flatnonzero(DATA.index == batch.index[0])[0]) // BATCH_SIZE
        asked = [(number, cell.block, cell.site, cell.ratio) for cell in cells]
        os.write(lines, f"{json.dumps({'life': life, 'asked': asked})}\n".encode())
        result = measure(self, batch, cells, **rest)
        os.write(lines, f"{json.dumps({'life': life, 'done': number})}\n".encode())
        return result

    def told(self: EvidenceStore, *values: object) -> bool:
        new = put(self, *values)
        os.write(pipe, b"+")
        return new

    Sweep.measure, EvidenceStore.put = logged, told
    os.write(pipe, b"!")
    sweep(path)


def in_a_child(work: Callable[[int], None], new: int = 0, wait_s: float | None = None) -> bool:
    """Run `work` in a child and kill -9 it `wait_s` after its first byte and `new` more, or let it end; whether it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            work(writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    seen = 0
    while (wait_s is None or seen <= new) and (got := os.read(reading, 1)):
        seen += len(got)
    if wait_s is not None:
        time.sleep(wait_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise RuntimeError("a life ended with an error; its traceback is on stderr")
    return os.WIFSIGNALED(status)


def stored(path: Path) -> Measured:
    """What a store holds, as (batch, block, site, ratio): of parts, and every batch of a finished cell."""
    if not path.exists():
        return set()
    with EvidenceStore.open(path) as store:
        if not store.verify().ok:
            raise RuntimeError(f"damage: {store.verify().problems}")
        heads = [(head.identity.detail, head.summary) for head in cells_in(store, kind="sensitivity")]
    parts = {
        (detail["batch"], detail["block"], site, ratio) for detail, summary in heads if "part" in detail for site, ratio in summary["cells"]
    }
    cells = {(detail["block"], detail["site"], detail["ratio"]) for detail, _ in heads if "part" not in detail}
    return parts | {(batch, *cell) for batch in range(BATCHES) for cell in cells}


def results(path: Path) -> tuple[str, dict[str, tuple]]:
    """The analysis' id, and of each cell the summary and the arrays as bytes; RuntimeError where it is not finished, or parts are left."""
    with EvidenceStore.open(path, read_only=True) as store:
        (analysis,) = store.list_analyses()
        cells = [store.get(key) for key in analysis.cell_keys]
        if analysis.finished_utc is None or store.verify().cells != len(cells):
            raise RuntimeError(f"the end left {store.verify().cells - len(cells)} parts behind, finished {analysis.finished_utc}")
    arrays = [{name: (str(array.dtype), array.shape, array.tobytes()) for name, array in cell.arrays.items()} for cell in cells]
    return analysis.id, {cell.key: (cell.summary, array) for cell, array in zip(cells, arrays, strict=True)}


def main(folder: Path, times: int) -> dict[str, object]:
    """Kill and check; see the module."""
    torch.set_num_threads(1)
    moments, log, complaints = random.Random(7), folder / "lives.jsonl", []
    in_a_child(lambda pipe: sweep(folder / "undisturbed.db"))
    expected = results(folder / "undisturbed.db")
    kills = inside = life = sweeps = things = 0
    path = folder / "0.db"
    while kills < times or path.exists():
        life += 1
        before = stored(path)
        last = kills == times
        limits = {} if last else {"new": moments.randint(0, MOST_NEW), "wait_s": moments.uniform(0, LONGEST_WAIT_S)}
        killed = in_a_child(lambda pipe, path=path, life=life: watched(path, log, life, pipe), **limits)
        entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        entries = [entry for entry in entries if entry["life"] == life]
        asked = {tuple(cell) for entry in entries for cell in entry.get("asked", ())}
        if asked & before:
            complaints.append(f"life {life} measured {len(asked & before)} outcomes that were stored when it began")
        kills += killed
        inside += killed and bool(entries) and "asked" in entries[-1]
        things += len(stored(path) - before)
        if not killed:
            if results(path) != expected:
                complaints.append(f"sweep {sweeps} ended in other results than the undisturbed one")
            sweeps += 1
            path = folder / f"{sweeps}.db"
        elif before - stored(path):
            complaints.append(f"life {life} lost {len(before - stored(path))} stored outcomes")
    return {"kills": kills, "inside": inside, "lives": life, "sweeps": sweeps, "outcomes": things, "complaints": complaints}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
