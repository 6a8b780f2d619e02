"""The equaliser in Python: stops, limits, prediction, what it takes from the browser and from the store."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from dashboard.engine.client import shipped_shape
from dashboard.evidence.curves import StoredCurves, stored_curves
from dashboard.evidence.latency import stored_latency
from dashboard.evidence.prediction import Curves, Point, effective_ratio, predict, read_curves
from dashboard.limits import Limit, held_back, hold
from dashboard.session import inbox
from dashboard.session.history import History
from dashboard.session.inbox import EditorState
from tests.support import curves as made_up
from tests.support.cells import identity
from toast_core.schedule.rounding import keep_count
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.schedule.sites import SITES
from toast_core.schedule.stops import legal_stops, stop_ratio
from toast_core.setup import Setup
from toast_core.studies.evaluation.result import Estimate

VIT = shipped_shape("demo_vit")
CURVES = read_curves(made_up.rows(), "calibrated")
WIDTHS = some.integers(1, 3072) | some.sampled_from([32, 64, 80, 96, 384, 1536, 5120])


@given(WIDTHS, some.sampled_from([1, 4, 8, 16, 7]), some.integers(0, 10**6))
def test_a_legal_stop_keeps_the_count_that_it_promises(width, multiple_of, pick):
    stops = legal_stops(width, multiple_of)
    ratio, kept = stops[pick % len(stops)]
    schedule = Schedule.from_json(Schedule((BlockSchedule(fc2=ratio),), multiple_of=multiple_of).to_json())
    assert keep_count(width, schedule.blocks[0].fc2, multiple_of) == kept == keep_count(width, ratio)
    assert list(stops) == sorted(stops) and len(dict(stops)) == len(stops) and stops[0] == (0.0, width)


@given(WIDTHS, some.sampled_from([1, 4, 8, 16, 7]), some.floats(0, 1, exclude_max=True))
def test_every_count_that_a_ratio_can_give_is_a_stop(width, multiple_of, ratio):
    assert keep_count(width, ratio, multiple_of) in {kept for _, kept in legal_stops(width, multiple_of)}


def test_a_stop_has_the_shortest_ratio():
    assert [stop_ratio(384, kept) for kept in (384, 268, 192, 191)] == [0.0, 0.3, 0.5, 0.502]
    assert stop_ratio(20, 12) == 0.4 and stop_ratio(32, 3) == 0.9
    assert legal_stops(32, 16) == ((0.0, 32), (0.5, 16)) and legal_stops(10, 16) == ((0.0, 10),)


def test_limits_hold_locked_sites_and_clamp_to_ranges():
    before = Schedule.uniform(3, fc2=0.2)
    limits = {("fc2", 0): Limit(locked=True), ("fc2", 1): Limit(0.1, 0.4), ("qk", 2): Limit(0.25, 1.0)}
    wanted = Schedule.uniform(3, fc2=0.6)
    got = hold(limits, before, wanted)
    assert got.ratios("fc2") == (0.2, 0.4, 0.6) and got.ratios("qk") == (0, 0, 0.25)
    assert held_back(wanted, got) == 3 and held_back(wanted, wanted) == 0
    assert hold({}, before, wanted) == wanted


def test_prediction_reads_measured_ratios_and_lines_between_them():
    curves = Curves({("fc2", 0): (Point(0.2, -1.0, -1.5, -0.5), Point(0.4, -3.0, -4.0, -2.0))}, Estimate(90.0, (89.0, 91.0)), 2000)
    assert curves.at("fc2", 0, 0.2) == Point(0.2, -1.0, -1.5, -0.5)
    between = curves.at("fc2", 0, 0.3)
    assert (between.delta, between.low, between.high) == pytest.approx((-2.0, -2.75, -1.25))
    assert curves.at("fc2", 0, 0.1).delta == pytest.approx(-0.5)
    assert curves.at("fc2", 0, 0.5) is None and curves.at("qk", 0, 0.1) is None and curves.at("qk", 0, 0).delta == 0


def test_prediction_adds_up_and_its_band_is_the_root_of_the_sum_of_squares():
    schedule = Schedule.uniform(12, fc2=0.5)
    points = [CURVES.at("fc2", block, 0.5) for block in range(12)]
    found = predict(CURVES, VIT, schedule)
    assert found.value == pytest.approx(91.5 + sum(point.delta for point in points))
    low = math.hypot(91.5 - CURVES.baseline.ci95[0], *(point.delta - point.low for point in points))
    assert found.ci95[0] == pytest.approx(found.value - low)
    assert predict(CURVES, VIT, Schedule.uniform(12)) == CURVES.baseline
    assert predict(CURVES, VIT, Schedule.uniform(12, vo=0.95)) is None
    worst = predict(CURVES, VIT, Schedule.uniform(12, 0.9, 0.9, 0.9, 0.9))
    assert worst.value == worst.ci95[0] == 0


def test_prediction_counts_what_rounding_up_really_drops():
    assert effective_ratio(32, 0.3, 1) == 0.3 and effective_ratio(32, 0.3, 8) == 0.25 and effective_ratio(32, 0.1, 16) == 0
    assert predict(CURVES, VIT, Schedule.uniform(12, vo=0.3, multiple_of=8)) == predict(CURVES, VIT, Schedule.uniform(12, vo=0.25))


def test_rows_of_joint_sites_are_no_curves():
    assert read_curves([{**made_up.row(0, "fc2", 0.5), "site": "fc1+fc2"}]) is None
    assert CURVES.images == 2000 and CURVES.baseline.value == pytest.approx(91.5)
    assert len(CURVES.points) == 48 and all(len(line) == 9 for line in CURVES.points.values())


def test_stored_curves_are_those_of_these_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("dashboard.evidence.find.shipped_bundles", list)
    store = tmp_path / "store.db"
    made_up.store_curves(store)
    stored_curves.clear()
    assert stored_curves(Setup(store=str(store)).completed(), "demo_vit", "per_image") == StoredCurves(CURVES)
    other = stored_curves(Setup(weights="random", store=str(store)).completed(), "demo_vit", "per_image")
    assert other.curves is None and "toast analyze --model demo_vit --weights random" in other.missing
    assert stored_curves(Setup("demo_swin", store=str(store)).completed(), "demo_swin", "per_image").curves is None
    (tmp_path / "broken.db").write_bytes(b"no store" * 200)
    assert "broken.db" in stored_curves(Setup(store=str(tmp_path / "broken.db")).completed(), "demo_vit", "per_image").missing


def test_messages_are_taken_once_and_in_order(monkeypatch):
    session = {"history": History(Schedule.uniform(12)), "editor": EditorState(seen=1)}
    ratios = {site: [0.0] * 12 for site in SITES}
    first, second = {**ratios, "fc2": [0.5] * 12}, {**ratios, "fc2": [0.7] * 12}
    session[inbox.KEY] = {"sent": [
        {"number": 1, "ratios": second}, {"number": 2, "ratios": first}, {"number": 3, "limits": [["fc2", 4, 0, 1, True]]},
        {"number": 4, "ratios": second}, {"number": 5, "linked": ["qk+vo"]}, {"number": 6, "ratios": {**ratios, "qk": [2.0] * 12}},
        {"number": 7, "step": "undo"},
    ]}
    monkeypatch.setattr("streamlit.session_state", session)
    inbox.take_sent()
    assert session["history"].present.ratios("fc2") == (0.5,) * 12
    assert session["history"].future[0].ratios("fc2") == (0.7,) * 4 + (0.5,) + (0.7,) * 7
    assert session["editor"] == EditorState(7, ("qk+vo",)) and session["limits"] == {("fc2", 4): Limit(locked=True)}
    assert session["notice"].startswith("Not changed: qk ratio is 2")


# ---------- in a browser


def test_the_table_is_the_newest_of_this_shape_in_the_own_store(tmp_path, monkeypatch):
    monkeypatch.setattr("dashboard.evidence.find.shipped_bundles", list)
    options = Setup(store=str(tmp_path / "store.sqlite")).completed()
    stored_latency.clear()
    assert stored_latency(options, VIT).missing == "measured on this machine while the engine is idle"
    with EvidenceStore.open(options.store) as store:
        for number, rounds in enumerate((3, 9)):
            table = replace(made_up.latency_table(VIT), rounds=rounds)
            one = identity(kind="latency", model="demo_vit", details={"number": number})
            store.put(one, table.to_dict(), {})
            time = f"2026-01-0{number + 1}T00:00:00Z"
            store.put_analysis(Analysis({"metric": "latency", "model": "demo_vit"}, "latency table", (one.key,), time, time))
    stored_latency.clear()
    assert stored_latency(options, VIT).table.rounds == 9
    assert stored_latency(options, replace(VIT, num_classes=3)).table is None
