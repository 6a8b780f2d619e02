"""A linear layer whose output rows begin at cache lines gives what F.linear gives, and leaves the way to gradients and compilers open."""

import pytest
import torch
from torch.nn import functional as F

from tests.support.families import relative_error
from toast_core.pruning.execution.linear import SpacedLinear, spaced_linear


@pytest.mark.parametrize("width", [128, 129, 153, 614])
@pytest.mark.parametrize("lead", [(5,), (2, 5), (2, 3, 5)])
def test_it_is_a_linear_layer(width: int, lead: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=generator) for size in ((*lead, 7), (width, 7), (width,)))
    with torch.inference_mode():
        found = spaced_linear(x, weight, bias)
    assert found.shape == (*lead, width)
    assert found.stride(-2) % 16 == 0
    assert relative_error(found, F.linear(x, weight, bias)) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_left_alone(dtype: torch.dtype) -> None:
    layer, x = SpacedLinear(4, 130).to(dtype), torch.ones(2, 4, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_gradients_flow() -> None:
    layer, x = SpacedLinear(4, 130), torch.ones(2, 4)
    layer(x).sum().backward()
    assert torch.equal(layer.weight.grad, torch.full((130, 4), 2.0))


def test_no_bias() -> None:
    layer, x = SpacedLinear(4, 130, bias=False), torch.ones(2, 4)
    with torch.inference_mode():
        assert torch.equal(layer(x), F.linear(x, layer.weight))
