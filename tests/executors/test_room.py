"""A cluster that has less than was asked for says so in one line."""

import pytest

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray

from toast_core.errors import ExecutorError  # noqa: E402 - not without Ray
from toast_core.executors import open_executor  # noqa: E402


def test_gpus_that_are_not_there(cluster: str) -> None:
    with pytest.raises(ExecutorError, match=f"8 workers need a GPU each, but the Ray cluster at {cluster} has 0 GPUs; use --dev"):
        open_executor(f"ray:{cluster}", "cuda", 8)


def test_cores_that_are_not_there(cluster: str) -> None:
    with pytest.raises(ExecutorError, match=r"3 workers need a core each, but .* has 2 cores; ask for at most 2 with --workers"):
        open_executor(f"ray:{cluster}", "cpu", 3)


def test_a_device_that_ray_does_not_hand_out(cluster: str) -> None:
    with pytest.raises(ExecutorError, match="device 'cuda:1' is none that Ray workers can be asked for; choose from auto, cpu, cuda"):
        open_executor(f"ray:{cluster}", "cuda:1")


def test_a_refused_request_leaves_no_connection(cluster: str) -> None:
    with pytest.raises(ExecutorError):
        open_executor(f"ray:{cluster}", "cpu", 3)
    assert not ray.is_initialized()
