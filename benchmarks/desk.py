"""What a person at the dashboard waits for, measured in a real browser against a real server and engine.

    python benchmarks/desk.py [--repeats 5] [--chromium /usr/bin/chromium]

First paint of the Overview with the shipped analyses, from a server that was just started and from a warm one; every page, warm, and a
bare Streamlit page to compare with; from a bar's pointer to the totals beside it, on a ViT-H of 32 blocks x 4 sites; from the release of
a bar to the totals as the server counts them, to its charts and to the measured accuracy, on demo_vit and 1,000 images. Servers, engines
and stores live in a temporary folder and are ended. OMP_NUM_THREADS is passed on to the engine. Times are milliseconds of a wall clock,
on whatever else the machine does: the load is written beside them.
Needs playwright. Writes benchmarks/results/desk.json.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import Browser, Page, sync_playwright

from dashboard.engine.client import STATE_VARIABLE, EngineClient
from dashboard.navigation import pages
from toast_core.files import write_text
from toast_core.setup import Setup

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)
TITLES = {name: "ToaSt Studio" if name == "overview" else page.title for name, page in pages().items()}
EVIDENCE = re.compile(r"\d+ of \d+ sites of blocks stand 50 % or more")
WINDOW = {"width": 1400, "height": 900}
LARGE = "vit_huge_patch14_224"  # 32 blocks
WAIT_MS = 240_000
_EDITED_BLOCKS = (11, 6)
_MOVES = 200
_MOVE_EVERY_MS = 30
_COLD_STARTS = 3

# Times of every move of the pointer: from the event's own time stamp to the changed totals, of that the desk's own code, and to the frame
# after. A capturing listener hears the event before the desk does; the observer runs when the desk's handler has returned.
_TIME_MOVES = """root => {
  const total = root.querySelector(".total.macs");
  let moved = null;
  window.moves = [];
  root.addEventListener("pointermove", (event) => { moved = { at: event.timeStamp, heard: performance.now() }; }, { capture: true });
  new MutationObserver((changes) => {
    if (!moved || changes.every((change) => change.oldValue === total.dataset.exact)) return;
    const move = { readout: performance.now() - moved.at, handler: performance.now() - moved.heard }, { at } = moved;
    moved = null;
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.moves.push({ ...move, drawn: performance.now() - at });
      channel.port2.postMessage(0);
    });
  }).observe(total, { attributes: true, attributeOldValue: true, attributeFilter: ["data-exact"] });
}"""
# Curves as a finished sweep of four sites and nine ratios would bring, so that the prediction is counted as well.
_GIVE_CURVES = """root => {
  const line = Array.from({ length: 9 }, (_, i) => [(i + 1) / 10, -0.2 * (i + 1), -0.3 * (i + 1), -0.1 * (i + 1)]);
  const { data } = root.desk;
  data.curves = Object.fromEntries(["qk", "vo", "fc1", "fc2"].map((site) => [site, data.of.map(() => line)]));
  data.predicted_from = { value: 91, low: 89, high: 93 };
  data.curves_note = "";
}"""
# Looks at every frame what the page shows of the next release, and keeps when each part was first there.
_WATCH_RELEASE = """root => {
  const seen = window.seen = {};
  const address = () => new URL(location).searchParams.get("schedule");
  const chart = () => {
    const plot = document.querySelector(".st-key-tune-blocks .js-plotly-plot");
    return plot?.data ? JSON.stringify(plot.data.map((trace) => [trace.x, trace.y])) : null;
  };
  const before = { address: address(), chart: chart() };
  let released = null, unmeasured = false;
  addEventListener("pointerup", (event) => { released = event.timeStamp; }, { capture: true, once: true });
  const look = () => {
    if (released !== null) {
      const now = performance.now() - released, text = document.querySelector('[data-testid="stMetric"]')?.closest(
        '[data-testid="stColumn"]')?.textContent ?? "", drawn = chart();
      if (address() !== before.address) seen.address ??= now;
      if (root.dataset.counted === "server") seen.totals ??= now;
      if (drawn !== null && drawn !== before.chart) seen.charts ??= now;
      unmeasured ||= !text.includes("Measured on");
      if (unmeasured && (/Measuring: [1-9]/.test(text) || text.includes("Measured on"))) seen.first ??= now;
      // A measurement that is over before the page is drawn anew was never seen to be missing.
      const over = seen.address && document.querySelector("[data-test-script-state='notRunning']");
      if ((unmeasured || over) && text.includes("Measured on")) seen.first ??= now, seen.final ??= now;
    }
    if (!(seen.final && seen.totals && seen.charts)) requestAnimationFrame(look);
  };
  look();
}"""


@dataclass(frozen=True)
class Server:
    """A running dashboard: its address, the page server's process id, the engine behind it, and seconds from start to answer."""

    address: str
    pid: int
    engine: EngineClient
    log: Path
    started_s: float


