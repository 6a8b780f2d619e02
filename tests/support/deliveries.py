"""A pruned file as the Deliver page finds it: a stand-in engine with a store and a folder, records, exports, and the page itself."""

import dataclasses
import hashlib
from dataclasses import replace
from pathlib import Path

from streamlit.testing.v1 import AppTest

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from dashboard.engine.client import EngineError
from dashboard.session.link import encode_schedule
from tests.support import apps
from tests.support.cells import identity as any_identity
from tests.support.engines import QUOTE, FakeEngine, job
from toast_core.engine.protocol import FormatCard, Job, Offered
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.delivery.result import Delivered
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing

SCHEDULE = Schedule.uniform(12, fc2=0.5, selection="calibrated").with_ratio(0, "fc2", 0.0)
DYNAMIC = replace(SCHEDULE, selection="per_image")
MODEL_FILE = b"a model"
TIME = "2026-01-31T12:00:00Z"
RECORD = Agreement(
    model="demo_vit", selection="calibrated", schedule=SCHEDULE.digest(), images=1000, batch_size=64,
    headline={"baseline": Estimate(91.5, (89.5, 93.5)), "masked": Estimate(88.0, (86.0, 90.0)), "compact": Estimate(88.0, (86.0, 90.0))},
    delta=Estimate(-3.5, (-4.7, -2.3)), same=1000, largest_difference=1e-6, largest_logit=10.0,
    macs={"baseline": 72_200_000, "compact": 50_000_000}, params={"baseline": 1_350_000, "compact": 900_000},
    timings=(Timing.of(1, [(0.004, 0.002)] * 3), Timing.of(32, [(0.064, 0.032), (0.064, 0.032), (0.08, 0.032)])), dtype="float32",
    device="cpu", processor="a ![processor](http://elsewhere.example/x.png)", threads=1, versions={"torch": "2.15.0"},
    file_sha256=hashlib.sha256(MODEL_FILE).hexdigest(), file_bytes=len(MODEL_FILE),
)


class DeliverEngine(FakeEngine):
    """An engine with these jobs, a store and a folder; `asked` collects what the page wants of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(Setup(store=str(root / "evidence.sqlite")).completed())
        self.folder, self.listed, self.asked = root / "engine-1", [], []
        self.refusal: str | None = None
        self.description = replace(self.description, formats=(
            FormatCard("safetensors", ".safetensors"), FormatCard("torch_export", ".pt2"),
            FormatCard("onnx", ".onnx", "ONNX needs onnx, not installed here; install the extra: pip install 'toast-studio[onnx]'"),
            FormatCard("loader", ".py"),
        ))
        EvidenceStore.open(self.setup.store).close()

    def jobs(self) -> list[Job]:
        """The jobs."""
        return self.listed

    def quote(self, run: dict) -> Offered:
        """The price."""
        if self.refusal:
            raise EngineError(self.refusal)
        self.asked.append(("quote", run))
        return Offered("a run", f"toast {run['kind']} --of this", replace(QUOTE, cells=1))

    def submit(self, run: dict) -> Job:
        """Take it."""
        self.asked.append(("submit", run))
        self.listed = [job(1, "queued", run=run)]
        return self.listed[0]


def put_record(engine: DeliverEngine, record: Agreement = RECORD, file: bytes | None = MODEL_FILE, schedule: Schedule = SCHEDULE) -> str:
    """Store a record with its file, as the job does; its key."""
    cell = any_identity(
        kind="agreement", metric_version=1, schedule_digest=schedule.digest(), selection=schedule.selection, data_digest="0123456789abcdef",
        details={"calibration": "none", "processor": "a processor", "torch": "2"},
    )
    request = {**cell.to_dict(), "metric": "agreement", "schedule": schedule.to_dict()}
    with EvidenceStore.open(engine.setup.store) as store:
        store.put_analysis(Analysis(request, "agreement of demo_vit", (cell.key,), TIME, TIME))
        store.put(cell, record.to_dict(), {})
    if file is not None:
        folder = engine.folder.parent / "applied"
        folder.mkdir(exist_ok=True)
        (folder / f"{cell.key}.safetensors").write_bytes(file)
    return cell.key


def put_composition(engine: DeliverEngine, rows: list) -> None:
    """Store a composition analysis of DYNAMIC."""
    cells = [
        any_identity(
            kind="composition", metric_version=1, order=row.order, batch_size=row.batch_size, seed=row.seed, data_digest="0123456789abcdef",
            details={"token_seed": row.token_seed},
        )
        for row in rows
    ]
    request = {**cells[0].to_dict(), "metric": "composition", "schedule": DYNAMIC.to_dict()}
    with EvidenceStore.open(engine.setup.store) as store:
        store.put_analysis(Analysis(request, "composition of demo_vit", tuple(cell.key for cell in cells), TIME, TIME))
        for cell, row in zip(cells, rows, strict=True):
            store.put(cell, row.to_dict(), {})


def put_made(engine: DeliverEngine, metric: str, row: dict, **asked: object) -> Path:
    """Store a cell of a run about the pruned file; the folder of its files, made."""
    details = {"source": RECORD.file_sha256, **{name: str(value) for name, value in asked.items()}}
    cell = any_identity(
        kind=metric, metric_version=1, schedule_digest=SCHEDULE.digest(), selection="calibrated", data_digest="0123456789abcdef",
        details=details,
    )
    request = {**cell.to_dict(), "metric": metric, "schedule": SCHEDULE.to_dict(), "source": RECORD.file_sha256}
    with EvidenceStore.open(engine.setup.store) as store:
        store.put_analysis(Analysis(request, f"{metric} of demo_vit", (cell.key,), TIME, TIME))
        store.put(cell, row, {})
    folder = engine.folder.parent / "applied" / cell.key
    folder.mkdir(parents=True)
    return folder


def put_export(engine: DeliverEngine, content: bytes = b"a program") -> Path:
    """Store an export with its file, as the job does; the file."""
    record = Delivered(
        "torch_export", "demo_vit_x.pt2", 9, 2e-7, 32, hashlib.sha256(b"a program").hexdigest(), RECORD.file_sha256
    )
    path = put_made(engine, "export", dataclasses.asdict(record), format="torch_export") / record.path
    path.write_bytes(content)
    return path


def _deliver() -> None:
    from dashboard.pages.deliver import page
    from dashboard.session import state

    state.open_session(state.model_shape())
    page.render()


def open_page(schedule: Schedule = SCHEDULE) -> AppTest:
    """The page with this schedule in hand."""
    at = AppTest.from_function(_deliver, default_timeout=180)
    at.query_params["schedule"] = encode_schedule(schedule)
    at.query_params["selection"] = schedule.selection
    at.run()
    assert not at.exception
    return at


def words(at: AppTest) -> str:
    """What can be read on the page."""
    return apps.words(at, "warning", "success", "text")


def labels(at: AppTest) -> list[str]:
    """The buttons that download something."""
    return [element.proto.label for element in at.get("download_button")]
