"""Settings of the whole suite: its tiers, few threads, no network, hypothesis without deadlines and with fixed examples.

A tier is what a test needs beyond a moment of one core. Whoever uses a fixture of FIXTURES needs what it gives and is marked here; `kill`,
`export` and `wide` cannot be seen from a fixture and are marked where the test stands. Without --all, and where neither -m nor a file is
named, tests of no tier run. Figures and how to choose a tier: docs/contributing.md.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as the product's own processes do
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads wait by spinning, and two workers have two cores
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that reaches for the network fails at once
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "toast-tests-no-cache")  # and finds no weights of the user's
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="toast-tests-")  # the user's own store and fits stay as they are

import pytest
import torch
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

TIERS = {
    "engine": "starts the engine's process, which loads torch, a model and images",
    "browser": "drives a Chromium",
    "ray": "runs workers on a Ray cluster",
    "kill": "kills processes at random moments, or fills a disk, again and again",
    "export": "writes programs with torch.export or ONNX, or compiles",
    "wide": "repeats on every family, name or whole demo model what others show on those that differ",
}
FIXTURES = {"real_engine": "engine", "chromium": "browser", "cluster": "ray"}
QUICK = f"not ({' or '.join(TIERS)})"

torch.set_num_threads(1)
for profile, examples in (("quick", 25), ("all", 200)):
    settings.register_profile(
        profile, deadline=None, derandomize=True, max_examples=examples, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --all."""
    parser.addoption("--all", action="store_true", help=f"run tests of every tier ({', '.join(TIERS)}), with 200 examples a property")


def pytest_configure(config: pytest.Config) -> None:
    """Register the tiers, choose the examples, and leave out the tiers unless they are asked for."""
    for name, need in TIERS.items():
        config.addinivalue_line("markers", f"{name}: {need}")
    settings.load_profile("all" if config.getoption("--all") else "quick")
    names_a_file = any(Path(word.partition("::")[0]).is_file() for word in config.args)
    if not (config.getoption("--all") or config.option.markexpr or names_a_file):
        config.option.markexpr = QUICK


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures, and put files with a tier first: they take longest, and no core should wait for the last one."""
    for item in items:
        for name in FIXTURES.keys() & set(item.fixturenames):
            item.add_marker(FIXTURES[name])
    slow = {item.path for item in items if any(item.get_closest_marker(name) for name in TIERS)}
    items.sort(key=lambda item: item.path not in slow)


class FilesInTurn(LoadFileScheduling):
    """One worker a file, since fixtures of a module are made once a process; and one for all that might start a Ray cluster."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "tests/executors" if file.startswith("tests/executors/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesInTurn | None:
    """What `-n` with `--dist loadfile` runs by."""
    return FilesInTurn(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Ambient randomness starts the same for every test, since no result may depend on it; and none leaves gradients switched off."""
    torch.manual_seed(1234)
    yield
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled(), "this test, or one before it, has switched gradients off"
