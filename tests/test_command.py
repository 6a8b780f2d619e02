"""Every printed command line is understood by the command line, and asks about the same setup and schedule as what printed it."""

import ast
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from dashboard.evidence.commands import analyze_command, evaluate_command, report_command
from tests.support.commands import parsed
from tests.support.families import tiny_demo
from tests.support.runs import TINY, tiny_workbench
from toast_core.cli.app import main
from toast_core.command import SCHEDULE_FILE, TAKES, command_line
from toast_core.errors import SetupError, ToastError
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.registry import KINDS, read_run
from toast_core.workbench import Workbench

ROOT = Path(__file__).parents[1]
CALIBRATED = Schedule.uniform(12, vo=0.25, fc2=0.3, selection="calibrated")
SEEDED = replace(CALIBRATED, seed=1)
DYNAMIC = Schedule.uniform(12, fc1=0.1, fc2=1 / 3, selection="per_image", seed=1)
COMPENSATED = replace(SEEDED, compensation=FULL)
BASELINE = Schedule.uniform(12, selection="calibrated", compensation=FULL)
SETUPS = {
    "demo": Setup().completed(),
    "few": replace(Setup().completed(), calibration_images=64, store="elsewhere.sqlite", device="cpu"),
    "folder": Setup(
        "deit_tiny_patch16_224", "my weights.safetensors", 7, 96, "my photos", "more photos", 40, train="yet more", images=100,
        batch_size=16,
    ),
    "chosen": Setup(
        "deit_tiny_patch16_224", "best.pth.tar", 7, 96, "my photos", "more photos", 40, train="yet more", images=100, in_chans=1,
        use_ema=True, random_classifier=True, mean="0.5", std="0.25", crop_pct=0.9, crop_mode="squash", interpolation="bilinear",
        exif_rotate=True, class_order="natural", labels="val labels.csv",
    ),
    "mapped": Setup("deit_tiny_patch16_224", "w.safetensors", 7, 96, "my photos", "more photos", 40, train="more", class_map="a map.txt"),
}
RUNS = [
    {"kind": "sensitivity", "sites": ["qk", "fc1+fc2"], "ratios": [0.1, 1 / 3], "images": 100, "selection": "calibrated"},
    {"kind": "sensitivity", "mode": "adaptive", "width": 0.123456789, "tolerance": 3, "batch_size": 8},
    {"kind": "redundancy", "images": 50},
    {"kind": "sketch"},
    {"kind": "sketch", "sites": ["fc2"], "ratios": [1 / 3], "images": 90, "draws": 5, "selection": "calibrated", "batch_size": 8},
    *({"kind": kind, "schedule": one.to_dict(), "images": 30} for kind in ("evaluation", "composition", "apply", "recovery")
      for one in (CALIBRATED, SEEDED, DYNAMIC, COMPENSATED)),
    {"kind": "evaluation", "schedule": BASELINE.to_dict()},
    *({"kind": "export", "schedule": one.to_dict(), "source": "0" * 64, "formats": ["onnx"]} for one in (CALIBRATED, COMPENSATED)),
    *({"kind": "certificate", "schedule": one.to_dict(), "source": "0" * 64, "images": 30} for one in (CALIBRATED, SEEDED)),
    {
        "kind": "recovery", "schedule": SEEDED.to_dict(), "test_images": None,
        "recipe": {"epochs": 3, "lr": 1e-4, "labels": False, "distill_blocks": True, "seed": 5},
    },
    {
        "kind": "tuning", "unit": "macs", "limit": 61_234_567, "locks": [[0, "fc2", 1 / 3]], "ranges": [[1, "vo", 0.0, 0.7]], "images": 90,
        "compensation": {"ffn": "bias"}, "multiple_of": 2,
    },
    {"kind": "tuning", "unit": "params", "limit": 400_000},
    {"kind": "tuning", "unit": "macs", "limit": 61_234_567, "images": 90, "evaluate": 70},
]


class _Stopped(ToastError):
    """Where a command has told what it was about to load."""


