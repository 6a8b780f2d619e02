"""Closed-form fits against direct solvers: least squares by lstsq, subspaces by search, orders by brute force."""

from itertools import combinations

import pytest
import torch

from toast_core.compensation.choice import rank_by_reconstruction
from toast_core.compensation.regression import RIDGES, SplitSums, Sums, fit_held_out, fit_toward, squared_error, with_best_bias
from toast_core.compensation.subspaces import query_key_maps, value_output_maps


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal values, float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def correlated(tokens: int, channels: int, seed: int = 0) -> torch.Tensor:
    """Tokens whose channels follow from each other, with means."""
    return noise(tokens, channels, seed=seed) @ noise(channels, channels, seed=seed + 1) + noise(channels, seed=seed + 2)


def sums_of(x: torch.Tensor, y: torch.Tensor) -> Sums:
    """The sums of given tokens."""
    sums = Sums.zeros(x.shape[1], y.shape[1])
    sums.add(x, y)
    return sums


class TestRegression:
    @pytest.mark.parametrize("with_bias", [True, False])
    @pytest.mark.parametrize("ridge", RIDGES)
    def test_it_minimises_the_ridge_objective(self, with_bias: bool, ridge: float) -> None:
        """lstsq on the same problem written out: rows of tokens, and rows that hold the weight near the prior."""
        x, prior = correlated(60, 5), noise(3, 5, seed=9)
        y = x @ noise(5, 3, seed=4) + noise(60, 3, seed=5)
        fit = fit_toward(sums_of(x, y), prior, ridge, with_bias)
        xc, yc = (x - x.mean(0), y - y.mean(0)) if with_bias else (x, y)
        scale = (ridge * xc.square().mean(0).mean() * len(x)).sqrt()
        rows, targets = torch.cat([xc, scale * torch.eye(5, dtype=torch.float64)]), torch.cat([yc, scale * prior.T])
        direct = torch.linalg.lstsq(rows, targets, driver="gelsd").solution.T
        assert torch.allclose(fit.weight, direct, atol=1e-8)
        assert (fit.bias is not None) == with_bias
        if with_bias:
            assert torch.allclose(fit.bias, (y - x @ direct.T).mean(0), atol=1e-8)

    def test_the_error_is_the_tokens_own(self) -> None:
        x, y = correlated(30, 4), noise(30, 2, seed=3)
        fit = fit_toward(sums_of(x, y), noise(2, 4, seed=6), 1e-2, True)
        assert squared_error(sums_of(x, y), fit) == pytest.approx(float((y - x @ fit.weight.T - fit.bias).square().sum(1).mean()))

    @pytest.mark.parametrize("ridge", RIDGES)
    def test_no_ridge_errs_more_than_the_prior(self, ridge: float) -> None:
        x, y = correlated(40, 6), noise(40, 2, seed=3)
        sums, prior = sums_of(x, y), noise(2, 6, seed=8)
        assert squared_error(sums, fit_toward(sums, prior, ridge, True)) <= squared_error(sums, with_best_bias(sums, prior, True)) + 1e-9

    def test_a_prior_that_cannot_be_beaten_is_kept(self) -> None:
        x = correlated(20, 8)
        truth = noise(2, 8, seed=3)
        even, odd = (sums_of(part, part @ truth.T) for part in (x[::2], x[1::2]))
        fit = fit_held_out(even, odd, truth, True)
        assert fit.ridge is None
        assert torch.equal(fit.weight, truth)

    def test_few_noisy_tokens_are_not_followed(self) -> None:
        """Where a fit to 12 tokens of pure noise would be wild, the held-out half holds it near the prior."""
        x, prior = noise(12, 10, seed=1), torch.zeros(2, 10, dtype=torch.float64)
        even, odd = (sums_of(part, noise(6, 2, seed=seed)) for seed, part in enumerate((x[::2], x[1::2])))
        wild = fit_toward(even.merge(odd), prior, 1e-6, True).weight.norm()
        assert fit_held_out(even, odd, prior, True).weight.norm() < 0.5 * wild

    def test_dead_inputs_leave_the_prior(self) -> None:
        sums, prior = sums_of(torch.zeros(10, 3, dtype=torch.float64), noise(10, 2)), noise(2, 3, seed=2)
        assert torch.equal(fit_toward(sums, prior, 1e-3, True).weight, prior)

    def test_halves_are_every_second_image_and_masks_leave_tokens_out(self) -> None:
        halves, x, y = SplitSums.zeros(2, 1), noise(3, 4, 2), noise(3, 4, 1, seed=1)
        keep = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
        halves.add(x, y, keep)
        assert (halves.even.tokens, halves.odd.tokens, halves.whole().tokens) == (4, 2, 6)
        assert torch.allclose(halves.odd.x, x[1, [0, 2]].sum(0))

    def test_mapped_sums_are_those_of_mapped_inputs(self) -> None:
        x, y, encoder = correlated(20, 4), noise(20, 3, seed=2), noise(2, 4, seed=7)
        mapped, direct = sums_of(x, y).mapped(encoder), sums_of(x @ encoder.T, y)
        assert all(torch.allclose(getattr(mapped, name), getattr(direct, name)) for name in ("x", "y", "xx", "xy", "yy"))


