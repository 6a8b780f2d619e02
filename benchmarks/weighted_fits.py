"""Whether least squares that weigh tokens by their effect on the output make better fits: pairs on the same images, on both demos.

    python -m benchmarks.weighted_fits MODEL [--seeds 0 1 2] [--saved 0.4 0.5 0.6 0.7] [--floors 1 3 0.3] [--tokens 1] [--ranks 1]

With v the gradient of a random direction of the output at a token of a block's output (for the output projection: of the stream after the
attention half), token n weighs floor + |v_n|^2 / mean |v|^2, from a sketch of two draws of the baseline on the calibration images. `tokens`
takes the mean over the image's own tokens instead of all: images then count alike, and only tokens differ. `ranks` weighs only the sums
by which hidden units are ranked and heads choose their value dimensions; the fits themselves are unweighted.
Error-correcting fits on 512 calibration images that the seed draws, one ratio at qk, vo and fc2. Every fit is judged beside the unweighted
one of the same images: KL to the baseline and top-1 on test images, and KL on further calibration images, by which a floor could be
chosen. Writes benchmarks/results/weighted_fits_MODEL.json after every row and goes on from it.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from benchmarks.training_free import CALIBRATION, FIT_IMAGES, uniform_at
from toast_core.compensation import refit, sums, walk
from toast_core.compensation.plan import plan_on
from toast_core.compensation.regression import SplitSums, Sums, add_gram, mirror
from toast_core.cost.macs import count_cost
from toast_core.data.load import Batch, load_data
from toast_core.files import write_text
from toast_core.intervals import mean_interval, paired_interval
from toast_core.loading import load_model
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.compensation import FULL
from toast_core.studies.sketch.measure import Sketcher

RESULTS = Path(__file__).parent / "results"
DRAWS = 2
HELD_OUT = 512
UNWEIGHTED, WEIGHTED, TOKENS, RANKS = "unweighted", "weighted", "tokens", "ranks"
_CHUNK_TOKENS = 4096

Weights = Mapping[nn.Module, list[torch.Tensor]]
"""By output projection or fc2: a weight a token of its input, (B, T) an image batch; tokens that a Swin padded weigh nothing."""


@dataclass(eq=False)
class WeightedSums(SplitSums):
    """Sums over tokens of which each counts as much as its weight; the sum of weights stands where the number of tokens did.

    Args:
        weights: (B, T) a batch, in the order in which batches are added.
        beside: unweighted sums that take up the same tokens, or None.
    """

    weights: Iterator[torch.Tensor]
    beside: SplitSums | None = None

    def add(self, x: torch.Tensor, y: torch.Tensor, keep: torch.Tensor | None = None) -> None:
        """Add x (B, T, P) and y (B, T, Q); `keep` (B, T) says which tokens count at all."""
        weight = next(self.weights)
        if self.beside is not None:
            self.beside.add(x, y, keep)
        keep = torch.ones_like(weight, dtype=torch.bool) if keep is None else keep
        for half, part in ((self.even, slice(0, None, 2)), (self.odd, slice(1, None, 2))):
            _add_weighted(half, x[part][keep[part]], y[part][keep[part]], weight[part][keep[part]])


@dataclass(eq=False)
class RankedSums(SplitSums):
    """Unweighted sums, with the weighted ones of the same tokens by which channels are ranked."""

    ranked: SplitSums


def _add_weighted(found: Sums, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> None:
    """Add tokens x (T, P), y (T, Q) with weights (T,)."""
    found.tokens += float(weight.double().sum())
    for inputs, targets, own in zip(x.split(_CHUNK_TOKENS), y.split(_CHUNK_TOKENS), weight.split(_CHUNK_TOKENS), strict=True):
        inputs, targets, own = inputs.double(), targets.double(), own.double().unsqueeze(1)
        found.x += (own * inputs).sum(dim=0)
        found.y += (own * targets).sum(dim=0)
        inputs, targets = own.sqrt() * inputs, own.sqrt() * targets
        add_gram(found.xx, inputs)
        found.xy.addmm_(inputs.T, targets)
        found.yy += targets.square().sum(dim=0)
    mirror(found.xx)


def token_effects(model: nn.Module, batches: Sequence[Batch]) -> Weights:
    """|v_n|^2 over its mean: the effect of every token at every output projection and fc2 of a baseline, with a mean of one."""
    sketcher, adapter = Sketcher(model, (), lambda cell: sketcher.unpruned, DRAWS), adapter_for(model, get_info(model).name)
    found: dict[nn.Module, list[torch.Tensor]] = {}
    means: dict[nn.Module, list[float]] = {}
    for batch in batches:
        inputs, last = sketcher._inputs(batch.images)
        gradients = sketcher._from_head(last, batch.index)
        for index, block in reversed(list(enumerate(sketcher.suffix.blocks))):
            parts = adapter.parts(block)
            seen, gradients = sketcher._backward(index, inputs.pop(), gradients)
            for layer, gradient in ((parts.proj, seen.at_middle), (parts.fc2, seen.at_out)):
                effect = gradient.double().square().sum(-1).mean(1)
                means.setdefault(layer, []).append(float(effect.mean()))
                if layer is parts.proj and parts.windows is not None:
                    effect = parts.windows.split(effect.reshape(*seen.x.shape[:-1], 1)).reshape(len(effect), -1)
                found.setdefault(layer, []).append(effect)
    sizes = [len(batch.index) for batch in batches]
    return {layer: [one / np.average(means[layer], weights=sizes) for one in effects] for layer, effects in found.items()}


def within_images(effects: Weights) -> Weights:
    """The effects of an image's tokens over their own mean: every image counts alike."""
    found = {}
    for layer, own in effects.items():
        sums_of = torch.cat([one.sum(1) for one in own])
        found[layer] = [one * (sums_of.mean() / one.sum(1, keepdim=True).clamp_min(1e-30)) for one in own]
    return found


