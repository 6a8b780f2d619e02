"""torch.compile takes a calibrated compact model as one graph: nothing in its forward looks at values, or at what Python alone knows."""

from collections.abc import Iterator

import pytest
import torch

from tests.support.families import EVERY_SITE, images_for, relative_error, schedule_for, shared_model, shared_statistics
from tests.support.tiers import over
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """Each test compiles for itself: what others compiled counts against the limit of recompilations."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@over("name", ["plain", "everything", "siglip", "dinov2_registers", "swin", "swin_odd_grid"], always=("everything",))
def test_a_calibrated_compact_model_is_one_graph(name: str) -> None:
    model, x, graphs = shared_model(name), images_for(name, 2), []

    def keep(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    compact = apply_plan(model, make_plan(model, schedule_for(model, "calibrated", **EVERY_SITE), shared_statistics(name)))
    compiled = torch.compile(compact, backend=keep, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        assert relative_error(compiled(x), compact(x)) < 1e-5
    assert len(graphs) == 1
