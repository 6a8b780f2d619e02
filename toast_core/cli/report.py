"""`toast report`: stored analyses as a page for people."""

from pathlib import Path
from typing import Annotated

import typer

from toast_core.cli.options import Json, Store
from toast_core.cli.output import note, print_json


def report(
    analysis: Annotated[list[str], typer.Argument(help="ids (or their beginnings) of analyses, see toast cache ls")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="FILE.html, FILE.pdf, or a folder for the page and its figures")
    ] = Path("report"),
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Write stored analyses as one page that needs nothing else: model, data, date, baseline, and what came out.

    A page about a schedule that was applied says before and after, who gets hurt, what is dropped, digests, and how to load the file. It
    prints on A4; a PDF needs a Chromium on this machine. In a folder, figures are beside it as PNG and SVG where Kaleido is installed.
    """
    from analysis_cache.sources import find_analysis, open_replays
    from dashboard.report.analyses import read_paper
    from dashboard.report.write import write_report

    with open_replays(store) as replays:
        read = [read_paper(*find_analysis(prefix, replays)) for prefix in analysis]
    files, messages = write_report([paper for paper, _ in read], [one for _, figures in read for one in figures], output)
    note(messages)
    if as_json:
        print_json({"files": [str(file) for file in files], "messages": messages})
    else:
        for file in files:
            print(file)
