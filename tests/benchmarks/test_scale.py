"""docs/scale.md says what benchmarks/results/scale.json holds, and that file's derivation is what the code makes of its slopes."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "scale.json"


@pytest.fixture(scope="module")
def model() -> ModuleType:
    """benchmarks/scale_model.py."""
    spec = importlib.util.spec_from_file_location("scale_model", ROOT / "benchmarks" / "scale_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results() -> dict:
    """What was measured, fitted and derived."""
    return json.loads(RESULTS.read_text())


def test_the_document_is_written_from_the_results(model: ModuleType, results: dict) -> None:
    text = model.DOCUMENT.read_text()
    assert model.placed(text, model.tables(results)) == text, "run python benchmarks/scale.py --write"
    changed = {**results, "fits": {**results["fits"], "images": {**results["fits"]["images"], "slope": 9.0}}}
    assert model.placed(text, model.tables(changed)) != text


def test_every_place_has_a_table(model: ModuleType, results: dict) -> None:
    assert model.DOCUMENT.read_text().count("<!-- scale:") == len(model.tables(results))
    with pytest.raises(SystemExit, match=r"scale\.md has 0 places for the table lost"):
        model.placed(model.DOCUMENT.read_text(), {"lost": ""})


def test_the_derivation_follows_from_the_slopes(model: ModuleType, results: dict) -> None:
    assert json.loads(json.dumps(model.derive(results["fits"]))) == results["derived"]
    assert model.check(results["fits"], results["measured"]["check"]) == results["check"]


def test_cost_is_linear_in_images_cells_and_the_suffix(results: dict) -> None:
    assert all(results["fits"][name]["r2"] > 0.9 for name in ("images", "cells", "suffix_blocks"))


def test_what_the_prose_concludes_holds(results: dict) -> None:
    derived = results["derived"]
    ceilings, (one, *_, many) = derived["ceilings"], derived["rows"]
    assert ceilings["evaluation_gpus"] < ceilings["redundancy_gpus"] < ceilings["sweep_gpus"]
    assert many["gpus"] > ceilings["redundancy_gpus"] and many["redundancy_s"] > derived["rows"][1]["redundancy_s"]
    assert many["gpus"] < ceilings["sweep_gpus"] and one["sweep_s"] / many["sweep_s"] > 0.8 * many["gpus"]
    assert derived["sweep"]["worker_bytes"] > 8e9, "the default of --memory-gb"
    assert derived["sweep"]["decode_share"] < 0.01 < ceilings["evaluation_decoding_share"]
