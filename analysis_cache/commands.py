"""`toast cache ...`: a sub-application that the command line mounts. The database library is imported inside the commands.

Exit status: 0 done, 1 `verify` found damage. A StoreError is left to the caller, which prints its line and exits 2.
"""

import json
from dataclasses import asdict
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis_cache.analysis import SHOWN_DIGITS
from analysis_cache.errors import StoreError
from analysis_cache.replay import shipped_bundles
from analysis_cache.sources import describe, find_analysis, open_replays, own_store_exists, verify_bundle

if TYPE_CHECKING:
    from analysis_cache.store import EvidenceStore

_BORDER = 3  # columns between two cells of a table
_LONGEST = 200  # characters of a value of a request that are shown
_DAY = 10  # characters of a time that say the day
_LEAST_ROOM = 20  # columns for what an analysis is, however narrow the terminal

cache_app = typer.Typer(
    add_completion=False, rich_markup_mode=None,
    help="List, check, share and tidy stored analyses and their measurements.",
)

Store = Annotated[str | None, typer.Option(help="file, sqlite:///FILE or postgresql+psycopg://USER@HOST/DB; default: your own")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]
Id = Annotated[str, typer.Argument(help="id of an analysis, or its first digits")]


@cache_app.command()
def ls(store: Store = None, as_json: Json = False) -> None:
    """List the analyses, how complete they are, and when and why they are stale."""
    with open_replays(store) as replays:
        found = [describe(replay, analysis) for replay in replays for analysis in replay.analyses()]
        sources = [replay.name for replay in replays]
    if as_json:
        _print_json({"sources": sources, "analyses": found})
        return
    print(f"{len(found)} analyses")
    width = get_terminal_size().columns
    for source in sources:
        rows = [row for row in found if row["source"] == source]
        print(f"\n{source}: {len(rows)}")
        for line in listed_lines(rows, width):
            print(line)


def listed_lines(rows: list[dict[str, Any]], width: int) -> list[str]:
    """The analyses of one source as lines of at most `width` columns: id, cells, day, and behind these what it is, on as many as it takes.

    What is not as it should be stands below: that it is not finished, and why it is stale.
    """
    counts = [f"{row['cells']['stored']}/{row['cells']['listed']}" for row in rows]
    places = max(map(len, counts), default=0)
    lines = []
    for row, count in zip(rows, counts, strict=True):
        start = f"  {row['short_id']}  {count:>{places}}  {row['created_utc'][:_DAY]}  "
        room = max(_LEAST_ROOM, width - len(start))
        said = [row["label"], *([] if row["finished_utc"] else ["not finished"]), *([f"stale: {row['stale']}"] if row["stale"] else [])]
        parts = [part for text in said for part in wrap(_shown("", text), room)]
        lines += [f"{start if number == 0 else ' ' * len(start)}{part}" for number, part in enumerate(parts)]
    return lines


@cache_app.command()
def show(analysis: Id, store: Store = None, as_json: Json = False) -> None:
    """Show one analysis: what was asked, and its cells with their figures."""
    with open_replays(store) as replays:
        replay, chosen = find_analysis(analysis, replays)
        facts, rows = describe(replay, chosen), replay.rows(chosen.id)
    if as_json:
        _print_json({**facts, "request": chosen.request, "rows": rows})
        return
    print(f"{facts['label']}\nid {facts['id']}\nfrom {facts['source']}, {facts['cells']['stored']} of {facts['cells']['listed']} cells")
    print(f"created {facts['created_utc']}, finished {facts['finished_utc'] or 'not yet'}, stale: {facts['stale'] or 'no'}")
    for name, value in sorted(chosen.request.items()):
        print(f"  {name}: {_cut(_shown('', value if isinstance(value, str) else json.dumps(value, sort_keys=True)))}")
    plain = [{name: value for name, value in row.items() if value is None or isinstance(value, str | int | float)} for row in rows]
    columns = list(dict.fromkeys(name for row in plain for name in row))
    _print_table("cells", [_shown("", name) for name in columns], [[_shown(name, row.get(name)) for name in columns] for row in plain])


@cache_app.command()
def verify(
    store: Store = None, as_json: Json = False,
    remove: Annotated[bool, typer.Option("--remove", help="remove damaged rows from the store, so that they are measured again")] = False,
) -> None:
    """Recompute every key and checksum. Exit 1 if something is damaged."""
    reports: list[dict[str, Any]] = []
    if store is not None or own_store_exists():
        with _open(store, create=False) as opened:
            removed = len(opened.remove_corrupt()) if remove else 0
            result = opened.verify()
            reports.append({
                "source": opened.name, "cells": result.cells, "analyses": result.analyses, "removed": removed,
                "problems": [problem.to_dict() for problem in result.problems],
            })
    reports += [verify_bundle(path) for path in (shipped_bundles() if store is None else [])]
    damaged = any(report["problems"] for report in reports)
    if as_json:
        _print_json({"ok": not damaged, "sources": reports})
    else:
        for report in reports:
            print(f"{report['source']}: {report['cells']} cells, {report['analyses']} analyses, {report['removed']} removed, "
                  f"{len(report['problems'])} problems")
            for problem in report["problems"]:
                print(f"  {problem['what']} {problem['key'][:SHOWN_DIGITS]}: {problem['reason']}")
    raise typer.Exit(1 if damaged else 0)


