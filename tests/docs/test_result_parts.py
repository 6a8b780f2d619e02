"""The parts about accuracy, sweeps, exports and waiting, from small results whose answer is known."""

from benchmarks.result_parts import accuracy_part, desk_part, export_part, sweep_part


def test_a_table_of_accuracies() -> None:
    def measured(model: str, value: float) -> dict:
        top1 = {"value": value, "ci95": [value - 0.56, value + 0.54]}
        return {"schedule": "baseline", "model": model, "top1": top1, "macs": 72192960}

    assert accuracy_part({"rows": [measured("a", 91.53), measured("b", 91.4)]}).splitlines()[2] == (
        "| baseline | 91.53 % (91.0 to 92.1) | 0.0722 | 91.40 % (90.8 to 91.9) | 0.0722 |"
    )


def test_a_sweep_is_told_with_what_reuse_saves() -> None:
    results = {"cells": 324, "model": "a_vit", "weights": "random", "images": 16, "ratio_median": 2.293, "largest_loss_difference": 9.5e-7}
    assert sweep_part(results) == (
        "324 cells of `a_vit` (random weights) on 16 images: 2.3 times less CPU time, the median over batches; "
        "losses differ by 9.5e-07 at most."
    )


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
