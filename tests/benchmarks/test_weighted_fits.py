"""Weighted fits: weights of one change nothing, a weight counts as that many tokens, and every token of a window has its own."""

import numpy as np
import pytest
import torch

from benchmarks.weighted_fits import WeightedSums, floored, token_effects, weighing, within_images
from tests.support.families import images_for, schedule_for, shared_model
from toast_core.compensation.plan import plan_on
from toast_core.compensation.regression import SplitSums
from toast_core.data.load import Batch
from toast_core.models.adapters import adapter_for
from toast_core.pruning.plan import Plan
from toast_core.schedule.compensation import FULL

NAMES = ("plain", "swin_padded_windows")


def batches_of(name: str) -> list[Batch]:
    """Two batches of the family's images."""
    images = [images_for(name, 4, seed=21), images_for(name, 3, seed=22)]
    return [Batch(own, torch.zeros(len(own)).long(), np.arange(len(own)) + 4 * place) for place, own in enumerate(images)]


def is_same(one: Plan, other: Plan) -> bool:
    """Whether two plans hold the same weights, to the bit."""
    return all(torch.equal(a.weights[key], b.weights[key]) for a, b in zip(one.blocks, other.blocks, strict=True) for key in a.weights)


@pytest.mark.parametrize("only_ranks", [False, True], ids=["all", "ranks"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_of_one_give_the_unweighted_plan(name: str, only_ranks: bool) -> None:
    model, batches = shared_model(name), batches_of(name)
    schedule = schedule_for(model, "calibrated", qk=0.5, vo=0.5, fc2=0.5, compensation=FULL)
    images = [batch.images for batch in batches]
    effects, plain = token_effects(model, batches), plan_on(model, schedule, images)
    with weighing({layer: [torch.ones_like(one) for one in own] for layer, own in effects.items()}, only_ranks):
        assert is_same(plan_on(model, schedule, images), plain)
    with weighing(floored(effects, 0.0), only_ranks):
        assert not is_same(plan_on(model, schedule, images), plain)
    assert is_same(plan_on(model, schedule, images), plain), "what was weighed is not let go of"


def test_a_weight_counts_as_so_many_tokens() -> None:
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 5, 3, generator=draw), torch.randn(2, 5, 2, generator=draw)
    weight, keep = torch.randint(0, 3, (2, 5), generator=draw), torch.rand(2, 5, generator=draw) > 0.2
    own = SplitSums.zeros(3, 2)
    found = WeightedSums(own.even, own.odd, iter([weight]))
    found.add(x, y, keep)
    for half, image in ((found.even, 0), (found.odd, 1)):
        repeated = SplitSums.zeros(3, 2).even
        times = weight[image] * keep[image]
        repeated.add(x[image].repeat_interleave(times, 0), y[image].repeat_interleave(times, 0))
        assert half.tokens == repeated.tokens
        for name in ("x", "y", "xx", "xy", "yy"):
            torch.testing.assert_close(getattr(half, name), getattr(repeated, name))


@pytest.mark.parametrize("name", NAMES)
def test_effects_have_a_mean_of_one_and_windows_hold_those_of_their_tokens(name: str) -> None:
    model, batches = shared_model(name), batches_of(name)
    effects, adapter = token_effects(model, batches), adapter_for(model)
    stream = adapter.before_block(model, 0, adapter.embed(model, batches[0].images))
    parts = adapter.parts(adapter.blocks(model)[0])
    own = effects[parts.proj]
    if parts.windows is not None:
        assert own[0].shape[1] > stream[..., 0].flatten(1).shape[1], "the family has padded tokens"
        assert float(sum(one.sum() for one in own)) == pytest.approx(7 * stream[0, ..., 0].numel()), "a padded token weighs nothing"
        windows = parts.windows.split(stream)
        joined = parts.windows.join(own[0].reshape(*windows.shape[:-1], 1), stream)
        assert float(joined.sum()) == pytest.approx(float(own[0].sum()))
    assert float(torch.cat(effects[parts.fc2]).mean()) == pytest.approx(1)
    alike = within_images(effects)[parts.proj]
    for one in torch.cat([one.sum(1) for one in alike]):
        assert float(one) == pytest.approx(stream[0, ..., 0].numel()), "every image counts alike"
    assert effects[parts.fc2][0].shape == stream[..., 0].flatten(1).shape
