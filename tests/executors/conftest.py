"""A Ray cluster of two nodes on this machine, one core each, shared by the tests that need one."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a two-node cluster."""
    pytest.importorskip("ray")
    from toast_core.executors.connecting import prepare_environment

    prepare_environment(None)
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    yield nodes.address
    nodes.shutdown()
