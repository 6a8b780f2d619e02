"""Evidence that an earlier version wrote opens, is checked, replays, and spares the same measurements now."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis_cache.replay import Replay
from analysis_cache.store import EvidenceStore
from tests.support.cells import cells_in
from tests.support.earlier import DATA, MODEL, NAME, Puts, copy_files, earlier_model, toast
from toast_core.cost.latency import LatencyTable
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.studies.certificate import measure
from toast_core.studies.recovery.trainer import Trainer

FINISHED = {
    "sweep": "exact sensitivity of demo_tiny", "curves": "compensated curves of demo_tiny", "tuning": "tuned schedule of demo_tiny",
    "evaluation": "evaluation of demo_tiny, per image",
}
KILLED = {"sweep": "exact sensitivity of demo_tiny", "recovery": "recovery of demo_tiny, schedule dee8d7d5"}
SWEEP = ("analyze", *MODEL, *DATA, "--metrics", "sensitivity")
KILLED_SWEEP = (*SWEEP, "--sites", "qk,fc2", "--ratios", "0.75")
TUNE = (
    "tune", *MODEL, "--calibration", "fashion-mnist:calibration", "--calibration-images", 24, "--batch-size", 4, "--sites", "qk,fc2",
    "--ratios", "0.5,0.75",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the earlier version wrote as the working folder, its store as the user's own, its model known by name."""
    monkeypatch.chdir(copy_files(tmp_path / "earlier"))
    monkeypatch.setenv("TOAST_STORE", str(tmp_path / "earlier" / "evidence.sqlite"))
    monkeypatch.setitem(DEMO_BUILDERS, NAME, earlier_model)
    monkeypatch.setattr(measure, "PAIRS", 5)
    return tmp_path / "earlier"


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> Puts:
    """What is stored from now on."""
    return Puts(monkeypatch)


def stored_rows(store: str) -> dict[str, dict]:
    """What is stored by key: when, by which version, and its figures."""
    with EvidenceStore.open(store, create=False) as opened:
        return {head.key: (head.created_utc, head.code_version, json.dumps(head.summary)) for head in cells_in(opened)}


class TestStore:
    def test_it_is_listed_and_every_key_and_checksum_holds(self, folder: Path) -> None:
        listed = [one for one in toast("cache", "ls")["analyses"] if NAME in one["label"]]
        assert sorted(one["label"] for one in listed) == sorted([*FINISHED.values(), *KILLED.values()])
        assert {one["stale"] for one in listed} == {None}
        checked = next(one for one in toast("cache", "verify")["sources"] if one["source"] == str(folder / "evidence.sqlite"))
        assert (checked["cells"], checked["analyses"], checked["problems"]) == (22, 6, [])

    def test_it_replays_with_its_times_and_versions(self) -> None:
        replay = Replay.open("evidence.sqlite")
        found = {one.label: one for one in replay.analyses() if one.finished_utc}
        assert set(found) == set(FINISHED.values())
        rows = replay.rows(found[FINISHED["sweep"]].id)
        assert [(row["block"], row["site"], row["ratio"], row["images"]) for row in rows] == [(0, "fc2", 0.5, 16), (1, "fc2", 0.5, 16)]
        assert all(len(replay.outcomes(row["key"])["correct"]) == 16 for row in rows)
        heads = replay.heads(found[FINISHED["sweep"]].id)
        assert {head.code_version for head in heads} == {"0.1.0"} and all(head.created_utc.startswith("2026-11-30T") for head in heads)
        assert len(replay.rows(found[FINISHED["curves"]].id)) == 8
        replay.close()

    def test_it_is_exported_and_taken_over_whole(self) -> None:
        before = stored_rows("evidence.sqlite")
        toast("cache", "export", "--all", "-o", "now.toastbundle")
        added = toast("cache", "import", "now.toastbundle", "--store", "taken.sqlite")
        taken = stored_rows("taken.sqlite")
        assert added["analyses"] == 6 and taken.items() <= before.items()
        # four parts of the killed sweep and a look of the killed tuning belong to no analysis yet and stay behind
        assert len(before) - len(taken) == 5


