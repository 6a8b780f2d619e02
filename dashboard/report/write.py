"""Reports as files: one page, its PDF, or a folder with the page and every figure as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path

from dashboard.report.analyses import with_plotly
from dashboard.report.figures import Drawn, render_images
from dashboard.report.paper import Paper, to_html
from dashboard.report.pdf import print_pdf
from toast_core.errors import DataError
from toast_core.files import write_bytes

PAGE = "report.html"


def write_report(papers: Sequence[Paper], figures: Sequence[Drawn], place: Path) -> tuple[list[Path], list[str]]:
    """Write the pages, each analysis on a sheet of its own.

    Files are written beside their name and renamed, so an interrupted report leaves none half written; earlier ones are replaced.

    Args:
        figures: those on the pages; written as PNG and SVG where `place` is a folder, and Kaleido and a Chromium are on this machine.
        place: FILE.html for one page, FILE.pdf for its print, else a folder, made where it is missing.

    Returns:
        The files written, and what to tell the user: why there are no images, where there are none.

    Raises:
        DataError: the place cannot be written, or a PDF is wanted and no Chromium is found.
    """
    page, messages = with_plotly(to_html(papers)), list[str]()
    if place.suffix.lower() in (".html", ".pdf"):
        folder, contents = place.parent, {place.name: print_pdf(page) if place.suffix.lower() == ".pdf" else page.encode()}
    else:
        images, messages = render_images({one.name: one.figure for one in figures}) if figures else ({}, [])
        folder, contents = place, {PAGE: page.encode(), **images}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, content)
    except OSError as error:
        raise DataError(f"the report cannot be written to {place} ({error.strerror}); choose another place") from error
    return [folder / name for name in contents], messages
