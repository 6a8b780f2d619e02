"""A page as PDF, printed by a Chromium of this machine where there is one."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from toast_core.errors import DataError
from toast_core.files import first_line

VARIABLES = ("BROWSER_PATH", "CHROMIUM")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--no-pdf-header-footer", "--virtual-time-budget=20000",
)
_LIMIT_S = 120


def find_chromium() -> str | None:
    """The program that would print: named by a variable of VARIABLES, else found under one of the usual names."""
    named = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)
    return shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)


def print_pdf(page: str) -> bytes:
    """Print a page that needs nothing else.

    Raises:
        DataError: there is no Chromium on this machine, or it did not print.
    """
    browser = find_chromium()
    if browser is None:
        raise DataError("a PDF needs a Chromium on this machine; install one, name it in BROWSER_PATH, or print the HTML report")
    with tempfile.TemporaryDirectory(prefix="toast-report-") as folder:
        source, printed = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_text(page, encoding="utf-8")
        command = [browser, *_FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}", source.as_uri()]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False)
            return printed.read_bytes()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(f"{browser} did not print the report ({first_line(error)}); print the HTML report instead") from error
