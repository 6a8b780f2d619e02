"""The parts about training-free pruning, from small results whose answer is known."""

from benchmarks.training_free_part import HEADLINE, headline_part, shapes_sentence


def measured(method: str, points: float, seed: int = 0, reduction: float = 0.4, images: int = 512) -> dict:
    """One row of the benchmark: top-1 of a baseline at 90 % plus so many points."""
    return {
        "method": method, "reduction": reduction, "seed": seed, "model": "a_vit", "calibration_images": images,
        "top1": {"value": 90 + points},
        "points_to_baseline": points, "points_to_baseline_ci95": [points - 0.1, points + 0.1],
    }


def test_a_tuned_schedule_below_a_shape_is_told_with_its_distance() -> None:
    rows = [
        measured(f"error-correcting, {name}", points)
        for name, points in (("tuned", -0.3), ("uniform", -0.35), ("linear", -0.15), ("step", 0.0))
    ]
    told, without_step = shapes_sentence(rows, [0.4]), shapes_sentence(rows[:3], [0.4])
    assert told.endswith("at or above 1 of 3; where it is below, by 0.30 points at most, with intervals apart for step at 40%.")
    assert without_step.endswith("at or above 1 of 2; where it is below, by 0.15 points at most, and the intervals overlap.")


def test_the_headline_has_a_row_a_way_at_one_budget_one_seed_and_one_calibration_size() -> None:
    others = [measured(method, -50, **other) for method in HEADLINE.values() for other in ({"seed": 1}, {"reduction": 0.5}, {"images": 32})]
    rows = [*others, *(measured(method, -number) for number, method in enumerate(HEADLINE.values()))]
    result = {"rows": rows, "fit_images": 512, "test_images": 2000, "baseline_top1": {"value": 90.0}}
    sentence, _, head, _, baseline, *ways = headline_part([result, result]).splitlines()
    assert sentence == "40% of the multiply-accumulates saved, nothing retrained, no labels; accuracy on 2,000 test images:"
    assert head.count("`a_vit` top-1 | points to the baseline (95 %)") == 2
    assert baseline == "| baseline | 90.00 % | | 90.00 % | |"
    assert len(ways) == 3 and ways[1] == (
        "| one-shot compensation, one ratio everywhere | 89.00 % | -1.00 (-1.10 to -0.90) | 89.00 % | -1.00 (-1.10 to -0.90) |"
    )
