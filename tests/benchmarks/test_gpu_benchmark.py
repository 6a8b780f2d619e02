"""benchmarks/gpu.py from end to end at a tiny size on the CPU: every part, resuming, and rows that cannot run. No time is asserted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from toast_core.errors import DeviceError
from toast_core.schedule.presets import presets

TINY = replace(gpu.SMALL, batch_sizes=(2,), dtypes=("float32",), multiples=(1,), demos=("demo_vit",), sweep_ratios=(0.9,))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest scale, and nothing is compiled: that a compact model compiles is tests/pruning/test_compiled.py's."""
    monkeypatch.setattr(gpu, "SMALL", TINY)
    monkeypatch.setattr(torch, "compile", lambda model, **how: model)


@pytest.mark.wide
def test_it_runs_on_a_cpu_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "gpu.json"
    gpu.main("cpu", True, out)
    written = json.loads(out.read_text())
    rows = {part: [row for row in written["rows"] if row["part"] == part] for part in ("peak", "accuracy", "sweep", "speed")}
    assert {row["outcome"] for row in written["rows"]} == {"measured"}
    assert len(rows["speed"]) == len(TINY.presets) * len(TINY.batch_sizes) * 2
    assert {row["compiled"] for row in rows["speed"]} == {True, False}
    for row in rows["speed"]:
        assert row["mac_ratio"] == row["macs"]["baseline"] / row["macs"]["compact"] > 1
        assert row["fraction_of_mac_ratio"] == pytest.approx(row["speedup_median"] / row["mac_ratio"])
        assert row["fraction_of_peak"].keys() == row["macs"].keys()
        assert row["weights"] == "random"
    assert rows["sweep"][0]["cells"] == 12 * 3 and rows["sweep"][0]["extrapolated"]["how"].startswith("seconds an image")
    assert rows["accuracy"][0]["saved"] >= 0.5 and rows["accuracy"][0]["test_images"] == 20
    assert written["torch"] and written["processor"] and all(row["date"] for row in written["rows"])

    out.write_text(json.dumps(written | {"rows": written["rows"][:-1]}))
    monkeypatch.setattr(gpu, "accuracy", None)  # a row that is there is not measured again
    again = gpu.main("cpu", True, out)
    assert len(again.rows) == len(written["rows"]) and again.rows[:-1] == written["rows"][:-1]


def test_what_does_not_fit_is_a_row(tmp_path: Path) -> None:
    def too_large() -> dict:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    def impossible() -> dict:
        raise DeviceError("no kernel for this dtype")

    report = gpu.Report(tmp_path / "gpu.json", {"torch": "1"})
    assert report.row(too_large, part="speed", batch_size=256)["outcome"] == "out of memory"
    assert report.row(impossible, part="speed", batch_size=1)["reason"] == "no kernel for this dtype"
    kept = gpu.Report(tmp_path / "gpu.json", {"torch": "1"}).row(impossible, part="speed", batch_size=256)
    assert kept["outcome"] == "out of memory"


def test_rows_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    gpu.Report(tmp_path / "gpu.json", {"torch": "1"}).row(dict, part="peak")
    with pytest.raises(SystemExit, match="measured with another torch; choose another --out"):
        gpu.Report(tmp_path / "gpu.json", {"torch": "2"})


def test_the_whole_scale_starts_with_every_architecture() -> None:
    first = [presets()[name].model for name in gpu.WHOLE.presets[:9]]
    assert len(set(first)) == 9 == len({preset.model for preset in presets().values()})
    assert set(gpu.WHOLE.presets) == set(presets())
    assert set(gpu.WHOLE.batch_sizes) == {1, 32, 128, 256}
