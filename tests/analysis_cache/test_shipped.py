"""The bundles that come with the program: they cover both demo models, still describe the committed weights, and open without torch.

The machinery is tested on a small bundle too, so that it is known to work before one is shipped.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from analysis_cache.analysis import Analysis
from analysis_cache.exchange import export_bundle, import_bundle
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.replay import Replay, shipped_bundles
from analysis_cache.staleness import analysis_stale_reason, digest_of_weights
from analysis_cache.store import EvidenceStore
from tests.support.cells import TIME
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, SITE_GROUPS

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "toast_core" / "assets" / "fashion_mnist"
MODELS, BLOCKS, CLASSES = ("demo_vit", "demo_swin"), 12, 10
LEAST_IMAGES = 2000
FIRST_FIGURE = """
import json, sys, time
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "timm", "torchvision", "safetensors"):
            raise ImportError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())
begun = time.perf_counter()
from analysis_cache.replay import Replay
from dashboard.charts.sensitivity import sensitivity_heatmap
replay = Replay.open(sys.argv[1])
analysis = next(one for one in replay.analyses() if one.request["metric"] == "sensitivity")
rows = replay.rows(analysis.id)
figure = sensitivity_heatmap(rows, "fc2", "plotly_white")
grid = figure.data[0].z
shape = (len(grid), len(grid[0]))
json.loads(figure.to_json())
print(json.dumps({"seconds": time.perf_counter() - begun, "rows": len(rows), "grid": shape, "torch": "torch" in sys.modules}))
"""


def first_figure(bundle: Path) -> dict:
    """Open a bundle and build the first heat map in a process where importing torch raises; its size, and the seconds from no import on."""
    done = subprocess.run([sys.executable, "-c", FIRST_FIGURE, str(bundle)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def weights_of(model: str) -> Path:
    """A demo model's committed weights."""
    return ASSETS / f"{model}.safetensors"


