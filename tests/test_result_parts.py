"""README's parts about recovery, exports and waiting, from small results whose answer is known."""

from benchmarks.result_parts import desk_part, export_part, recovery_part


def export_row(torch_export: float, onnx: float, **more: object) -> dict:
    """One model's row."""
    return {
        "images": 256, "torch_export": {"relative_difference": torch_export},
        "onnx": {"relative_difference": onnx, "bytes": 4_000_000}, **more,
    }


def test_the_worst_export_counts_and_int8_is_told_for_those_that_have_it() -> None:
    int8 = {
        "top1": {"onnx": 91.0, "int8_dynamic": 90.5, "int8_static": 89.25}, "bytes": {"dynamic": 1_500_000},
        "against_onnx": {"dynamic": {"speedup": 1.5}, "static": {"speedup": 0.9}},
    }
    rows = {"plain": export_row(2e-7, 3e-6), "demo": export_row(4e-7, 1e-7, int8=int8, macs=60, baseline_macs=100)}
    part = export_part({"rows": rows, "threads": 1, "processor": "a processor"})
    assert "over 2 models on 256 images: torch.export 4.0e-07, ONNX 3.0e-06." in part
    assert "| `demo`, 40% | 91.00 % | 90.50 % | 89.25 % | 4.0 to 1.5 MB | 1.50 (dynamic), 0.90 (static) |" in part and "`plain`" not in part


def test_waits_stand_beside_what_was_wanted_and_losses_are_counted() -> None:
    def median(value: float) -> dict:
        return {"median": value}

    release = {name: median(number) for number, name in ((310, "totals"), (520, "first"), (990, "final"))}
    desk = {
        "pages_ms": {"overview": {"title": median(1860)}}, "cold_overview_ms": {"title": median(4840)},
        "bare_streamlit_ms": median(1550), "release_ms": {"block 11": release, "block 6": release}, "cores": 2,
        "drag_32_blocks_ms": {"nine-point curves": {"readout": {"median": 15.5, "p95": 20.5}}},
        "load_average_before": [0.1, 0, 0], "load_average_after": [3.2, 0, 0],
    }
    strain = {
        "reload": {"reloads": 20}, "five_sessions": {"seconds": 120.0, "visits": 97, "edits": 47}, "killed": {"kills": 10},
        "memory_mb": {"start": {"page_server": 199.8}, "end": {"page_server": 215.0}}, "dead": ["a page"], "exceptions": [],
        "cells": {"cells": 73, "lost": 2, "different": 0},
    }
    part = desk_part(desk, strain)
    assert "| first paint of the Overview, server warm (a bare Streamlit page: 1.55 s) | 1.86 s | 2 s |" in part
    assert "| 15.5 ms (20.5 ms) | 16 ms |" in part and "| 0.31 s, 0.31 s | 0.15 s |" in part and "| 0.99 s, 0.99 s | 1 s |" in part
    assert "2 of 73 cells lost" in part and "1 dead pages, 0 exceptions" in part and "from 200 to 215 MB" in part


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
