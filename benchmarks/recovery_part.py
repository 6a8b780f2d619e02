"""Recovery, from what recovery.py and recovery_choice.py wrote, as Markdown; documents.py puts it in place."""

from collections.abc import Mapping, Sequence

_JUDGED = {"unseen": "calibration images that tuner, fit and learning rate never saw", "test": "test images"}


def choice_part(results: Sequence[tuple[str, Mapping]]) -> str:
    """How far the demos are from their baselines at the learning rate that validation loss chose; `results` as in `recovery_part`."""
    lines = [
        "| model, MACs saved | rate taken (validation losses) | judged on | baseline | untrained | last epoch | points to baseline (95 %) "
        "| epoch kept | its points |",
        f"|{'---|' * 9}",
    ]
    for model, one in results:
        run = next(run for run in one["runs"] if run["lr"] == one["lr"])
        losses = ", ".join(f"{run['lr']:g}: {run['history'][-1]['validation_loss']:.4f}" for run in one["runs"])
        for title, found in one["judged"].items():
            cells = [f"{found[part]['top1']['value']:.2f}" for part in ("start", "last")]
            lines.append(
                f"| `{model}`, {one['saved']:.0%} | {one['lr']:g} ({losses}) | {found['images']:,} {_JUDGED[title]} | "
                f"{found['baseline_top1']['value']:.2f} | {' | '.join(cells)} | {_points(found['last'])} | {run['best_epoch']} | "
                f"{_points(found['kept'])} |"
            )
    return "\n".join(lines)


def _points(found: Mapping) -> str:
    low, high = found["points_to_baseline_ci95"]
    return f"{found['points_to_baseline']:+z.2f} ({low:+z.2f} to {high:+z.2f})"


def recovery_part(results: Sequence[tuple[str, Mapping]]) -> str:
    """A table of each model, run by run: top-1 after so many epochs and the cost; then what compensation saves.

    `results` are (model, document) pairs.
    """
    return "\n\n".join(_recovered(model, one) for model, one in results)


def _recovered(model: str, results: Mapping) -> str:
    runs = sorted(results["runs"], key=lambda run: (run["schedule"], not run["distill"], run["start"]))
    epochs = sorted({row["epoch"] for run in runs for row in run["epochs"]})
    train = round(results["training_images"] * (1 - results["validation_share"]))
    lines = [
        f"**`{model}`**, baseline {results['baseline_top1']['value']:.2f} %, top-1 on {results['test_images']:,} test images after so many "
        f"epochs of {train:,} training images ({results['training_images'] - train:,} more for validation), and points to the baseline at "
        "the last:",
        "",
        f"| schedule | from, teacher | {' | '.join(map(str, epochs))} | points to baseline (95 %) | tera-MACs of training |",
        f"|{'---|' * (len(epochs) + 4)}",
        *(_run_line(run, epochs) for run in runs),
    ]
    pairs = [
        (one, other) for one in runs for other in runs
        if (one["start"], other["start"]) == ("compensation", "selection")
        and all(one[name] == other[name] for name in ("schedule", "distill", "training_images"))
    ]
    said = [text for one, other in pairs if (text := _saved_sentence(one, other))]
    return "\n".join([*lines, "", *(f"- {text}" for text in said)])


def _run_line(run: Mapping, epochs: Sequence[int]) -> str:
    at = {row["epoch"]: row for row in run["epochs"]}
    cells = [f"{at[epoch]['top1']['value']:.2f}" if epoch in at else "not measured" for epoch in epochs]
    cost = f"{run['cost']['macs'] / 1e12:.1f}" if run["done"] else "not finished"
    return f"| {_schedule_words(run)} | {run['start']}, {_teacher(run)} | {' | '.join(cells)} | {_points(run['epochs'][-1])} | {cost} |"


def _schedule_words(run: Mapping) -> str:
    return f"{'tuned' if run['schedule'] == 'half' else 'paper-style'}, {run['saved']:.0%} saved"


def _teacher(run: Mapping) -> str:
    return "distilled" if run["distill"] else "labels only"


def _saved_sentence(compensated: Mapping, selected: Mapping) -> str:
    """What compensation saves: the epochs that selection needs to reach where compensation starts, as far as both were looked at."""
    ours, theirs = ({row["epoch"]: row["top1"]["value"] for row in run["epochs"]} for run in (compensated, selected))
    last = max(set(ours) & set(theirs))
    if not last:
        return ""
    untrained = ours[0]
    reached = next((epoch for epoch, value in sorted(theirs.items()) if value >= untrained), None)
    looked = max(theirs)
    before = max((epoch for epoch in theirs if reached is None or epoch < reached), default=0)
    epochs = f"more than {_epochs(looked)}" if reached is None else f"more than {before} and at most {_epochs(reached)}"
    return (
        f"{_schedule_words(compensated).capitalize()}, {_teacher(compensated)}: compensation saves {epochs}, which selection needs to "
        f"reach compensation's untrained {untrained:.2f} %; after {_epochs(last)} of both it is {ours[last] - theirs[last]:+.2f} "
        "points ahead."
    )


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"
