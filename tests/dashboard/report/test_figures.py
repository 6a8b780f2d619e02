"""Reports: a page that needs nothing else, images where the machine can draw them, and never half a file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.charts import report
from dashboard.charts.report import report_figures, write_report
from tests.support.chart_rows import SENSITIVITY, redundancy_row
from toast_core.errors import DataError

ROWS = {
    "redundancy": [redundancy_row(block, site).to_dict() for block in (0, 1) for site in ("hidden", "fc1_input")],
    "sensitivity": SENSITIVITY,
}
NAMES = [
    "redundancy-hidden", "spectrum-hidden-block-1", "redundancy-fc1_input", "spectrum-fc1_input-block-1",
    "sensitivity-fc2-curves", "sensitivity-fc2-heatmap", "sensitivity-qk-curves", "sensitivity-qk-heatmap",
]


@pytest.fixture
def no_kaleido(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Kaleido were not installed."""
    monkeypatch.setattr(report, "_has_kaleido", lambda: False)


def test_every_stored_kind_and_site_has_its_figures() -> None:
    assert list(report_figures(ROWS)) == NAMES
    assert list(report_figures({"sensitivity": SENSITIVITY})) == NAMES[4:]


@pytest.mark.usefixtures("no_kaleido")
def test_the_page_stands_alone(tmp_path: Path) -> None:
    files, messages = write_report(ROWS, tmp_path / "new" / "report", "demo <vit> & friends")
    assert files == [tmp_path / "new" / "report" / "report.html"]
    assert messages == [
        "no PNG or SVG was written: Kaleido is not installed; pip install 'toast-studio[figures]', or use the camera button in report.html"
    ]
    page = files[0].read_text(encoding="utf-8")
    assert "<h1>demo &lt;vit&gt; &amp; friends</h1>" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert page.count("Plotly.newPlot(") >= len(NAMES)
    assert len(page) > 3_000_000  # plotly.js itself, once
    assert len(page) < 8_000_000
    assert all(f"<h2>{name}</h2>" in page for name in NAMES)


@pytest.mark.usefixtures("no_kaleido")
def test_an_earlier_report_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    write_report({"sensitivity": SENSITIVITY}, tmp_path, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "<h1>new</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_images_are_written_where_they_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {"redundancy-hidden.png": b"png", "redundancy-hidden.svg": b"<svg>"}
    monkeypatch.setattr(report, "_render", lambda figures: (drawn, []))
    files, messages = write_report(ROWS, tmp_path, "title")
    assert [path.name for path in files] == ["report.html", *drawn]
    assert (tmp_path / "redundancy-hidden.svg").read_bytes() == b"<svg>"
    assert messages == []


def test_a_browser_that_fails_costs_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: object) -> None:
        raise RuntimeError("No browser\nfound")

    monkeypatch.setattr(report, "_has_kaleido", lambda: True)
    monkeypatch.setattr(report, "_draw", fails)
    files, messages = write_report(ROWS, tmp_path, "title")
    assert [path.name for path in files] == ["report.html"]
    assert messages == [
        "no PNG or SVG was written: Kaleido could not use a Chromium (No browser found); install one, or set BROWSER_PATH to it"
    ]


@pytest.mark.browser
def test_kaleido_draws_both_formats(tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    files, messages = write_report({"sensitivity": SENSITIVITY[:5]}, tmp_path, "title")
    if messages:
        pytest.skip(messages[0])
    images = {path.name: path.read_bytes() for path in files[1:]}
    assert set(images) == {f"sensitivity-fc2-{kind}.{suffix}" for kind in ("curves", "heatmap") for suffix in ("png", "svg")}
    assert all(content.startswith(b"\x89PNG" if name.endswith("png") else b"<svg") for name, content in images.items())


@pytest.mark.parametrize("rows", [{}, {"redundancy": [], "sensitivity": []}])
def test_nothing_to_draw_is_an_error(tmp_path: Path, rows: dict) -> None:
    with pytest.raises(DataError, match="demo has no redundancy, sensitivity or composition rows to draw; run toast analyze first"):
        write_report(rows, tmp_path / "report", "demo")
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("no_kaleido")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot be written to .*; choose another folder"):
        write_report(ROWS, tmp_path / "file", "title")


def test_torch_is_not_loaded() -> None:
    code = "import sys; sys.modules['torch'] = None; import dashboard.charts.report"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
