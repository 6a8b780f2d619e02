"""`Studio`: everything from Python on a tiny model, by the paths that the commands take, and results that show themselves."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from analysis_cache.store import EvidenceStore
from tests.support.families import tiny_demo
from tests.support.runs import FC2, TINY, WHOLE
from toast_core import studio as studio_module
from toast_core.compensation.plan import plan_on
from toast_core.data.load import ImageData
from toast_core.errors import CertificateError, DataError, ExportError, JobError, ScheduleError, SetupError
from toast_core.export.write import open_exported
from toast_core.loading import load_model
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.certificate import measure as certificate_measure
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studio import Findings, Studio
from toast_core.workbench import Workbench

CALIBRATION = "fashion-mnist:calibration"
COMPENSATED = Schedule.uniform(3, qk=0.5, vo=0.5, fc2=0.5, selection="calibrated", compensation=FULL)


@pytest.fixture(autouse=True, scope="module")
def named_tiny() -> None:
    """The tiny model has a name, as a demo has, and is timed in few pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEMO_BUILDERS, TINY, tiny_demo)
        patch.setattr(certificate_measure, "PAIRS", 5)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that all tests here share."""
    return tmp_path_factory.mktemp("studio") / "evidence.sqlite"


@pytest.fixture(scope="module")
def studio(named_tiny: None, store: Path) -> Studio:
    """The tiny model with random weights on the demos' images: never changed, which the last test of this file holds it to."""
    return Studio(
        TINY, weights="random", data="fashion-mnist", images=30, calibration=CALIBRATION, calibration_images=24, batch_size=8, device="cpu",
        store=store,
    )


@pytest.fixture(scope="module")
def sensitivity(studio: Studio) -> Findings:
    """A sweep of six cells."""
    return studio.sensitivity(sites=["fc2"], ratios=[0.5, 0.9])


def shown(result: object) -> str:
    """What a notebook shows; a page that holds it must not be able to do anything."""
    html = result._repr_html_()
    assert not re.search(r"<script|javascript:|\son\w+=", html, re.IGNORECASE)
    return html


class TestSetup:
    """A studio is a Setup in words; nothing is loaded to make one."""

    def test_its_words_are_those_of_a_setup(self) -> None:
        made = Studio("demo_vit", data=Path("some/images"), images=5)
        assert made.setup == Setup("demo_vit", data="some/images", images=5)
        assert repr(made) == "Studio(model='demo_vit', data='some/images', images=5)"

    def test_another_setup_is_another_studio(self) -> None:
        made = Studio("demo_vit", images=5)
        assert made.with_setup(images=7, seed=1).setup == Setup("demo_vit", images=7, seed=1) and made.setup.images == 5

    @pytest.mark.parametrize("make", [lambda **named: Studio("demo_vit", **named), lambda **named: Studio("demo_vit").with_setup(**named)])
    def test_what_no_setup_has_is_refused(self, make: Callable[..., Studio]) -> None:
        with pytest.raises(SetupError, match=r"unknown field 'imgaes' of a setup; choose from model, weights, "):
            make(imgaes=3)
        with pytest.raises(SetupError, match="images is 0; write a whole number of at least 1"):
            make(images=0)

    def test_the_model_is_loaded_once(self, studio: Studio) -> None:
        assert studio.model is studio.model is studio.workbench.model and not studio.model.training


