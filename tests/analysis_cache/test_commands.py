"""`toast cache ...` as a user meets it."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from analysis_cache import commands, key, sources
from analysis_cache.commands import cache_app, listed_lines
from analysis_cache.errors import StoreError
from analysis_cache.shelf import Shelf
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from tests.support.cells import fill, identity, outcomes, summary
from toast_core.models.weights import weights_digest


def ship(monkeypatch: pytest.MonkeyPatch, *files: Path) -> None:
    """These bundles come with the program."""
    for module in (sources, commands):
        monkeypatch.setattr(module, "shipped_bundles", lambda: list(files))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own store is a file that does not exist yet, and nothing is shipped."""
    monkeypatch.setenv("TOAST_STORE", str(tmp_path / "own.sqlite"))
    ship(monkeypatch)
    return tmp_path / "own.sqlite"


def toast(*arguments: object, status: int = 0) -> str:
    """Run a command and return its standard output."""
    result = CliRunner().invoke(cache_app, list(map(str, arguments)))
    if isinstance(result.exception, StoreError):
        raise result.exception
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def toast_json(*arguments: object, status: int = 0) -> dict:
    """Run a command with --json and return its document."""
    return json.loads(toast(*arguments, "--json", status=status))


def filled(path: Path, count: int = 3) -> str:
    """Store an analysis; return its id."""
    with EvidenceStore.open(path) as store:
        return fill(store, count).id


def test_without_a_store_there_is_nothing_to_list(own: Path) -> None:
    assert toast_json("ls") == {"sources": [], "analyses": []} and "0 analyses" in toast("ls")
    assert toast_json("verify") == {"ok": True, "sources": []}
    assert not own.exists()
    with pytest.raises(StoreError, match="there is no store"):
        toast("ls", "--store", own)


def test_ls_and_show(own: Path) -> None:
    full = filled(own)
    row = toast_json("ls")["analyses"][0]
    assert (row["id"], row["cells"], row["stale"], row["source"]) == (full, {"listed": 3, "stored": 3}, None, str(own))
    assert full[:16] in toast("ls") and "3/3" in toast("ls")
    shown = toast_json("show", full[:6])
    assert shown["request"] == {"model": "demo_vit", "cells": 3} and [one["block"] for one in shown["rows"]] == [0, 1, 2]
    assert shown["rows"][1]["ci95"] == [90.5, 92.0] and "3 of 3 cells" in toast("show", full)
    with pytest.raises(StoreError, match="there is no 'ffff'"):
        toast("show", "ffff")


def embedding(first: torch.nn.Module, *others: torch.nn.Module) -> torch.nn.Module:
    """A few layers, of which the first stands where every supported model has its patch embedding."""
    embed = torch.nn.Module()
    embed.proj = first
    return torch.nn.Sequential(OrderedDict(patch_embed=embed, **{f"layer{number}": one for number, one in enumerate(others)}))


