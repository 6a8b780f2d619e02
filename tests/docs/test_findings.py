"""docs/findings.md: each figure from small evidence whose answer is known."""

from pathlib import Path

import numpy as np
import pytest

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.exchange import export_bundle
from analysis_cache.store import EvidenceStore
from benchmarks import findings
from tests.analysis_cache.test_shipped import put_sweep
from tests.support.cells import TIME, identity
from tests.support.compositions import composition_rows
from toast_core.intervals import paired_interval
from toast_core.schedule.schedule import Schedule
from toast_core.studies.composition.verdict import judge
from toast_core.studies.sensitivity.cells import SITE_GROUPS


def row(block: int = 0, site: str = "fc2", ratio: float = 0.5, low: float = -0.5, high: float = 0.5, kl: float = 0.01) -> dict:
    """A cell whose difference is the middle of its interval."""
    return {"block": block, "site": site, "ratio": ratio, "top1_delta": (low + high) / 2, "ci95": [low, high], "kl": kl}


def grid(rows: list[dict], images: int = 2000) -> findings.Grid:
    """A sweep of these rows at every site."""
    return findings.Grid(tuple(one | {"site": site} for site in SITE_GROUPS for one in rows), "per_image", images, images // 10)


class TestFigures:
    def test_a_block_holds_a_ratio_where_the_whole_interval_is_above_the_limit(self) -> None:
        sweep = grid([row(0, low=-0.99), row(1, low=-1.0), row(2, low=-3, high=2), row(2, ratio=0.7)])
        assert (sweep.holding("fc2", 0.5), sweep.holding("vo", 0.7), sweep.holding("vo", 0.9)) == ([0], [2], [])
        # up to 0.5, 0 and 0.7: half of the blocks hold 0.5
        assert "| `qk+vo` | 0.5 | 1 of 3 | 1 of 3 | 0 of 3 | block" in findings.findings_part({"m": findings.Evidence([sweep])})

    def test_the_smallest_change_is_where_the_interval_leaves_0(self) -> None:
        for images in (100, 2000):
            change, before = findings.smallest_change(images), np.ones(images, bool)
            highs = [paired_interval(before, np.arange(images) >= lost)[1] for lost in (change - 1, change)]
            assert highs[1] < 0 <= highs[0]

    def test_noise_counts(self) -> None:
        rows = [row(low=-3, high=-1), row(low=-0.2, high=0.6), row(low=-1.6, high=0.2), row(low=0.1, high=0.3), row(low=0, high=0.2)]
        noise = findings.Noise.of(rows)
        assert (noise.cells, noise.undecided, noise.seeming_gains, noise.gains, noise.losses) == (5, 3, 2, 1, 1)
        assert noise.largest_hidden == pytest.approx(0.7)

    def test_rank_correlation(self) -> None:
        rho, low, high = findings.rank_correlation([1, 2, 3, 4, 5, 6], [10, 20, 30, 50, 40, 60])
        assert rho == pytest.approx(1 - 6 * 2 / (6 * 35)) and -1 < low < rho < high < 1
        assert findings.rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])[0] == pytest.approx(-1)
        # ties take their mean rank: ranks 1.5 1.5 3 against 1 2 3, and a fourth
        assert findings.rank_correlation([1, 1, 3, 4], [1, 2, 3, 4])[0] == pytest.approx(np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3, 4])[0, 1])

    def test_block_0_is_special_only_beyond_the_others_intervals(self) -> None:
        apart = findings.findings_part({"m": findings.Evidence([grid([row(0, low=-9, high=-8, kl=1.0), row(1)])])})
        assert "all 2 blocks at `qk`, `vo`" in apart and "beyond every other block's interval at `qk`, `vo`" in apart
        close = findings.findings_part({"m": findings.Evidence([grid([row(0, low=-9, high=-0.4, kl=1.0), row(1)])])})
        assert "beyond every other block's interval at no site." in close
        second = findings.findings_part({"m": findings.Evidence([grid([row(0), row(1, kl=1.0)])])})
        assert "(KL) of all 2 blocks at no site" in second and "Its rank elsewhere: `qk` 2, `vo` 2" in second

    def test_correlations_are_told_by_their_sign(self) -> None:
        def redundancy(site: str, r2: list[float]) -> list[dict]:
            return [
                {"site": site, "block": block, "r2": {"0.5": {"held_out": value}}, "sparsity": {"0.01rms": (block * 5) % 7 / 7},
                 "effective_rank": {"singular_values": {"relative": (block * 3) % 7 / 7}}}
                for block, value in enumerate(r2)
            ]

        damage = grid([row(block, kl=block / 10) for block in range(7)])
        rising, falling = [block / 7 for block in range(7)], [-block / 7 for block in range(7)]
        known = {"m": findings.Evidence([damage], [*redundancy("hidden", rising), *redundancy("fc1_input", falling)])}
        told = findings.findings_part(known).splitlines()[-1]
        assert told == (
            "2 of the 6 intervals exclude 0. With the useful sign: R2 held out at 0.5 of `fc1_input` in `m`. "
            "With the other one, redundant blocks being the more sensitive: R2 held out at 0.5 of `hidden` in `m`."
        )