class TestFold:
    @pytest.mark.parametrize("keep", [1, 3, 5])
    def test_what_is_folded_is_the_best_linear_stand_in(self, keep: int) -> None:
        """The exact fold (no ridge) reaches the error of regressing the whole output on the kept units by lstsq."""
        hidden, weight = correlated(200, 6), noise(4, 6, seed=5)
        out, idx = hidden @ weight.T, torch.arange(keep)
        fit = fit_toward(sums_of(hidden, out).kept(idx), weight[:, idx], 1e-12, True)
        design = torch.cat([hidden[:, :keep], torch.ones(200, 1, dtype=torch.float64)], 1)
        residual = out - design @ torch.linalg.lstsq(design, out, driver="gelsd").solution
        assert squared_error(sums_of(hidden[:, :keep], out), fit) == pytest.approx(float(residual.square().sum(1).mean()), rel=1e-5)

    @pytest.mark.parametrize("seed", range(6))
    def test_the_first_unit_is_the_best_of_all_and_each_next_the_best_to_add(self, seed: int) -> None:
        hidden, weight = correlated(100, 6, seed=10 * seed), noise(3, 6, seed=seed + 50)
        covariance = torch.cov(hidden.T, correction=0)

        def left(kept: list[int]) -> float:
            inverse = torch.linalg.pinv(covariance[kept][:, kept])
            rest = covariance - covariance[:, kept] @ inverse @ covariance[kept]
            return float((weight @ rest @ weight.T).trace())

        order = rank_by_reconstruction(covariance, weight).tolist()
        assert sorted(order) == list(range(6))
        for count in range(1, 5):
            best = min(left([*order[: count - 1], other]) for other in range(6) if other not in order[: count - 1])
            assert left(order[:count]) == pytest.approx(best, rel=1e-6, abs=1e-9)

    def test_the_greedy_set_is_near_the_best_set_and_beats_magnitude(self) -> None:
        shares, magnitudes = [], []
        for seed in range(20):
            hidden, weight = correlated(100, 6, seed=7 * seed), noise(3, 6, seed=seed)
            covariance = torch.cov(hidden.T, correction=0)

            def left(kept: list[int], covariance: torch.Tensor = covariance, weight: torch.Tensor = weight) -> float:
                rest = covariance - covariance[:, kept] @ torch.linalg.inv(covariance[kept][:, kept]) @ covariance[kept]
                return float((weight @ rest @ weight.T).trace())

            greedy = left(rank_by_reconstruction(covariance, weight)[:3].tolist())
            shares.append(greedy / min(left(list(kept)) for kept in combinations(range(6), 3)))
            magnitudes.append(left(hidden.abs().mean(0).argsort(descending=True)[:3].tolist()) / greedy)
        assert sum(shares) / len(shares) < 1.6
        assert sum(magnitudes) / len(magnitudes) > 1.5

    def test_a_copied_unit_comes_last(self) -> None:
        hidden = noise(100, 4)
        hidden[:, 3] = 2 * hidden[:, 1]
        order = rank_by_reconstruction(torch.cov(hidden.T, correction=0), torch.eye(4, dtype=torch.float64)).tolist()
        assert order[-1] in (1, 3), "either says all of the other"


