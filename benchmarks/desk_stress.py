"""The dashboard under strain, in a real browser: reloads, five sessions at once, and engine and job killed together during a sweep.

    python benchmarks/desk_stress.py [--seconds 120] [--kills 10] [--reloads 20] [--images 128] [--chromium /usr/bin/chromium]

One server on demo_vit in a temporary folder. A sweep is measured undisturbed first, in a store of its own. Then a page is reloaded; five
sessions (contexts of one Chromium) visit pages, drag bars and set ratios; then the sweep is submitted, and while two of the sessions go on,
one of them on the Runs page, engine and job process get kill -9 at the same instant, again and again, each time after the job has
measured something. Only pages may start the engine again, and a run that has given up is continued by its button. In the end every
session must show every page and a measured accuracy, without a reload, and the sweep's cells must be those of the undisturbed one.
A smoke run: --seconds 10 --kills 1 --reloads 2 --images 64. Exits with 1 where something is lost or dead. Needs playwright. Writes
benchmarks/results/desk_stress.json.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from desk import FLAGS, RESULTS, TITLES, WINDOW, Server, await_ready, load_average, memory_mb, serve, worker_pid
from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import Error as BrowserError

from analysis_cache.cell import Cell
from analysis_cache.store import EvidenceStore
from dashboard.engine.client import EngineClient
from toast_core.files import write_text
from toast_core.jobs.book import Job, JobBook
from toast_core.setup import Setup

SESSIONS = 5
WAIT_MS = 60_000
RECOVERY_S = 180
MEASURED = "Measured on 1,000 images"
_RUN = {"kind": "sensitivity", "sites": ["qk", "fc2"], "ratios": [0.3, 0.5, 0.7], "batch_size": 64, "selection": "per_image"}
_LOOK_S = 0.1
_LONGEST_WAIT_S = 1.0


@dataclass
class Session:
    """One browser session, and what it has been through. `faults` are the pages' errors, `dead` what never came."""

    page: Page
    chance: random.Random
    visits: int = 0
    edits: int = 0
    faults: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    async def visit(self, name: str) -> None:
        """Go to a page by its link, as a person does, and note an exception shown there."""
        self.visits += 1
        await self.page.locator(f"[data-testid='stTopNavLink'][href$='/{'' if name == 'overview' else name}']").first.click(timeout=WAIT_MS)
        await self.page.get_by_role("heading", name=TITLES[name], exact=True).wait_for(timeout=WAIT_MS)
        await self.look(name)

    async def look(self, name: str) -> None:
        """Note an exception that the page shows."""
        shown = self.page.get_by_test_id("stException")
        if await shown.count():
            self.faults.append(f"{name}: {(await shown.first.inner_text())[:200]}")

    async def drag(self) -> None:
        """On the Tune page, drag a random bar somewhere."""
        name = f"block {self.chance.randrange(12)}, {self.chance.choice(('qk', 'vo', 'fc2'))}"
        bar = self.page.get_by_role("slider", name=name, exact=True)
        await bar.scroll_into_view_if_needed(timeout=WAIT_MS)
        box = await bar.bounding_box()
        await self.page.mouse.move(box["x"] + 8, box["y"] + box["height"] - 1)
        await self.page.mouse.down()
        await self.page.mouse.move(box["x"] + 8, box["y"] + box["height"] * self.chance.uniform(0.1, 0.9), steps=5)
        await self.page.mouse.up()
        self.edits += 1

    async def set_everywhere(self) -> None:
        """On the Tune page, give every block one ratio of fc2."""
        number = self.page.locator(".st-key-every-block input")
        await number.fill(f"{self.chance.randrange(1, 9) / 10:.2f}", timeout=WAIT_MS)
        await number.press("Enter")
        await self.page.get_by_role("button", name="Set fc2").click(timeout=WAIT_MS)
        self.edits += 1

    async def act(self) -> None:
        """Visit a random page; on Tune, edit and sometimes wait for the accuracy."""
        name = self.chance.choice(("tune", "tune", *TITLES))
        try:
            await self.visit(name)
            if name == "tune":
                for _ in range(self.chance.randrange(1, 4)):
                    await (self.drag() if self.chance.random() < 0.7 else self.set_everywhere())
                    await asyncio.sleep(self.chance.uniform(0.2, 2))
            await asyncio.sleep(self.chance.uniform(0.2, 1))
        except BrowserError as error:
            self.dead.append(f"{name}: {str(error).splitlines()[0][:200]}")

    async def measure_anew(self) -> None:
        """On the Tune page, edit and wait for the measured accuracy, asking again where the page offers that."""
        await self.visit("tune")
        await self.drag()
        again, measured = self.page.get_by_role("button", name="Measure again"), self.page.get_by_text(MEASURED)
        deadline = time.monotonic() + RECOVERY_S
        await asyncio.sleep(2)
        while not await measured.count():
            if time.monotonic() > deadline:
                raise BrowserError(f"no accuracy after {RECOVERY_S} s")
            if await again.count():
                with suppress(BrowserError):
                    await again.click(timeout=2000)
            await asyncio.sleep(0.5)


