"""Redundancy once more, slowly: plain float64 numpy on stored activations, written from the definitions and not from the engine."""

import numpy as np
import pytest
from torch import nn

from toast_core.models.adapters import adapter_for
from toast_core.studies.redundancy.result import ABSOLUTE_THRESHOLDS, RedundancyRow

SITES = (("hidden", "fc2"), ("fc1_input", "norm2"))


class Recorder:
    """Stores what enters a site of every block, (T, C) float64 an image half; for as long as it is open."""

    def __init__(self, model: nn.Module) -> None:
        self.calls: dict[tuple[int, str], list[np.ndarray]] = {}
        adapter = adapter_for(model)
        self.handles = [
            getattr(adapter.parts(block), part).register_forward_pre_hook(self.keeper(index, site))
            for index, block in enumerate(adapter.blocks(model)) for site, part in SITES
        ]

    def keeper(self, index: int, site: str) -> object:
        """A hook that stores its module's input."""
        return lambda _, inputs: self.calls.setdefault((index, site), []).append(
            inputs[0].reshape(-1, inputs[0].shape[-1]).double().numpy().copy()
        )

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def ridge_r2(x: np.ndarray, y: np.ndarray, order: np.ndarray, kept: int) -> float:
    """Fit dropped on kept channels over tokens x, measure over tokens y: rows of the ridge appended, then least squares by QR."""
    keep, drop = order[:kept], order[kept:]
    mean = x.mean(0)
    ridge = 1e-6 * np.linalg.eigvalsh(np.atleast_2d(np.cov(x[:, keep].T, bias=True))).mean()
    rows = np.vstack([x[:, keep] - mean[keep], np.sqrt(ridge * len(x)) * np.eye(kept)])
    target = np.vstack([x[:, drop] - mean[drop], np.zeros((kept, len(drop)))])
    q, r = np.linalg.qr(rows)
    beta = np.linalg.solve(r, q.T @ target)
    errors = (y[:, drop] - mean[drop]) - (y[:, keep] - mean[keep]) @ beta
    return 1 - np.sum(errors**2) / np.sum((y[:, drop] - y[:, drop].mean(0)) ** 2)


def entropy_rank(sizes: np.ndarray) -> float:
    """exp of the entropy of shares."""
    p = sizes[sizes > 0] / sizes.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def assert_figures(row: RedundancyRow, even: np.ndarray, odd: np.ndarray, rel: float = 1e-6) -> None:
    """Every figure of a row follows from the stored activations of both halves."""
    x = np.concatenate([even, odd])
    close = lambda value: pytest.approx(value, rel=rel, abs=1e-9)  # noqa: E731
    assert (row.tokens, row.convergence["tokens"], row.channels) == (len(x), len(even), x.shape[1])
    assert row.rms == close(np.sqrt(np.mean(x**2)))
    assert row.channel_mean_abs == close(np.abs(x).mean(0))
    order = np.argsort(-np.asarray(row.importance), kind="stable")
    for found, values in ((row.to_dict(), x), (row.convergence, even)):
        limit = 0.01 * np.sqrt(np.mean(values**2))
        assert limit * 2 ** (-1 / 60) < found["tau"] <= limit
        for name, tau in {"0.01rms": found["tau"], **ABSOLUTE_THRESHOLDS}.items():
            assert found["sparsity"][name] == np.mean(np.abs(values) <= tau)
            assert found["dead"][name] == close(np.mean(np.abs(values).mean(0) <= tau))
        sigma = np.linalg.svd(values - values.mean(0), compute_uv=False)
        for name, sizes in (("singular_values", sigma), ("covariance_eigenvalues", sigma**2)):
            rank = found["effective_rank"][name]
            assert rank["absolute"] == close(entropy_rank(sizes))
            assert rank["relative"] == close(entropy_rank(sizes) / x.shape[1])
    full = np.zeros(x.shape[1])
    sigma = np.linalg.svd(x - x.mean(0), compute_uv=False)
    full[: len(sigma)] = sigma**2 / len(x)
    assert np.allclose(row.spectrum, full, rtol=rel, atol=1e-10 * full[0])
    for key in row.r2:
        kept = int(x.shape[1] * (1 - float(key)) + 1e-9)
        assert row.r2[key]["in_sample"] == close(ridge_r2(x, x, order, kept))
        assert row.r2[key]["held_out"] == close(ridge_r2(even, odd, order, kept))
        assert row.convergence["r2"][key]["in_sample"] == close(ridge_r2(even, even, order, kept))
        assert row.convergence["r2"][key]["held_out"] == close(ridge_r2(odd, even, order, kept))
    for _, tau, sparsity in row.sparsity_curve:
        assert sparsity == np.mean(np.abs(x) <= tau)
    assert [multiple for multiple, _, _ in row.sparsity_curve] == pytest.approx([10 ** (k / 10 - 3) for k in range(31)])