@cache_app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.toastbundle to write")],
    analyses: Annotated[list[str] | None, typer.Argument(help="ids, or their first digits")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every analysis of the store")] = False,
    store: Store = None, as_json: Json = False,
) -> None:
    """Write analyses with all their cells as one file that needs no GPU, data or PyTorch to read."""
    from analysis_cache.exchange import export_bundle

    if bool(analyses) == everything:
        raise StoreError("toast cache export takes ids or --all, one of them; toast cache ls lists the ids")
    with _open(store, create=False) as opened:
        counts = export_bundle(opened, output, None if everything else analyses)
    size = output.stat().st_size
    line = f"wrote {output}: {counts['analyses']} analyses, {counts['cells']} cells, {size / 1e6:.2f} MB"
    _print_report(line, {"output": str(output), "bytes": size, **counts}, as_json)


@cache_app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="FILE.toastbundle")], store: Store = None, as_json: Json = False) -> None:
    """Check a bundle and take over what the store lacks, all or nothing."""
    from analysis_cache.exchange import import_bundle

    with _open(store, create=True) as opened:
        _print_added(asdict(import_bundle(opened, file)), opened.name, as_json)


@cache_app.command()
def merge(other: Annotated[str, typer.Argument(help="file or URL of the other store")], store: Store = None, as_json: Json = False) -> None:
    """Take over what another store has and this one lacks; the other is only read."""
    with _open(store, create=True) as opened:
        _print_added(asdict(opened.merge(other)), opened.name, as_json)


@cache_app.command()
def prune(
    store: Store = None, as_json: Json = False,
    forget: Annotated[list[str] | None, typer.Option("--forget", help="forget this analysis (id or first digits) first")] = None,
    older_than: Annotated[float | None, typer.Option("--older-than", help="only cells stored more than this many days ago")] = None,
    listed: Annotated[bool, typer.Option("--listed", help="cells that an analysis lists too; needs --older-than")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be removed, remove nothing")] = False,
) -> None:
    """Remove cells that no analysis lists."""
    with _open(store, create=False) as opened:
        forgotten = [opened.get_analysis(prefix).id for prefix in forget or []]
        gone = opened.prune(older_than, not listed, forgotten, dry_run)
        name = opened.name
    report = {"store": name, "dry_run": dry_run, "forgotten": forgotten, "removed": gone}
    would = "would be " if dry_run else ""
    _print_report(f"{name}: {len(gone)} cells {would}removed, {len(forgotten)} analyses {would}forgotten", report, as_json)


@cache_app.command()
def fits(
    store: Store = None, as_json: Json = False,
    remove: Annotated[bool, typer.Option("--remove", help="remove them all; each is made again when it is needed")] = False,
) -> None:
    """Show the remembered fits of compensation beside the store, which make room for newer ones by themselves."""
    from analysis_cache.shelf import Shelf

    shelf = Shelf.beside(store)
    if shelf is None:
        raise StoreError("the store's address cannot be read; write a file, sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")
    removed = shelf.clear() if remove else 0
    entries, size = shelf.contents()
    report = {"folder": str(shelf.folder), "fits": entries, "bytes": size, "limit": shelf.limit, "removed": removed}
    line = f"{shelf.folder}: {entries} fits, {size / 1e6:.2f} MB of at most {shelf.limit / 1e6:.0f} MB, {removed} removed"
    _print_report(line, report, as_json)


def _open(store: str | None, create: bool) -> "EvidenceStore":
    from analysis_cache.store import EvidenceStore

    return EvidenceStore.open(store, create=create)


def _shown(name: str, value: object) -> str:
    if name == "key":
        return str(value)[:SHOWN_DIGITS]
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    # what comes from a bundle may hold a terminal's control codes
    return text if text.isprintable() else ascii(text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters; --json shows all)"


def _print_added(added: dict[str, int], store: str, as_json: bool) -> None:
    new, old = f"{added['cells']} cells and {added['analyses']} analyses added", f"{added['cells_present']} and {added['analyses_present']}"
    _print_report(f"{store}: {new}, {old} were there, {added['damaged']} damaged left behind", {"store": store, **added}, as_json)


def _print_report(line: str, report: dict[str, object], as_json: bool) -> None:
    _print_json(report) if as_json else print(line)


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=1, allow_nan=False))


def _print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    print(title)
    width = get_terminal_size().columns
    if sum(_BORDER + max(map(len, cells)) for cells in zip(columns, *rows, strict=True)) >= width:
        for row in rows:  # a table of this width would break every cell into pieces
            said = "  ".join(f"{name} {value}" for name, value in zip(columns[1:], row[1:], strict=True) if value)
            print("\n".join([row[0], *(f"  {part}" for part in wrap(said, width - 2, break_long_words=False))]))
        return
    table = Table()
    for position, column in enumerate(columns):
        # ids are typed back, so that they are never cut
        options = {"justify": "right"} if position else {"no_wrap": True, "min_width": SHOWN_DIGITS}
        table.add_column(Text(column), **options)
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    Console().print(table)