def loaded_by(line: str, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """The setup that a line's command loads; the line runs until then, in this process."""
    asked = []

    def load(setup: Setup, *_: object) -> None:
        asked.append(setup)
        raise _Stopped("stopped")

    monkeypatch.setattr(Workbench, "load", load)
    monkeypatch.setattr("sys.argv", shlex.split(line))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and len(asked) == 1, line
    return asked[0]


def expected(command: str, setup: Setup, schedule: Schedule | None, calibrated: bool) -> Setup:
    """What the command is to ask about: the fields that it takes, calibration only where it is used."""
    needed = calibrated or (schedule is not None and schedule.needs_calibration)
    names = [name for name in TAKES[command] if needed or not name.startswith("calibration")]
    return Setup(**{name: getattr(setup, name) for name in names})


@pytest.mark.parametrize("values", RUNS, ids=lambda values: values["kind"])
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_a_run_and_its_command_line_ask_about_the_same(setup: Setup, values: dict, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = read_run(values)
    schedule = getattr(run, "schedule", None)
    if schedule is not None:
        Path(SCHEDULE_FILE).write_text(schedule.to_json())
    first, *rest = run.command(setup).splitlines()
    command, given = parsed(first)
    asked = loaded_by(first, monkeypatch)
    sized = replace(setup, images=run.images, batch_size=run.batch_size)
    if run.kind == "tuning":
        sized = replace(sized, calibration_images=run.images)
        assert given["evaluate"] == (run.evaluate or None)
        if not run.evaluate:
            sized = replace(sized, data=None, labels=None, class_order=None, class_map=None, random_classifier=False)
    if run.kind == "sketch":
        assert given["draws"] == run.draws and given["sites"] == ",".join(run.sites)
        sized = replace(sized, data=setup.calibration or setup.data, labels=None if setup.calibration else setup.labels)
    wanted = expected(command, sized, schedule, run.kind == "tuning" or getattr(run, "selection", None) == "calibrated")
    if run.kind == "recovery":
        assert asked.train == (setup.train or setup.calibration)
        wanted, asked = (replace(one, batch_size=run.batch_size, train=None) for one in (wanted, asked))
        assert (given["images"], given["epochs"], given["lr"], given["labels"]) == (
            run.images, run.recipe.epochs, run.recipe.lr, run.recipe.labels
        )
    assert replace(asked, device="auto") == replace(wanted, device="auto")
    for line in rest:  # the file that the first line writes, measured
        measured, values_of = parsed(line)
        assert measured == "evaluate" and values_of["weights"] == given["output"].name and values_of["model"] is None
        assert (values_of["data"], values_of["images"]) == (setup.data, getattr(run, "test_images", run.images))


def test_every_kind_of_run_is_among_these():
    assert {values["kind"] for values in RUNS} == set(KINDS)


def test_numbers_keep_every_digit():
    _, given = parsed(read_run(RUNS[0]).command(SETUPS["demo"]))
    assert tuple(map(float, given["ratios"].split(","))) == (0.1, 1 / 3)
    _, given = parsed(read_run(RUNS[-3]).command(SETUPS["demo"]))
    assert round(given["gmacs"] * 1e9) == 61_234_567 and given["lock"] == [f"0.fc2={1 / 3}"]


@pytest.mark.parametrize("schedule", [CALIBRATED, SEEDED, DYNAMIC, COMPENSATED, BASELINE], ids=str)
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_a_page_and_its_command_line_ask_about_the_same(setup: Setup, schedule: Schedule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(SCHEDULE_FILE).write_text(schedule.to_json())
    asked = loaded_by(evaluate_command(setup, schedule), monkeypatch)
    assert asked == expected("evaluate", setup, schedule, False)
    assert parsed(report_command(setup, "0123abcd", True))[1]["store"] is None
    assert parsed(report_command(setup, "0123abcd", False))[1]["store"] == setup.store
    for metric in ("redundancy", "sensitivity"):
        assert loaded_by(analyze_command(setup, metric), monkeypatch) == expected("analyze", setup, None, False)


def test_two_seeds_cannot_be_said_at_once():
    with pytest.raises(SetupError, match="the schedule's seed is 1, the setup's 2; give both the same, or the setup 0"):
        command_line("evaluate", Setup(seed=2), schedule=SEEDED)
    assert parsed(command_line("evaluate", Setup(data="x", seed=1), schedule=SEEDED))[1]["seed"] == 1


@pytest.mark.parametrize("command", TAKES)
def test_a_command_takes_what_the_table_says(command: str):
    """Every field is an option of the command, with the setup's own default unless it is required or its own."""
    given = {"data": "x", "calibration": "y", "train": "z"} if command in ("evaluate", "analyze", "tune", "recover") else {}
    words = [word for name, value in given.items() if name in TAKES[command] for word in (f"--{name}", value)]
    extra = {"apply": ["-o", "x"], "export": ["-o", "x", "--format", "onnx"], "tune": ["-o", "x"], "recover": ["-o", "x"], "report": ["x"]}
    _, params = parsed(shlex.join(["toast", command, *extra.get(command, []), *words]))
    assert set(TAKES[command]) <= set(params)


def test_no_other_place_writes_a_command_line():
    """Text that begins a line for a terminal with options; words such as `toast cache verify --remove` in an error say what to do."""
    found = []
    for path in [*(ROOT / "toast_core").rglob("*.py"), *(ROOT / "dashboard").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
        if any(text.startswith(("toast analyze --", "toast evaluate --", "toast bench --", "toast apply --")) for text in texts):
            found.append(path.name)
        if path.name != "command.py":
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "join"]
            found += [path.name for node in calls if isinstance(node.value, ast.Name) and node.value.id == "shlex"]
    assert not found


class TestFigures:
    """The line measures what the run measures: run both, compare what they say of every image."""

    @pytest.mark.parametrize("schedule", [SEEDED, DYNAMIC, COMPENSATED, BASELINE], ids=["seeded", "dynamic", "compensated", "baseline"])
    def test_an_evaluation(self, schedule: Schedule, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(DEMO_BUILDERS, TINY, tiny_demo)
        schedule = replace(schedule, blocks=schedule.blocks[:3])
        Path(SCHEDULE_FILE).write_text(schedule.to_json())
        workbench = tiny_workbench(tmp_path)
        setup = workbench.setup
        run = read_run({"kind": "evaluation", "schedule": schedule.to_dict(), "images": 24, "batch_size": 8})
        with EvidenceStore.open(setup.store) as store:
            analysis = run.measure(workbench, store, lambda done, total: None)
            summary = store.get(analysis.cell_keys[0]).summary
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", [*shlex.split(run.command(setup)), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = json.loads(capsys.readouterr().out)
        assert ended.value.code == 0 and (said["top1"], said["top5"]) == (summary["top1"], summary["top5"])
        assert said["loss"]["value"] == pytest.approx(summary["loss"]["value"], abs=1e-12)
