"""From a block's sums to weights under which its kept channels stand in for the dropped ones: closed form, no forward."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from toast_core.compensation.choice import rank_by_reconstruction
from toast_core.compensation.regression import LinearFit, SplitSums, Sums, with_best_bias
from toast_core.compensation.subspaces import query_key_maps, value_output_maps
from toast_core.compensation.sums import HeadMoments
from toast_core.models.adapters.base import BlockParts
from toast_core.pruning.plan import BlockPlan, FixedKeep, HeadKeep


def keeps_heads_apart(parts: BlockParts) -> str:
    """Why no projection of q and k is valid, in words: they are normalised, or turned by rotary embeddings; empty where one is."""
    if parts.rotary is not None:
        return "rotary embeddings turn q and k"
    return "" if isinstance(parts.k_norm, nn.Identity) and isinstance(parts.q_norm, nn.Identity) else "q and k are normalised"


def fit_attention(
    parts: BlockParts,
    plan: BlockPlan,
    kept: dict[str, int],
    moments: HeadMoments,
    sums: SplitSums | None,
    measure: Callable[[BlockPlan], SplitSums] | None = None,
) -> BlockPlan:
    """Return the plan with projected heads and an output projection fitted to them; qk stays a selection across a q/k norm.

    Args:
        kept: dimensions that qk and vo keep of every head.
        moments: of the whole block's queries and keys; read where qk is projected.
        sums: of the whole block's mixed values with what the output projection should give; only the values count where `measure` is
            given, and None is enough where vo is whole too.
        measure: gives those sums for the block as it then is, so that the projection is fitted to what it will be given.
    """
    weights = {**copied(parts, "qkv", "proj"), **(plan.weights or {})}
    if plan.qk is not None and not keeps_heads_apart(parts):
        plan = replace(plan, qk=_leading(parts, kept["qk"]))
        for head in range(parts.heads):
            for part, encoder in enumerate(query_key_maps(moments.query[head], moments.key[head], kept["qk"])):
                _encode_rows(parts, weights, part, head, encoder)
    columns, prior = _head_columns(parts, kept["vo"]), parts.proj.weight.double()
    if plan.vo is not None:
        plan = replace(plan, vo=_leading(parts, kept["vo"]))
        encoder, prior = _project_values(parts, weights, sums.whole(), kept["vo"])
        sums = sums.mapped(encoder) if measure is None else None
    if measure is not None:
        weights["proj.weight"][:, columns] = prior.to(parts.proj.weight.dtype)
        sums = measure(replace(plan, weights=weights)).kept(columns)
    _set_linear(weights, "proj", columns, sums.fit(prior, parts.proj.bias is not None))
    return replace(plan, weights=weights)


def rank_hidden(parts: BlockParts, sums: SplitSums) -> torch.Tensor:
    """Order the hidden units (M,) so that every leading set is a good one to fold the others into."""
    covariance = sums.whole().covariances(parts.fc2.bias is not None)[0]
    weight = parts.fc2.weight.double()
    return rank_by_reconstruction(covariance, weight * scale_of(parts.ls2, weight).double().reshape(-1, 1))


def fit_hidden(
    parts: BlockParts, plan: BlockPlan, sums: SplitSums, ffn: str, correcting: bool = False, order: torch.Tensor | None = None
) -> BlockPlan:
    """Return the plan with fc2 fitted to what it should give.

    Args:
        sums: of the hidden layer with what fc2 should give.
        ffn: `bias` or `fold`, see `schedule.compensation`.
        correcting: what fc2 should give is not its own output; the fit is then held near the plain fold.
        order: of the hidden units, from `rank_hidden` if not given; `fold` keeps the first of them.
    """
    weight, with_bias = parts.fc2.weight.double(), parts.fc2.bias is not None
    weights = {**copied(parts, "fc2"), **(plan.weights or {})}
    idx = torch.arange(parts.fc2.in_features, device=weight.device)
    if plan.fc2 is not None:
        idx = plan.fc2.idx.to(weight.device)
        if ffn == "fold":
            order = rank_hidden(parts, sums) if order is None else order
            idx = order[: len(idx)].sort().values
            plan = replace(plan, fc2=FixedKeep(idx.cpu()))
    if ffn == "bias":
        fit = with_best_bias(sums.whole().kept(idx), weight[:, idx], with_bias)
    else:
        prior = weight[:, idx]
        if correcting and len(idx) < weight.shape[1]:
            own = SplitSums(_toward_own_output(sums.even, weight), _toward_own_output(sums.odd, weight))
            prior = own.kept(idx).fit(prior, with_bias).weight
        fit = sums.kept(idx).fit(prior, with_bias)
    _set_linear(weights, "fc2", idx, fit)
    return replace(plan, weights=weights)


def scale_of(layer_scale: nn.Module, like: torch.Tensor) -> torch.Tensor:
    """LayerScale's gamma (D,), with zeros made tiny so that it can be divided by; one where there is none, (1,) beside `like`."""
    gamma = getattr(layer_scale, "gamma", None)
    if gamma is None:
        return torch.ones(1, device=like.device, dtype=like.dtype)
    gamma = gamma.detach()
    return torch.where(gamma.abs() < 1e-8, torch.full_like(gamma, 1e-8), gamma)