def put_sweep(store: EvidenceStore, model: str, images: int = 40, mode: str = "exact") -> Analysis:
    """An analysis of a demo model with made-up outcomes in every cell and the weights as they are committed."""
    digest, dtype = digest_of_weights(weights_of(model), weights_of(model).stat().st_mtime_ns)
    random = np.random.default_rng(0)
    labels = np.arange(images, dtype=np.int32) % CLASSES

    def identity(kind: str, details: dict[str, object]) -> CellIdentity:
        return CellIdentity(
            kind, METRIC_VERSIONS[kind], model, digest, "b" * 64, images, "c" * 64, "28 x 28", None, None, "shuffled", 64, 0, dtype, "cpu",
            details,
        )

    cells = [(block, site, ratio) for block in range(BLOCKS) for site in SITE_GROUPS for ratio in DEFAULT_RATIOS]
    identities = {
        cell: identity("sensitivity", {"block": cell[0], "site": cell[1], "ratio": cell[2], "mode": mode}) for cell in cells
    }
    baseline = identity("evaluation", {"execution": "baseline"})
    request = {
        **baseline.to_dict(), "metric": "sensitivity", "mode": mode, "settings": {"seed": 0, "selection": "per_image"},
        "weights_file": weights_of(model).relative_to(ROOT / "toast_core").as_posix(), "cells": [list(cell) for cell in cells],
    }
    analysis = Analysis(request, f"{mode} sensitivity of {model}", (*(one.key for one in identities.values()), baseline.key), TIME, TIME)
    store.put_analysis(analysis)
    store.put(baseline, {"images": images}, {"label": labels, "predicted": labels})
    for (block, site, ratio), one in identities.items():
        delta = -ratio * (1 + block) / 4
        row = {
            "block": block, "site": site, "ratio": ratio, "top1": 90 + delta, "top1_delta": delta, "ci95": [delta - 0.4, delta + 0.4],
            "kl": -delta / 100, "images": images,
        }
        store.put(one, row, {"correct": random.random(images) < 0.9})
    return analysis


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a whole sweep of both demo models, made up, of forty images."""
    folder = tmp_path_factory.mktemp("small")
    with EvidenceStore.open(folder / "a.db") as store:
        for model in MODELS:
            put_sweep(store, model)
        export_bundle(store, folder / "small.toastbundle")
    return folder / "small.toastbundle"


@pytest.fixture(scope="module")
def shipped() -> Iterator[list[Replay]]:
    """Every shipped bundle, opened."""
    if not shipped_bundles():
        pytest.skip("no bundle in analysis_cache/shipped yet")
    replays = [Replay.open(path) for path in shipped_bundles()]
    yield replays
    for replay in replays:
        replay.close()


def lacks(replays: list[Replay], least_images: int) -> list[str]:
    """What keeps bundles from covering every demo model with an exact sweep on class-balanced images of today's weights."""
    found = []
    for model in MODELS:
        exact = [
            (replay, analysis) for replay in replays for analysis in replay.analyses()
            if analysis.request["model"] == model and (analysis.request["metric"], analysis.request.get("mode")) == ("sensitivity", "exact")
        ]
        if not exact:
            found.append(f"{model}: no exact sweep")
        for number, (replay, analysis) in enumerate(sorted(exact, key=lambda pair: -len(pair[1].cell_keys))):
            sites = {row["site"] for row in replay.rows(analysis.id)} if number else SITE_GROUPS
            wanted = {(block, site, ratio) for block in range(BLOCKS) for site in sites for ratio in DEFAULT_RATIOS}
            rows, baseline = replay.rows(analysis.id), replay.baseline(analysis.id)
            if {(row["block"], row["site"], row["ratio"]) for row in rows} != wanted or analysis.finished_utc is None:
                found.append(f"{model}: not every block, site and ratio")
            if baseline is None or {row["images"] for row in rows} != {baseline.identity.images}:
                found.append(f"{model}: no baseline on the images of the cells")
            else:
                labels = replay.outcomes(baseline.key)["label"]
                if len(labels) < least_images or np.ptp(np.bincount(labels, minlength=CLASSES)) > 1:
                    found.append(f"{model}: {len(labels)} images, {np.bincount(labels).tolist()} a class")
            if analysis.request.get("weights_file") != f"assets/fashion_mnist/{model}.safetensors":
                found.append(f"{model}: the request does not name the committed weights")
            reason = analysis_stale_reason(analysis, replay.heads(analysis.id))
            if reason is not None:
                found.append(f"{model}: stale, {reason}")
    return found


class TestShipped:
    def test_both_demo_models_are_covered(self, shipped: list[Replay]) -> None:
        assert lacks(shipped, LEAST_IMAGES) == []

    def test_redundancy_of_every_block_is_there(self, shipped: list[Replay]) -> None:
        for model in MODELS:
            rows = [
                row for replay in shipped for analysis in replay.analyses()
                if (analysis.request["model"], analysis.request["metric"]) == (model, "redundancy") for row in replay.rows(analysis.id)
            ]
            assert {(row["block"], row["site"]) for row in rows} == {(b, s) for b in range(BLOCKS) for s in ("hidden", "fc1_input")}

    def test_everything_is_finished_fresh_and_checksummed(self, shipped: list[Replay]) -> None:
        for replay in shipped:
            assert len(list(replay.source.checked_rows())) == len(replay.source.index) + len(replay.analyses())
            for analysis in replay.analyses():
                heads = replay.heads(analysis.id)
                assert analysis.finished_utc is not None and len(heads) == len(analysis.cell_keys)
                assert analysis_stale_reason(analysis, heads) is None
                digest, _ = digest_of_weights(weights_of(str(analysis.request["model"])), 0)
                assert {head.identity.weights_digest for head in heads} == {digest}

    def test_the_first_figure_needs_no_torch(self, shipped: list[Replay]) -> None:
        swept = [path for path in shipped_bundles() if any(one.request["metric"] == "sensitivity" for one in Replay.open(path).analyses())]
        assert len(swept) == 2
        for path in swept:
            report = first_figure(path)
            print(f"{path.name}: first figure after {report['seconds']:.2f} s, {path.stat().st_size} bytes")
            assert report["grid"] == [BLOCKS, len(DEFAULT_RATIOS)] and not report["torch"]

    def test_both_demos_have_tuned_schedules_with_their_accuracy_on_all_test_images(self, shipped: list[Replay]) -> None:
        found = [(one.request["metric"], one.request["model"], one.request["images"]) for replay in shipped for one in replay.analyses()]
        for model in MODELS:
            assert sum(one[:2] == ("tuning", model) for one in found) == 3
            assert sum(one == ("evaluation", model, 10_000) for one in found) == 4, "three schedules and the baseline"


