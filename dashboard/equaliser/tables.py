"""What the browser needs to count a schedule's cost exactly while a bar moves, as JSON values. Pure; all from `count_cost`.

Savings against the baseline add up over blocks, and inside a block over qk, vo and the feed-forward network. The feed-forward
network's, for a given fc1, is a straight line in the hidden units dropped. So the browser has, for each kind of block:

    qk, vo   [macs, params] saved at every stop
    fc1      [macs, macs a hidden unit dropped, params, params a hidden unit dropped] saved at every stop of fc1
    share    tokens x width x hidden where dynamic selection is counted by ratios and not by kept counts, else 0: then the
             feed-forward network's macs are round(share x ((1 - fc1) + (1 - fc2))), and the columns above hold none
"""

from dataclasses import replace
from functools import cache

from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.schedule.sites import SITES
from toast_core.schedule.stops import legal_stops


def cost_tables(shape: ModelShape, selection: str, multiple_of: int) -> dict:
    """The tables: `kinds` of block, the kind `of` each block, the `stops` of every width, and the baseline's macs and params."""
    kinds = list(dict.fromkeys(shape.blocks))
    whole = count_cost(shape)
    widths = {kind.site_width(site) for kind in kinds for site in SITES}
    return {
        "kinds": [_kind_table(replace(shape, blocks=(kind,)), selection, multiple_of) for kind in kinds],
        "of": [kinds.index(block) for block in shape.blocks],
        "stops": {str(width): legal_stops(width, multiple_of) for width in sorted(widths)},
        "baseline": {"macs": whole.macs, "params": whole.params},
    }


@cache
def _kind_table(one: ModelShape, selection: str, multiple_of: int) -> dict:
    """The table of a model of one block."""
    kind = one.blocks[0]
    counted_by_ratio = selection != "calibrated" and multiple_of == 1
    stops = {site: legal_stops(kind.site_width(site), multiple_of) for site in SITES}

    def saved(**ratios: float) -> tuple[int, int]:
        cost = count_cost(one, Schedule((BlockSchedule(**ratios),), selection, multiple_of=multiple_of))
        before = count_cost(one)
        macs = before.blocks[0].attention_macs - cost.blocks[0].attention_macs
        if not counted_by_ratio:
            macs += before.blocks[0].ffn_macs - cost.blocks[0].ffn_macs
        return macs, before.params - cost.params

    def line(fc1: float) -> list[int]:
        start = saved(fc1=fc1)
        ratio, kept = stops["fc2"][-1]
        dropped = kind.hidden - kept
        end = saved(fc1=fc1, fc2=ratio)
        slopes = [(after - before) // dropped if dropped else 0 for before, after in zip(start, end, strict=True)]
        return [start[0], slopes[0], start[1], slopes[1]]

    return {
        "widths": {site: kind.site_width(site) for site in SITES}, "stage": kind.stage,
        "qk": [saved(qk=ratio) for ratio, _ in stops["qk"]], "vo": [saved(vo=ratio) for ratio, _ in stops["vo"]],
        "fc1": [line(ratio) for ratio, _ in stops["fc1"]], "share": _share(kind) if counted_by_ratio else 0,
    }


def _share(kind: BlockShape) -> int:
    return kind.tokens * kind.width * kind.hidden
