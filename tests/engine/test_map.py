"""The sensitivity map that a desk draws by itself: what it is, that it is drawn once, and that it lets people go first."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis_cache.store import EvidenceStore
from tests.engine.test_desk import BARE, PRUNED, measured, tiny
from tests.support.folders import make_folder
from toast_core.engine.cards import SketchCard
from toast_core.engine.desk import Desk
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.schedule.sites import SITES
from toast_core.setup import Setup
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS
from toast_core.studies.sketch.job import first_sketch
from toast_core.studies.sketch.measure import Sketcher
from toast_core.studies.sketch.store import read_sketch
from toast_core.workbench import Workbench


@pytest.fixture
def map_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    """A tiny model with random weights, eleven images, twelve to calibrate on, and a store of its own."""
    data, calibration = make_folder(tmp_path / "val", {"bag": 6, "coat": 5}), make_folder(tmp_path / "fit", {"any": 12})
    monkeypatch.setitem(DEMO_BUILDERS, "demo_tiny", tiny)
    return Setup(
        "demo_tiny", "random", 2, data=str(data), calibration=str(calibration), images=11, batch_size=4, device="cpu",
        store=str(tmp_path / "evidence.sqlite"),
    )


@pytest.fixture
def setup(map_setup: Setup) -> Setup:
    """The same."""
    return map_setup


def drawn(setup: Setup) -> Desk:
    """A desk that has loaded, and drawn its map."""
    desk = Desk(setup)
    desk.load()
    assert desk.describe().is_ready, desk.describe().error
    return desk


@pytest.mark.parametrize(("changes", "name", "images", "selection", "key"), [
    ({}, "fit", 12, "calibrated", "kl"),
    ({"calibration": None}, "val", 11, "per_image", "kl"),
    ({"data": None}, "fit", 12, "calibrated", "kl"),
    ({"num_classes": 0}, "fit", 12, "calibrated", "distance"),
])
def test_every_site_of_every_block_is_sketched(setup, changes, name, images, selection, key) -> None:
    setup = replace(setup, **changes)
    card = drawn(setup).describe().sketch
    assert (Path(card.name).name, card.done, card.images, card.selection, card.error) == (name, images, images, selection, "")
    assert not card.is_running
    with EvidenceStore.open(setup.store) as store:
        (record,) = [one for one in store.list_analyses() if one.request["metric"] == "sketch"]
        found = read_sketch(store, store.get_analysis(record.id), key)
        rows = found.rows()
        work = first_sketch(setup).work(Workbench.load(setup), store)
    assert [(row["block"], row["site"], row["ratio"]) for row in rows] == [
        (block, site, ratio) for block in range(3) for site in SITES for ratio in DEFAULT_RATIOS
    ]
    assert all(row[key] >= 0 and row["images"] == images for row in rows) and record.finished_utc
    assert work.stored == work.cells == len(rows), "the job and its command line take the same cells"


def test_what_is_stored_is_not_drawn_again(setup, monkeypatch) -> None:
    first = drawn(setup).describe().sketch
    monkeypatch.setattr(Sketcher, "sketch", None)
    assert drawn(setup).describe().sketch == first


def test_no_images_no_map(setup) -> None:
    assert drawn(replace(setup, data=None, calibration=None)).describe().sketch is None
    assert drawn(replace(setup, weights="none")).describe().sketch is None


def test_a_page_hears_how_far_it_is(setup, monkeypatch) -> None:
    heard, tell = [], Desk._tell_sketch

    def told(desk: Desk, card: SketchCard) -> None:
        tell(desk, card)
        heard.append((desk.describe().sketch.words, desk.activity, card.is_running))

    monkeypatch.setattr(Desk, "_tell_sketch", told)
    drawn(setup)
    lines = [f"Sketching sensitivity: {done} of 12 images" for done in (0, 4, 8, 12)]
    lines.insert(3, "Sketching sensitivity: running a few cells that calibrate the others")
    assert heard == [(line, line, not line.endswith("12 of 12 images")) for line in lines]


def test_whoever_asks_goes_first(setup, monkeypatch) -> None:
    """An edit in the middle of the map is measured whole before the next step of the map, and the map is what it is without."""
    desk, found, give_way, waited = Desk(setup), [], Desk._give_way, []

    def edit() -> None:
        found.append(measured(desk, "person", PRUNED))

    def pause(own: Desk) -> None:
        if desk.describe().sketch.done == 4 and not waited:
            waited.append(threading.Thread(target=edit))
            waited[0].start()
            while not own._asking:
                time.sleep(0.001)
            give_way(own)
            assert not own._asking and found, "the map went on before the edit was measured"
        else:
            give_way(own)

    monkeypatch.setattr(Desk, "_give_way", pause)
    desk.load()
    waited[0].join()
    assert desk.describe().sketch == SketchCard(desk.describe().sketch.name, 12, 12, "calibrated", True)
    assert found[0] == measured(desk, "again", PRUNED) and found[0].is_done
    with EvidenceStore.open(setup.store) as store:
        beside = _moved(store)
    alone = replace(setup, store=f"{setup.store}-alone")
    drawn(alone)
    with EvidenceStore.open(alone.store) as store:
        assert (_moved(store) == beside).all()


def _moved(store: EvidenceStore) -> np.ndarray:
    (record,) = store.list_analyses()
    return read_sketch(store, store.get_analysis(record.id), "kl").moved


@pytest.mark.parametrize("fault", ["store", "program"])
def test_a_map_that_fails_is_said_and_the_desk_lives(setup, monkeypatch, capsys, tmp_path, fault) -> None:
    if fault == "store":
        (tmp_path / "notes.sqlite").write_text("no store")
        setup = replace(setup, store=str(tmp_path / "notes.sqlite"))
    else:
        monkeypatch.setattr(Sketcher, "sketch", None)
    desk = drawn(setup)
    card = desk.describe().sketch
    assert card.error and "\n" not in card.error and not card.is_running
    assert f"the sensitivity map was given up: {card.error}" in capsys.readouterr().err
    assert measured(desk, "a", BARE).is_done and desk._turn.acquire(blocking=False)
