"""What `toast dashboard` is told is looked at before an address is printed, and refused as every other command refuses it."""

import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.server import launch
from tests.support.commands import run_toast
from toast_core.cli.named import check_named
from toast_core.models.adapters import FAMILIES
from toast_core.models.listed import TIMM_MODULES, is_listed
from toast_core.models.names import check_name
from toast_core.setup import Setup

PAIR = ("--calibration", "fashion-mnist:calibration", "--reduction", "0.4", "-o", "s.json")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Setup]:
    """What would have been served."""
    found: list[Setup] = []
    monkeypatch.setattr(launch, "launch", lambda setup, *_: found.append(setup) or 0)
    return found


@pytest.mark.parametrize("given", [
    ("--model", "nosuch"), ("--model", "resnet50"), ("--model", "vit_base_patch16_224.nosuch"), ("--model", "demo_vit.mae"),
    ("--model", "deit_tiny_patch16_225"), ("--weights", "missing.pth"), ("--model", "demo_vit", "--weights", "missing.safetensors"),
], ids=" ".join)
def test_a_model_is_refused_as_by_tune(served: list[Setup], given: tuple[str, ...], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run_toast("dashboard", *given, "--headless")
    assert refused == run_toast("tune", *given, *PAIR) and refused[0] == 2 and refused[2].count("\n") == 1
    assert not served


@pytest.mark.parametrize("given", [
    ("--data", "missing"), ("--calibration", "missing"), ("--train", "missing"), ("--data", "photo.zip"), ("--class-map", "missing.txt"),
    ("--data", "photos", "--labels", "missing.csv"),
], ids=" ".join)
def test_images_that_are_not_there_are_refused(served: list[Setup], given: tuple[str, ...], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.zip").write_bytes(b"PK")
    Path("photos").mkdir()
    status, stdout, stderr = run_toast("dashboard", "--model", "demo_vit", *given, "--headless")
    assert (status, stdout, stderr.count("\n")) == (2, "", 1) and not served


def test_what_is_there_is_served(served: list[Setup], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("w.pth").write_bytes(b"looked at by the engine")
    assert run_toast("dashboard", "--weights", "w.pth", "--data", "photos", "--headless")[0] == 0
    assert run_toast("demo", "--headless")[0] == 0 and len(served) == 2


@pytest.mark.parametrize("name", [
    "demo_vit", "demo_swin", "vit_base_patch16_224", "vit_base_patch16_224.mae", "vit_small_patch14_dinov2.lvd142m",
    "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224.fb_in1k",
    "swin_tiny_patch4_window7_224", "eva02_small_patch14_224.mim_in22k",
])
def test_names_of_timm_are_known_at_sight(name: str) -> None:
    check_name(name)
    assert is_listed(name)


@pytest.mark.parametrize("name", ["", "nosuch", "resnet50", "vit_base_patch16_224.nosuch", "vit_base_patch16_224)", "_cfg", "demo_vit.x"])
def test_others_are_not(name: str) -> None:
    assert not is_listed(name)


def test_the_modules_are_those_of_our_families() -> None:
    found = [adapter for name, adapter in FAMILIES.working()[0].items() if name in ("vit", "swin", "deit_distilled", "eva")]
    assert {module for adapter in found for module in adapter.timm_modules} == set(TIMM_MODULES)


def test_nothing_heavy_is_loaded_for_what_is_plain(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    setup = Setup("vit_base_patch16_224.mae", data="fashion-mnist", calibration=str(tmp_path / "photos"))
    check_named(setup)
    code = (
        "import sys; from toast_core.cli.named import check_named; from toast_core.setup import Setup; "
        "check_named(Setup.from_json(sys.argv[1])); print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, setup.to_json()], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