class TestModels:
    """Counting, pruning, measuring."""

    def test_cost_is_counted_from_shapes(self, studio: Studio) -> None:
        whole, pruned = studio.cost(), studio.cost(WHOLE)
        assert pruned.macs < whole.macs and pruned.params < whole.params
        assert repr(whole) == (
            f"Cost({whole.macs / 1e9:.4f} GMACs, {whole.params / 1e6:.3f} M parameters, "
            f"{whole.peak_activation_bytes() / 1e6:.2f} MB of activations at the most)"
        )

    @pytest.mark.parametrize("schedule", [WHOLE, COMPENSATED], ids=["chosen", "compensated"])
    def test_a_schedule_is_planned_as_everywhere(self, studio: Studio, schedule: Schedule) -> None:
        masked, compact = (studio.prune(schedule, execution) for execution in ("masked", "compact"))
        images = [batch.images for batch in studio.workbench.calibration().batches(8)]
        planned, expected = studio.workbench.plan(schedule).blocks[1], plan_on(studio.model, schedule, images).blocks[1]
        assert torch.equal(planned.fc2.idx, expected.fc2.idx) and torch.equal(planned.qk.first, expected.qk.first)
        with torch.inference_mode():
            assert torch.allclose(masked(images[0]), compact(images[0]), atol=1e-4)
            assert not torch.allclose(compact(images[0]), studio.model(images[0]), atol=1e-4)

    def test_evaluation_of_the_baseline_a_schedule_and_a_model(self, studio: Studio) -> None:
        data = studio.workbench.images(30)
        expected = evaluate(studio.model, data, 8).outcomes
        assert (studio.evaluate().outcomes.loss == expected.loss).all() and len(expected.loss) == 30
        of_schedule, of_model = studio.evaluate(WHOLE), studio.evaluate(studio.prune(WHOLE))
        assert (of_schedule.outcomes.loss == of_model.outcomes.loss).all() and of_schedule.execution == "compact"
        assert studio.evaluate(WHOLE, "masked").execution == "masked"

    def test_an_evaluation_shows_itself(self, studio: Studio) -> None:
        found = studio.evaluate()
        top1 = found.outcomes.top1_estimate
        assert repr(found) == (
            f"Evaluation(top-1 {top1.value:.2f} % (95 %: {top1.ci95[0]:.2f} to {top1.ci95[1]:.2f}), 30 images, baseline, "
            f"{found.macs / 1e9:.4f} GMACs)"
        )
        assert "<th>top-5</th>" in shown(found) and f"<td>{top1.value:.2f} %</td>" in shown(found)

    def test_what_is_missing_is_said(self, studio: Studio) -> None:
        with pytest.raises(DataError, match=f"no images to measure {TINY} on; pass --data DATA"):
            studio.with_setup(data=None).evaluate()
        with pytest.raises(DataError, match="selection 'calibrated' needs calibration images"):
            studio.with_setup(calibration=None).prune(FC2)
        with pytest.raises(ScheduleError, match=f"the schedule has 2 blocks but {TINY} has 3"):
            studio.prune(Schedule.uniform(2, fc2=0.5))


