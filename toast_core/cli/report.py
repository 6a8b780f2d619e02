"""`toast report`: figures of stored analyses as files."""

from pathlib import Path
from typing import Annotated

import typer

from toast_core.cli.options import Json, Store
from toast_core.cli.output import note, print_json


def report(
    analysis: Annotated[list[str], typer.Argument(help="ids (or their beginnings) of analyses, see toast cache ls")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the figures")] = Path("report"),
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Write the figures of stored analyses as HTML, and as PNG and SVG where Kaleido and a Chromium are there."""
    from analysis_cache.commands import find_rows
    from dashboard.charts.report import write_report

    rows_by_kind: dict[str, list[dict]] = {}
    for prefix in analysis:
        found, rows = find_rows(prefix, store)
        rows_by_kind.setdefault(found.request["metric"], []).extend(rows)
    files, messages = write_report(rows_by_kind, output, "ToaSt analysis")
    note(messages)
    if as_json:
        print_json({"files": [str(file) for file in files], "messages": messages})
    else:
        for file in files:
            print(file)
