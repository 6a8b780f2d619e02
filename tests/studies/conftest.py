"""What the tests of studies share."""

import pytest
import torch

from toast_core.models.build import load_baseline


@pytest.fixture(scope="session")
def model() -> torch.nn.Module:
    """The demo with random weights, which no run changes."""
    return load_baseline("demo_vit", "random")
