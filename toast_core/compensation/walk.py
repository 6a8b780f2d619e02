"""From a schedule and unlabelled images to a plan whose kept channels stand in for the dropped ones (method, section 6)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from toast_core.compensation.choice import rank_by_reconstruction
from toast_core.compensation.regression import LinearFit, Sums, fit_held_out, with_best_bias
from toast_core.compensation.subspaces import query_key_maps, value_output_maps
from toast_core.errors import DataError, PlanError
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan, FixedKeep, HeadKeep, Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import collect_statistics
from toast_core.schedule.compensation import NONE
from toast_core.schedule.cost import kept_counts
from toast_core.schedule.schedule import Schedule

Progress = Callable[[int, int], None]


@dataclass(eq=False)
class _Halves:
    """Sums over images at even and at odd positions."""

    even: Sums
    odd: Sums

    @classmethod
    def zeros(cls, inputs: int, targets: int, device: torch.device) -> "_Halves":
        return cls(Sums.zeros(inputs, targets, device), Sums.zeros(inputs, targets, device))

    def add(self, x: torch.Tensor, y: torch.Tensor, keep: torch.Tensor | None = None) -> None:
        """Add x (B, T, P) and y (B, T, Q); `keep` (B, T) says which tokens count."""
        for sums, part in ((self.even, slice(0, None, 2)), (self.odd, slice(1, None, 2))):
            if keep is None:
                sums.add(x[part].flatten(0, 1), y[part].flatten(0, 1))
            else:
                sums.add(x[part][keep[part]], y[part][keep[part]])

    def whole(self) -> Sums:
        return self.even.merge(self.odd)

    def fit(self, prior: torch.Tensor, with_bias: bool) -> LinearFit:
        return fit_held_out(self.even, self.odd, prior, with_bias)

    def mapped(self, encoder: torch.Tensor) -> "_Halves":
        return _Halves(self.even.mapped(encoder), self.odd.mapped(encoder))

    def kept(self, idx: torch.Tensor) -> "_Halves":
        return _Halves(self.even.kept(idx), self.odd.kept(idx))


@dataclass(eq=False)
class _Streams:
    """What enters a block, a tensor an image batch: the baseline's and the pruned model's own."""

    baseline: list[torch.Tensor]
    own: list[torch.Tensor]


def compensate(
    model: nn.Module, schedule: Schedule, batches: Iterable[torch.Tensor], progress: Progress = lambda done, total: None
) -> Plan:
    """Return a plan for `schedule` with the weights that its compensation asks for; labels are not used.

    The blocks are walked in order. In `one_shot` calibration every block is fitted on the baseline's activations; in `sequential`
    on those of the model pruned so far; in `error_correcting` also toward the baseline's residual stream after the block, so that it
    repairs what earlier blocks lost. All images' streams of one block are held at a time, twice where they differ.

    Args:
        batches: calibration images (B, C, H, W). Every second one of a batch belongs to the half on which a fit is judged.
        progress: called with the blocks done and all blocks.

    Raises:
        PlanError: the schedule asks for no compensation, or the model is already pruned.
        DataError: there are no images.
    """
    if schedule.compensation.is_none:
        raise PlanError("the schedule asks for no compensation; use make_plan, or set its compensation")
    images = list(batches)
    if not images:
        raise DataError("there are no calibration images; give a data set with at least one readable image")
    statistics = collect_statistics(model, images, schedule.class_weight)
    plan = replace(make_plan(model, replace(schedule, compensation=NONE), statistics), schedule=schedule)
    walk = _Walk(model.eval(), schedule, plan)
    with torch.no_grad():
        streams = walk.start(images)
        blocks = []
        for index in range(len(plan.blocks)):
            streams = walk.enter(index, streams)
            blocks.append(walk.fit_block(index, streams))
            progress(index + 1, len(plan.blocks))
    return replace(plan, blocks=tuple(blocks), notes=tuple(walk.notes))


class _Walk:
    def __init__(self, model: nn.Module, schedule: Schedule, plan: Plan) -> None:
        self.model, self.schedule, self.plan, self.notes = model, schedule, plan, []
        self.adapter, self.shape = adapter_for(model, get_info(model).name), get_info(model).shape
        self.blocks = self.adapter.blocks(model)
        self.wants, self.damaged = schedule.compensation, False

    @property
    def correcting(self) -> bool:
        """Whether the pruned stream may differ from the baseline's and is to be brought back to it."""
        return self.wants.calibration == "error_correcting" and self.damaged

    def start(self, images: list[torch.Tensor]) -> _Streams:
        parameter = next(self.model.parameters())
        first = [self.adapter.embed(self.model, batch.to(parameter.device, parameter.dtype)) for batch in images]
        return _Streams(first, list(first))

    def enter(self, index: int, streams: _Streams) -> _Streams:
        return _Streams(*([self.adapter.before_block(self.model, index, x) for x in part] for part in (streams.baseline, streams.own)))

    def fit_block(self, index: int, streams: _Streams) -> BlockPlan:
        """Fit one block, and move both streams past it, in place."""
        block, plan = self.blocks[index], self.plan.blocks[index]
        if not plan.is_baseline or self.correcting:
            plan = self._fit_attention(index, plan, streams)
            plan = self._fit_hidden(index, plan, streams)
            self.damaged = self.damaged or self.wants.calibration != "one_shot"
        pruned = self._pruned(index, plan)
        for number, (before, own) in enumerate(zip(streams.baseline, streams.own, strict=True)):
            after = pruned(own) if self.damaged else block(before)
            streams.baseline[number] = block(before) if self.wants.calibration == "error_correcting" else after
            streams.own[number] = after
        return plan

    def _pruned(self, index: int, plan: BlockPlan) -> nn.Module:
        if plan.is_baseline:
            return self.blocks[index]
        return prune_block(self.blocks[index], self.adapter.layout(self.model, index), plan, self.plan, self.adapter, "masked")

    def _whole(self, index: int) -> PrunedBlock:
        """The block itself, through the pruned forward, so that its halves can be run one by one."""
        return prune_block(self.blocks[index], self.adapter.layout(self.model, index), BlockPlan(), self.plan, self.adapter, "masked")

    def _fit_attention(self, index: int, plan: BlockPlan, streams: _Streams) -> BlockPlan:
        parts = self.adapter.parts(self.blocks[index])
        project = self.wants.attention == "project"
        if (plan.qk is None and plan.vo is None and not self.correcting) or not project:
            return plan
        kept = kept_counts(self.shape.blocks[index], self.schedule, index)
        weights = _weights(parts)
        whole = self._whole(index)
        if plan.qk is not None:
            if isinstance(parts.k_norm, nn.Identity) and isinstance(parts.q_norm, nn.Identity):
                plan = replace(plan, qk=_leading(parts, kept["qk"]))
                _project_queries_and_keys(parts, weights, self._query_key_moments(whole, streams.own), kept["qk"])
            else:
                self.notes.append(f"block {index}: q and k are normalised, so qk keeps a selection of its dimensions")
        sums = self._mixed_sums(index, whole, whole, streams)
        prior = parts.proj.weight.double()
        if plan.vo is not None:
            plan = replace(plan, vo=_leading(parts, kept["vo"]))
            encoder, prior = _project_values(parts, weights, sums.whole(), kept["vo"], _scale_of(parts.ls1))
            sums = sums.mapped(encoder)
        if self.correcting or (plan.qk is not None and self.wants.calibration != "one_shot"):
            attempt = replace(plan, weights=weights)
            columns = _head_columns(parts, kept["vo"])
            weights["proj.weight"][:, columns] = prior.to(parts.proj.weight.dtype)
            sums = self._mixed_sums(index, self._pruned(index, attempt), whole, streams).kept(columns)
        fit = sums.fit(prior, parts.proj.bias is not None)
        _set_linear(weights, "proj", _head_columns(parts, kept["vo"]), fit)
        return replace(plan, weights=weights)

    def _query_key_moments(self, whole: PrunedBlock, own: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """E[q q^T] and Cov(k) of every head, (H, d, d) each."""
        heads, dim = whole.attn.heads, whole.attn.qk_dim
        second, total, tokens = torch.zeros(2, heads, dim, dim, dtype=torch.float64), torch.zeros(heads, dim, dtype=torch.float64), 0
        second, total = second.to(own[0].device), total.to(own[0].device)
        for x in own:
            with _watch(whole.attn.qkv) as seen:
                whole.attend(x)
            q, k = (part.reshape(-1, heads, dim).double() for part in seen["output"].split(heads * dim, dim=-1)[:2])
            second[0] += torch.einsum("the,thf->hef", q, q)
            second[1] += torch.einsum("the,thf->hef", k, k)
            total += k.sum(dim=0)
            tokens += len(k)
        mean = total / tokens
        return second[0] / tokens, second[1] / tokens - torch.einsum("he,hf->hef", mean, mean)

    def _mixed_sums(self, index: int, block: PrunedBlock, whole: PrunedBlock, streams: _Streams) -> _Halves:
        """Sums of the output projection's inputs in `block`, with what it should give: its own whole output, or the baseline's residual."""
        parts = self.adapter.parts(self.blocks[index])
        sums = _Halves.zeros(parts.proj.in_features, parts.proj.out_features, next(self.model.parameters()).device)
        scale = _scale_of(parts.ls1)
        for before, own in zip(streams.baseline, streams.own, strict=True):
            with _watch(block.attn.proj) as seen:
                block.attend(own)
            mixed = seen["input"]
            if self.correcting:
                target = (whole.attend(before)[0] - own.flatten(1, -2)) / scale
                target = target.reshape(own.shape)
                if parts.windows is not None:
                    target = parts.windows.split(target)
            else:
                with _watch(whole.attn.proj) as full:
                    whole.attend(own)
                target = full["output"]
            inside = None
            if parts.windows is not None:
                ones = torch.ones_like(own[..., :1])
                inside = parts.windows.split(ones)[..., 0].reshape(len(own), -1) > 0
            sums.add(mixed.reshape(len(own), -1, mixed.shape[-1]), target.reshape(len(own), -1, target.shape[-1]), inside)
        return sums

    def _fit_hidden(self, index: int, plan: BlockPlan, streams: _Streams) -> BlockPlan:
        parts = self.adapter.parts(self.blocks[index])
        if self.wants.ffn == "none" or (plan.fc2 is None and not self.correcting):
            return plan
        block = self._pruned(index, replace(plan, fc2=None))
        block = self._whole(index) if not isinstance(block, PrunedBlock) else block
        sums = self._hidden_sums(index, block, streams)
        weights = dict(plan.weights) if plan.weights else _weights(parts)
        weight, with_bias = parts.fc2.weight.double(), parts.fc2.bias is not None
        idx = torch.arange(parts.fc2.in_features, device=weight.device)
        if plan.fc2 is not None:
            idx = plan.fc2.idx.to(weight.device)
            if self.wants.ffn == "fold":
                covariance = sums.whole().covariances(with_bias)[0]
                order = rank_by_reconstruction(covariance, weight * _scale_of(parts.ls2).double().reshape(-1, 1))
                idx = order[: len(idx)].sort().values
                plan = replace(plan, fc2=FixedKeep(idx.cpu()))
        if self.wants.ffn == "bias":
            fit = with_best_bias(sums.whole().kept(idx), weight[:, idx], with_bias)
        else:
            fit = sums.kept(idx).fit(self._fold(sums, idx, weight, with_bias), with_bias)
        _set_linear(weights, "fc2", idx, fit)
        return replace(plan, weights=weights)

    def _fold(self, sums: _Halves, idx: torch.Tensor, weight: torch.Tensor, with_bias: bool) -> torch.Tensor:
        """fc2's weight on the kept units with the dropped ones folded in; where nothing is dropped, the weight itself."""
        if len(idx) == weight.shape[1] or not self.correcting:
            return weight[:, idx]
        own = _Halves(_toward_own_output(sums.even, weight), _toward_own_output(sums.odd, weight))
        return own.kept(idx).fit(weight[:, idx], with_bias).weight

    def _hidden_sums(self, index: int, block: PrunedBlock, streams: _Streams) -> _Halves:
        """Sums of the hidden layer, with what fc2 should give: its own whole output, or what is missing to the baseline's stream."""
        parts, baseline = self.adapter.parts(self.blocks[index]), self.blocks[index]
        sums = _Halves.zeros(parts.fc2.in_features, parts.fc2.out_features, next(self.model.parameters()).device)
        for before, own in zip(streams.baseline, streams.own, strict=True):
            stream, hidden = block.expand(*block.attend(own))
            missing = (baseline(before).reshape(stream.shape) - stream) / _scale_of(parts.ls2) if self.correcting else parts.fc2(hidden)
            sums.add(hidden, missing)
        return sums


def _toward_own_output(sums: Sums, weight: torch.Tensor) -> Sums:
    """The same inputs with the layer's own output (without bias) as target."""
    xy = sums.xx @ weight.T
    return Sums(sums.tokens, sums.x, weight @ sums.x, sums.xx, xy, ((weight @ sums.xx) * weight).sum(dim=1))


def _project_queries_and_keys(parts: BlockParts, weights: dict, moments: tuple[torch.Tensor, torch.Tensor], keep: int) -> None:
    """Put the projected rows of q and k in each head's first `keep` places."""
    for head in range(parts.heads):
        maps = query_key_maps(moments[0][head], moments[1][head], keep)
        for part, encoder in enumerate(maps):
            _encode_rows(parts, weights, part, head, encoder)


def _project_values(parts: BlockParts, weights: dict, sums: Sums, keep: int, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the projected rows of v in place; return the encoder of all heads (H keep, H d) and the decoders side by side (D, H keep)."""
    heads, dim = parts.heads, parts.head_dim
    mixed, output = sums.covariances(parts.proj.bias is not None)[0], parts.proj.weight.double()
    encoder = torch.zeros(heads * keep, heads * dim, dtype=torch.float64, device=output.device)
    decoders = []
    for head in range(heads):
        own = slice(head * dim, (head + 1) * dim)
        into, back = value_output_maps(output[:, own] * scale.double().reshape(-1, 1), mixed[own, own], keep)
        _encode_rows(parts, weights, 2, head, into)
        encoder[head * keep : (head + 1) * keep, own] = into
        decoders.append(back / scale.double().reshape(-1, 1))
    return encoder, torch.cat(decoders, dim=1)


def _encode_rows(parts: BlockParts, weights: dict, part: int, head: int, encoder: torch.Tensor) -> None:
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


def _scale_of(layer_scale: nn.Module) -> torch.Tensor:
    """LayerScale's gamma (D,), with zeros made tiny so that it can be divided by; ones where there is none."""
    gamma = getattr(layer_scale, "gamma", None)
    if gamma is None:
        return torch.ones(1)
    gamma = gamma.detach()
    return torch.where(gamma.abs() < 1e-8, torch.full_like(gamma, 1e-8), gamma)


def _weights(parts: BlockParts) -> dict[str, torch.Tensor]:
    layers = {"qkv": parts.qkv, "proj": parts.proj, "fc2": parts.fc2}
    return {f"{layer}.{name}": value.detach().clone() for layer, module in layers.items() for name, value in module.named_parameters()}


def _set_linear(weights: dict[str, torch.Tensor], name: str, columns: torch.Tensor, fit: LinearFit) -> None:
    weight = weights[f"{name}.weight"]
    weight.zero_()
    weight[:, columns] = fit.weight.to(weight.dtype)
    if fit.bias is not None:
        weights[f"{name}.bias"].copy_(fit.bias)


class _watch:
    """What a module is given and gives, while the context lasts."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.seen = module, {}

    def __enter__(self) -> dict[str, torch.Tensor]:
        self.hook = self.module.register_forward_hook(self._keep)
        return self.seen

    def _keep(self, _: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self.seen |= {"input": inputs[0], "output": output}

    def __exit__(self, *_: object) -> None:
        self.hook.remove()