@contextmanager
def serve(folder: Path, model: str = "demo_vit", weights: str | None = None) -> Iterator[Server]:
    """A dashboard on a model, its engine and its store in `folder`; server and engine are ended on leaving."""
    folder.mkdir(exist_ok=True)
    store = str(folder / "evidence.sqlite")
    options = Setup(model, weights, data="fashion-mnist", store=store)
    command = [sys.executable, "-m", "toast_core", "dashboard", "--model", model, "--headless", "--store", store]
    command += ["--weights", weights] if weights else []
    environment = {**os.environ, STATE_VARIABLE: str(folder), "PYTHONPATH": str(ROOT)}
    log, begun, engine = folder / "server.log", time.monotonic(), EngineClient(options, folder)
    with log.open("wb") as written:
        process = subprocess.Popen(command, env=environment, cwd=folder, stderr=written, stdin=subprocess.DEVNULL)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(f"the dashboard ended with status {process.returncode}: {log.read_text()[-200:]}")
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        server = next(int(pid) for pid in children if b"streamlit" in Path(f"/proc/{pid}/cmdline").read_bytes())
        yield Server(found[0], server, engine, log, time.monotonic() - begun)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        engine.stop()


def memory_mb(pid: int) -> float:
    """Resident memory of a process in MB of 2^20 bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return round(int(found[1]) / 1024, 1)


def worker_pid(engine: EngineClient) -> int:
    """The engine process that serves now."""
    return engine.address().pid


def load_average() -> list[float]:
    """Processes that wanted to run, over the last 1, 5 and 15 minutes."""
    return [round(load, 1) for load in os.getloadavg()]


def await_ready(engine: EngineClient) -> None:
    """Wait until the engine can measure."""
    while not engine.describe().is_ready:
        time.sleep(0.2)


def _elapsed_ms(since: float) -> float:
    return round(1000 * (time.perf_counter() - since), 1)


def _bare(browser: Browser, folder: Path, repeats: int) -> list[float]:
    """Milliseconds to the title of a Streamlit page of one line: what no dashboard made with it can be faster than, here and now."""
    (folder / "bare.py").write_text('import streamlit\nstreamlit.title("Bare")\n')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ["--server.headless", "true", "--browser.gatherUsageStats", "false", "--server.address", "127.0.0.1"]
    command = [sys.executable, "-m", "streamlit", "run", "bare.py", "--server.port", str(port), *settings]
    process, times = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), []
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        for _ in range(repeats + 1):
            context = browser.new_context(viewport=WINDOW)
            page, since = context.new_page(), time.perf_counter()
            page.goto(f"http://127.0.0.1:{port}", wait_until="commit")
            page.get_by_role("heading", name="Bare").wait_for(timeout=WAIT_MS)
            times.append(_elapsed_ms(since))
            context.close()
    finally:
        process.terminate()
        process.wait()
    return times[1:]


def _spread(times: list[float]) -> dict:
    return {"median": round(median(times), 1), "all": [round(one, 1) for one in times]}


def _visit(browser: Browser, address: str, name: str) -> dict[str, float]:
    """Open a page in a session and a cache of its own: milliseconds to its title, to the evidence on the Overview, to the run's end."""
    context = browser.new_context(viewport=WINDOW)
    page, since = context.new_page(), time.perf_counter()
    page.goto(f"{address}/{'' if name == 'overview' else name}", wait_until="commit")
    page.get_by_role("heading", name=TITLES[name], exact=True).wait_for(timeout=WAIT_MS)
    times = {"title": _elapsed_ms(since)}
    if name == "overview":
        page.get_by_text(EVIDENCE).wait_for(timeout=WAIT_MS)
        times["evidence"] = _elapsed_ms(since)
    page.locator("[data-test-script-state='notRunning']").wait_for(timeout=WAIT_MS)
    times["whole_run"] = _elapsed_ms(since)
    if page.get_by_test_id("stException").count():
        raise RuntimeError(f"{name} shows an exception: {page.get_by_test_id('stException').first.inner_text()[:200]}")
    context.close()
    return times


def _spreads(visits: list[dict[str, float]]) -> dict:
    return {part: _spread([visit[part] for visit in visits]) for part in visits[0]}


def _cold(browser: Browser, folder: Path) -> dict:
    """A fresh server, engine, store and session each time; the engine loads PyTorch beside it, as it does for everyone."""
    visits = []
    for number in range(_COLD_STARTS):
        with serve(folder / f"cold{number}") as server:
            visits.append({"server_answers": round(1000 * server.started_s, 1), **_visit(browser, server.address, "overview")})
    return _spreads(visits)


