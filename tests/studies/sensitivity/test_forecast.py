"""Adaptive sweeps that predict: what is decided without measuring is marked, lies in its interval, and is the same after a kill."""

from pathlib import Path

import numpy as np
import pytest

from analysis_cache.store import EvidenceStore
from tests.support.greys import grey_data, grey_model
from toast_core.intervals import Z95, Estimate
from toast_core.studies.sensitivity.cells import Cell, CellOutcomes, grid
from toast_core.studies.sensitivity.forecast import predicted_cells
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.parts import StoreParts
from toast_core.studies.sensitivity.prediction import Factor, Headline, headline, joined, measured_damage
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity, sensitivity_identities
from toast_core.studies.sensitivity.sweep import Rule
from toast_core.studies.sketch.regression import LogDamage
from toast_core.studies.subject import Subject
from toast_core.studies.tasks.features import FeatureCells

CELLS = grid(3, ("vo", "fc2"), (0.1, 0.2, 0.3, 0.5, 0.7, 0.9))
RULE = Rule("adaptive", width=1.5, tolerance=1.0)


def subject() -> Subject:
    data = grey_data(grey_model("vit"), 230)
    return Subject.of(grey_model("vit"), data, 32, "sensitivity")


def run(store: EvidenceStore, rule: Rule = RULE, selection: str = "per_image", cells: list[Cell] = CELLS) -> list[dict]:
    return analyze_sensitivity(subject(), store, SweepRequest(cells, rule, None, {"selection": selection}))[1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    with EvidenceStore.open(tmp_path_factory.mktemp("whole") / "s.db") as store:
        found = run(store)
        assert store.verify().cells == len(CELLS), "parts are left"
    return found


class TestSweep:
    def test_rows_that_rest_on_predictions_say_so_and_hold_the_exact_value(self, rows: list[dict], tmp_path: Path) -> None:
        with EvidenceStore.open(tmp_path / "s.db") as store:
            exact = run(store, Rule())
        predicted = [row for row in rows if row.get("predicted")]
        assert 0 < len(predicted) < len(rows), "some are decided without being measured, and some are not"
        assert any(row["images"] == 0 for row in predicted)
        inside = [row["ci95"][0] <= true["top1_delta"] <= row["ci95"][1] for row, true in zip(rows, exact, strict=True)]
        assert np.mean(inside) >= 0.95
        for row in predicted:
            assert row["sketched"] == 64 and row["calibrated_by"] == 6 and row["kl"] > 0
            assert row["ci95"][0] <= row["top1_delta"] <= row["ci95"][1] and RULE.settles(*row["ci95"])
            assert ("top5" in row) == (row["images"] > 0), "what was not measured is not shown"
        assert all("predicted" not in row for row in exact)

    def test_the_measured_cells_are_the_sweeps_own_and_nothing_is_measured_twice(self, tmp_path: Path, monkeypatch) -> None:
        seen: list[tuple[Cell, bytes]] = []
        real = Sweep.measure

        def watched(self: Sweep, batch, cells):
            seen.extend((cell, batch.index.tobytes()) for cell in cells)
            return real(self, batch, cells)

        monkeypatch.setattr(Sweep, "measure", watched)
        short = Subject.of(grey_model("vit"), grey_data(grey_model("vit"), 90), 32, "sensitivity")
        with EvidenceStore.open(tmp_path / "s.db") as store:
            found = analyze_sensitivity(short, store, SweepRequest(CELLS, RULE, None, {"selection": "per_image"}))[1]
        assert len(seen) == len(set(seen))
        assert {cell for cell, _ in seen} == {Cell(row["block"], row["site"], row["ratio"]) for row in found if row["images"]}

    @pytest.mark.parametrize("at", [0, 3, 15, "cell 0", "cell 30"])
    def test_a_killed_one_ends_as_an_undisturbed_one(self, at: int | str, rows: list[dict], tmp_path: Path, monkeypatch) -> None:
        count = [0]
        owner, name = (StoreParts, "save") if isinstance(at, int) else (EvidenceStore, "put")
        real, last = getattr(owner, name), at if isinstance(at, int) else int(at.split()[1])

        def stop(self: object, *values: object) -> object:
            is_counted = isinstance(at, int) or "block" in values[1]  # a cell's row, not a part
            if is_counted and count[0] == last:
                raise KeyboardInterrupt
            count[0] += is_counted
            return real(self, *values)

        with EvidenceStore.open(tmp_path / "s.db") as store:
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(owner, name, stop)
                run(store)
            assert run(store) == rows
            assert store.verify().cells == len(CELLS), "parts are left"
            monkeypatch.setattr(Sweep, "measure", None)
            assert run(store) == rows, "all is stored"

    def test_exact_and_per_batch_sweeps_predict_nothing(self, tmp_path: Path) -> None:
        assert predicted_cells(CELLS, Rule(), "per_image") == predicted_cells(CELLS, RULE, "per_batch") == []
        few = grid(3, ("qk",), (0.5,))
        assert predicted_cells([*CELLS, *few], RULE, "calibrated") == CELLS, "a site of few cells is measured"
        with EvidenceStore.open(tmp_path / "s.db") as store:
            assert not any(row.get("predicted") for row in run(store, selection="per_batch", cells=CELLS[:8]))


class TestIdentity:
    def test_an_adaptive_cell_says_how_it_is_predicted_and_beside_what(self) -> None:
        ids = sensitivity_identities(subject(), SweepRequest(CELLS, RULE))
        details = ids[CELLS[0]].detail
        assert details["predicted"] == "64 images, 2 directions, 6 cells, margins of 512"
        fewer = sensitivity_identities(subject(), SweepRequest([cell for cell in CELLS if cell.ratio < 0.9], RULE))
        assert fewer[CELLS[0]].key != ids[CELLS[0]].key, "other cells set it right"
        one_site = [cell for cell in CELLS if cell.site == "vo"]
        assert sensitivity_identities(subject(), SweepRequest(one_site, RULE))[one_site[0]].key == ids[one_site[0]].key

    def test_exact_and_unpredicted_cells_keep_theirs(self) -> None:
        for request in (SweepRequest(CELLS), SweepRequest(CELLS, RULE, None, {"selection": "per_batch"})):
            assert all({"predicted", "beside"}.isdisjoint(one.detail) for one in sensitivity_identities(subject(), request).values())


def outcomes(margins: np.ndarray, kl: float) -> CellOutcomes:
    return CellOutcomes(margins > 0, margins > -9, np.zeros(len(margins)), np.full(len(margins), kl), margins)


class TestHeadline:
    """From damage to points, on made-up margins where what should come out is known."""

    MARGINS = np.random.default_rng(0).normal(3, 3, 4000)

    def moved(self, width: float, seed: int) -> np.ndarray:
        return self.MARGINS + np.random.default_rng(100 + seed).normal(0, width, len(self.MARGINS))

    def damage(self, width: float) -> float:
        from scipy.special import expit

        return float(np.mean(expit(self.MARGINS) * expit(-self.MARGINS)) * width**2 / 2)

    @pytest.mark.parametrize("factor", [1.0, 1.5])
    def test_measured_cells_teach_the_factor_and_the_change_is_held(self, factor: float) -> None:
        """Margins that move as assumed, and further than their damage says."""
        first = outcomes(self.MARGINS, 0.0)
        widths = np.linspace(1.0, 2.5, 8)
        cells = {
            Cell(block, "vo", 0.5): outcomes(self.moved(width, block), self.damage(width) / factor)
            for block, width in enumerate(widths)
        }
        found = headline(4000, outcomes(self.MARGINS, 0.0), first, cells)
        bare = headline(4000, outcomes(self.MARGINS, 0.0), first, {})
        assert bare.lost == bare.gained == Factor() and found.lost.variance < bare.lost.variance
        assert found.lost.value == pytest.approx(1.0 if factor == 1 else 1.3, abs=0.15)
        held = 0
        for block, width in enumerate(widths):
            true = 100 * (np.mean(self.moved(width, block) > 0) - np.mean(self.MARGINS > 0))
            change = found.change(LogDamage(float(np.log(self.damage(width) / factor)), 0.01, 9), 0.95, Z95)
            held += change.ci95[0] <= true <= change.ci95[1]
        assert held == len(widths)

    def test_more_than_margins_say_is_left_open(self) -> None:
        known = Headline(4000, self.MARGINS)
        assert known.change(LogDamage(np.log(10.0), 0.01, 9), 0.95, Z95) is None
        wide = known.change(LogDamage(np.log(self.damage(3.0)), 2.0, 9), 0.95, Z95)
        assert wide.ci95[0] == -100 * np.mean(self.MARGINS > 0), "all may be lost"

    def test_where_margins_do_not_tell_nothing_is_predicted(self) -> None:
        """Random answers, which pruning does not put right, and logits so far apart that few images are in doubt."""
        damage = LogDamage(np.log(0.05), 0.01, 9)
        assert Headline(4000, self.MARGINS).change(damage, 0.95, Z95) is not None
        assert Headline(4000, self.MARGINS - 8).change(LogDamage(np.log(0.5), 0.01, 9), 0.95, Z95) is None
        assert Headline(4000, 1000 * self.MARGINS).change(damage, 0.95, Z95) is None

    def test_few_margins_and_few_images_leave_more_open(self) -> None:
        damage = LogDamage(np.log(self.damage(1.0)), 0.0, 9)
        widths = [
            np.ptp(Headline(images, self.MARGINS[:known]).change(damage, 0.95, Z95).ci95)
            for images, known in ((4000, 4000), (4000, 400), (4000, 40), (400, 400))
        ]
        assert widths[0] < widths[1] < widths[2] and widths[0] < widths[3]

    def test_a_backbones_headline_is_its_damage(self) -> None:
        first = FeatureCells(np.full(8, 0.99, np.float32), np.ones(8, np.float32))
        change = headline(100, first, first, {}).change(LogDamage(np.log(0.02), 0.04, 9), 0.95, Z95)
        assert change.value == pytest.approx(-2.0) and change.ci95[0] < -2 < change.ci95[1] < 0
        row = first.foretold(change, 0.02)
        assert row["cosine_delta"] == pytest.approx(-0.02) and row["cosine"] == pytest.approx(0.98) and row["distance"] == 0.02
        assert row["ci95"] == pytest.approx([end / 100 for end in change.ci95])

    def test_a_cells_own_images_and_its_prediction_are_weighted_by_what_they_leave_open(self) -> None:
        own = np.random.default_rng(1).gamma(1.0, 0.1, 400)
        alone = measured_damage(own, None, 5)
        assert np.exp(alone.middle) == pytest.approx(own.mean()) and alone.variance == pytest.approx(1 / 400, rel=0.3)
        before = LogDamage(float(np.log(0.2)), alone.variance, 5)
        both = measured_damage(own, before, 5)
        assert both.middle == pytest.approx((alone.middle + before.middle) / 2) and both.variance == pytest.approx(alone.variance / 2)
        assert measured_damage(np.zeros(9), before, 5) is None
        sure, vague = Estimate(-1.0, (-1.5, -0.5)), (-8.0, 8.0)
        change = joined(sure, vague, Z95)
        assert change.value == pytest.approx(-1, abs=0.05) and 0.9 < np.ptp(change.ci95) < 1
        alike = joined(Estimate(-1.0, (-2.0, 0.0)), (1.0, 3.0), Z95)
        assert alike.value == pytest.approx(0.5) and np.ptp(alike.ci95) == pytest.approx(np.sqrt(2))


def test_a_row_of_a_prediction_has_the_baselines_headline() -> None:
    row = outcomes(np.array([1.0, 1.0, -1.0, 1.0]), 0.0).foretold(Estimate(-5.0, (-6.0, -4.0)), 0.01)
    assert row == {"top1": 70.0, "top1_delta": -5.0, "ci95": [-6.0, -4.0], "kl": 0.01}
