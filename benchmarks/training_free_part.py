"""Training-free accuracy, from what benchmarks/training_free.py wrote, as Markdown; documents.py puts it in place."""

from collections.abc import Mapping, Sequence

REDUCTIONS = (0.2, 0.3, 0.4, 0.5, 0.6)
TUNED = "error-correcting, tuned"
SHAPED = "error-correcting, "
SIZED_AT = 0.4
HEADLINE_AT = 0.4
HEADLINE = {
    "selection, one ratio everywhere": "selection, calibrated",
    "one-shot compensation, one ratio everywhere": "one-shot affine",
    "ours: error-correcting compensation, tuned ratios": TUNED,
}
Row = Mapping[str, object]


def training_free_part(results: Sequence[Mapping]) -> str:
    """Tables of every model, and what they say of seeds, calibration size, shapes and the tuner's prediction, as Markdown."""
    return "\n\n".join(_model_part(one) for one in results)


def headline_part(results: Sequence[Mapping]) -> str:
    """The README's table: the baseline and three ways to save `HEADLINE_AT` of its MACs without training, on every model."""
    measured = [_first_seed(one) for one in results]
    names = [rows[0]["model"] for rows in measured]
    baselines = [_top1(one["baseline_top1"]) for one in results]
    images = min(one["test_images"] for one in results)
    lines = [
        f"{HEADLINE_AT:.0%} of the multiply-accumulates saved, nothing retrained, no labels; accuracy on {images:,} test images:",
        "",
        f"| | {' | '.join(f'`{name}` top-1 | points to the baseline (95 %)' for name in names)} |",
        f"|{'---|' * (2 * len(names) + 1)}",
        f"| baseline |{''.join(f' {top1} | |' for top1 in baselines)}",
    ]
    for title, method in HEADLINE.items():
        found = [next(row for row in rows if (row["method"], row["reduction"]) == (method, HEADLINE_AT)) for rows in measured]
        lines.append(f"| {title} | {' | '.join(_top1(row['top1']) + ' | ' + _points(row) for row in found)} |")
    return "\n".join(lines)


def _top1(found: Mapping) -> str:
    return f"{found['value']:.2f} %"


def _points(row: Row) -> str:
    low, high = row["points_to_baseline_ci95"]
    return f"{row['points_to_baseline']:+z.2f} ({low:+z.2f} to {high:+z.2f})"


def _first_seed(results: Mapping) -> list[Row]:
    """The rows that every method has: seed 0, fitted on the usual number of images."""
    return [row for row in results["rows"] if row["seed"] == 0 and row["calibration_images"] in (None, results["fit_images"])]


def _model_part(results: Mapping) -> str:
    rows = results["rows"]
    model, images = rows[0]["model"], results["test_images"]
    reductions = [one for one in REDUCTIONS if any(row["reduction"] == one for row in rows)]
    first = _first_seed(results)
    names = dict.fromkeys(row["method"] for row in first)
    lines = [
        f"**`{model}`**, baseline {results['baseline_top1']['value']:.2f} % on {images:,} test images; points to it (paired, 95 %) by MACs "
        "saved:",
        "",
        f"| method | {' | '.join(f'{one:.0%}' for one in reductions)} |",
        f"|{'---|' * (len(reductions) + 1)}",
        *(f"| {name} | {' | '.join(_cell(first, name, one) for one in reductions)} |" for name in names),
        "",
        f"- {_seeds_sentence(rows, reductions)}",
        f"- {_sizes_sentence(rows)}",
        f"- {shapes_sentence(first, reductions)}",
        f"- {_audit_sentence(results['audit'])}",
    ]
    return "\n".join(lines)


def _cell(rows: Sequence[Row], method: str, reduction: float) -> str:
    found = next((row for row in rows if (row["method"], row["reduction"]) == (method, reduction)), None)
    return "cannot save as much" if found is None else _points(found)


def _seeds_sentence(rows: Sequence[Row], reductions: Sequence[float]) -> str:
    seeds = sorted({row["seed"] for row in rows})
    told = []
    for reduction in reductions:
        found = {row["seed"]: row["points_to_baseline"] for row in rows if (row["method"], row["reduction"]) == (TUNED, reduction)}
        told.append(f"{reduction:.0%} {min(found.values()):+z.2f} to {max(found.values()):+z.2f}")
    return f"Tuned schedules over {len(seeds)} seeds, which draw the calibration images: {'; '.join(told)}."


def _sizes_sentence(rows: Sequence[Row]) -> str:
    sizes = sorted({row["calibration_images"] for row in rows if row["calibration_images"] is not None})
    told = []
    for method in ("one-shot affine", "error-correcting"):
        found = {
            row["calibration_images"]: row["points_to_baseline"]
            for row in rows if (row["method"], row["reduction"], row["seed"]) == (method, SIZED_AT, 0)
        }
        told.append(f"{method} {', '.join(f'{found[size]:+z.2f}' for size in sizes)}")
    return f"{SIZED_AT:.0%} saved, fitted on {', '.join(f'{size:,}' for size in sizes)} calibration images: {'; '.join(told)}."


def shapes_sentence(rows: Sequence[Row], reductions: Sequence[float]) -> str:
    """How the tuned schedule stands to the usual shapes at the same budgets, all of them compensated alike."""
    above, compared, worst, outside = 0, 0, 0.0, []
    for reduction in reductions:
        at = {row["method"]: row for row in rows if row["reduction"] == reduction}
        tuned = at[TUNED]
        for name, row in at.items():
            if not name.startswith(SHAPED) or name == TUNED:
                continue
            compared += 1
            behind = row["points_to_baseline"] - tuned["points_to_baseline"]
            above += behind <= 0
            worst = max(worst, behind)
            if row["points_to_baseline_ci95"][0] > tuned["points_to_baseline_ci95"][1]:
                outside.append(f"{name.removeprefix(SHAPED)} at {reduction:.0%}")
    within = "and the intervals overlap" if not outside else f"with intervals apart for {', '.join(outside)}"
    return (
        f"Against the usual shapes, compensated alike: the tuned schedule is at or above {above} of {compared}; where it is below, by "
        f"{worst:.2f} points at most, {within}."
    )


def _audit_sentence(audit: Mapping[str, Mapping]) -> str:
    covered, asked = (sum(one[name] for one in audit.values()) for name in ("covered", "asked"))
    ratios = [one["measured_over_predicted"]["ratio"] for one in audit.values() if one["measured_over_predicted"]]
    return (
        f"The tuner's prediction of KL, on held-out calibration images: measured is {min(ratios):.2f} to {max(ratios):.2f} times the "
        f"predicted one; the 95 % band, learned from the other schedules of a budget, holds {covered} of {asked}."
    )
