"""`toast analyze --metrics sketch`."""

import json
from pathlib import Path

from tests.support.commands import toast


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
    assert "KL predicted, nats" in table and "95 % over images" in table
