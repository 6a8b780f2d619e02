"""Whether weighted fits are better, from what benchmarks/weighted_fits.py wrote, as Markdown; documents.py puts it in place."""

from collections.abc import Mapping, Sequence
from statistics import fmean

Row = Mapping[str, object]
_WAYS = {"weighted": "tokens and images", "tokens": "tokens within an image", "ranks": "ranking alone"}


def weighted_part(results: Sequence[tuple[str, Mapping]]) -> str:
    """KL and top-1 of weighted fits beside unweighted ones, model by model, and how many pairs were told apart, as Markdown."""
    shares = sorted({row["saved"] for _, found in results for row in found["rows"]})
    lines = [f"| model | weighted, floor | {' | '.join(f'{share:.0%} saved' for share in shares)} |", f"|{'---|' * (2 + len(shares))}"]
    told = []
    for model, found in results:
        ways = dict.fromkeys((row["way"], row["floor"]) for row in found["rows"] if row["way"] in _WAYS)
        for way, floor in ways:
            own = [row for row in found["rows"] if (row["way"], row["floor"]) == (way, floor)]
            cells = [_cell([row for row in own if row["saved"] == share]) for share in shares]
            lines.append(f"| `{model}` | {_WAYS[way]}, {floor:g} | {' | '.join(cells)} |")
            told.append(f"- `{model}`, {_WAYS[way]}, floor {floor:g}: {_pairs(own)}.")
        told.append(f"- `{model}`, the way with the lowest KL on {found['held_out_images']} further calibration images: {chosen(found)}.")
    first = results[0][1]
    return "\n".join([
        *lines, "",
        f"KL to the baseline, times that of the unweighted fit (lowest and highest over seeds); top-1 less that of the unweighted fit in "
        f"points, mean over seeds. {first['fit_images']} calibration images, {first['test_images']:,} test images.",
        "", *told,
    ])


def chosen(found: Mapping) -> str:
    """What comes of taking, a seed and share saved each, the way that damages images outside the fit least, unweighted fits included."""
    rows, picked = found["rows"], []
    for seed, share in dict.fromkeys((row["seed"], row["saved"]) for row in rows):
        picked.append(min((row for row in rows if (row["seed"], row["saved"]) == (seed, share)), key=lambda row: row["held_out_kl"]))
    kept = sum(row["way"] == "unweighted" for row in picked)
    return f"the unweighted fit {kept} times; else {_pairs([row for row in picked if row['way'] != 'unweighted'])}"


def _cell(rows: Sequence[Row]) -> str:
    if not rows:
        return "not measured"
    ratios = [row["kl_ratio"] for row in rows]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}, {len(rows)} seeds" if len(rows) > 1 else "1 seed"
    return f"{fmean(ratios):.2f} ({spread}); {fmean(row['points'] for row in rows):+z.2f}"


def _pairs(rows: Sequence[Row]) -> str:
    """How many pairs have a better fit, and how many by more than noise."""
    def counted(name: str, good: int, even: float) -> str:
        better = [row for row in rows if good * (row[name] - even) > 0]
        worse = [row for row in rows if good * (row[name] - even) < 0]
        beyond = [[row for row in own if not row[f"{name}_ci95"][0] <= even <= row[f"{name}_ci95"][1]] for own in (better, worse)]
        return f"in {len(better)} ({len(beyond[0])} beyond noise), worse in {len(worse)} ({len(beyond[1])} beyond noise)"

    return f"of {len(rows)} pairs KL is better {counted('kl_ratio', -1, 1.0)}; top-1 is better {counted('points', 1, 0.0)}"
