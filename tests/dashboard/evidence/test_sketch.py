"""Sketches as pages read them: finished, or as far as their parts are in the store."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis_cache.replay import Replay
from analysis_cache.store import EvidenceStore
from dashboard.evidence.curves import stored_map
from dashboard.evidence.find import find_evidence
from dashboard.evidence.sketch import NOISE, DamagePoint, SketchSoFar, filled, read_map
from tests.support.backbones import grey_backbone, patterns
from tests.support.greys import grey_data, grey_model
from tests.support.sketches import CELLS, damage_map, moved, put_sketch, request
from toast_core.engine.protocol import SketchCard
from toast_core.schedule.compensation import FULL
from toast_core.setup import Setup
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sketch.measure import Sketcher
from toast_core.studies.sketch.result import Sketch
from toast_core.studies.sketch.store import SketchRequest, analyze_sketch
from toast_core.studies.subject import Subject

SEEN = SketchCard("photos", 8, 24, "calibrated")


def setup(path: Path) -> Setup:
    """The demo on a store."""
    return Setup(store=str(path)).completed()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up for another test is forgotten, and no bundle stands beside a store."""
    monkeypatch.setattr("dashboard.evidence.find.shipped_bundles", list)
    stored_map.clear()


def test_a_finished_one_is_read_as_its_rows_say(tmp_path) -> None:
    put_sketch(tmp_path / "e.sqlite")
    found = stored_map(setup(tmp_path / "e.sqlite"), "demo_vit", "calibrated", False)
    assert found == damage_map() and found.finished and found.images == 24
    rows = {(row["site"], row["block"], row["ratio"]): row for row in Sketch(CELLS, moved(), "kl").rows()}
    for (site, block), line in found.points.items():
        assert [point.ratio for point in line] == sorted(point.ratio for point in line) and len(line) == 9
        for point in line:
            assert [point.damage, [point.low, point.high]] == [rows[site, block, point.ratio][key] for key in ("kl", "kl95")]
            assert point.is_told == ((site, point.ratio) != ("qk", 0.1))


@pytest.mark.parametrize(("parts", "images"), [(1, 8), (2, 16), (3, 24)])
def test_one_that_runs_is_read_as_far_as_its_parts(tmp_path, parts, images) -> None:
    put_sketch(tmp_path / "e.sqlite", parts=parts)
    found = stored_map(setup(tmp_path / "e.sqlite"), "demo_vit", "calibrated", False)
    assert (found.images, found.wanted, found.finished) == (images, 24, False)
    expected = read_map(Sketch(CELLS, moved()[:, :, :images], "kl").rows(), request("calibrated"), False)
    assert found == expected


def test_what_no_refit_has_comes_from_the_map_without() -> None:
    refitted, plain = damage_map(compensated=True), damage_map()
    half = replace(refitted, points={place: line for place, line in refitted.points.items() if place[0] != "qk"})
    found = filled(half, plain)
    assert found.filled == ("qk",) and found.compensated and set(found.points) == set(plain.points)
    assert filled(refitted, plain).filled == () and filled(refitted, plain) == refitted


def test_before_its_first_part_there_is_none_and_the_list_counts_cells(tmp_path) -> None:
    put_sketch(tmp_path / "e.sqlite", parts=0)
    assert stored_map(setup(tmp_path / "e.sqlite"), "demo_vit", "calibrated", False) is None
    (one,) = find_evidence(setup(tmp_path / "e.sqlite"), "demo_vit").of("sketch")
    assert (one.stored, one.listed, one.mode, one.rows()) == (0, 48, "2 directions, calibrated", [])


def test_the_schedules_selection_goes_before_more_images_and_other_weights_do_not_count(tmp_path) -> None:
    put_sketch(tmp_path / "e.sqlite", "per_image")
    options = setup(tmp_path / "e.sqlite")
    assert stored_map(options, "demo_vit", "calibrated", False).selection == "per_image"
    put_sketch(tmp_path / "e.sqlite", "calibrated", parts=1)
    assert stored_map(options, "demo_vit", "calibrated", False, SEEN).selection == "calibrated"
    assert stored_map(options, "demo_vit", "per_image", False, SEEN).selection == "per_image"
    random = Setup("demo_vit", "random", store=options.store).completed()
    assert stored_map(random, "demo_vit", "calibrated", False) is None


