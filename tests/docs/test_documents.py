"""What stands between the markers of README.md and docs/ is what benchmarks/documents.py would write now."""

from pathlib import Path

import pytest

from analysis_cache.errors import StoreError
from benchmarks import documents


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=lambda path: path.name)
def test_their_figures_are_those_of_the_results(path: Path) -> None:
    assert documents.generated(path) == path.read_text(encoding="utf-8"), "run python -m benchmarks.documents --write"


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=lambda path: path.name)
def test_every_marker_has_a_writer(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count(":start -->") == len(documents.DOCUMENTS[path])


def test_no_place_is_refused() -> None:
    with pytest.raises(StoreError, match=r"there is no place for x; write <!-- x:start --> and <!-- x:end -->"):
        documents.replaced("text <!-- x:end -->", "x", "part")


def test_a_part_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- x:start -->\nold\n<!-- x:end -->\nb\n"
    new = documents.replaced(text, "x", "new")
    assert new == "a\n<!-- x:start -->\n\nnew\n\n<!-- x:end -->\nb\n" and documents.replaced(new, "x", "new") == new


def test_the_demos_come_in_one_order() -> None:
    assert [name for name, _ in documents.results_of_demos("recovery")] == ["demo_vit", "demo_swin"]