class TestTuning:
    """The schedule for a budget."""

    def test_a_budget_is_met_and_what_was_measured_is_found_again(self, studio: Studio, store: Path) -> None:
        tuned = studio.tune(reduction=0.3, sites=("fc2",), ratios=(0.5, 0.9))
        assert studio.cost(tuned.schedule).macs <= 0.7 * studio.cost().macs and not tuned.schedule.compensation.is_none
        with EvidenceStore.open(store) as evidence:
            assert evidence.get_analysis(tuned.analysis).request["metric"] == "tuning"
        assert studio.tune(reduction=0.3, sites=("fc2",), ratios=(0.5, 0.9)).analysis == tuned.analysis
        row = next(one for one in tuned.report["candidates"] if one["name"] == tuned.report["chosen"])
        assert repr(tuned).startswith(f"Tuned({100 * tuned.report['reduction']:.1f} % saved, {row['agreement']:.1f} % (95 %: ")
        assert "<th>fc2</th>" in shown(tuned) and shown(tuned).count("<td>") == 4 * 3

    def test_the_schedule_s_seed_draws_its_images(self, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn, whole = [], Workbench.calibration

        def calibration(self: Workbench, seed: int | None = None) -> ImageData:
            drawn.append((seed, self.setup.calibration_images))
            return whole(self, seed)

        monkeypatch.setattr(Workbench, "calibration", calibration)
        assert studio.tune(reduction=0.3, images=40, sites=("fc2",), ratios=(0.5, 0.9), seed=3).schedule.seed == 3
        assert drawn == [(3, 40)]

    def test_one_budget_is_asked_for(self, studio: Studio) -> None:
        with pytest.raises(ScheduleError, match="no budget is given; give one of --reduction, --gmacs, --params"):
            studio.tune()
        with pytest.raises(ScheduleError, match="the budgets --reduction and --params are given together"):
            studio.tune(reduction=0.3, params=1000)


class TestFindings:
    """Analyses go into the store and come back as rows, figures and a line."""

    def test_a_sweep_is_rows_and_a_command_line(self, sensitivity: Findings, store: Path) -> None:
        assert [(row["block"], row["ratio"]) for row in sensitivity.rows] == [(block, ratio) for block in range(3) for ratio in (0.5, 0.9)]
        assert all(row["images"] == 30 for row in sensitivity.rows)
        assert sensitivity.command.startswith(f"toast analyze --model {TINY} --weights random --data fashion-mnist --images 30 ")
        with EvidenceStore.open(store) as evidence:
            assert evidence.get_analysis(sensitivity.short_id).cell_keys

    def test_its_table(self, sensitivity: Findings) -> None:
        frame = sensitivity.frame()
        assert isinstance(frame, pd.DataFrame) and len(frame) == 6 and set(frame["site"]) == {"fc2"}

    def test_its_figures_are_those_of_a_report(self, sensitivity: Findings, studio: Studio) -> None:
        figures = sensitivity.figures() | studio.redundancy().figures()
        assert all(isinstance(figure, go.Figure) for figure in figures.values())
        assert {"sensitivity-fc2-curves", "sensitivity-fc2-heatmap", "redundancy-hidden", "redundancy-fc1_input"} <= set(figures)

    def test_a_kind_without_figures_has_none(self, studio: Studio) -> None:
        found = studio.measure("evaluation", schedule=WHOLE, images=30)
        assert found.figures() == {} and found.rows[0]["images"] == 30

    def test_what_was_measured_is_not_measured_again(self, sensitivity: Findings, studio: Studio) -> None:
        steps = []
        sizes = {"images": 30, "batch_size": studio.setup.batch_size}
        again = studio.measure("sensitivity", lambda done, total: steps.append((done, total)), sites=["fc2"], ratios=[0.5, 0.9], **sizes)
        assert again == sensitivity and all(done == total for done, total in steps)

    def test_it_shows_itself(self, sensitivity: Findings) -> None:
        assert repr(sensitivity) == f"Findings(sensitivity: {sensitivity.outcome}, 6 rows, id {sensitivity.short_id})"
        assert shown(sensitivity).startswith("<p><b>sensitivity</b>: ") and shown(sensitivity).count("<tr") == 1 + 6

    def test_texts_are_escaped(self) -> None:
        bad = "<script>alert(1)</script>"
        found = Findings(bad, ({"site": bad, bad: 1},), bad, bad, bad)
        assert shown(found).count("&lt;script&gt;") == 5

    def test_many_rows_are_cut_in_a_notebook(self) -> None:
        rows = tuple({f"column {number}": number for number in range(40)} for _ in range(40))
        html = shown(Findings("sensitivity", rows, "done", "toast", "0123"))
        assert html.count("<tr") == 1 + studio_module._SHOWN_ROWS and "column 20" not in html and "40 rows" in html

    def test_an_unknown_kind_or_field_is_refused(self, studio: Studio) -> None:
        with pytest.raises(JobError, match="unknown kind of run 'sensitivty'; choose from sensitivity, redundancy"):
            studio.measure("sensitivty")
        with pytest.raises(JobError, match="unknown field 'site' of a run of kind sensitivity; choose from sites"):
            studio.sensitivity(site="fc2")


class TestFiles:
    """What leaves the studio."""

    def test_an_export_is_run_again_on_calibration_images(self, studio: Studio, tmp_path: Path) -> None:
        record = studio.export(COMPENSATED, tmp_path / "pruned.safetensors", "safetensors", compared=5)
        assert record.images == 5 and record.relative_difference < 1e-4
        images = next(iter(studio.workbench.images(4).batches(4))).images
        with torch.inference_mode():
            expected = studio.prune(COMPENSATED)(images)
        assert torch.allclose(open_exported(tmp_path / "pruned.safetensors")(images), expected, atol=1e-5)
        reloaded = Studio(weights=tmp_path / "pruned.safetensors", data="fashion-mnist", images=30, batch_size=8, device="cpu")
        assert reloaded.evaluate().outcomes.loss == pytest.approx(studio.evaluate(COMPENSATED).outcomes.loss, abs=1e-5)

    def test_without_calibration_images_it_is_compared_on_random_ones(self, studio: Studio, tmp_path: Path) -> None:
        record = studio.with_setup(calibration=None).export(
            Schedule.uniform(3, qk=0.5), tmp_path / "pruned.safetensors", "safetensors", compared=3
        )
        assert record.images == 3

    def test_what_cannot_be_written_is_refused_before_any_work(self) -> None:
        never_loaded = Studio("no_such_model")
        with pytest.raises(ExportError, match="unknown format 'tflite'; choose from safetensors, torch_export, onnx, loader"):
            never_loaded.export(COMPENSATED, "vit.tflite", "tflite")
        with pytest.raises(ExportError, match=r"output vit.pt does not end in .onnx; name it vit.onnx"):
            never_loaded.export(COMPENSATED, "vit.pt", "onnx")

    def test_a_recovery_gives_a_model_to_measure(self, studio: Studio) -> None:
        recovered = studio.recover(COMPENSATED, images=40, epochs=2, batch_size=12, patience=0)
        assert recovered.report["start"] == "compensation" and recovered.report["training_data"] == CALIBRATION
        assert studio.evaluate(recovered.model).macs == studio.cost(COMPENSATED).macs
        report = recovered.report
        assert repr(recovered) == (
            f"Recovered({TINY} from compensation, validation top-1 {report['before']['validation_top1']:.2f} -> "
            f"{report['after']['validation_top1']:.2f} % of {report['validation_images']} images, epoch {report['best_epoch']} of 2)"
        )
        assert shown(recovered).count("<tr>") == 1 + 3

    def test_a_recovery_without_labels_tells_agreement(self, studio: Studio) -> None:
        recovered = studio.recover(FC2, images=40, epochs=1, batch_size=12, labels=False)
        assert "from selection, validation agreement " in repr(recovered)
        assert shown(recovered).count("<tr>") == 1 + 2

    def test_a_recovery_needs_training_images(self, studio: Studio) -> None:
        with pytest.raises(DataError, match="no images to recover on; name them as train= or calibration="):
            studio.with_setup(calibration=None).recover(FC2)
        with pytest.raises(DataError, match="test"):
            studio.with_setup(train="fashion-mnist").recover(FC2)

    def test_a_certificate_is_sealed_and_shows_itself(self, studio: Studio, tmp_path: Path) -> None:
        named = tmp_path / "<b>.safetensors"
        studio.export(WHOLE, named, "safetensors")
        found = studio.certify(WHOLE, [named])
        assert found.sha256 == found.digest() and found.image_count == 30 and not found.differing()
        top1 = ", ".join(f"{form.name} {form.figures['top1'].value:.2f}" for form in found.forms)
        assert repr(found) == f"Certificate({TINY}, schedule {WHOLE.digest()[:8]}, 30 images, top-1 %: {top1})"
        assert shown(found).count("<tr>") == 1 + 4 and "&lt;b&gt;.safetensors" in shown(found) and "<b>" not in shown(found)
        with pytest.raises(CertificateError, match="the same export is given twice; keep one of them"):
            studio.certify(WHOLE, [named, named])


def test_nothing_changed_the_loaded_model(studio: Studio) -> None:
    fresh = load_model(TINY, "random").state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in studio.model.state_dict().items()) and not studio.model.training