def _take_bar(page: Page, name: str) -> tuple[float, float, float]:
    """Bring a bar into view and press the pointer at its foot; returns the bar's middle, foot and height in pixels."""
    bar = page.get_by_role("slider", name=name, exact=True)
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 1)
    page.mouse.down()
    box = bar.bounding_box()  # a first prediction adds lines above the bars, which moves them
    return box["x"] + box["width"] / 2, box["y"] + box["height"], box["height"]


def _drag(browser: Browser, folder: Path, with_curves: bool) -> dict:
    """Move a bar of the large model up and down without releasing it; percentiles over the moves."""
    with serve(folder, LARGE, "none") as server:
        page = browser.new_page(viewport=WINDOW)
        await_ready(server.engine)
        page.goto(f"{server.address}/tune")
        root = page.locator(".equaliser")
        page.get_by_role("slider", name="block 31, fc2", exact=True).wait_for(timeout=WAIT_MS)
        page.locator("[data-test-script-state='notRunning']").wait_for(timeout=WAIT_MS)
        bars = page.get_by_role("slider").and_(page.locator(".track")).count()
        if with_curves:
            root.evaluate(_GIVE_CURVES)
        root.evaluate(_TIME_MOVES)
        middle, foot, height = _take_bar(page, "block 12, fc2")
        for move in range(_MOVES):
            share = move % 40 / 40
            page.mouse.move(middle, foot - height * (0.05 + 0.9 * (share if move // 40 % 2 == 0 else 1 - share)))
            page.wait_for_timeout(_MOVE_EVERY_MS)
        moves = page.evaluate("window.moves")
        page.mouse.up()
        page.close()
    parts = {name: sorted(move[name] for move in moves) for name in ("readout", "handler", "drawn")}
    return {"bars": bars, "moves": len(moves)} | {
        name: {"median": round(median(times), 2), "p95": round(quantiles(times, n=20)[-1], 2), "worst": round(times[-1], 2)}
        for name, times in parts.items()
    }


def _release(page: Page, block: int, ratio: float) -> dict[str, float]:
    """Drag a bar of fc2 to a ratio and let go; milliseconds to address, totals as the server counts them, charts, and accuracy."""
    page.locator("[data-test-script-state='notRunning']").wait_for(timeout=WAIT_MS)
    page.locator(".equaliser .total.macs").evaluate(_WATCH_RELEASE)
    middle, foot, height = _take_bar(page, f"block {block}, fc2")
    page.mouse.move(middle, foot - ratio * height, steps=4)
    page.mouse.up()
    page.wait_for_function("window.seen.final && window.seen.totals && window.seen.charts", timeout=WAIT_MS)
    return page.evaluate("window.seen")


def _warm(browser: Browser, folder: Path, repeats: int) -> dict:
    """Everything that one warm demo server is asked: pages, then edits."""
    with serve(folder) as server:
        _visit(browser, server.address, "overview")
        await_ready(server.engine)
        before = memory_mb(server.pid)
        pages = {name: _spreads([_visit(browser, server.address, name) for _ in range(repeats)]) for name in TITLES}
        page = browser.new_page(viewport=WINDOW)
        page.goto(f"{server.address}/tune")
        page.get_by_text("Measured on 1,000 images").wait_for(timeout=WAIT_MS)
        _release(page, 11, 0.9)  # the calibration and the session's first evaluation are not counted
        edits = {}
        for block in _EDITED_BLOCKS:
            edits[f"block {block}"] = _spreads([_release(page, block, 0.2 + 0.6 * number / repeats) for number in range(repeats)])
        after, engine = memory_mb(server.pid), memory_mb(worker_pid(server.engine))
        page.close()
        if "Traceback" in (log := server.log.read_text()):
            raise RuntimeError(f"the page server failed on the way: {log[-500:]}")
    memory = {"page_server_before": before, "page_server_after": after, "engine": engine}
    return {"pages_ms": pages, "release_ms": edits, "memory_mb": memory}


def main(repeats: int, chromium: str) -> dict:
    """Measure all of it; the result as JSON values."""
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="toast-desk-") as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        bare = _bare(browser, folder, repeats)
        warm = _warm(browser, folder / "warm", repeats)
        drags = {
            "no curves": _drag(browser, folder / "large", with_curves=False),
            "nine-point curves": _drag(browser, folder / "predicted", with_curves=True),
        }
        cold = _cold(browser, folder)
        version = browser.version
        browser.close()
    return {
        "bare_streamlit_ms": _spread(bare), "cold_overview_ms": cold, **warm,
        "drag_32_blocks_ms": drags, "load_average_before": before, "load_average_after": load_average(),
        "cores": os.cpu_count(), "omp_num_threads": os.environ.get("OMP_NUM_THREADS"), "repeats": repeats, "chromium": version,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    result = main(arguments.repeats, arguments.chromium)
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "desk.json", json.dumps(result, indent=1) + "\n")
