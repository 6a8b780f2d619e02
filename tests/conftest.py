"""Settings of the whole suite: few threads, no network, hypothesis without deadlines and with fixed examples."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as the product's own processes do
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that reaches for the network fails at once
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "toast-tests-no-cache")  # and finds no weights of the user's

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "toast", deadline=None, derandomize=True, max_examples=80, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("toast")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Ambient randomness starts the same for every test; no engine result may depend on it."""
    torch.manual_seed(1234)
