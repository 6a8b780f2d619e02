"""The README's table of training-free accuracy, from what benchmarks/training_free.py wrote; benchmarks/findings.py puts it in place."""

from collections.abc import Mapping, Sequence

REDUCTIONS = (0.2, 0.3, 0.4, 0.5, 0.6)
TUNED = "error-correcting, tuned"
SHAPED = "error-correcting, "
SIZED_AT = 0.4
Row = Mapping[str, object]


def training_free_part(results: Sequence[Mapping]) -> str:
    """Tables of every model, and what they say of seeds, calibration size, shapes and the tuner's prediction, as Markdown."""
    return "\n\n".join(_model_part(one) for one in results)


def _model_part(results: Mapping) -> str:
    rows = results["rows"]
    model, images = rows[0]["model"], results["test_images"]
    reductions = [one for one in REDUCTIONS if any(row["reduction"] == one for row in rows)]
    first = [row for row in rows if row["seed"] == 0 and row["calibration_images"] in (None, results["fit_images"])]
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
    if found is None:
        return "cannot save as much"
    low, high = found["points_to_baseline_ci95"]
    return f"{found['points_to_baseline']:+z.2f} ({low:+z.2f} to {high:+z.2f})"


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
