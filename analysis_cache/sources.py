"""Where the command line looks for analyses: the store that was named, or else the user's own and what is shipped."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from analysis_cache.analysis import Analysis, find_id
from analysis_cache.bundle import Bundle
from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay, shipped_bundles
from analysis_cache.staleness import analysis_stale_reason


@contextmanager
def open_replays(store: str | None) -> Iterator[list[Replay]]:
    """Open the sources, the user's own store first where there is one.

    Raises:
        StoreError: one of them cannot be read.
    """
    own = [store] if store is not None or own_store_exists() else []
    opened: list[Replay] = []
    try:
        for source in [*own, *(shipped_bundles() if store is None else [])]:
            opened.append(Replay.open(source))
        yield opened
    finally:
        for replay in opened:
            replay.close()


def own_store_exists() -> bool:
    """Whether the user's own store can be opened without being made; a server's is taken to be there."""
    from analysis_cache.database import default_store, file_of

    path = file_of(default_store())
    return path is None or path.exists()


def find_analysis(prefix: str, replays: list[Replay]) -> tuple[Replay, Analysis]:
    """Return the one analysis whose id starts with `prefix`, from the first source that has it.

    Raises:
        StoreError: none does, or several do.
    """
    ids = {found.id: replay for replay in reversed(replays) for found in replay.analyses()}
    found = find_id(prefix, list(ids), ", ".join(replay.name for replay in replays) or "any store")
    return ids[found], ids[found].analysis(found)


def describe(replay: Replay, analysis: Analysis) -> dict[str, Any]:
    """An analysis as plain JSON values: names, times, how complete it is, and why it is stale."""
    heads = replay.heads(analysis.id)
    return {
        "id": analysis.id, "short_id": analysis.short_id, "label": analysis.label, "source": replay.name,
        "cells": {"listed": len(analysis.cell_keys), "stored": len(heads)},
        "created_utc": analysis.created_utc, "finished_utc": analysis.finished_utc, "stale": analysis_stale_reason(analysis, heads),
    }


def verify_bundle(path: Path) -> dict[str, Any]:
    """Read all of a bundle and report like the verification of a store; damage is reported, never raised."""
    report: dict[str, Any] = {"source": str(path), "cells": 0, "analyses": 0, "removed": 0, "problems": []}
    try:
        with closing(Bundle(path)) as bundle:
            report |= {"cells": len(bundle.index), "analyses": len(bundle.list_analyses())}
            for _ in bundle.checked_rows():
                pass
            bundle.extras()
    except StoreError as error:
        report["problems"] = [{"what": "file", "key": "", "reason": str(error)}]
    return report
