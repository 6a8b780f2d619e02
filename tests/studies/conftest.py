"""What the tests of studies share."""

from pathlib import Path

import pytest

from tests.support.runs import demo_workbench
from toast_core.workbench import Workbench


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    """The demo with random weights and a store of its own."""
    return demo_workbench(tmp_path)
