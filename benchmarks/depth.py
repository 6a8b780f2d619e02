"""Are whole attention or feed-forward parts worth leaving out? Single parts with stand-ins, and tuned schedules that may all but do so.

    python benchmarks/depth.py MODEL [--seeds 3]

A part that is left out is replaced by a linear map of each token, or by a constant, fitted on 512 calibration images; its damage (KL on
other calibration images) stands beside that of the same part pruned and compensated, at as many MACs as the linear map takes and at fewer.
Then schedules tuned to save 60 and 70 % of the MACs, with ratios up to 0.9 and with 0.95 and 0.98 as well, where next to nothing of a part
is left, are compared on all test images. Writes benchmarks/results/depth_MODEL.json.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from analysis_cache.store import EvidenceStore
from toast_core.budget.words import goal
from toast_core.compensation.plan import plan_on
from toast_core.compensation.regression import SplitSums
from toast_core.cost.macs import count_cost
from toast_core.data.load import Batch, load_data
from toast_core.files import write_text
from toast_core.loading import load_model
from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.studies.subject import Subject
from toast_core.studies.tuning.measure import tune
from toast_core.studies.tuning.request import DEFAULT_IMAGES, TuningRequest
from toast_core.studies.tuning.store import TuningStore

RESULTS = Path(__file__).parent / "results"
USUAL = tuple(round(0.1 * step, 1) for step in range(1, 10))
GRIDS = {"usual": USUAL, "deep": (*USUAL, 0.95, 0.98)}
REDUCTIONS = (0.6, 0.7)
PRUNED = {"attn": {"as_linear": (0.75, 0.75), "less": (0.95, 0.95)}, "mlp": {"as_linear": 0.875, "less": 0.98}}
_FITTED, _JUDGED, _BATCH = 512, 1000, 250


class Stand(nn.Module):
    """A linear map of each token in a part's place."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight.float(), bias.float()

    def forward(self, x: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """(..., D) -> (..., D)."""
        return functional.linear(x, self.weight, self.bias)


def images_of(model: nn.Module, count: int | None, seed: int, batch_size: int) -> list[torch.Tensor]:
    """Calibration images, a batch each."""
    return [one.images for one in load_data("fashion-mnist:calibration", model, count, "shuffled", seed, True).batches(batch_size)]


class Parts:
    """A model beside which variants of it are judged by their KL."""

    def __init__(self, name: str) -> None:
        self.model = load_model(name).eval()
        self.shape, self.blocks = get_info(self.model).shape, adapter_for(self.model, name).blocks(self.model)
        self.judged = images_of(self.model, None, 7, _BATCH)[-_JUDGED // _BATCH :]
        self.fitted = images_of(self.model, _FITTED, 0, 64)
        with torch.inference_mode():
            self.before = torch.cat([functional.log_softmax(self.model(batch), 1) for batch in self.judged])

    def damage(self, model: nn.Module) -> float:
        """Mean KL to the baseline, in nats."""
        with torch.inference_mode():
            after = torch.cat([functional.log_softmax(model(batch), 1) for batch in self.judged])
        return float((self.before.exp() * (self.before - after)).sum(1).mean())

    def pruned(self, block: int, part: str, ratios: object) -> dict[str, float]:
        """What a compensated part saves, and its damage."""
        wanted = dict(zip(("qk", "vo"), ratios, strict=True)) if part == "attn" else {"fc2": ratios}
        schedule = Schedule.uniform(len(self.blocks), selection="calibrated", compensation=FULL)
        for site, ratio in wanted.items():
            schedule = schedule.with_ratio(block, site, ratio)
        model = apply_plan(self.model, plan_on(self.model, schedule, self.fitted), "compact").eval()
        saved = 1 - count_cost(self.shape, schedule).macs / count_cost(self.shape).macs
        return {"saved": saved, "kl": self.damage(model)}

    def stood_in(self, block: int, part: str) -> dict[str, float]:
        """The damage of a linear and of a constant stand-in."""
        own, seen = getattr(self.blocks[block], part), []
        with own.register_forward_hook(lambda module, given, found: seen.append((given[0], found))), torch.inference_mode():
            width = self.shape.blocks[block].width
            sums = SplitSums.zeros(width, width)
            for batch in self.fitted:
                self.model(batch)
                x, y = seen.pop()
                sums.add(x.reshape(len(batch), -1, width), y.reshape(len(batch), -1, width))
            fit = sums.fit(torch.zeros(width, width, dtype=torch.float64), True)
            mean = sums.whole().y / sums.whole().tokens
        found = {}
        for name, stand in (("linear", Stand(fit.weight, fit.bias)), ("constant", Stand(torch.zeros_like(fit.weight), mean))):
            setattr(self.blocks[block], part, stand)
            found[name] = self.damage(self.model)
        setattr(self.blocks[block], part, own)
        return found


def cells(parts: Parts) -> list[dict]:
    """Every part of every block, pruned and replaced."""
    rows = []
    for block in range(len(parts.blocks)):
        for part, levels in PRUNED.items():
            row = {name: parts.pruned(block, part, ratios) for name, ratios in levels.items()}
            rows.append({"block": block, "part": part, **row, **parts.stood_in(block, part)})
            print(rows[-1], flush=True)
    return rows


def tuned(model: nn.Module, store: EvidenceStore, reduction: float, seed: int, grid: str) -> tuple[Schedule, float]:
    """The tuned schedule, and the CPU seconds that it took."""
    data = load_data("fashion-mnist:calibration", model, DEFAULT_IMAGES, "shuffled", seed, True)
    budget = goal(get_info(model).shape, None, reduction)
    request = replace(TuningRequest(budget), ratios=GRIDS[grid], seed=seed)
    found = tune(model, data, request, store=TuningStore(store, Subject.of(model, data, request.batch_size, "tuning")))
    return found.schedule, sum(part["cpu"] for part in found.report["seconds"].values())


def answers(model: nn.Module, schedule: Schedule, seed: int, test: list[Batch]) -> np.ndarray:
    """Which test images the compact model of a schedule has right."""
    pruned = apply_plan(model, plan_on(model, schedule, images_of(model, _FITTED, seed, 64)), "compact").eval()
    with torch.inference_mode():
        return torch.cat([pruned(batch.images).argmax(1) == batch.labels for batch in test]).numpy()


def pairs(name: str, seeds: int) -> list[dict]:
    """Both grids at each saving, on all test images, paired."""
    model, rows = load_model(name).eval(), []
    test = list(load_data("fashion-mnist", model, None, "shuffled", 0, True).batches(_BATCH))
    with tempfile.TemporaryDirectory() as folder, EvidenceStore.open(Path(folder) / "tunings.sqlite") as store:
        for seed in range(seeds):
            for reduction in REDUCTIONS:
                right = {grid: answers(model, tuned(model, store, reduction, seed, grid)[0], seed, test) for grid in GRIDS}
                change = right["deep"].astype(float) - right["usual"]
                half = 196 * change.std() / np.sqrt(len(change))
                found = {f"top1_{grid}": 100 * float(one.mean()) for grid, one in right.items()}
                rows.append({"saved": reduction, "seed": seed, **found, "change": 100 * float(change.mean()), "half_width": float(half)})
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    found = {"cells": cells(Parts(options.model)), "pairs": pairs(options.model, options.seeds)}
    write_text(RESULTS / f"depth_{options.model}.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
