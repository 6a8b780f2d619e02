"""What the tests of studies share."""

from pathlib import Path

import pytest

from tests.support.families import tiny_demo
from tests.support.runs import TINY, tiny_workbench
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.workbench import Workbench


@pytest.fixture(autouse=True)
def named_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that a test runs in its own process find the tiny model by its name, as they find a demo."""
    monkeypatch.setitem(DEMO_BUILDERS, TINY, tiny_demo)


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    """A tiny model with random weights and a store of its own."""
    return tiny_workbench(tmp_path)
