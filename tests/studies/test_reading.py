"""Every kind of run as JSON: what is refused in one line, and that a run survives being written and read."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.plugins import installed
from tests.support.runs import APPLY, CERTIFICATE, COMPOSITION, EVALUATION, EXPORT, RECOVERY, REDUNDANCY, SENSITIVITY, SKETCH, TUNING, WHOLE
from toast_core.errors import JobError, ToastError
from toast_core.schedule.schedule import Schedule
from toast_core.studies.registry import KINDS, read_run, run_to_dict

EXAMPLES = [SENSITIVITY, REDUNDANCY, EVALUATION, COMPOSITION, SKETCH, APPLY, TUNING, RECOVERY, EXPORT, CERTIFICATE]
NO_RUNS = [
    ([], "a run is a JSON object, not list; send its kind and fields"),
    ({}, "unknown kind of run None; choose from sensitivity, redundancy, evaluation"),
    ({"kind": "training"}, "unknown kind of run 'training'; choose from sensitivity, redundancy, evaluation"),
    ({"kind": "redundancy", "sites": []}, "unknown field 'sites' of a run of kind redundancy; choose from images, batch_size"),
    ({"kind": "evaluation"}, "a run of kind evaluation needs a schedule; send it"),
    ({**SENSITIVITY, "images": 0}, "images is 0; send a whole number of at least 1, or none for all"),
    ({**SENSITIVITY, "images": True}, "images is True"),
    ({**SENSITIVITY, "batch_size": None}, "batch_size is None; send a whole number of at least 1"),
    ({**SENSITIVITY, "sites": []}, "sites is []; send a list of at least one, each once"),
    ({**SENSITIVITY, "sites": "fc2"}, "sites is 'fc2'; send a list"),
    ({**SENSITIVITY, "sites": ["fc2", "fc2"]}, "each once"),
    ({**SENSITIVITY, "sites": ["fc3"]}, "unknown site 'fc3'; choose from qk, vo, qk+vo, fc1, fc2, fc1+fc2"),
    ({**SENSITIVITY, "ratios": [50]}, "write 0.5 for 50 %"),
    ({**SENSITIVITY, "ratios": [0.0]}, "ratio 0 prunes nothing"),
    ({**SENSITIVITY, "mode": "quick"}, "unknown mode 'quick'; choose from exact, adaptive"),
    ({**SENSITIVITY, "width": -1}, "width is -1; send points above 0 and up to 100"),
    ({**SENSITIVITY, "selection": "best"}, "unknown selection 'best'; choose from per_batch, per_image, calibrated"),
    ({**SKETCH, "sites": ["fc3"]}, "unknown site 'fc3'; choose from qk, vo, qk+vo, fc1, fc2, fc1+fc2"),
    ({**SKETCH, "sites": ["qk", "qk"]}, "sites is ['qk', 'qk']; send a list of at least one, each once"),
    ({**SKETCH, "ratios": []}, "ratios is []; send a list of at least one, each once"),
    ({**SKETCH, "draws": 0}, "draws is 0; send a whole number of at least 1"),
    ({**SKETCH, "draws": True}, "draws is True; send a whole number of at least 1"),
    ({**SKETCH, "selection": "best"}, "unknown selection 'best'; choose from per_batch, per_image, calibrated"),
    ({**SKETCH, "images": 0}, "images is 0; send a whole number of at least 1, or none for all"),
    ({**EVALUATION, "execution": "fast"}, "unknown execution 'fast'; choose from"),
    ({**EVALUATION, "schedule": 3}, "a schedule is a JSON object, not int"),
    ({**APPLY, "schedule": Schedule.uniform(12).to_dict()}, "the schedule prunes nothing, so there is nothing to apply"),
    ({**APPLY, "schedule": {**WHOLE.to_dict(), "coupling": "uncoupled"}}, "there is no compact form; choose coupled"),
    ({**APPLY, "schedule": []}, "a schedule is a JSON object, not list"),
    ({**APPLY, "images": 0}, "images is 0; send a whole number of at least 1, or none for all"),
    ({**APPLY, "batch_size": 0}, "batch_size is 0"),
    ({**APPLY, "output": "/etc/x"}, "unknown field 'output' of a run of kind apply; choose from schedule, images, batch_size"),
    ({**EXPORT, "source": 3}, "source is 3; send the key of the record that an apply run has stored"),
    ({**EXPORT, "formats": []}, "formats is []; send a list of at least one, each once"),
    ({**EXPORT, "formats": ["pickle"]}, "unknown format 'pickle'; choose from safetensors, torch_export, onnx, loader"),
    ({**EXPORT, "schedule": 3}, "a schedule is a JSON object, not int"),
    ({**CERTIFICATE, "formats": ["pickle"]}, "formats is ['pickle']; send a list of safetensors, torch_export, onnx, loader"),
    ({**CERTIFICATE, "source": None}, "source is None; send the key of the record"),
    ({**CERTIFICATE, "batch_size": 0}, "batch_size is 0"),
    ({**COMPOSITION, "images": -1}, "images is -1"),
    ({**COMPOSITION, "batch_size": 8}, "unknown field 'batch_size'"),
    ({"kind": "composition"}, "a run of kind composition needs a schedule"),
    ({**TUNING, "unit": "watts"}, "unknown unit 'watts' of a budget; choose from macs, params"),
    ({**TUNING, "limit": 0.5}, "limit is 0.5; send a whole number of macs"),
    ({**TUNING, "limit": 0}, "limit is 0; send a whole number of macs"),
    ({**TUNING, "locks": [[0, "fc2"]]}, "locks is [[0, 'fc2']]; send a list of [block, site, ratio] entries"),
    ({**TUNING, "locks": [[0, "fc9", 0.5]]}, "send a list of [block, site, ratio] entries"),
    ({**TUNING, "locks": [[0, "fc2", 50]]}, "write 0.5 for 50 %"),
    ({**TUNING, "ranges": [[0, "fc2", 0.5]]}, "send a list of [block, site, low, high] entries"),
    ({**TUNING, "sites": ["fc1+fc2"]}, "unknown site 'fc1+fc2'; choose from qk, vo, fc1, fc2"),
    ({**TUNING, "ratios": []}, "ratios is []; send a list of at least one, each once"),
    ({**TUNING, "images": None}, "images is None; send how many calibration images to use"),
    ({**TUNING, "compensation": {"ffn": "magic"}}, "unknown ffn compensation 'magic'; choose from none, bias, fold"),
    ({**TUNING, "compensation": {"speed": 1}}, "unknown field 'speed' of a compensation; choose from ffn, attention, calibration"),
    ({**RECOVERY, "images": 0}, "images is 0; send a whole number of at least 1"),
    ({**RECOVERY, "train": "folder"}, "unknown field 'train' of a run of kind recovery; choose from schedule, images, recipe, test_images"),
    ({**RECOVERY, "test_images": 0}, "images is 0; send a whole number of at least 1"),
    ({**RECOVERY, "recipe": {"speed": 1}}, "unknown field 'speed' of a recipe; choose from epochs, batch_size"),
    ({**RECOVERY, "recipe": {"epochs": "many"}}, "epochs is 'many'; write a whole number of at least 1"),
    ({"kind": "recovery"}, "a run of kind recovery needs a schedule; send it"),
]


def test_every_kind_has_an_example():
    assert [values["kind"] for values in EXAMPLES] == list(KINDS)


@pytest.mark.parametrize("values", EXAMPLES, ids=[values["kind"] for values in EXAMPLES])
def test_a_run_survives_json(values):
    run = read_run(values)
    assert read_run(json.loads(json.dumps(run_to_dict(run)))) == run


@pytest.mark.parametrize(("values", "says"), NO_RUNS)
def test_what_is_no_run_is_one_line(values, says):
    with pytest.raises(ToastError) as caught:
        read_run(values)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@dataclass(frozen=True)
class OtherRun:
    """A kind of run that another package brings."""

    kind: ClassVar[str] = "noise"
    overhead: ClassVar[float] = 1.0
    images: int | None = None
    batch_size: int = 64


class TestOthers:
    """Kinds of other packages come through the entry points of a group, the way ours do."""

    @pytest.fixture
    def offer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
        """Let a package `noises` be installed that offers this kind."""
        return lambda name, at: monkeypatch.syspath_prepend(installed(tmp_path, "noises", {KINDS.group: {name: at}}))

    def test_a_kind_of_another_package_is_read_and_written(self, offer: Callable[[str, str], None]) -> None:
        offer("noise", f"{__name__}:OtherRun")
        assert list(KINDS) == [*(values["kind"] for values in EXAMPLES), "noise"]
        run = read_run({"kind": "noise", "images": 3})
        assert run == OtherRun(3) and run_to_dict(run) == {"kind": "noise", "images": 3, "batch_size": 64}

    def test_two_packages_with_one_kind_are_both_named(self, offer: Callable[[str, str], None]) -> None:
        offer("evaluation", f"{__name__}:OtherRun")
        assert read_run(REDUNDANCY).kind == "redundancy", "the others go on"
        with pytest.raises(JobError) as caught:
            read_run(EVALUATION)
        assert str(caught.value) == (
            f"kind of run 'evaluation' is added twice, by toast-studio (toast_core.studies.evaluation.job:EvaluationRun) "
            f"and noises ({__name__}:OtherRun); uninstall one of them"
        )

    def test_the_same_place_named_twice_is_one(self, offer: Callable[[str, str], None]) -> None:
        offer("evaluation", "toast_core.studies.evaluation.job:EvaluationRun")
        assert len(KINDS) == len(EXAMPLES) and read_run(EVALUATION).kind == "evaluation"

    @pytest.mark.parametrize(("value", "says"), [
        (
            "no_such.job:Run",
            "kind of run 'other' cannot be loaded from noises (no_such.job:Run), entry point of toast_studio.studies: "
            "ModuleNotFoundError: No module named 'no_such'; repair or uninstall noises",
        ),
        (f"{__name__}:Missing", "has no attribute 'Missing'; repair or uninstall noises"),
        (
            f"{__name__}:OtherRun",
            f"noises ({__name__}:OtherRun) is of kind 'noise', not 'other' as its entry point says; repair or uninstall noises",
        ),
    ])
    def test_one_that_cannot_be_loaded_is_one_line(self, offer: Callable[[str, str], None], value: str, says: str) -> None:
        offer("other", value)
        assert read_run(REDUNDANCY).kind == "redundancy", "the others go on"
        with pytest.raises(JobError) as caught:
            read_run({"kind": "other"})
        assert says in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_kinds_load_no_torch():
    code = "import sys; from toast_core.studies.registry import KINDS; assert len(KINDS) > 6 and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