def copied(parts: BlockParts, *layers: str) -> dict[str, torch.Tensor]:
    """Copies of these layers' parameters by name, as a plan holds them."""
    return {f"{layer}.{name}": value.detach().clone() for layer in layers for name, value in getattr(parts, layer).named_parameters()}


def _toward_own_output(sums: Sums, weight: torch.Tensor) -> Sums:
    """The same inputs with the layer's own output (without bias) as target."""
    xy = sums.xx @ weight.T
    return Sums(sums.tokens, sums.x, weight @ sums.x, sums.xx, xy, ((weight @ sums.xx) * weight).sum(dim=1))


def _project_values(parts: BlockParts, weights: dict, sums: Sums, keep: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the projected rows of v in place; return the encoder of all heads (H keep, H d) and the decoders side by side (D, H keep)."""
    heads, dim = parts.heads, parts.head_dim
    mixed, output = sums.covariances(parts.proj.bias is not None)[0], parts.proj.weight.double()
    scale = scale_of(parts.ls1, output).double().reshape(-1, 1)
    encoder = torch.zeros(heads * keep, heads * dim, dtype=torch.float64, device=output.device)
    decoders = []
    for head in range(heads):
        own = slice(head * dim, (head + 1) * dim)
        into, back = value_output_maps(output[:, own] * scale, mixed[own, own], keep)
        _encode_rows(parts, weights, 2, head, into)
        encoder[head * keep : (head + 1) * keep, own] = into
        decoders.append(back / scale)
    return encoder, torch.cat(decoders, dim=1)


def _encode_rows(parts: BlockParts, weights: dict, part: int, head: int, encoder: torch.Tensor) -> None:
    """Put the encoded rows of a head's queries (0), keys (1) or values (2) in its first places, zeros in the others."""
    start = (part * parts.heads + head) * parts.head_dim
    rows = slice(start, start + parts.head_dim)
    for name, value in (("qkv.weight", parts.qkv.weight), ("qkv.bias", parts.qkv.bias)):
        if value is not None:
            weights[name][rows] = 0
            weights[name][start : start + len(encoder)] = (encoder @ value[rows].double()).to(value.dtype)


def _leading(parts: BlockParts, keep: int) -> HeadKeep:
    idx = torch.arange(keep).expand(parts.heads, -1)
    return HeadKeep(idx, idx)


def _head_columns(parts: BlockParts, keep: int) -> torch.Tensor:
    """Where the first `keep` dimensions of every head stand among the output projection's inputs."""
    starts = torch.arange(parts.heads, device=parts.proj.weight.device).unsqueeze(1) * parts.head_dim
    return (starts + torch.arange(keep, device=starts.device)).flatten()


def _set_linear(weights: dict[str, torch.Tensor], name: str, columns: torch.Tensor, fit: LinearFit) -> None:
    weight = weights[f"{name}.weight"]
    weight.zero_()
    weight[:, columns] = fit.weight.to(weight.dtype)
    if fit.bias is not None:
        weights[f"{name}.bias"].copy_(fit.bias)
