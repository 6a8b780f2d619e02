"""The part about weighted fits, from small results whose answer is known."""

from benchmarks.weighted_part import weighted_part


def row(seed: int, way: str, ratio: float, points: float, held_out: float) -> dict:
    """One pair, whose intervals reach 0.1 to both sides."""
    return {
        "seed": seed, "saved": 0.4, "way": way, "floor": None if way == "unweighted" else 1.0, "kl_ratio": ratio,
        "kl_ratio_ci95": [ratio - 0.1, ratio + 0.1], "points": points, "points_ci95": [points - 0.1, points + 0.1], "held_out_kl": held_out,
    }


def test_pairs_are_counted_and_the_choice_by_other_images_is_told() -> None:
    rows = [
        row(0, "unweighted", 1, 0, 0.02), row(0, "weighted", 0.8, 0.05, 0.01), row(1, "unweighted", 1, 0, 0.02),
        row(1, "weighted", 1.2, -0.2, 0.03),
    ]
    part = weighted_part([("a_vit", {"rows": rows, "held_out_images": 512, "fit_images": 512, "test_images": 10000})])
    assert "| `a_vit` | tokens and images, 1 | 1.00 (0.80 to 1.20, 2 seeds); -0.08 |" in part
    assert (
        "- `a_vit`, tokens and images, floor 1: of 2 pairs KL is better in 1 (1 beyond noise), worse in 1 (1 beyond noise); top-1 is "
        "better in 1 (0 beyond noise), worse in 1 (1 beyond noise)."
    ) in part
    assert "512 further calibration images: the unweighted fit 1 times; else of 1 pairs KL is better in 1 (1 beyond noise)" in part