class TestReading:
    def test_a_bundle_is_read_by_model_and_metric(self, tmp_path: Path) -> None:
        with EvidenceStore.open(tmp_path / "a.db") as store:
            put_sweep(store, "demo_swin")
            put_sweep(store, "demo_vit")
            put_sweep(store, "demo_vit", mode="adaptive")
            export_bundle(store, tmp_path / "a.toastbundle")
        known = findings.evidence_of([tmp_path / "a.toastbundle"])
        assert list(known) == ["demo_vit", "demo_swin"] and [len(evidence.grids) for evidence in known.values()] == [1, 1]
        sweep = known["demo_vit"].grids[0]
        assert (len(sweep.rows), sweep.images, sweep.smallest_class) == (648, 40, 4)
        assert "648 cells on 40 test images (at least 4 a class)" in findings.findings_part(known)
        # differences fall with ratio and block, by put_sweep: block b reads -ratio (1 + b) / 4 +- 0.4
        assert sweep.holding("vo", 0.5) == [block for block in range(12) if -0.5 * (1 + block) / 4 - 0.4 > -1] == [0, 1, 2, 3]

    def test_composition_is_told_by_its_verdict(self, tmp_path: Path) -> None:
        schedule = Schedule.uniform(12, fc2=0.5, selection="per_batch").with_ratio(0, "fc2", 0.0).with_ratio(3, "qk", 0.25)
        rows = composition_rows(published={"top1": 96.1, "top1_delta": 6.0, "delta_ci95": (5.1, 6.9), "agreement": 80.0})
        with EvidenceStore.open(tmp_path / "a.db") as store:
            identities = [identity(kind="composition", details={"number": number}) for number in range(len(rows))]
            request = {"model": "demo_vit", "metric": "composition", "schedule": schedule.to_dict()}
            store.put_analysis(Analysis(request, "composition", tuple(one.key for one in identities), TIME, TIME))
            for one, found in zip(identities, rows, strict=True):
                store.put(one, found.to_dict(), {})
            export_bundle(store, tmp_path / "a.toastbundle")
        told = findings.findings_part(findings.evidence_of([tmp_path / "a.toastbundle"])).splitlines()
        assert told[-1] == f"- `demo_vit`, `per_batch`, qk 0.25 in 1 of 12 blocks, fc2 0.5 in 11 of 12 blocks. {judge(rows).sentence}"
        assert "Not safe to deploy as evaluated" in told[-1]

    def test_no_bundle_is_refused(self) -> None:
        with pytest.raises(StoreError, match="no bundle in analysis_cache/shipped; write one with toast cache export"):
            findings.evidence_of([])
