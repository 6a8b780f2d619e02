"""`toast flops`: what a model and a schedule cost, from shapes alone."""

from dataclasses import replace
from typing import TYPE_CHECKING

from toast_core.cli.opened import open_workbench
from toast_core.cli.options import Json, Wanted, takes_schedule, takes_setup
from toast_core.cli.output import print_json, print_table
from toast_core.setup import Setup

if TYPE_CHECKING:
    from toast_core.cost.macs import Cost


@takes_setup("flops")
@takes_schedule
def flops(setup: Setup, wanted: Wanted, as_json: Json = False) -> None:
    """Count multiply-accumulates, parameters and activation memory, baseline and scheduled, per block and part."""
    from toast_core.cost.macs import count_cost

    info = open_workbench(replace(setup, weights=setup.weights or "none", device="cpu")).info
    chosen = wanted.schedule(info.schedule)
    costs = {"baseline": count_cost(info.shape), "scheduled": count_cost(info.shape, chosen)}
    if as_json:
        about = {"model": info.name, "selection": chosen.selection if chosen else None, "notes": list(info.told)}
        print_json(about | {name: _document(cost) for name, cost in costs.items()})
        return
    base, new = costs["baseline"], costs["scheduled"]
    rows = [
        [str(index), *(f"{value / 1e6:.2f}" for value in (b.attention_macs, n.attention_macs, b.ffn_macs, n.ffn_macs))]
        for index, (b, n) in enumerate(zip(base.blocks, new.blocks, strict=True))
    ]
    print_table(f"{info.name}: MMACs of one image", ["block", "attention", "scheduled", "FFN", "scheduled"], rows)
    for label, cost in costs.items():
        print(
            f"{label:9}  {cost.macs / 1e9:.4f} GMACs  {cost.params / 1e6:.3f} M parameters  "
            f"{cost.peak_activation_bytes() / 1e6:.2f} MB activations (float32, batch 1)"
        )
    print(f"saved      {100 * (1 - new.macs / base.macs):.1f} % of MACs, {100 * (1 - new.params / base.params):.1f} % of parameters")


def _document(cost: "Cost") -> dict:
    whole = {name: getattr(cost, name) for name in ("macs", "params")} | {"peak_activation_bytes": cost.peak_activation_bytes()}
    parts = {name: getattr(cost, name) for name in ("embed_macs", "merge_macs", "head_macs")}
    blocks = [{name: getattr(block, name) for name in ("attention_macs", "ffn_macs", "params")} for block in cost.blocks]
    return {**whole, **parts, "blocks": blocks}
