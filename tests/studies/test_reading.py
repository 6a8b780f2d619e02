"""Every kind of run as JSON: what is refused in one line, and that a run survives being written and read."""

import json

import pytest

from tests.studies.agreement.test_job import APPLY, COMPOSITION, PRUNED
from tests.studies.recovery.test_job import RUN as RECOVERY
from tests.studies.test_jobs import EVALUATION, SWEEP
from tests.studies.tuning.test_job import RUN as TUNING
from toast_core.errors import ToastError
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sensitivity.job import KINDS, read_run, run_to_dict

EXAMPLES = [SWEEP, {"kind": "redundancy"}, EVALUATION, COMPOSITION, APPLY, TUNING, RECOVERY]
NO_RUNS = [
    ([], "a run is a JSON object, not list; send its kind and fields"),
    ({}, "unknown kind of run None; choose from sensitivity, redundancy, evaluation"),
    ({"kind": "training"}, "unknown kind of run 'training'; choose from sensitivity, redundancy, evaluation"),
    ({"kind": "redundancy", "sites": []}, "unknown field 'sites' of a run of kind redundancy; choose from images, batch_size"),
    ({"kind": "evaluation"}, "a run of kind evaluation needs a schedule; send it"),
    ({**SWEEP, "images": 0}, "images is 0; send a whole number of at least 1, or none for all"),
    ({**SWEEP, "images": True}, "images is True"),
    ({**SWEEP, "batch_size": None}, "batch_size is None; send a whole number of at least 1"),
    ({**SWEEP, "sites": []}, "sites is []; send a list of at least one, each once"),
    ({**SWEEP, "sites": "fc2"}, "sites is 'fc2'; send a list"),
    ({**SWEEP, "sites": ["fc2", "fc2"]}, "each once"),
    ({**SWEEP, "sites": ["fc3"]}, "unknown site 'fc3'; choose from qk, vo, qk+vo, fc1, fc2, fc1+fc2"),
    ({**SWEEP, "ratios": [50]}, "write 0.5 for 50 %"),
    ({**SWEEP, "ratios": [0.0]}, "ratio 0 prunes nothing"),
    ({**SWEEP, "mode": "quick"}, "unknown mode 'quick'; choose from exact, adaptive"),
    ({**SWEEP, "width": -1}, "width is -1; send points above 0 and up to 100"),
    ({**SWEEP, "selection": "best"}, "unknown selection 'best'; choose from per_batch, per_image, calibrated"),
    ({**EVALUATION, "execution": "fast"}, "unknown execution 'fast'; choose from"),
    ({**EVALUATION, "schedule": 3}, "a schedule is a JSON object, not int"),
    ({**APPLY, "schedule": Schedule.uniform(12).to_dict()}, "the schedule prunes nothing, so there is nothing to apply"),
    ({**APPLY, "schedule": {**PRUNED.to_dict(), "coupling": "uncoupled"}}, "there is no compact form; choose coupled"),
    ({**APPLY, "schedule": []}, "a schedule is a JSON object, not list"),
    ({**APPLY, "images": 0}, "images is 0; send a whole number of at least 1, or none for all"),
    ({**APPLY, "batch_size": 0}, "batch_size is 0"),
    ({**APPLY, "output": "/etc/x"}, "unknown field 'output' of a run of kind apply; choose from schedule, images, batch_size"),
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


@pytest.mark.parametrize("values", EXAMPLES, ids=list(KINDS))
def test_a_run_survives_json(values):
    run = read_run(values)
    assert read_run(json.loads(json.dumps(run_to_dict(run)))) == run


@pytest.mark.parametrize(("values", "says"), NO_RUNS)
def test_what_is_no_run_is_one_line(values, says):
    with pytest.raises(ToastError) as caught:
        read_run(values)
    assert says in str(caught.value) and "\n" not in str(caught.value)
