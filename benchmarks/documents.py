"""Writes the generated parts of README.md and docs/: every figure there comes from benchmarks/results/ or a shipped analysis.

    python -m benchmarks.documents [--write]

Says which documents would change, or with --write puts each part between its markers. docs/scale.md has a writer of its own,
benchmarks/scale.py, and docs/cli.md and docs/python.md are written whole by docs/make_reference.py.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from analysis_cache.errors import StoreError
from analysis_cache.replay import shipped_bundles
from benchmarks.findings import evidence_of, findings_part
from benchmarks.prediction_part import prediction_part, sketch_part
from benchmarks.recovery_part import choice_part, recovery_part
from benchmarks.result_parts import accuracy_part, adaptive_part, desk_part, export_part, latency_part, speed_part, sweep_part
from benchmarks.training_free_part import headline_part, training_free_part
from benchmarks.weighted_part import weighted_part
from toast_core.files import write_text

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def result(name: str) -> dict:
    """What a benchmark wrote to benchmarks/results/NAME.json."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def results_of_demos(name: str) -> list[tuple[str, dict]]:
    """(model, what a benchmark wrote about it) for every demo model, demo_vit first."""
    paths = sorted(RESULTS.glob(f"{name}_demo_*.json"), reverse=True)
    return [(path.stem.removeprefix(f"{name}_"), result(path.stem)) for path in paths]


def training_free() -> list[dict]:
    """What benchmarks/training_free.py wrote, model by model."""
    return [found for _, found in results_of_demos("training_free")]


DOCUMENTS: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    ROOT / "README.md": {"headline": lambda: headline_part(training_free())},
    ROOT / "docs" / "results.md": {
        "accuracy": lambda: accuracy_part(result("demo_accuracy")),
        "training-free": lambda: training_free_part(training_free()),
        "weighted-fits": lambda: weighted_part(results_of_demos("weighted_fits")),
        "recovery-choice": lambda: choice_part(results_of_demos("recovery_choice")),
        "recovery": lambda: recovery_part(results_of_demos("recovery")),
        "latency": lambda: latency_part(result("latency_table")),
        "speed": lambda: speed_part(result("compact_cpu")),
        "desk": lambda: desk_part(result("desk"), result("desk_stress")),
        "sweep": lambda: sweep_part(result("sweep")),
        "sketch": lambda: sketch_part(result("sketch")),
        "predictions": lambda: prediction_part(results_of_demos("predictions")),
        "adaptive": lambda: adaptive_part(results_of_demos("adaptive")),
    },
    ROOT / "docs" / "exports.md": {"exports": lambda: export_part(result("exports"))},
    ROOT / "docs" / "findings.md": {"findings": lambda: findings_part(evidence_of(shipped_bundles()))},
}


def replaced(text: str, name: str, part: str) -> str:
    """The text with another part between its markers.

    Raises:
        StoreError: the markers are missing.
    """
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise StoreError(f"there is no place for {name}; write {start.strip()} and {end} on lines of their own")
    return f"{before}{start}\n{part}\n\n{end}{after}"


def generated(path: Path) -> str:
    """What the text of one of `DOCUMENTS` would be if its parts were written now.

    Raises:
        StoreError: no bundle is shipped, or markers are missing.
    """
    text = path.read_text(encoding="utf-8")
    for name, part in DOCUMENTS[path].items():
        text = replaced(text, name, part())
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the parts into the documents")
    arguments = parser.parse_args()
    try:
        for path in DOCUMENTS:
            text = generated(path)
            if text == path.read_text(encoding="utf-8"):
                continue
            print(f"{path.relative_to(ROOT)} {'written' if arguments.write else 'would change; write it with --write'}")
            if arguments.write:
                write_text(path, text)
    except StoreError as error:
        sys.exit(f"documents: {error}")