async def open_session(browser: Browser, address: str, number: int) -> Session:
    """A session of its own on the Tune page, acting by the seed `number`."""
    context = await browser.new_context(viewport=WINDOW)
    page = await context.new_page()
    session = Session(page, random.Random(number))
    page.on("pageerror", lambda error: session.faults.append(f"script: {str(error)[:200]}"))
    await page.goto(f"{address}/tune")
    await page.get_by_role("heading", name=TITLES["tune"], exact=True).wait_for(timeout=WAIT_MS)
    return session


def undisturbed(folder: Path, run: dict) -> Path:
    """Measure the sweep with nobody else there; returns the store."""
    store = folder / "undisturbed.sqlite"
    engine = EngineClient(Setup(data="fashion-mnist", store=str(store)), folder / "undisturbed")
    engine.start()
    await_ready(engine)
    number, book = engine.submit(run).number, JobBook(folder / "undisturbed" / "jobs")
    while (job := book.get(number)).state in ("queued", "running"):
        time.sleep(_LOOK_S)
    engine.stop()
    if job.state != "done":
        raise RuntimeError(f"the undisturbed sweep is {job.state}: {job.message}")
    return store


async def reload(session: Session, times: int) -> dict:
    """Reload, each time on the next page; milliseconds to the title."""
    names, taken = list(TITLES), []
    for number in range(times):
        name = names[number % len(names)]
        await session.visit(name)
        since = time.perf_counter()
        await session.page.reload(wait_until="commit")
        await session.page.get_by_role("heading", name=TITLES[name], exact=True).wait_for(timeout=WAIT_MS)
        taken.append(1000 * (time.perf_counter() - since))
        await session.look(name)
    return {"reloads": times, "median_ms": round(float(np.median(taken))), "worst_ms": round(max(taken))} if taken else {"reloads": 0}


async def act_until(session: Session, ended: asyncio.Event) -> None:
    """Act until the event is set."""
    while not ended.is_set():
        await session.act()


async def watch_runs(session: Session, ended: asyncio.Event) -> None:
    """Stay on the Runs page, whose every look starts a missing engine, and continue the run where it has given up."""
    await session.visit("runs")
    while not ended.is_set():
        again = session.page.locator("[class*='st-key-job-resume-'] button")
        with suppress(BrowserError):
            if await again.count() and await again.first.is_enabled(timeout=500):
                await again.first.click(timeout=2000)
                session.edits += 1
        await session.look("runs")
        await asyncio.sleep(0.5)


def job_pid(book: JobBook, number: int) -> int | None:
    """The job's process, once it has said its number."""
    text = book.lock_path(number).read_text()
    return int(text) if text.isdigit() else None


async def until_measuring(book: JobBook, number: int, since: float) -> Job:
    """Wait until the job measures or is done.

    Raises:
        RuntimeError: that took longer than `RECOVERY_S` seconds from `since`.
    """
    while not ((job := book.get(number)).state == "done" or (job.state == "running" and job.done > 0)):
        if time.monotonic() - since > RECOVERY_S:
            raise RuntimeError(f"after {RECOVERY_S} s job {number} is {job.state} ({job.message})")
        await asyncio.sleep(_LOOK_S)
    return job