def floored(effects: Weights, floor: float) -> Weights:
    """Weights of the least squares: effects above a floor."""
    return {layer: [floor + one for one in own] for layer, own in effects.items()}


@contextmanager
def weighing(weights: Weights, only_ranks: bool = False) -> Iterator[None]:
    """While it lasts, compensation in this process sums by these weights; by `only_ranks` to rank and to choose dimensions alone."""
    def mixed(parts: BlockParts, *given: object, **named: object) -> SplitSums:
        if only_ranks and not named.get("alone"):
            return sums.mixed_sums(parts, *given, **named)
        with _zeros_as(lambda plain: WeightedSums(plain.even, plain.odd, iter(weights[parts.proj]))):
            return sums.mixed_sums(parts, *given, **named)

    def hidden(parts: BlockParts, *given: object, **named: object) -> SplitSums:
        made: list[SplitSums] = []

        def both(plain: SplitSums) -> WeightedSums:
            made.append(plain)
            own = SplitSums.zeros(len(plain.even.x), len(plain.even.y))
            return WeightedSums(own.even, own.odd, iter(weights[parts.fc2]), beside=plain if only_ranks else None)

        with _zeros_as(both):
            found = sums.hidden_sums(parts, *given, **named)
        return RankedSums(made[0].even, made[0].odd, found) if only_ranks else found

    def rank(parts: BlockParts, own: SplitSums) -> torch.Tensor:
        return refit.rank_hidden(parts, own.ranked if isinstance(own, RankedSums) else own)

    with ExitStack() as stack:
        for name, replacement in (("mixed_sums", mixed), ("hidden_sums", hidden), ("rank_hidden", rank)):
            stack.enter_context(patch.object(walk, name, replacement))
        yield


def _zeros_as(made_of: Callable[[SplitSums], SplitSums]) -> AbstractContextManager:
    """While it lasts, sums start as what this makes of empty unweighted ones."""
    class Started:
        @staticmethod
        def zeros(*given: object) -> SplitSums:
            return made_of(SplitSums.zeros(*given))

    return patch.object(sums, "SplitSums", Started)


