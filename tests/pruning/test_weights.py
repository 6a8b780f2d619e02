"""Scores of head dimensions against slow loops in numpy and against definitions."""

import numpy as np
import pytest
import torch

from toast_core.errors import PlanError
from toast_core.pruning.importance.geometric_median import geometric_median
from toast_core.pruning.importance.l1 import l1
from toast_core.pruning.importance.l2 import l2
from toast_core.pruning.importance.pairs import pair_scores
from toast_core.pruning.importance.weiszfeld import weiszfeld
from toast_core.schedule.schedule import COUPLINGS
from toast_core.schedule.scores import SCORES

HEADS, DIM, WIDTH = 3, 8, 10


def rows(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(H, d, D) of noise with unequal rows."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(HEADS, DIM, WIDTH, generator=generator) * (1 + torch.rand(HEADS, DIM, 1, generator=generator))).to(dtype)


def shuffled(size: int, seed: int) -> list[int]:
    """A seeded order of `size` places that is not the sorted one."""
    order = np.random.default_rng(seed).permutation(size).tolist()
    return order if order != sorted(order) else order[::-1]


def lower_median(values: list[float]) -> float:
    """The middle value, of an even number the lower of the two."""
    return sorted(values)[(len(values) - 1) // 2]


def slow_score(matrix: np.ndarray, score: str) -> list[float]:
    """Score the rows of one head."""
    if score == "l1":
        return [sum(abs(value) for value in row) for row in matrix]
    if score == "l2":
        return [sum(value * value for value in row) for row in matrix]
    center = [lower_median(list(column)) for column in matrix.T] if score == "geometric_median" else descend(matrix)
    return [sum((value - middle) ** 2 for value, middle in zip(row, center, strict=True)) ** 0.5 for row in matrix]


def descend(points: np.ndarray) -> np.ndarray:
    """The point with the least summed distance, by Newton steps with halving: another method than Weiszfeld's."""
    center = points.mean(axis=0)
    for _ in range(100):
        difference = center - points
        distance = np.linalg.norm(difference, axis=1)
        unit = difference / distance[:, None]
        gradient = unit.sum(axis=0)
        hessian = sum((np.eye(len(center)) - np.outer(u, u)) / r for u, r in zip(unit, distance, strict=True))
        step = np.linalg.solve(hessian, gradient)
        while np.linalg.norm(center - step - points, axis=1).sum() > distance.sum() and np.linalg.norm(step) > 1e-14:
            step = step / 2
        center = center - step
    return center


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("pair", ["qk", "vo"])
def test_pairs_are_scored_as_defined(score: str, coupling: str, pair: str) -> None:
    first, second = rows(1), rows(2)
    got = pair_scores(first, second, score, coupling, pair)
    for head in range(HEADS):
        a, b = first[head].double().numpy(), second[head].double().numpy()
        expected = {
            "coupled": [slow_score(np.concatenate([a, b], axis=1), score)] * 2,
            "average": [[(x + y) / 2 for x, y in zip(slow_score(a, score), slow_score(b, score), strict=True)]] * 2,
            "uncoupled": [slow_score(a, score), slow_score(b, score)],
            "q_only": [slow_score(a, score)] * 2,  # query, and value
            "k_only": [slow_score(b, score)] * 2,  # key, and output
            "proj_only": [slow_score(a if pair == "qk" else b, score)] * 2,  # query, and output
        }[coupling]
        for side, values in zip(got, expected, strict=True):
            assert side.shape == (HEADS, DIM)
            np.testing.assert_allclose(side[head].numpy(), values, rtol=2e-5)


@pytest.mark.parametrize("coupling", [name for name in COUPLINGS if name != "uncoupled"])
def test_all_couplings_but_uncoupled_rank_both_sides_alike(coupling: str) -> None:
    first, second = pair_scores(rows(1), rows(2), "l1", coupling, "qk")
    assert torch.equal(first, second)


def test_the_registry_holds_the_schedules_scores() -> None:
    ours = {"geometric_median": geometric_median, "weiszfeld": weiszfeld, "l1": l1, "l2": l2}
    assert {name: SCORES[name] for name in SCORES.own} == ours


@pytest.mark.parametrize("wrong", [lambda rows: rows, lambda rows: rows.sum(dim=2) / 0, lambda rows: rows.sum(dim=(1, 2))])
def test_a_score_that_does_not_give_one_finite_number_a_row_is_refused(wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SCORES, "_load", lambda name, source: wrong)
    monkeypatch.setattr(SCORES, "_loaded", {})
    with pytest.raises(PlanError, match=r"^score 'l1' gives .* a score gives one finite number a head dimension, \(3, 8\)$"):
        pair_scores(rows(1), rows(2), "l1", "coupled", "qk")


@pytest.mark.parametrize("seed", range(6))
class ScoreContract:
    """What every weight score keeps; a subclass names the score."""

    score = staticmethod(geometric_median)

    def test_a_score_is_not_negative_and_one_a_row(self, seed: int) -> None:
        got = self.score(rows(seed))
        assert got.shape == (HEADS, DIM)
        assert bool((got >= 0).all())
        assert len(set(got.flatten().tolist())) > DIM

    def test_reordering_rows_reorders_scores(self, seed: int) -> None:
        x, order = rows(seed, torch.float64), shuffled(DIM, seed)
        assert torch.allclose(self.score(x[:, order]), self.score(x)[:, order], rtol=1e-5)

    def test_reordering_columns_changes_nothing(self, seed: int) -> None:
        x = rows(seed, torch.float64)
        assert torch.allclose(self.score(x[:, :, shuffled(WIDTH, seed)]), self.score(x), rtol=1e-5)

    def test_heads_are_scored_apart(self, seed: int) -> None:
        x = rows(seed, torch.float64)
        assert torch.allclose(self.score(x)[1], self.score(x[1:2])[0], rtol=1e-5)

    def test_the_input_stays_as_it_is_and_the_dtype_is_kept(self, seed: int) -> None:
        x = rows(seed)
        before = x.clone()
        assert self.score(x).dtype == torch.float32
        assert torch.equal(x, before)

    def test_equal_rows_score_alike(self, seed: int) -> None:
        got = self.score(rows(seed)[:, :1].expand(-1, 5, -1))
        assert bool(got.isfinite().all())
        assert torch.allclose(got, got[:, :1].expand_as(got), atol=1e-6)


class TestGeometricMedian(ScoreContract):
    """Distance to the coordinate-wise lower median."""

    score = staticmethod(geometric_median)

    def test_shifting_all_rows_changes_nothing(self, seed: int) -> None:
        x = rows(seed, torch.float64)
        assert torch.allclose(geometric_median(x + 3.0), geometric_median(x))


class TestWeiszfeld(ScoreContract):
    """Distance to the point with the least summed distance."""

    score = staticmethod(weiszfeld)

    def test_shifting_all_rows_changes_nothing(self, seed: int) -> None:
        x = rows(seed, torch.float64)
        assert torch.allclose(weiszfeld(x + 3.0), weiszfeld(x), rtol=1e-5)

    def test_no_other_point_has_a_smaller_summed_distance(self, seed: int) -> None:
        x = rows(seed, torch.float64)
        for head in range(HEADS):
            least = np.linalg.norm(x[head].numpy() - descend(x[head].numpy()), axis=1).sum()
            assert weiszfeld(x)[head].sum().item() == pytest.approx(least, rel=1e-8)
        others = torch.cat([x.mean(dim=1, keepdim=True), x.median(dim=1, keepdim=True).values, x], dim=1)
        summed = torch.cdist(others, x).sum(dim=2)
        assert bool((weiszfeld(x).sum(dim=1, keepdim=True) <= summed + 1e-9).all())


class TestL1(ScoreContract):
    """Sum of absolute weights."""

    score = staticmethod(l1)


class TestL2(ScoreContract):
    """Squared norm."""

    score = staticmethod(l2)


def test_the_median_of_an_even_number_is_the_lower_one() -> None:
    x = torch.tensor([[[1.0], [2.0], [10.0], [20.0]]])
    assert geometric_median(x).tolist() == [[1.0, 0.0, 8.0, 18.0]]


def test_weiszfeld_differs_from_the_coordinate_wise_median() -> None:
    assert not torch.allclose(weiszfeld(rows(1)), geometric_median(rows(1)), rtol=1e-3)


def test_weiszfeld_with_a_point_on_the_median_is_no_division_by_zero() -> None:
    cross = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
    assert weiszfeld(cross)[0].tolist() == pytest.approx([0.0, 1.0, 1.0, 1.0, 1.0], abs=1e-5)


def test_l2_is_squared() -> None:
    assert l2(torch.tensor([[[3.0, 4.0]]])).item() == 25.0