async def kill_often(server: Server, book: JobBook, number: int, kills: int) -> dict:
    """Kill engine and job at one instant, `kills` times; seconds from each kill to the job measuring again."""
    chance, recovered, killed_at = random.Random(0), [], time.monotonic()
    for kill in range(kills + 1):
        job = await until_measuring(book, number, killed_at)
        if kill:
            recovered.append(time.monotonic() - killed_at)
        if job.state == "done" or kill == kills:
            break
        await asyncio.sleep(chance.uniform(0, _LONGEST_WAIT_S))
        pids = [worker_pid(server.engine), job_pid(book, number)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        # The book still says running: the engine that comes next finds out.
        while book.get(number).state == "running" and book.get(number).lives == job.lives:
            if time.monotonic() - killed_at > RECOVERY_S:
                raise RuntimeError(f"{RECOVERY_S} s after a kill no page has started the engine again")
            await asyncio.sleep(_LOOK_S)
    return {"kills": len(recovered), "recovered_s": [round(one, 1) for one in recovered]}


def compare_stores(first: Path, second: Path) -> dict:
    """The sweep's cells in both stores: how many there are, are in one only, or differ; and whether the second store is sound."""
    with EvidenceStore.open(first, create=False) as whole, EvidenceStore.open(second, create=False) as killed:
        keys = {store: set(_sweep_keys(store)) for store in (whole, killed)}
        both = sorted(keys[whole] & keys[killed])
        different = [key for key in both if not _equal(whole.get(key), killed.get(key))]
        checked = killed.verify()
        return {
            "cells": len(both), "lost": len(keys[whole] - keys[killed]), "extra": len(keys[killed] - keys[whole]),
            "different": len(different), "verified_rows": checked.cells, "problems": [str(problem) for problem in checked.problems],
        }


def _sweep_keys(store: EvidenceStore) -> tuple[str, ...]:
    """Keys of the finished sweep's cells that are stored."""
    found = [one for one in store.list_analyses() if one.request["metric"] == "sensitivity" and one.finished_utc]
    stored = store.has_many(found[0].cell_keys) if found else set()
    return tuple(key for key in (found[0].cell_keys if found else ()) if key in stored)


def _equal(one: Cell, other: Cell) -> bool:
    """Whether two cells hold the same figures, to the last bit."""
    same = one.summary == other.summary and one.arrays.keys() == other.arrays.keys()
    return same and all(np.array_equal(values, other.arrays[name]) for name, values in one.arrays.items())


async def revive(session: Session) -> None:
    """See whether a session still shows every page and measures, without a reload."""
    try:
        for name in TITLES:
            await session.visit(name)
        await session.measure_anew()
        await session.look("tune")
    except BrowserError as error:
        session.dead.append(f"at the end: {str(error).splitlines()[0][:200]}")


async def strain(server: Server, seconds: float, kills: int, reloads: int, run: dict, chromium: str) -> dict:
    """All of it on one server; the result as JSON values."""
    memory = {}

    def note(when: str) -> None:
        memory[when] = {"page_server": memory_mb(server.pid), "engine": memory_mb(worker_pid(server.engine))}

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        sessions = [await open_session(browser, server.address, number) for number in range(SESSIONS)]
        await sessions[0].page.get_by_text(MEASURED).wait_for(timeout=3 * WAIT_MS)
        note("start")
        reloaded = await reload(sessions[0], reloads)
        note("after reloads")
        ended = asyncio.Event()
        tasks = [asyncio.create_task(act_until(session, ended)) for session in sessions]
        await asyncio.sleep(seconds / 2)
        note("middle of five sessions")
        await asyncio.sleep(seconds / 2)
        ended.set()
        await asyncio.gather(*tasks)
        note("after five sessions")
        acted = {"visits": sum(session.visits for session in sessions), "edits": sum(session.edits for session in sessions)}
        book = JobBook(server.engine.folder.parent / "jobs")
        number = (await asyncio.to_thread(server.engine.submit, run))["number"]
        ended = asyncio.Event()
        tasks = [asyncio.create_task(watch_runs(sessions[0], ended)), asyncio.create_task(act_until(sessions[1], ended))]
        killed = await kill_often(server, book, number, kills)
        while (job := book.get(number)).state not in ("done", "failed", "cancelled"):
            await asyncio.sleep(_LOOK_S)
        ended.set()
        await asyncio.gather(*tasks)
        for session in sessions:
            await revive(session)
        note("end")
        await browser.close()
    return {
        "reload": reloaded, "five_sessions": {"seconds": seconds, **acted},
        "killed": {**killed, "state": job.state, "message": job.message, "lives": job.lives}, "memory_mb": memory,
        "exceptions": [fault for session in sessions for fault in session.faults],
        "dead": [place for session in sessions for place in session.dead],
        "server_tracebacks": server.log.read_text().count("Traceback"),
    }


def main(seconds: float, kills: int, reloads: int, images: int, chromium: str) -> dict:
    """The undisturbed sweep, the strain, and the comparison of the two."""
    before, run = load_average(), {**_RUN, "images": images}
    with tempfile.TemporaryDirectory(prefix="toast-stress-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        whole = undisturbed(folder, run)
        with serve(folder / "strained") as server:
            await_ready(server.engine)
            result = asyncio.run(strain(server, seconds, kills, reloads, run, chromium))
            result["cells"] = compare_stores(whole, Path(server.engine.setup.store))
    return {
        **result, "run": run, "load_average_before": before, "load_average_after": load_average(), "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def is_clean(result: dict) -> bool:
    """Whether nothing was lost, nothing differs, no page failed and none stayed dead."""
    cells, clean = result["cells"], result["killed"]["state"] == "done"
    lost = cells["lost"] + cells["extra"] + cells["different"] + len(cells["problems"])
    return clean and cells["cells"] > 0 and not (lost or result["exceptions"] or result["dead"] or result["server_tracebacks"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    found = main(**vars(parser.parse_args()))
    print(json.dumps(found, indent=1))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "desk_stress.json", json.dumps(found, indent=1) + "\n")
    sys.exit(0 if is_clean(found) else 1)
