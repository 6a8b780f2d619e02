"""What is known of predictions, for docs/results.md: their order, cost and bands, cell by cell and for whole schedules."""

from collections.abc import Mapping, Sequence

_KINDS = {"plain": "nothing made up for", "compensated": "compensated"}
_KNOWN = {"alone": "the sketch alone", "learning": "and those before"}


def sketch_part(results: Mapping) -> str:
    """The order and cost of a sketch, model by model."""
    lines = _head(
        "model", "cells, images", "Spearman with exact KL, nothing measured", "calibrated", "cells run", "inside the band",
        "against exact sweep", "against a forward a cell",
    )
    for model, found in results.items():
        if not isinstance(found, Mapping):
            continue
        told = found["calibrated"]
        lines.append(
            f"| `{model}` | {found['cells']}, {found['images']} | {found['spearman']:.3f} | {told['spearman']:.3f} | "
            f"{told['measured_cells']} | {told['inside_band']:.0%} | {found['times_cheaper_than_exact']:.1f} times cheaper | "
            f"{found['times_cheaper_than_a_forward_a_cell']:.1f} times cheaper |"
        )
    return "\n".join([*lines, "", f"Process CPU time, {results['threads']} thread; the sketch without the cells that calibrate it."])


def prediction_part(results: Sequence[tuple[str, Mapping]]) -> str:
    """How whole schedules came out beside their prediction, and beside the sum of single cells."""
    lines = _head(
        "model, schedules", "predicted from", "KL inside its 95 % band", "band, times its middle",
        "predicted / measured KL, median (to half saved)", "sum of cells / measured",
        "spread of the logarithm: predicted, sum", "top-1 told", "inside its band", "mean error where less than 5 points are lost",
    )
    for model, kinds in results:
        for kind, known in kinds.items():
            lines.extend(_line(model, kind, name, known[name]) for name in _KNOWN)
    return "\n".join(lines)


def _line(model: str, kind: str, known: str, found: Mapping) -> str:
    return (
        f"| `{model}`, {found['count']} {_KINDS[kind]} | {_KNOWN[known]} | {found['kl_inside_band']:.0%} | {found['band_factor']:.1f} | "
        f"{found['median_predicted_over_measured']:.2f} ({found['median_predicted_over_measured_to_half_saved']:.2f}) | "
        f"{found['median_summed_over_measured']:.2f} ({found['median_summed_over_measured_to_half_saved']:.2f}) | "
        f"{found['log_deviation']:.2f}, {found['summed_log_deviation']:.2f} | {found['change_told']:.0%} | "
        f"{found['change_inside_band']:.0%} | {found['change_mean_error_where_less_than_5_points_are_lost']:.2f} points |"
    )


def _head(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