def test_refitted_cells_count_for_a_compensated_schedule_alone_and_go_first_there(tmp_path) -> None:
    put_sketch(tmp_path / "e.sqlite", compensation=vars(FULL))
    options = setup(tmp_path / "e.sqlite")
    assert stored_map(options, "demo_vit", "calibrated", False) is None
    assert stored_map(options, "demo_vit", "calibrated", True).compensated
    put_sketch(tmp_path / "e.sqlite")
    stored_map.clear()
    assert stored_map(options, "demo_vit", "calibrated", True).compensated
    assert not stored_map(options, "demo_vit", "calibrated", False).compensated


@pytest.mark.parametrize("kind", ["classes", "features"])
def test_parts_of_a_real_one_are_found_as_they_come_and_after_it_has_ended(tmp_path, kind) -> None:
    model = grey_model("vit") if kind == "classes" else grey_backbone("vit")
    data = grey_data(model, 21) if kind == "classes" else patterns(model, 21)
    subject, cells, seen = Subject.of(model, data, 12, "sketch"), grid(3, ("vo", "fc2"), (0.2, 0.6)), []
    with EvidenceStore.open(tmp_path / "e.sqlite") as store:
        so_far, replay = [], Replay.open(tmp_path / "e.sqlite")

        def look(done: int, total: int) -> None:
            so_far.extend([] if so_far else [SketchSoFar(replay, replay.analyses()[0])])
            seen.append((done, so_far[0].rows()))

        _, sketch = analyze_sketch(subject, store, SketchRequest(cells, 3, None, {"selection": "per_image", "seed": 0}, measured=0), look)
        (one,) = so_far
        assert one.rows() == seen[-1][1], "what was read is held"
        replay.close()
    assert [done for done, _ in seen] == [8, 12, 21]
    for done, rows in seen:
        assert rows == Sketch(sketch.cells, np.ascontiguousarray(sketch.moved[:, :, :done]), sketch.key).rows()


def test_a_killed_ones_parts_are_not_sketched_again(tmp_path, monkeypatch) -> None:
    """Pieces of the first batch are parts of their own."""
    model = grey_model("vit")
    subject = Subject.of(model, grey_data(model, 21), 12, "sketch")
    asked = SketchRequest(grid(3, ("fc2",), (0.5,)), 2, None, {"seed": 0}, measured=0)
    own, sizes = Sketcher.sketch, []

    def killed(self, batch) -> np.ndarray:
        sizes.append(len(batch.index))
        if sizes == [8, 4]:
            raise KeyboardInterrupt
        return own(self, batch)

    monkeypatch.setattr(Sketcher, "sketch", killed)
    with EvidenceStore.open(tmp_path / "e.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            analyze_sketch(subject, store, asked)
        analyze_sketch(subject, store, asked)
    assert sizes == [8, 4, 4, 9]


@pytest.mark.parametrize(("point", "told"), [
    (DamagePoint(0.5, 0.01, 0.005, 0.015), True), (DamagePoint(0.5, 0.01, 0.0, 0.02), False), (DamagePoint(0.5, 0.01, 0.005, None), True),
    (DamagePoint(0.5, NOISE / 2, NOISE / 3, NOISE), False), (DamagePoint(0.5, 0.0, 0.0, 0.0), False),
])
def test_what_can_be_told_from_zero(point, told) -> None:
    assert point.is_told == told


def test_what_it_is_predicted_from_in_words(tmp_path) -> None:
    assert damage_map().basis("photos") == "predicted from 24 images of photos, 2 directions each; not calibrated"
    assert damage_map(draws=1, calibrated_by=3).basis("photos") == (
        "predicted from 24 images of photos, 1 direction each; calibrated by 3 measured cells a site"
    )
    put_sketch(tmp_path / "e.sqlite", parts=1)
    running = stored_map(setup(tmp_path / "e.sqlite"), "demo_vit", "calibrated", False, SEEN)
    assert running.basis("photos").startswith("predicted from 8 of 24 images of photos")
    assert read_map([], request("calibrated"), True) is None
