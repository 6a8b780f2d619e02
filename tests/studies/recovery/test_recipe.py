"""The learning rate that nobody chose, what is said of too few images, and of a training that made it worse."""

import json
import logging
from dataclasses import replace

import pytest

from analysis_cache.store import EvidenceStore
from tests.support.greys import grey_data, grey_model
from tests.support.recoveries import RECIPE, plan_of, recovered, schedule_for
from tests.support.runs import RECOVERY, tiny_workbench
from toast_core.errors import DataError
from toast_core.studies.recovery.loop import RecoveryStart
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.recovery.result import nothing_kept
from toast_core.studies.recovery.store import RecoveryStore
from toast_core.studies.registry import read_run

OPEN = replace(RECIPE, lr=None)


class TestRate:
    @pytest.mark.parametrize(("recipe", "images", "processes", "rate"), [
        (Recipe(), 5000, 1, 5e-4), (Recipe(), 1_000_000, 8, 5e-4), (Recipe(batch_size=64, accumulate=2), 5000, 1, 5e-4),
        (Recipe(batch_size=32), 5000, 1, 2.5e-4), (Recipe(batch_size=32), 5000, 4, 5e-4), (Recipe(epochs=2), 5000, 1, 3.5e-4),
        (Recipe(epochs=1, batch_size=32), 64, 1, 2.5e-6), (Recipe(epochs=20, batch_size=32), 64, 1, 5e-5),
    ])
    def test_it_follows_from_images_and_steps(self, recipe: Recipe, images: int, processes: int, rate: float) -> None:
        assert recipe.settled(images, processes) == replace(recipe, lr=rate)

    def test_one_that_was_chosen_stays(self) -> None:
        assert RECIPE.settled(8) is RECIPE and Recipe(lr=1e-2, epochs=1).settled(128).lr == 1e-2

    @pytest.mark.parametrize("images", [64, 100, 300, 3000])
    def test_fewer_images_of_a_step_or_fewer_epochs_never_raise_it(self, images: int) -> None:
        for batch_size in (4, 16, 32, 57):
            rates = [Recipe(epochs=epochs, batch_size=batch_size).settled(images).lr for epochs in (1, 2, 5, 20, 100)]
            assert rates == sorted(rates) and rates[-1] <= 5e-4
        assert all(Recipe(batch_size=size).settled(images).lr <= 5e-4 for size in (1, 8, 57))

    def test_what_is_stored_under_a_number_is_found_without_it(self, tmp_path) -> None:
        """Recoveries of before had 5e-4 by default."""
        start, data = RecoveryStart(schedule_for(), lambda: plan_of("vit", schedule_for())), grey_data(grey_model(), 40)
        with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
            made = [RecoveryStore(store, grey_model(), start, data, recipe, 1).report_key for recipe in (OPEN, OPEN.settled(40))]
        assert made[0] == made[1]

    @pytest.mark.parametrize(("epochs", "batch_size"), [(1, 36), (1, 16), (2, 8), (10, 36)])
    def test_it_never_makes_much_worse(self, epochs: int, batch_size: int) -> None:
        history = recovered(replace(OPEN, epochs=epochs, batch_size=batch_size, augment=False)).report["history"]
        assert max(row["validation_loss"] for row in history) < 1.02 * history[0]["validation_loss"]

    def test_a_single_step_is_no_matter_for_timms_log(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            recovered(replace(OPEN, epochs=1, batch_size=36))
        assert "no effect" not in caplog.text


class TestFewImages:
    @pytest.mark.parametrize(("recipe", "images", "says"), [
        (Recipe(), 5000, []), (Recipe(batch_size=32), 600, []),
        (Recipe(batch_size=8), 200, ["20 validation images cannot tell epochs apart"]),
        (Recipe(batch_size=32, epochs=1), 64, ["6 validation images cannot tell epochs apart", "1 optimizer step in all, too few"]),
        (Recipe(batch_size=100, epochs=2), 500, ["8 optimizer steps in all, too few"]),
    ])
    def test_it_is_said(self, recipe: Recipe, images: int, says: list[str]) -> None:
        said = recipe.cautions(images)
        assert len(said) == len(says) and all(line.startswith(start) for line, start in zip(said, says, strict=True))

    def test_the_report_keeps_it(self) -> None:
        report = recovered(replace(OPEN, epochs=1, batch_size=36)).report
        assert report["cautions"] == replace(OPEN, epochs=1, batch_size=36).cautions(40) != []
        assert report["recipe"]["lr"] == pytest.approx(2.7e-6)

    def test_too_few_for_a_step_are_refused(self) -> None:
        with pytest.raises(DataError, match="40 images give 4 for validation and 36 to train on, where one step takes 64; use more images"):
            recovered(replace(OPEN, batch_size=64))


class TestMadeWorse:
    WRECKING = replace(RECIPE, epochs=1, lr=1.0, ema=0.0, warmup_epochs=0.0, clip_norm=0.0)

    def test_the_result_says_that_nothing_was_kept(self) -> None:
        found = recovered(self.WRECKING)
        before, after = (row["validation_loss"] for row in found.report["history"])
        assert after > before and found.report["best_epoch"] == 0 and found.report["kept"] is False
        assert repr(found).endswith(", nothing kept)")
        assert nothing_kept(found.report) == (
            f"training made it worse (validation loss {before:.4g} before, {after:.4g} at best after): nothing was kept"
        )

    def test_one_that_changed_next_to_nothing_is_not_called_worse(self) -> None:
        report = {"best_epoch": 0, "history": [{"validation_loss": 0.3}, {"validation_loss": 0.3001}]}
        assert nothing_kept(report) == "training made it no better (validation loss 0.3 before, 0.3001 at best after): nothing was kept"

    def test_one_that_helped_says_nothing_of_the_kind(self) -> None:
        report = json.loads(json.dumps(recovered().report))
        assert report["kept"] and nothing_kept(report) is None

    def test_the_jobs_message_says_it_first(self, tmp_path) -> None:
        wrecking = {"lr": 1.0, "ema": 0.0, "warmup_epochs": 0.0, "clip_norm": 0.0}
        run = read_run({**RECOVERY, "recipe": {**RECOVERY["recipe"], **wrecking}})
        with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
            said = run.outcome(store, run.measure(tiny_workbench(tmp_path), store, lambda done, total: None))
        assert said.startswith("training made it worse (validation loss ") and said.endswith("lower the learning rate, or use more images")
        assert ": nothing was kept, and the file holds the model as it was before: top-1 " in said and "at epoch" not in said
