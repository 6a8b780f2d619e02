"""Reports: a page that needs nothing else, images where the machine can draw them, and never half a file."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.report import figures
from dashboard.report.analyses import with_plotly
from dashboard.report.figures import drawn, report_figures
from dashboard.report.paper import Paper, Section, to_html
from dashboard.report.write import write_report
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


PAPER = Paper("demo <vit>", "A & B.", (("Model", "demo <vit>"),))


@pytest.fixture
def no_kaleido(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Kaleido were not installed."""
    monkeypatch.setattr(figures, "_has_kaleido", lambda: False)


def test_every_stored_kind_and_site_has_its_figures() -> None:
    assert list(report_figures(ROWS)) == NAMES
    assert list(report_figures({"sensitivity": SENSITIVITY})) == NAMES[4:]


def test_headings_are_for_people() -> None:
    found = drawn(ROWS)
    assert [one.name for one in found] == NAMES and not {one.heading for one in found} & set(NAMES)
    assert found[4].heading == "What is lost when one block drops fc2: hidden units of the feed-forward network"
    assert all(one.reading.endswith(".") and one.badge == "measured" for one in found)


@pytest.mark.usefixtures("no_kaleido")
def test_a_folder_holds_the_page_and_says_why_there_are_no_pictures(tmp_path: Path) -> None:
    files, messages = write_report([PAPER], drawn(ROWS), tmp_path / "new" / "report")
    assert files == [tmp_path / "new" / "report" / "report.html"]
    assert messages == [
        "no PNG or SVG was written: Kaleido is not installed; pip install 'toast-studio[figures]', or use the camera button in report.html"
    ]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "report.html").write_text("old", encoding="utf-8")
    write_report([PAPER], [], tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["report.html"]
    assert "<h1>demo &lt;vit&gt;</h1>" in (tmp_path / "old" / "report.html").read_text(encoding="utf-8")


def test_the_program_that_draws_is_in_the_page_once_and_only_where_it_is_needed() -> None:
    page = with_plotly(to_html([PAPER, replace(PAPER, sections=(Section("x", "<script>Plotly.newPlot(</script>"),))]))
    assert 3_000_000 < len(page) < 8_000_000 and not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert len(with_plotly(to_html([PAPER]))) < 20_000


def test_images_are_written_where_they_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {"redundancy-hidden.png": b"png", "redundancy-hidden.svg": b"<svg>"}
    monkeypatch.setattr("dashboard.report.write.render_images", lambda figures: (images, []))
    files, messages = write_report([PAPER], drawn(ROWS), tmp_path)
    assert [path.name for path in files] == ["report.html", *images] and messages == []
    assert (tmp_path / "redundancy-hidden.svg").read_bytes() == b"<svg>"


def test_a_browser_that_fails_costs_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: object) -> None:
        raise RuntimeError("No browser\nfound")

    monkeypatch.setattr(figures, "_has_kaleido", lambda: True)
    monkeypatch.setattr(figures, "_draw", fails)
    files, messages = write_report([PAPER], drawn(ROWS), tmp_path)
    assert [path.name for path in files] == ["report.html"]
    assert messages == [
        "no PNG or SVG was written: Kaleido could not use a Chromium (No browser found); install one, or set BROWSER_PATH to it"
    ]


@pytest.mark.browser
def test_kaleido_draws_both_formats(tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    files, messages = write_report([PAPER], drawn({"sensitivity": SENSITIVITY[:5]}), tmp_path)
    if messages:
        pytest.skip(messages[0])
    images = {path.name: path.read_bytes() for path in files[1:]}
    assert set(images) == {f"sensitivity-fc2-{kind}.{suffix}" for kind in ("curves", "heatmap") for suffix in ("png", "svg")}
    assert all(content.startswith(b"\x89PNG" if name.endswith("png") else b"<svg") for name, content in images.items())


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path / "file", tmp_path / "file" / "report.html"):
        with pytest.raises(DataError, match=r"cannot be written to .*; choose another place"):
            write_report([PAPER], [], place)


def test_torch_is_not_loaded() -> None:
    code = "import sys; sys.modules['torch'] = None; import dashboard.report.write, dashboard.report.analyses"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