class TestMachinery:
    """The checks above on a bundle made here."""

    def test_a_whole_sweep_of_both_models_lacks_nothing(self, small: Path) -> None:
        with closing(Replay.open(small)) as replay:
            assert lacks([replay], 40) == []
            assert [line for line in lacks([replay], 41) if "40 images" in line] == lacks([replay], 41) != []

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"weights_digest": "0" * 64}, "stale, weights changed: sha256 00000000"),
            ({"metric_version": 99}, f"stale, metric version 99 -> {METRIC_VERSIONS['sensitivity']}"),
        ],
    )
    def test_a_change_since_is_noticed(self, tmp_path: Path, change: dict[str, object], complaint: str) -> None:
        with EvidenceStore.open(tmp_path / "a.db") as store:
            analysis = put_sweep(store, "demo_vit")
            first = store.get(analysis.cell_keys[0])
            old = CellIdentity(**{name: getattr(first.identity, name) for name in first.identity.__dataclass_fields__} | change)
            store.put(old, first.summary, first.arrays)
            store.put_analysis(Analysis(analysis.request, analysis.label, (old.key, *analysis.cell_keys[1:]), TIME, TIME))
        with closing(Replay.open(tmp_path / "a.db")) as replay:
            assert any(complaint in line for line in lacks([replay], 40))

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        with EvidenceStore.open(tmp_path / "a.db") as store:
            analysis = put_sweep(store, "demo_vit")
            store.remove(analysis.cell_keys[:1])
            put_sweep(store, "demo_swin", mode="adaptive")
        with closing(Replay.open(tmp_path / "a.db")) as replay:
            assert lacks([replay], 40) == ["demo_vit: not every block, site and ratio", "demo_swin: no exact sweep"]

    def test_the_first_figure_needs_no_torch(self, small: Path) -> None:
        report = first_figure(small)
        print(f"first figure after {report['seconds']:.2f} s")
        assert report["grid"] == [BLOCKS, len(DEFAULT_RATIOS)] and report["rows"] == 648 and not report["torch"]

    def test_the_wall_can_fail(self, small: Path) -> None:
        code = FIRST_FIGURE.replace("replay = ", "import torch\nreplay = ", 1)
        done = subprocess.run([sys.executable, "-c", code, str(small)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode != 0 and "torch was imported" in done.stderr


def test_wheels_take_the_bundles_along() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folder = ROOT / "analysis_cache"
    matched = {path for pattern in data["analysis_cache"] for path in folder.glob(pattern)}
    assert "shipped/*.toastbundle" in data["analysis_cache"] and set(shipped_bundles()) <= matched


@pytest.mark.wide
def test_exports_are_equal_bytes_whatever_the_order_of_merging(tmp_path: Path) -> None:
    """Two machines' stores, merged either way round, exported by id in any order: one file, also once it was imported again."""
    for name in MODELS:
        with EvidenceStore.open(tmp_path / f"{name}.db") as store:
            put_sweep(store, name)
    ids, written = None, []
    for number, order in enumerate((MODELS, MODELS[::-1])):
        with EvidenceStore.open(tmp_path / f"merged-{number}.db") as store:
            for name in order:
                store.merge(tmp_path / f"{name}.db")
            ids = [analysis.id for analysis in store.list_analyses()]
            for turn, chosen in enumerate((None, ids, ids[::-1])):
                path = tmp_path / f"{number}-{turn}.toastbundle"
                export_bundle(store, path, chosen)
                written.append(path.read_bytes())
    with EvidenceStore.open(tmp_path / "again.db") as store:
        import_bundle(store, tmp_path / "0-0.toastbundle")
        export_bundle(store, tmp_path / "again.toastbundle")
        written.append((tmp_path / "again.toastbundle").read_bytes())
    assert len(ids) == 2 and len(set(written)) == 1
