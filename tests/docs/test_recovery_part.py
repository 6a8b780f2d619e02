"""The parts about recovery, from small results whose answer is known."""

from benchmarks.recovery_part import choice_part, recovery_part


def recovered(start: str, top1: dict[int, float], schedule: str = "paper", done: bool = True) -> dict:
    """One run of the recovery benchmark."""
    rows = [
        {"epoch": epoch, "top1": {"value": value}, "points_to_baseline": value - 90, "points_to_baseline_ci95": [value - 91, value - 89]}
        for epoch, value in top1.items()
    ]
    return {
        "schedule": schedule, "start": start, "distill": True, "training_images": 1000, "epochs": rows, "done": done, "saved": 0.52,
        "cost": {"macs": 3.4e12} if done else None,
    }


def test_what_compensation_saves_is_told_as_far_as_it_was_looked_at() -> None:
    runs = [
        recovered("selection", {0: 30.0, 1: 70.0, 2: 79.0, 5: 84.0}), recovered("compensation", {0: 80.0, 1: 84.0, 2: 85.0, 5: 86.5}),
        recovered("compensation", {0: 89.0, 1: 89.5}, "half"), recovered("selection", {0: 60.0, 1: 88.0}, "half", done=False),
    ]
    results = {"runs": runs, "training_images": 1000, "validation_share": 0.1, "baseline_top1": {"value": 90.0}, "test_images": 500}
    part = recovery_part([("a_vit", results)])
    assert "epochs of 900 training images (100 more for validation)" in part
    row = "| paper-style, 52% saved | compensation, distilled | 80.00 | 84.00 | 85.00 | 86.50 | -3.50 (-4.50 to -2.50) | 3.4 |"
    assert row in part and "| 60.00 | 88.00 | not measured | not measured | -2.00 (-3.00 to -1.00) | not finished |" in part
    assert "Paper-style, 52% saved, distilled: compensation saves more than 2 and at most 5 epochs" in part
    assert "after 5 epochs of both it is +2.50 points" in part
    assert "compensation saves more than 1 epoch, which selection needs to reach compensation's untrained 89.00 %" in part


def test_a_run_that_has_only_begun_says_nothing_about_epochs() -> None:
    runs = [recovered("selection", {0: 30.0}), recovered("compensation", {0: 80.0, 1: 84.0})]
    results = {"runs": runs, "training_images": 1000, "validation_share": 0.1, "baseline_top1": {"value": 90.0}, "test_images": 500}
    assert "saves" not in recovery_part([("a_vit", results)])


def judged(points: float) -> dict:
    """One model on one set of images."""
    return {"top1": {"value": 90 + points}, "points_to_baseline": points, "points_to_baseline_ci95": [points - 0.5, points + 0.5]}


def test_the_rate_taken_is_told_with_the_losses_that_chose_it_and_every_set_that_judged_it() -> None:
    runs = [
        {"lr": lr, "best_epoch": best, "history": [{"validation_loss": 9.0}, {"validation_loss": loss}]}
        for lr, best, loss in ((1e-4, 7, 0.25), (1e-3, 0, 0.5))
    ]
    sets = {"unseen": (4_232, -0.25), "test": (10_000, 0.125)}
    found = {
        title: {
            "images": images, "baseline_top1": {"value": 90.0}, "start": judged(-1.0), "last": judged(points), "kept": judged(points / 2),
        }
        for title, (images, points) in sets.items()
    }
    part = choice_part([("a_vit", {"runs": runs, "lr": 1e-4, "saved": 0.5, "judged": found})])
    row = "| 90.00 | 89.00 | 89.75 | -0.25 (-0.75 to +0.25) | 7 | -0.12 (-0.62 to +0.38) |"
    assert "| `a_vit`, 50% | 0.0001 (0.0001: 0.2500, 0.001: 0.5000) | 4,232 calibration images that tuner, fit and" in part
    assert f"learning rate never saw {row}" in part
    assert "10,000 test images | 90.00 | 89.00 | 90.12 |" in part and "+0.12 (-0.38 to +0.62) | 7 |" in part