class Judge:
    """Images on which models are compared with the baseline, image by image."""

    def __init__(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.labels = torch.cat([batch.labels for batch in batches])
        self.baseline = self._logits(model).log_softmax(1)

    def of(self, model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
        """KL to the baseline and whether the label is hit, by image."""
        logits = self._logits(model)
        kl = (self.baseline.exp() * (self.baseline - logits.log_softmax(1))).sum(1)
        return kl.numpy(), (logits.argmax(1) == self.labels).numpy()

    def _logits(self, model: nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([model.eval()(batch.images) for batch in self.batches]).double()


@dataclass(eq=False)
class Case:
    """One seed: its calibration images, what their tokens weigh, and further ones."""

    fit: list[torch.Tensor]
    effects: Weights
    held_out: Judge


def case_of(model: nn.Module, seed: int) -> Case:
    """The case of a seed."""
    fit = list(load_data(CALIBRATION, model, FIT_IMAGES, "shuffled", seed, True).batches(64))
    taken = np.concatenate([batch.index for batch in fit])
    further, count = [], 0
    for batch in load_data(CALIBRATION, model, 4 * HELD_OUT, "shuffled", seed + 1000, True).batches(64):
        new = np.flatnonzero(~np.isin(batch.index, taken))[: HELD_OUT - count]
        count += len(new)
        if len(new):
            further.append(Batch(batch.images[new], batch.labels[new], batch.index[new]))
    return Case([batch.images for batch in fit], token_effects(model, fit), Judge(model, further))


class Study:
    """The rows of one demo, written as they come.

    Args:
        images: how many test images.
    """

    def __init__(self, name: str, images: int) -> None:
        self.model, self.path = load_model(name), RESULTS / f"weighted_fits_{name}.json"
        self.shape = get_info(self.model).shape
        self.test = Judge(self.model, list(load_data("fashion-mnist", self.model, images).batches(250)))
        self.facts = {"test_images": len(self.test.labels), "fit_images": FIT_IMAGES, "held_out_images": HELD_OUT, "draws": DRAWS}
        self.rows: list[dict] = json.loads(self.path.read_text())["rows"] if self.path.exists() else []
        self.cases: dict[int, Case] = {}
        self.plain: dict[tuple[int, float], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def judged(self, seed: int, saved: float, way: str, floor: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """KL and hits on test images and KL on held-out ones, image by image, of one way to fit; the unweighted ones are kept."""
        if way == UNWEIGHTED and (seed, saved) in self.plain:
            return self.plain[seed, saved]
        if seed not in self.cases:
            self.cases[seed] = case_of(self.model, seed)
        case, schedule = self.cases[seed], uniform_at(self.shape, saved, "calibrated", FULL, seed)
        effects = within_images(case.effects) if way == TOKENS else case.effects
        with nullcontext() if floor is None else weighing(floored(effects, floor), way == RANKS):
            plan = plan_on(self.model, schedule, case.fit)
        pruned = apply_plan(self.model, plan, "compact")
        found = *self.test.of(pruned), case.held_out.of(pruned)[0]
        if way == UNWEIGHTED:
            self.plain[seed, saved] = found
        return found

    def add(self, seed: int, saved: float, way: str, floor: float | None = None) -> None:
        """Measure a pair and keep its row, unless it is there."""
        row = {"seed": seed, "saved": saved, "way": way, "floor": floor}
        if any(row.items() <= known.items() for known in self.rows):
            return
        before, found = self.judged(seed, saved, UNWEIGHTED, None), self.judged(seed, saved, way, floor)
        low, high = mean_interval(found[0] - before[0])
        schedule = uniform_at(self.shape, saved, "calibrated", FULL, seed)
        row |= {
            "macs_saved": 1 - count_cost(self.shape, schedule).macs / count_cost(self.shape).macs,
            "kl": float(found[0].mean()), "top1": 100 * float(found[1].mean()), "held_out_kl": float(found[2].mean()),
            "kl_ratio": float(found[0].mean() / before[0].mean()),
            "kl_ratio_ci95": [1 + low / float(before[0].mean()), 1 + high / float(before[0].mean())],
            "points": 100 * float(found[1].mean() - before[1].mean()), "points_ci95": list(paired_interval(before[1], found[1])),
        }
        self.rows.append(row)
        print(self.path.stem, json.dumps(row), flush=True)
        RESULTS.mkdir(exist_ok=True)
        write_text(self.path, json.dumps(self.facts | {"rows": self.rows}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("demo_vit", "demo_swin"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--saved", nargs="+", type=float, default=[0.4, 0.5, 0.6, 0.7])
    parser.add_argument("--floors", nargs="*", type=float, default=[1.0, 3.0, 0.3], help="of the weighted fits, in the order measured")
    parser.add_argument("--tokens", nargs="*", type=float, default=[1.0], help="floors where images count alike")
    parser.add_argument("--ranks", nargs="*", type=float, default=[1.0], help="floors where only ranks are weighted")
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    study = Study(arguments.model, arguments.images)
    floors = {WEIGHTED: arguments.floors, TOKENS: arguments.tokens, RANKS: arguments.ranks}
    ways = [(UNWEIGHTED, None), *((way, floor) for way, own in floors.items() for floor in own)]
    for one_seed in arguments.seeds:
        for share in arguments.saved:
            for one_way, one_floor in ways:
                study.add(one_seed, share, one_way, one_floor)
