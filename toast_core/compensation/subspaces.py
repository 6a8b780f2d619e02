"""The best few dimensions of an attention head, instead of a choice among the given ones (method, section 6)."""

import torch

_FLOOR = 1e-10  # times the largest eigenvalue


def query_key_maps(query: torch.Tensor, key: torch.Tensor, keep: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A and B, (keep, d) each, with q^T A^T B k the rank-`keep` bilinear form nearest to q^T k.

    Nearest in E (q^T k - q^T A^T B k)^2 for independent q and k. `query` is E[q q^T]; `key` is Cov(k): a shift of all keys adds
    the same to every logit of a query and leaves the softmax unchanged.
    """
    root_q, inverse_q = _roots(query)
    root_k, inverse_k = _roots(key)
    u, sigma, vt = torch.linalg.svd(root_q @ root_k)
    balance = sigma[:keep].sqrt().unsqueeze(1)
    return balance * (u[:, :keep].T @ inverse_q), balance * (vt[:keep] @ inverse_k)


def value_output_maps(output: torch.Tensor, mixed: torch.Tensor, keep: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an encoder E (keep, d) and a decoder (D, keep) with decoder E u nearest to W_O u.

    Nearest in E|W_O u - decoder E u|^2 over the mixed values u of a head. `output` is that head's part of the output
    projection, (D, d), in the units in which errors count; `mixed` is the second moment of u, (d, d).
    """
    root, inverse = _roots(output.T @ output)
    u, _, _ = torch.linalg.svd(root @ _roots(mixed)[0])
    basis = u[:, :keep]
    return basis.T @ root, output @ inverse @ basis


def _roots(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The symmetric square root of a positive semidefinite matrix, and its pseudo-inverse."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    live = values > _FLOOR * values[-1].clamp_min(1e-300)
    roots = torch.where(live, values.clamp_min(0), torch.zeros_like(values)).sqrt()
    inverse = torch.where(live, 1 / roots.clamp_min(1e-150), torch.zeros_like(roots))
    return (vectors * roots) @ vectors.T, (vectors * inverse) @ vectors.T
