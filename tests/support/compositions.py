"""Made-up composition rows: every number can be found again in what is said and drawn."""

from toast_core.studies.composition.result import CompositionRow, conditions


def composition_row(**changes: object) -> CompositionRow:
    """Deployment of a schedule, unless changed."""
    row = {
        "model": "demo_vit", "selection": "per_batch", "schedule": "5" * 64, "dtype": "float32", "deployment": True, "order": "shuffled",
        "batch_size": 1, "seed": 0, "token_seed": 0, "images": 1000, "top1": 90.1, "ci95": (88.1, 91.8), "top1_delta": 0.0,
        "delta_ci95": (-0.19, 0.19), "agreement": 100.0, "jaccard_fc1": None, "jaccard_fc2": 1.0,
    }
    return CompositionRow(**row | changes)


def composition_rows(
    deployment: dict | None = None, published: dict | None = None, sample: dict | None = None
) -> list[CompositionRow]:
    """One row a condition, all alike but for the changes: to deployment, to the published way, to deployment with another token sample."""
    rows = []
    for number, condition in enumerate(conditions(0, 0)):
        changed = {0: deployment, 1: published}.get(number) or {}
        if condition.token_seed and condition.batch_size == 1:
            changed = sample or {}
        rows.append(composition_row(deployment=number == 0, **vars(condition) | changed))
    return rows