class TestSubspaces:
    @pytest.mark.parametrize("keep", [1, 2, 3, 4])
    def test_query_key_maps_reach_the_optimum(self, keep: int) -> None:
        """Eckart and Young: the squared error is the sum of the singular values left out, of root_q root_k."""
        q, k = correlated(300, 4), correlated(300, 4, seed=20)
        k = k - k.mean(0)
        moments = q.T @ q / 300, k.T @ k / 300
        a, b = query_key_maps(*moments, keep)
        assert a.shape == b.shape == (keep, 4)
        rest = torch.eye(4, dtype=torch.float64) - a.T @ b
        error = (moments[0] @ rest @ moments[1] @ rest.T).trace()
        squares = torch.linalg.eigvals(moments[0] @ moments[1]).real.sort(descending=True).values
        assert float(error) == pytest.approx(float(squares[keep:].sum()), rel=1e-6, abs=1e-8)
        over_pairs = (((q @ rest) @ k.T) ** 2).mean()
        assert float(error) == pytest.approx(float(over_pairs), rel=1e-9, abs=1e-8)

    @pytest.mark.parametrize("keep", [1, 2, 3])
    def test_no_search_beats_the_query_key_maps(self, keep: int) -> None:
        q, k = correlated(200, 4, seed=3), correlated(200, 4, seed=33)
        moments = q.T @ q / 200, torch.cov(k.T, correction=0)

        def error(a: torch.Tensor, b: torch.Tensor) -> float:
            rest = torch.eye(4, dtype=torch.float64) - a.T @ b
            return float((moments[0] @ rest @ moments[1] @ rest.T).trace())

        a, b = query_key_maps(*moments, keep)
        best = error(a, b)
        for seed in range(50):
            assert best <= error(a + 0.05 * noise(keep, 4, seed=seed), b + 0.05 * noise(keep, 4, seed=seed + 99)) + 1e-12
        for kept in combinations(range(4), keep):
            chosen = torch.eye(4, dtype=torch.float64)[list(kept)]
            assert best <= error(chosen, chosen) + 1e-12, "a selection is one of the projections"

    @pytest.mark.parametrize("keep", [1, 2, 3, 4])
    def test_value_output_maps_reach_the_optimum(self, keep: int) -> None:
        """The best rank-k map of u to W_O u leaves the smaller singular values of W_O S^(1/2) (Eckart and Young)."""
        output, u = noise(6, 4, seed=2), correlated(200, 4, seed=8)
        mixed = u.T @ u / 200
        encoder, decoder = value_output_maps(output, mixed, keep)
        error = (u @ (output - decoder @ encoder).T).square().sum(1).mean()
        root = torch.linalg.cholesky(mixed)
        assert float(error) == pytest.approx(float(torch.linalg.svdvals(output @ root)[keep:].square().sum()), rel=1e-6, abs=1e-8)

    def test_a_dead_dimension_costs_nothing(self) -> None:
        output, u = noise(6, 4, seed=2), correlated(200, 4, seed=8)
        u[:, 2] = 0
        encoder, decoder = value_output_maps(output, u.T @ u / 200, 3)
        assert torch.allclose(u @ (decoder @ encoder).T, u @ output.T, atol=1e-6)
        assert bool(torch.isfinite(encoder).all() and torch.isfinite(decoder).all())