def test_entries_say_why_they_are_stale(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights.safetensors"
    model = embedding(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    save_file(model.state_dict(), weights)
    with EvidenceStore.open(own) as store:
        fill(store, 2, weights_file=str(weights))
    digest = weights_digest(model)
    assert toast_json("ls")["analyses"][0]["stale"] == f"weights changed: sha256 aaaaaaaa… -> {digest[:8]}…"
    weights.write_bytes(b"no safetensors")
    assert toast_json("ls")["analyses"][0]["stale"] is None
    now = key.METRIC_VERSIONS["sensitivity"]
    monkeypatch.setitem(key.METRIC_VERSIONS, "sensitivity", 99)
    assert toast_json("ls")["analyses"][0]["stale"] == f"metric version {now} -> 99"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_digest_of_a_weights_file_is_that_of_its_model(tmp_path: Path, dtype: torch.dtype) -> None:
    model = embedding(torch.nn.Conv2d(1, 2, 3), torch.nn.LayerNorm(2), torch.nn.Linear(2, 1, bias=False)).to(dtype)
    path = tmp_path / "a.safetensors"
    save_file(model.state_dict(), path, {"note": "x"})
    assert digest_of_weights(path, 0) == (weights_digest(model), str(dtype).removeprefix("torch."))
    save_file(model.state_dict() | {"count": torch.tensor(3)}, path)
    assert digest_of_weights(path, 1) == (None, None)


def test_a_file_whose_names_loading_changes_has_no_digest_to_compare(tmp_path: Path) -> None:
    path, model = tmp_path / "a.safetensors", embedding(torch.nn.Linear(3, 2))
    save_file({f"module.{name}": value for name, value in model.state_dict().items()}, path)
    assert digest_of_weights(path, 0) == (None, None)


def test_verify_exits_1_and_can_remove(own: Path) -> None:
    filled(own, 4)
    assert toast_json("verify")["ok"] and "4 cells, 1 analyses, 0 removed, 0 problems" in toast("verify")
    with EvidenceStore.open(own) as store, store.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE cells SET summary = 'x' WHERE key = '{identity(0).key}'")
    report = toast_json("verify", status=1)
    assert report["sources"][0]["problems"] == [{"what": "cell", "key": identity(0).key, "reason": "checksum mismatch"}]
    assert identity(0).key[:16] in toast("verify", status=1)
    assert toast_json("verify", "--remove")["sources"][0]["removed"] == 1


def test_export_import_and_the_shipped_analyses(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, full = tmp_path / "a.toastbundle", filled(tmp_path / "other.sqlite")
    for wrong in ((), (full, "--all")):
        with pytest.raises(StoreError, match="ids or --all"):
            toast("export", *wrong, "-o", file, "--store", tmp_path / "other.sqlite")
    assert toast_json("export", full[:8], "-o", file, "--store", tmp_path / "other.sqlite")["cells"] == 3
    assert "3 cells" in toast("export", "--all", "-o", file, "--store", tmp_path / "other.sqlite")
    ship(monkeypatch, file)
    assert toast_json("ls")["analyses"][0]["source"] == str(file) == toast_json("show", full[:8])["source"]
    assert toast_json("verify")["sources"][0] == {"source": str(file), "cells": 3, "analyses": 1, "removed": 0, "problems": []}
    assert toast_json("import", file) == {
        "store": str(own), "cells": 3, "cells_present": 0, "analyses": 1, "analyses_present": 0, "damaged": 0,
    }
    assert "0 cells and 0 analyses added" in toast("import", file)
    assert {row["source"] for row in toast_json("ls")["analyses"]} == {str(own), str(file)}
    assert toast_json("show", full[:8])["source"] == str(own)
    file.write_bytes(file.read_bytes()[:-1])
    assert not toast_json("verify", status=1)["ok"]
    with pytest.raises(StoreError, match="truncated"):
        toast("import", file)


def test_merge_and_prune(own: Path, tmp_path: Path) -> None:
    full = filled(tmp_path / "other.sqlite")
    assert toast_json("merge", tmp_path / "other.sqlite")["cells"] == 3
    with EvidenceStore.open(own) as store:
        store.put(identity(9), summary(), outcomes())
    assert toast_json("prune", "--dry-run")["removed"] == [identity(9).key]
    assert "1 cells removed" in toast("prune")
    assert toast_json("prune", "--listed", "--older-than", 1)["removed"] == []
    assert len(toast_json("prune", "--forget", full[:8])["removed"]) == 3
    with pytest.raises(StoreError, match="every cell"):
        toast("prune", "--listed")


def test_a_terminal_gets_no_control_codes_from_a_bundle(own: Path) -> None:
    with EvidenceStore.open(own) as store:
        full = fill(store, 1, note="\x1b[31mred").id
        store.put(identity(1), {"\x1b[1mname": "\x1b[2Jgone", "mark": "[bold]up"}, {})
        analysis = store.get_analysis(full)
        store.put_analysis(type(analysis)({"a": 2}, "[red]label", (identity(1).key,), analysis.created_utc))
        other = store.list_analyses()
    for chosen in other:
        assert "\x1b" not in toast("show", chosen.id)
    assert "[red]label" in toast("ls") or "[red]" in toast("ls")


def test_fits_are_shown_and_removed(own: Path) -> None:
    shelf = Shelf.beside(None)
    shelf.put("0" * 64, b"content")
    shown = toast_json("fits")
    assert (shown["folder"], shown["fits"], shown["removed"]) == (str(shelf.folder), 1, 0)
    assert "1 fits" in toast("fits")
    assert toast_json("fits", "--remove")["removed"] == 1 and shelf.contents() == (0, 0)


NARROW_ROW = {
    "short_id": "0123456789abcdef", "label": "composition of vit_large_patch16_224.augreg_in21k, per_image, schedule 6bad8cd8",
    "cells": {"stored": 7, "listed": 649}, "created_utc": "2026-11-30T14:13:09Z", "finished_utc": None,
    "stale": "weights changed: sha256 aaaaaaaa… -> bbbbbbbb…",
}


class TestNarrow:
    """Terminals of 80 columns and fewer."""

    @pytest.mark.parametrize("width", [76, 80, 200])
    def test_a_label_is_whole_and_what_is_wrong_stands_below(self, width: int) -> None:
        lines = listed_lines([NARROW_ROW, NARROW_ROW | {"finished_utc": "2026-11-30T14:13:11Z", "stale": None}], width)
        assert max(map(len, lines)) <= width and [line[2:18] for line in lines if line[2] != " "] == [NARROW_ROW["short_id"]] * 2
        said = " ".join(" ".join(lines).split())
        both = f"{NARROW_ROW['label']} not finished stale: {NARROW_ROW['stale']}", NARROW_ROW["label"]
        start = "0123456789abcdef 7/649 2026-11-30"
        assert said == f"{start} {both[0]} {start} {both[1]}"

    @pytest.mark.parametrize("width", ["60", "80"])
    def test_cells_that_fit_no_table_are_written_one_below_the_other(self, own: Path, monkeypatch, width: str) -> None:
        monkeypatch.setenv("COLUMNS", width)
        shown = toast("show", filled(own)).partition("\ncells\n")[2]
        assert "block 2" in shown and max(map(len, shown.splitlines())) <= int(width) and "┃" not in shown
