"""What every store keeps, whatever database is behind it. A subclass gives `url`, an empty database."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import update

from analysis_cache import schema
from analysis_cache.errors import StoreError
from analysis_cache.exchange import export_bundle, import_bundle
from analysis_cache.replay import Replay
from analysis_cache.store import EvidenceStore
from analysis_cache.upkeep import Added
from tests.support.cells import TIME, fill, identity, outcomes, summary
from toast_core.version import code_version


class StoreContract:
    """Inherit, and give the fixtures `url` and `other_url`."""

    def test_a_cell_comes_back_as_it_was_put(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            assert store.put(identity(), summary(), outcomes())
        with EvidenceStore.open(url) as store:
            cell = store.get(identity().key)
        assert cell.identity == identity() and cell.summary == summary() and cell.key == identity().key
        assert all(np.array_equal(cell.arrays[name], array) for name, array in outcomes().items()) and set(cell.arrays) == set(outcomes())
        assert cell.row() == {"key": cell.key, "identity": identity().to_dict(), **identity().detail, **summary()}

    def test_a_cell_names_the_code_that_measured_it_whatever_a_release_called_itself(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [code_version(), "0.1.0", "unknown", "0.2.0+g1a2b3c4d5e.s0f9e8d7c6b", "2026.11 of a fork, \u00fc"]
        with EvidenceStore.open(url) as store:
            for number, name in enumerate(names):
                monkeypatch.setattr("analysis_cache.cell.code_version", lambda name=name: name)
                store.put(identity(number), summary(number), {})
            found = store.heads([identity(number).key for number in range(len(names))])
        assert [head.code_version for head in found] == names

    def test_putting_twice_keeps_the_first(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            assert store.put(identity(), summary(1), outcomes(1))
            assert not store.put(identity(), summary(2), outcomes(2))
            assert store.get(identity().key).summary == summary(1)
            assert store.verify().cells == 1

    def test_asking_for_many_keeps_the_order_and_leaves_out_what_is_missing(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            fill(store, 3)
            keys = [identity(number).key for number in (2, 9, 0)]
            assert store.has_many(keys) == {keys[0], keys[2]}
            assert [head.key for head in store.heads(keys)] == [keys[0], keys[2]]
            assert store.has_many([]) == set() and store.heads([]) == []
            with pytest.raises(StoreError, match="there is no cell"):
                store.get(keys[1])

    def test_an_analysis_is_replaced_by_one_of_the_same_request(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            analysis = fill(store, 3, finished=False)
            assert store.list_analyses() == [analysis] and store.get_analysis(analysis.id[:8]) == analysis
            store.put_analysis(analysis.finished(TIME))
            assert store.list_analyses() == [analysis.finished(TIME)]
            later = replace(analysis, request={"other": 1}, created_utc="2027-01-01T00:00:00Z")
            store.put_analysis(later)
            assert store.list_analyses() == [later, analysis.finished(TIME)]
            for prefix, message in (("ffff", "there is no"), ("", "too short")):
                with pytest.raises(StoreError, match=message):
                    store.get_analysis(prefix)

    def test_prune_removes_what_no_analysis_lists(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            analysis = fill(store, 4)
            store.put(identity(50), summary(), outcomes())
            assert store.prune(dry_run=True) == [identity(50).key] and store.prune(older_than_days=1) == []
            assert store.prune() == [identity(50).key] and store.prune() == []
            assert len(store.has_many(analysis.cell_keys)) == 4
            with pytest.raises(StoreError, match="every cell"):
                store.prune(keep_listed=False)
            with pytest.raises(StoreError, match="out of range"):
                store.prune(older_than_days=float("nan"))
            assert len(store.prune(forget=[analysis.id], dry_run=True)) == 4 and store.list_analyses() == [analysis]
            assert len(store.prune(forget=[analysis.id])) == 4 and store.list_analyses() == []

    def test_named_cells_can_be_removed(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            analysis = fill(store, 4)
            store.remove([*analysis.cell_keys[:2], identity(9).key])
            assert store.has_many(analysis.cell_keys) == set(analysis.cell_keys[2:])
            assert store.put(identity(0), summary(), outcomes()) and store.verify().ok

    def test_merge_takes_over_what_is_lacking(self, url: str, other_url: str) -> None:
        with EvidenceStore.open(url) as store, EvidenceStore.open(other_url) as other:
            fill(other, 4)
            fill(store, 4, finished=False)
            store.put(identity(9), summary(), outcomes())
            assert store.merge(other) == Added(cells=0, cells_present=4, analyses=1, analyses_present=0)
            assert store.list_analyses()[0].finished_utc == TIME
            assert other.merge(url) == Added(cells=1, cells_present=4, analyses=0, analyses_present=1)
            assert other.verify().ok and other.verify().cells == 5

    def test_a_bundle_carries_an_analysis_to_another_store(self, url: str, other_url: str, tmp_path) -> None:
        first, second = tmp_path / "first.toastbundle", tmp_path / "second.toastbundle"
        with EvidenceStore.open(url) as store, EvidenceStore.open(other_url) as other:
            analysis = fill(store, 6)
            assert export_bundle(store, first) == {"analyses": 1, "cells": 6, "extras": 0}
            assert import_bundle(other, first) == Added(cells=6, analyses=1)
            assert import_bundle(other, first) == Added(cells_present=6, analyses_present=1)
            export_bundle(other, second, [analysis.short_id])
            assert first.read_bytes() == second.read_bytes() and other.verify().ok

    def test_a_replay_sees_cells_as_they_arrive(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            analysis = fill(store, 3)
            wider = replace(analysis, request={"wider": 1}, cell_keys=(*analysis.cell_keys, identity(3).key))
            store.put_analysis(wider)
            replay = Replay.open(url)
            assert len(replay.rows(wider.id)) == 3
            store.put(identity(3), summary(3), outcomes(3))
            assert [row["ratio"] for row in replay.rows(wider.id)] == [0.0, 0.00001, 0.00002, 0.00003]
            assert np.array_equal(replay.outcomes(identity(3).key)["correct"], outcomes(3)["correct"]) and replay.extras() == {}
            with pytest.raises(StoreError, match="cannot be written"):
                replay.source.put(identity(4), summary(), outcomes())
            replay.close()

    def test_threads_share_a_store(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            new: list[bool] = []

            def write(first: int) -> None:
                new.extend([store.put(identity(number), summary(number), outcomes(number)) for number in range(first, first + 20)])

            threads = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(new) == 40 and len(new) == 60 and store.verify().ok

    def test_a_row_that_was_changed_is_named_and_can_be_removed(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            analysis = fill(store, 6)
            for number, change in enumerate(({"summary": "{}"}, {"arrays": b"x"}, {"checksum": "0"}, {"identity": identity(99).to_json()})):
                with store.database.write() as connection:
                    connection.execute(update(schema.CELLS).where(schema.CELLS.c.key == identity(number).key).values(**change))
            with store.database.write() as connection:
                connection.execute(update(schema.ANALYSES).values(label="another"))
            result = store.verify()
            assert (result.cells, result.analyses, len(result.problems), result.ok) == (6, 1, 5, False)
            assert {problem.key for problem in result.problems} == {analysis.id, *(identity(number).key for number in range(4))}
            with pytest.raises(StoreError, match=r"cell .* is damaged \(checksum mismatch\); run toast cache verify"):
                store.get(identity(0).key)
            with pytest.raises(StoreError, match="damaged"):
                store.get_analysis(analysis.id)
            with pytest.raises(StoreError, match="damaged analysis"):
                store.prune()
            assert store.list_analyses() == [] and len(store.heads(analysis.cell_keys)) == 3
            assert len(store.remove_corrupt()) == 5 and store.verify().ok and store.verify().cells == 2
            assert store.put(identity(0), summary(), outcomes())

    def test_a_newer_version_is_left_alone(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            fill(store, 1)
            with store.database.write() as connection:
                connection.execute(update(schema.SCHEMA).values(version=schema.VERSION + 1))
        for options in ({}, {"read_only": True}, {"create": False}):
            with pytest.raises(StoreError, match=f"has version {schema.VERSION + 1}, this program reads up to {schema.VERSION}"):
                EvidenceStore.open(url, **options)

    def test_an_older_version_is_brought_up_to_date_once(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with EvidenceStore.open(url) as store:
            fill(store, 2)
        from analysis_cache import database

        steps: list[int] = []
        for module in (schema, database):
            monkeypatch.setattr(module, "VERSION", 3)
        monkeypatch.setattr(schema, "MIGRATIONS", {1: lambda _: steps.append(1), 2: lambda _: steps.append(2)})
        with pytest.raises(StoreError, match="has version 1, not 3"):
            EvidenceStore.open(url, read_only=True)
        for _ in range(2):
            with EvidenceStore.open(url) as store:
                assert store.verify().cells == 2
        assert steps == [1, 2]

    def test_a_value_that_does_not_fit_stores_nothing(self, url: str) -> None:
        with EvidenceStore.open(url) as store:
            for figures, arrays in (({"kl": float("nan")}, {}), ({1: 1, "1": 1}, {}), ({}, {"a": np.array(["x"])}), ({"a": object()}, {})):
                with pytest.raises(StoreError):
                    store.put(identity(), figures, arrays)
            assert store.verify().cells == 0
