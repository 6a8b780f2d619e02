"""`toast analyze --metrics sketch`."""

import json
from pathlib import Path

from tests.support.commands import run_toast, toast


def test_rows_of_the_grid_and_nothing_measured_twice(tmp_path: Path) -> None:
    where = ["--model", "demo_vit", "--data", "fashion-mnist", "--images", "8", "--store", tmp_path / "e.db"]
    words = ["analyze", *where, "--metrics", "sketch"]
    grid = ["--sites", "qk,fc2", "--ratios", "0.3,0.6"]
    first = json.loads(toast(*words, *grid, "--json"))
    assert len(first["sketch"]) == 12 * 2 * 2 and first["id"] == first["ids"]["sketch"]
    assert set(first["sketch"][0]) >= {"block", "site", "ratio", "kl", "kl95", "calibrated_by", "images", "draws"}
    assert json.loads(toast(*words, *grid, "--json")) == first
    assert json.loads(toast(*words, *grid, "--draws", "3", "--json"))["id"] != first["id"]
    table = toast(*words, *grid)
    assert "KL predicted" in table and "cells run" in table


def test_compensated_cells_are_refitted_on_images_that_are_not_sketched(tmp_path: Path) -> None:
    where = ["--model", "demo_vit", "--data", "fashion-mnist:calibration", "--images", "8", "--store", tmp_path / "e.db"]
    fit = ["--calibration", "fashion-mnist:calibration", "--calibration-images", "24"]
    words = ["analyze", *where, "--metrics", "sketch", "--sites", "fc2", "--ratios", "0.6", "--measured", "2", "--json"]
    plain = json.loads(toast(*words, *fit, "--selection", "calibrated"))["sketch"]
    refitted = json.loads(toast(*words, *fit, "--compensation"))["sketch"]
    assert [row["calibrated_by"] for row in plain + refitted] == [2] * 24
    assert sum(row["kl"] for row in refitted) < sum(row["kl"] for row in plain) / 2
    assert "leaves none to refit on" in _refused(*words, *fit[:2], "--calibration-images", "8", "--compensation")
    assert "choose calibrated" in _refused(*words, *fit, "--compensation", "--selection", "per_image")


def _refused(*words: object) -> str:
    status, _, stderr = run_toast(*words)
    assert status == 2
    return stderr
