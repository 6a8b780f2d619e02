"""Streaming sums: what they say equals what stored activations say, however the tokens came in."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toast_core.studies.redundancy import moments as module
from toast_core.studies.redundancy.moments import BINS, Moments, SplitMoments, edge_at_or_below, float32_at_or_below
from toast_core.studies.redundancy.result import ABSOLUTE_THRESHOLDS

SMALLEST_EXACT = 9.183e-41  # the first bin's upper end


def tokens(count: int = 300, channels: int = 12, seed: int = 5) -> torch.Tensor:
    """Correlated activations over many octaves, some exactly zero, with means far from zero."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, channels, generator=generator) @ torch.randn(channels, channels, generator=generator)
    spread = mixed * torch.logspace(-4, 1, channels) + torch.linspace(-3, 3, channels)
    return torch.where(torch.rand(count, channels, generator=generator) < 0.1, 0.0, spread)


def accumulated(*parts: torch.Tensor) -> Moments:
    """Moments of several token tensors, added one after another."""
    moments = Moments.zeros(parts[0].shape[-1])
    for part in parts:
        moments.add(part)
    return moments


def assert_equal_sums(first: Moments, second: Moments, rel: float) -> None:
    """Float sums agree relative to their largest entry, counts exactly."""
    for f in fields(Moments):
        a, b = getattr(first, f.name), getattr(second, f.name)
        if isinstance(a, torch.Tensor) and a.is_floating_point():
            assert (a - b).abs().max() <= rel * b.abs().max(), f.name
        else:
            assert bool(torch.as_tensor(a == b).all()), f.name


def test_every_sum_equals_the_plain_float64_one() -> None:
    x = tokens()
    moments, plain = accumulated(x), x.double().numpy()
    assert moments.tokens == 300
    assert np.allclose(moments.total, plain.sum(0), rtol=1e-12)
    assert np.allclose(moments.gram, plain.T @ plain, rtol=1e-12)
    assert np.allclose(moments.abs_total, np.abs(plain).sum(0), rtol=1e-12)
    assert moments.rms == pytest.approx(np.sqrt(np.mean(plain**2)), rel=1e-12)
    assert np.allclose(moments.mean, plain.mean(0), rtol=1e-12)
    assert np.allclose(moments.covariance(), np.cov(plain.T, bias=True), rtol=1e-10, atol=1e-14)
    assert moments.below.tolist() == [int((np.abs(plain) <= tau).sum()) for tau in ABSOLUTE_THRESHOLDS.values()]
    assert int(moments.histogram.sum()) == plain.size


def test_a_reordered_covariance_follows_the_order() -> None:
    moments, order = accumulated(tokens()), torch.randperm(12)
    assert torch.allclose(moments.covariance(order), moments.covariance()[order][:, order], rtol=1e-12, atol=1e-15)


def test_variances_survive_means_a_thousand_times_larger() -> None:
    x = tokens() + 1000
    expected = np.cov(x.double().numpy().T, bias=True)
    assert np.abs(accumulated(x).covariance().numpy() - expected).max() <= 1e-8 * np.abs(expected).max()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_adding_in_parts_or_merging_parts_is_adding_at_once(sizes: list[int]) -> None:
    parts = tokens(sum(sizes)).split(sizes)
    whole, merged = accumulated(torch.cat(parts)), accumulated(parts[0])
    for part in parts[1:]:
        merged = merged.merge(accumulated(part))
    assert_equal_sums(accumulated(*parts), whole, 1e-12)
    assert_equal_sums(merged, whole, 1e-12)


def test_merging_leaves_both_sides_alone() -> None:
    first, second = accumulated(tokens(seed=1)), accumulated(tokens(seed=2))
    before = first.gram.clone()
    first.merge(second).add(tokens(seed=3))
    assert first.tokens == second.tokens == 300
    assert torch.equal(first.gram, before)


def test_more_tokens_than_one_chunk_change_nothing() -> None:
    x = tokens(5000)
    assert_equal_sums(accumulated(x), accumulated(*x.split(700)), 1e-12)


def test_a_device_without_float64_loses_little(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tokens(1000)
    exact = accumulated(x)
    monkeypatch.setattr(module, "_WITHOUT_FLOAT64", ("cpu",))
    narrow = accumulated(x)
    assert narrow.gram.dtype == torch.float64
    assert not torch.equal(narrow.gram, exact.gram)
    assert_equal_sums(narrow, exact, 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes_count_exactly(dtype: torch.dtype) -> None:
    x = tokens().to(dtype)
    plain, moments = x.double().numpy(), accumulated(x)
    assert np.allclose(moments.gram, plain.T @ plain, rtol=1e-12)
    edge = edge_at_or_below(0.37)
    assert moments.fraction_below(edge) == np.mean(np.abs(plain) <= edge.tau)


@given(st.floats(1e-30, 1e30), st.integers(0, 50))
def test_the_histogram_counts_exactly_at_its_thresholds(value: float, seed: int) -> None:
    edge = edge_at_or_below(value)
    assert value * 2 ** (-1 / 60) < edge.tau <= value
    # the threshold itself is inside, the next float above it is not
    at = np.float32(edge.tau)
    x = torch.tensor([[at, -at, np.nextafter(at, np.float32(np.inf))]]) if np.isfinite(at) else torch.zeros(1, 3)
    assert accumulated(x).fraction_below(edge) == 2 / 3
    many = tokens(50, seed=seed) * value
    assert accumulated(many).fraction_below(edge) == (many.abs().double() <= edge.tau).double().mean().item()


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-300])
def test_thresholds_below_every_normal_number_share_the_first_bin(value: float) -> None:
    edge = edge_at_or_below(value)
    assert edge.bins == 1
    assert edge.tau == pytest.approx(SMALLEST_EXACT, rel=1e-3)


def test_thresholds_are_those_of_real_arithmetic() -> None:
    assert float(np.float32(1e-3)) > 1e-3 > float32_at_or_below(1e-3)
    x = torch.full((1, 1), 1e-3)
    assert accumulated(x).below.tolist() == [1, 0]
    assert float32_at_or_below(0.5) == 0.5


def test_infinite_and_missing_values_are_noticed() -> None:
    for bad in (torch.inf, torch.nan):
        x = tokens()
        x[3, 4] = bad
        moments = accumulated(x)
        assert not moments.finite
        assert len(moments.histogram) == BINS
    assert accumulated(tokens()).finite


def test_halves_merge_apart() -> None:
    first, second = SplitMoments.zeros(12), SplitMoments.zeros(12)
    for shard, seed in ((first, 1), (second, 3)):
        shard.even.add(tokens(seed=seed))
        shard.odd.add(tokens(seed=seed + 1))
    both = first.merge(second)
    assert_equal_sums(both.even, accumulated(tokens(seed=1), tokens(seed=3)), 1e-12)
    assert_equal_sums(both.odd, accumulated(tokens(seed=2), tokens(seed=4)), 1e-12)
    assert_equal_sums(both.whole(), accumulated(*(tokens(seed=seed) for seed in (1, 2, 3, 4))), 1e-12)
