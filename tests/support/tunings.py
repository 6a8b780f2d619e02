"""A tuning as a run leaves it in a store, and the curves that it fits to."""

from pathlib import Path

from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from dashboard.engine.client import shipped_shape
from tests.support.curves import STRENGTH, TIME, WEIGHTS
from toast_core.cost.macs import count_cost
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule

SHAPE = shipped_shape("demo_vit")
BARE = Schedule.uniform(12, selection="calibrated")
ROWS = tuple(
    {"block": block, "site": site, "ratio": ratio, "kl": STRENGTH[site] * (1.6 - block / 10) * ratio**2, "images": 128}
    for block in range(12) for site in STRENGTH for ratio in (0.3, 0.6, 0.9)
)
WHOLE = count_cost(SHAPE).macs


def put_tuning(path: Path, schedule: Schedule, data_digest: str | None = None) -> str:
    """Leave a finished tuning in a store, and measured curves as earlier versions did; returns the analysis' short id."""
    from toast_core.studies.tuning.store import RESULT

    weights = Path(__file__).parents[2] / "toast_core" / WEIGHTS
    digest, _ = digest_of_weights(weights, weights.stat().st_mtime_ns)

    def identity(kind: str, **details: object) -> CellIdentity:
        return CellIdentity(
            kind, METRIC_VERSIONS[kind], "demo_vit", digest, "b" * 64, 768, "c" * 64, "made up", None, None, "shuffled", 64, 0, "float32",
            "cpu", details,
        )

    shared = {"model": "demo_vit", "weights_file": WEIGHTS, "weights_digest": digest, "dtype": "float32", "images": 768}
    if data_digest:
        shared["data_digest"] = data_digest
    report = {
        "schedule": schedule.to_dict(), "predicted_kl": 0.01, "gap": 0.001, "achieved": {"left_over": 5}, "shadow_price_per_million": 0.002,
        "next_best_edits": {"drop": [], "restore": []}, "decision": "kl is the best", "notes": [], "images": {"curves": 128, "judge": 256},
    }
    with EvidenceStore.open(path) as store:
        curves = {identity("tuning_curves", block=row["block"], site=row["site"], ratio=row["ratio"]): row for row in ROWS}
        for one, row in curves.items():
            store.put(one, {name: row[name] for name in ("block", "site", "ratio", "kl", "images")}, {})
        settings = {"selection": "calibrated", **vars(FULL)}
        keys = tuple(one.key for one in curves)
        store.put_analysis(Analysis({**shared, "metric": "tuning_curves", "settings": settings}, "curves", keys, TIME, TIME))
        result = identity(RESULT, part="result")
        store.put(result, report, {})
        analysis = Analysis({**shared, "metric": RESULT}, "tuned", (result.key,), TIME, TIME)
        store.put_analysis(analysis)
    return analysis.short_id
