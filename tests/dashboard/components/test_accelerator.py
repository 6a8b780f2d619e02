"""The Overview's table of what the accelerator benchmark wrote, from a file as it writes it."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.gpu import Report
from dashboard.components import accelerator

FACTS = {"processor": "a <b>card</b>", "torch": "2.11.0", "timm": "1.0.31"}
LABELS = {"part": "speed", "preset": "deit_small_patch16_224@2.5", "dtype": "bfloat16", "compiled": True, "multiple_of": 1}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A measured row, one that did not fit, and a part that is not of speed."""
    report = Report(tmp_path / "gpu.json", FACTS)
    report.row(lambda: {"mac_ratio": 2.157, "speedup_median": 1.994, "fraction_of_mac_ratio": 1.994 / 2.157}, **LABELS, batch_size=128)

    def too_large() -> dict:
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory")

    report.row(too_large, **LABELS, batch_size=256)
    report.row(lambda: {"flops": 1e12}, part="peak", dtype="bfloat16")
    return tmp_path / "gpu.json"


def test_speed_is_read_row_by_row(written: Path) -> None:
    found = accelerator.read_accelerator(written)
    assert found.where.startswith("a <b>card</b>, torch 2.11.0, timm 1.0.31, 20")
    first, second = found.speed.to_dict("records")
    assert (first["MAC ratio"], first["Times as fast"], first["Share of the MAC ratio, %"], first["Batch"]) == (2.16, 1.99, 92, 128)
    assert first["Outcome"] == "measured" and second["Outcome"] == "out of memory" and second["Times as fast"] != second["Times as fast"]


def test_without_a_file_or_rows_there_is_nothing(tmp_path: Path) -> None:
    assert accelerator.read_accelerator(tmp_path / "none.json") is None
    (tmp_path / "empty.json").write_text(json.dumps(FACTS | {"rows": []}))
    assert accelerator.read_accelerator(tmp_path / "empty.json") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": [{"part": "speed"}]}'])
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "gpu.json").write_text(text)
    with pytest.raises(ValueError, match=r"gpu.json cannot be read .*; run python -m benchmarks.gpu again"):
        accelerator.read_accelerator(tmp_path / "gpu.json")


def test_the_page_shows_names_as_text(written: Path) -> None:
    def draw(path: str) -> None:
        from pathlib import Path

        from dashboard.components.accelerator import show_accelerator

        show_accelerator(Path(path))

    at = AppTest.from_function(draw, default_timeout=180, args=(str(written),)).run()
    assert not at.exception and len(at.dataframe[0].value) == 2
    said = at.markdown[0].value
    assert "random weights" in said and "torch 2.11.0" in said and "<b>card" not in said