class TestSameCommands:
    def test_a_finished_sweep_is_not_measured_again(self, puts: Puts) -> None:
        before = stored_rows("evidence.sqlite")
        said = toast(*SWEEP, "--sites", "fc2", "--ratios", "0.5")
        after = stored_rows("evidence.sqlite")
        assert puts.counts == {} and after.items() <= before.items()
        with EvidenceStore.open("evidence.sqlite") as store:
            analysis = store.get_analysis(said["ids"]["sensitivity"])
            assert analysis.label == FINISHED["sweep"] and len(store.list_analyses()) == 6
            assert set(analysis.cell_keys) <= after.keys()

    def test_a_killed_sweep_goes_on_and_ends_as_an_undisturbed_one(self, puts: Puts) -> None:
        before = stored_rows("evidence.sqlite")
        toast(*KILLED_SWEEP)
        # 2 blocks on 4 batches are 8 parts, of which 4 were stored
        assert puts.counts == {"sensitivity sensitivity": 4, "sensitivity": 4}
        after = stored_rows("evidence.sqlite")
        assert len(before.keys() - after.keys()) == 4 and len(after.keys() - before.keys()) == 4
        said = toast(*KILLED_SWEEP, "--store", "calm.sqlite")
        with EvidenceStore.open("evidence.sqlite") as resumed, EvidenceStore.open("calm.sqlite") as calm:
            keys = resumed.get_analysis(said["ids"]["sensitivity"]).cell_keys
            assert keys == calm.get_analysis(said["ids"]["sensitivity"]).cell_keys and len(keys) == 5
            for key in keys:
                one, other = resumed.get(key), calm.get(key)
                assert one.arrays.keys() == other.arrays.keys()
                # half of it was summed on another machine; margins and losses are stored as float16
                for name in one.arrays:
                    assert np.allclose(one.arrays[name].astype(float), other.arrays[name].astype(float), rtol=2e-3, atol=2e-3), name
                assert one.summary.get("kl", 0.0) == pytest.approx(other.summary.get("kl", 0.0), rel=1e-3)

    def test_another_budget_uses_the_sketch(self, puts: Puts) -> None:
        again = toast(*TUNE, "--reduction", 0.2, "-o", "again.json")
        assert puts.counts["tuning_curves"] == 0 and puts.counts["sketch"] and puts.counts["tuning result"] == 1
        puts.counts.clear()
        other = toast(*TUNE, "--reduction", 0.25, "-o", "other.json")
        assert puts.counts["sketch"] == 0 and puts.counts["tuning result"] == 1 and puts.counts["tuning candidate"] >= 1
        assert again["budget"]["limit"] > other["budget"]["limit"]

    def test_a_recovery_goes_on_from_its_checkpoint(self, puts: Puts, monkeypatch: pytest.MonkeyPatch) -> None:
        taken, step = [], Trainer.step

        def told(self: Trainer, number: int, batches: object) -> float:
            taken.append(number)
            return step(self, number, batches)

        monkeypatch.setattr(Trainer, "step", told)
        with EvidenceStore.open("evidence.sqlite") as store:
            analysis = next(one for one in store.list_analyses() if one.label == KILLED["recovery"])
            epochs = [head.summary for head in store.heads(analysis.cell_keys)]
        report = toast(
            "recover", *MODEL, "--schedule", "per_image.json", "--train", "fashion-mnist:calibration", "--images", 48, "--epochs", 2,
            "--batch-size", 8, "--ema", 0, "--checkpoint", "checkpoint", "--checkpoint-steps", 1, "-o", "recovered.safetensors",
        )
        assert taken == [7, 8, 9] and len(report["history"]) == 3 and report["history"][:2] == epochs
        assert puts.counts == {"recovery epoch": 1, "recovery report": 1} and Path("recovered.safetensors").is_file()

    def test_a_certificate_holds(self) -> None:
        said = toast("certify", "--check", "certificate.json")
        assert said["holds"] and said["failed"] == []


class TestBundle:
    def test_it_opens_and_replays(self) -> None:
        replay = Replay.open("evidence.toastbundle")
        counts = {one.request["metric"]: len(replay.rows(one.id)) for one in replay.analyses()}
        assert counts == {"sensitivity": 4, "redundancy": 4, "composition": 14, "latency": 1}
        table = next(one for one in replay.analyses() if one.request["metric"] == "latency")
        assert LatencyTable.from_dict(replay.heads(table.id)[0].summary).batch_size == 4
        replay.close()

    def test_what_it_holds_is_not_measured_again(self, puts: Puts) -> None:
        toast("cache", "import", "evidence.toastbundle", "--store", "taken.sqlite")
        puts.counts.clear()
        toast("analyze", *MODEL, *DATA, "--metrics", "redundancy", "--store", "taken.sqlite")
        toast("analyze", *MODEL, *DATA, "--metrics", "composition", "--schedule", "per_image.json", "--store", "taken.sqlite")
        assert puts.counts == {}
