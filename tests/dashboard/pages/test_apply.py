"""The Apply page and evidence bundles without a browser, on a stand-in engine and a store of their own."""

import dataclasses
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.store import EvidenceStore
from analysis_cache.upkeep import Added
from dashboard.components.exchange import added_in_words, bundle_of, take_bundle
from dashboard.engine.client import EngineError
from dashboard.pages.apply import record_table
from dashboard.pages.tune.page import _upload
from dashboard.session import state
from dashboard.session.link import encode_schedule
from tests.support import apps
from tests.support.cells import cells_in, fill
from tests.support.cells import identity as any_identity
from tests.support.compositions import composition_rows
from tests.support.engines import QUOTE, FakeEngine, job
from tests.support.evidence import put_redundancy
from toast_core.engine.protocol import Job, Offered
from toast_core.schedule.reference import from_reference
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing

SCHEDULE = Schedule.uniform(12, fc2=0.5, selection="calibrated").with_ratio(0, "fc2", 0.0)
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


class ApplyEngine(FakeEngine):
    """An engine with these jobs, a store and a folder; `asked` collects what the page wants of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(Setup(store=str(root / "evidence.sqlite")).completed())
        self.folder, self.listed, self.asked = root / "engine-1", [], []
        self.refusal: str | None = None
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


@pytest.fixture
def apply_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ApplyEngine:
    """A stand-in that the page talks to."""
    fake = ApplyEngine(tmp_path)
    monkeypatch.setattr(state, "engine_client", lambda: fake)
    return fake


def put_record(engine: ApplyEngine, record: Agreement = RECORD, file: bytes | None = MODEL_FILE, schedule: Schedule = SCHEDULE) -> str:
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


def put_composition(engine: ApplyEngine, rows: list) -> None:
    """Store a composition analysis of SCHEDULE."""
    cells = [
        any_identity(
            kind="composition", metric_version=1, order=row.order, batch_size=row.batch_size, seed=row.seed, data_digest="0123456789abcdef",
            details={"token_seed": row.token_seed},
        )
        for row in rows
    ]
    request = {**cells[0].to_dict(), "metric": "composition", "schedule": SCHEDULE.to_dict()}
    with EvidenceStore.open(engine.setup.store) as store:
        store.put_analysis(Analysis(request, "composition of demo_vit", tuple(cell.key for cell in cells), TIME, TIME))
        for cell, row in zip(cells, rows, strict=True):
            store.put(cell, row.to_dict(), {})


def _apply() -> None:
    from dashboard.pages import apply
    from dashboard.session import state

    state.open_session(state.model_shape())
    apply.render()


def _overview() -> None:
    from dashboard.pages.overview import page as overview
    from dashboard.session import state

    state.open_session(state.model_shape())
    overview.render()


def open_page(schedule: Schedule = SCHEDULE) -> AppTest:
    """The page with this schedule in hand."""
    at = AppTest.from_function(_apply, default_timeout=180)
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


class TestApply:
    """Before, while and after a schedule is applied."""

    def test_a_schedule_that_prunes_nothing_is_not_applied(self, apply_engine):
        at = open_page(Schedule.uniform(12))
        assert "nothing to apply yet" in words(at) and not at.button and not apply_engine.asked

    def test_it_says_the_price_and_starts(self, apply_engine):
        at = open_page()
        assert "**About 4 min** on this machine: 1 cell" in words(at) and "toast apply --of this" in words(at)
        at.number_input(key="apply-images").set_value(500).run()
        at.button(key="apply-start").click().run()
        run = {"kind": "apply", "schedule": SCHEDULE.to_dict(), "images": 500}
        assert ("submit", run) in apply_engine.asked and "Run 1 is queued; it starts when its turn comes." in words(at)

    def test_a_running_one_is_followed(self, apply_engine):
        run = {"kind": "apply", "schedule": SCHEDULE.to_dict()}
        apply_engine.listed = [job(3, "running", run=run, done=5, total=10, left_s=20.0)]
        at = open_page()
        assert not [button for button in at.button if button.key == "apply-start"]
        assert [button.key for button in at.button] == ["composition-start"]

    def test_another_schedules_run_is_not_this_ones(self, apply_engine):
        other = {"kind": "apply", "schedule": Schedule.uniform(12, fc2=0.1).to_dict()}
        apply_engine.listed = [job(3, "running", run=other)]
        assert open_page().button(key="apply-start")

    def test_a_failed_run_and_a_refusal_are_said(self, apply_engine):
        apply_engine.listed = [job(3, "failed", run={"kind": "apply", "schedule": SCHEDULE.to_dict()}, message="the disk is full")]
        assert "Run 3 failed: the disk is full" in words(open_page())
        apply_engine.refusal = "calibrated selection needs calibration images"
        assert "calibrated selection needs calibration images" in words(open_page())

    def test_without_images_it_says_what_to_do(self, apply_engine):
        apply_engine.description = replace(apply_engine.description, data=None)
        assert "started without images" in words(open_page())

    def test_the_record_is_shown_with_its_file_after_a_reload(self, apply_engine):
        put_record(apply_engine)
        at = open_page()
        said = words(at)
        assert RECORD.sentence() in [element.value for element in at.success]
        assert [metric.value for metric in at.metric] == ["91.5 %", "88.0 %", "88.0 %"]
        assert "2.00\N{MULTIPLICATION SIGN} (2.00 to 2.00) as fast on single images" in said and "worse than the baseline" in said
        assert "**2.000 (2.000 to 2.000) ms**" in said and "**0.0500 GMACs**" in said and "**1.35 M**" in said
        assert "Download model (0.0 MB)" in labels(at) and at.button(key="apply-start").label == "Apply again"

    def test_what_a_bundle_can_bring_is_never_drawn_as_a_picture(self, apply_engine):
        put_record(apply_engine)
        at = open_page()
        assert "elsewhere.example" in "".join(element.value for element in at.text)
        assert "elsewhere.example" not in "".join(str(element.value) for kind in ("markdown", "caption") for element in at.get(kind))

    def test_a_record_of_another_schedule_is_not_shown(self, apply_engine):
        put_record(apply_engine, schedule=Schedule.uniform(12, fc2=0.25, selection="calibrated"))
        assert not open_page().metric

    def test_masked_unlike_compact_is_an_error(self, apply_engine):
        put_record(apply_engine, dataclasses.replace(RECORD, largest_difference=0.5, same=900))
        at = open_page()
        assert not at.success and at.error[0].value.startswith("Masked and compact differ")

    @pytest.mark.parametrize("file", [None, b"", MODEL_FILE + b"!", b"A MODEL"])
    def test_a_file_that_is_not_the_records_is_not_offered(self, apply_engine, file):
        put_record(apply_engine, file=file)
        at = open_page()
        assert "not on this machine, or was changed" in words(at)
        assert not [label for label in labels(at) if label.startswith("Download model")]

    def test_a_record_that_cannot_be_read_is_one_line(self, apply_engine):
        cell = put_record(apply_engine)
        with EvidenceStore.open(apply_engine.setup.store) as store:
            identity = store.get(cell).identity
            store.remove([cell])
            store.put(identity, {"top1": "x"}, {})
        at = open_page()
        assert "cannot be read" in at.error[0].value and "apply it again" in at.error[0].value

    def test_the_table_has_every_figure(self):
        table = record_table(RECORD).set_index("Figure")
        assert table.loc["Parameters", "Compact"] == 900_000 and table.loc["Top-1 (%)", "Baseline"] == 91.5
        assert table.loc["Batch of 32, third quartile of 3 pairs (ms)", "Baseline"] == pytest.approx(72)


class TestSchedule:
    """The schedule in both forms, and its batch composition."""

    def test_both_forms_are_offered(self, apply_engine):
        assert {"Schedule (JSON)", "For the reference implementation (JSON)"} <= set(labels(open_page()))

    def test_what_the_reference_cannot_hold_is_said(self, apply_engine):
        at = open_page(Schedule.uniform(12, fc2=0.5, selection="calibrated"))
        assert "the schedule prunes block 0, which the reference cannot" in words(at)
        assert "For the reference implementation (JSON)" not in labels(at) and at.button(key="apply-no-reference").disabled

    def test_the_reference_form_is_read_back(self):
        from toast_core.schedule.reference import to_reference

        assert from_reference(json.loads(json.dumps(to_reference(SCHEDULE)))) == replace(SCHEDULE, selection="per_batch")

    def test_composition_is_asked_for_where_it_is_not_stored(self, apply_engine):
        at = open_page()
        assert "Not checked yet for this schedule" in words(at) and "toast composition --of this" in words(at)
        at.number_input(key="composition-images").set_value(900)  # and nothing is drawn before the click
        at.button(key="composition-start").click().run()
        assert ("submit", {"kind": "composition", "schedule": SCHEDULE.to_dict(), "images": 900}) in apply_engine.asked

    @pytest.mark.parametrize(("published", "kind", "says"), [
        (None, "success", "Safe to deploy"),
        ({"top1": 95.1, "ci95": (93, 97), "top1_delta": 5.0, "delta_ci95": (3.5, 6.5), "agreement": 91.0}, "error", "Not safe to deploy"),
    ])
    def test_a_stored_check_is_judged(self, apply_engine, published, kind, says):
        put_composition(apply_engine, composition_rows(published=published))
        at = open_page()
        assert at.get(kind)[0].value.startswith(says)
        assert not [button for button in at.button if button.key == "composition-start"]


def bad_zip(tmp_path: Path, **members: bytes) -> bytes:
    """A zip file with these members."""
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return path.read_bytes()


class TestBundles:
    """What is uploaded is checked before any of it is used; what is exported can be taken in again."""

    @pytest.fixture
    def sound(self, tmp_path: Path) -> bytes:
        """A bundle of one analysis with five cells."""
        with EvidenceStore.open(tmp_path / "other.sqlite") as store:
            analysis = fill(store)
        return bundle_of(str(tmp_path / "other.sqlite"), analysis.short_id)

    def test_there_and_back(self, sound, tmp_path):
        store = str(tmp_path / "own.sqlite")
        first, again = take_bundle(store, sound), take_bundle(store, sound)
        assert (first.analyses, first.cells, again.analyses, again.cells_present) == (1, 5, 0, 5)
        with EvidenceStore.open(store) as opened:
            assert bundle_of(store, opened.list_analyses()[0].short_id) == sound

    @pytest.mark.parametrize("spoil", [
        lambda sound, folder: b"",
        lambda sound, folder: b"not a bundle at all",
        lambda sound, folder: sound[:-10],
        lambda sound, folder: sound[: len(sound) // 2] + bytes([sound[len(sound) // 2] ^ 255]) + sound[len(sound) // 2 + 1 :],
        lambda sound, folder: sound + b"more",
        lambda sound, folder: bad_zip(folder, a=b"x"),
        lambda sound, folder: bad_zip(folder, **{"manifest.json": b"[]"}),
        lambda sound, folder: bad_zip(folder, **{"manifest.json": b"{" * 5000}),
        lambda sound, folder: bad_zip(folder, **{"..__..__etc__passwd": b"x", "manifest.json": b"{}"}),
        lambda sound, folder: bad_zip(folder, **{"manifest.json": json.dumps({"format": "toastbundle", "version": 99}).encode()}),
        lambda sound, folder: bad_zip(folder, **{"analyses.jsonl": b"\x00" * 40_000_000}),
        lambda sound, folder: b"PK\x05\x06" + b"\xff" * 18,
    ])
    def test_what_is_not_sound_is_one_line_and_changes_nothing(self, sound, tmp_path, spoil):
        store = str(tmp_path / "own.sqlite")
        with pytest.raises(StoreError) as caught:
            take_bundle(store, spoil(sound, tmp_path))
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value) and "/tmp" not in str(caught.value)
        with EvidenceStore.open(store) as opened:
            assert not opened.list_analyses() and not cells_in(opened)

    def test_a_bundle_that_is_too_large_is_refused_unread(self, monkeypatch, tmp_path):
        monkeypatch.setattr("dashboard.components.exchange.MAX_BUNDLE_MB", 0)
        with pytest.raises(StoreError, match="more than 0; take it in with toast cache import"):
            take_bundle(str(tmp_path / "own.sqlite"), b"1")

    def test_an_analysis_that_is_gone_is_one_line(self, apply_engine):
        with pytest.raises(StoreError, match="there is no"):
            bundle_of(apply_engine.setup.store, "0" * 16)

    def test_what_came_of_it_is_said_in_words(self):
        assert added_in_words(Added(5, 0, 1, 0)) == "1 analysis and 5 cells taken over."
        assert added_in_words(Added(0, 1200, 0, 2)) == "0 analyses and 0 cells taken over; 2 analyses and 1,200 cells were here already."

    def test_the_overview_takes_one_in_and_gives_one_out(self, apply_engine, tmp_path):
        at = AppTest.from_function(_overview, default_timeout=180).run()
        assert "No analysis of this model is in the dashboard's store yet" in words(at)
        with EvidenceStore.open(tmp_path / "other.sqlite") as store:
            analysis = put_redundancy(store)
        sound = bundle_of(str(tmp_path / "other.sqlite"), analysis.short_id)
        at.file_uploader(key="exchange-upload-0").upload("sent.toastbundle", sound, "application/octet-stream").run()
        assert not at.exception and "sent.toastbundle: 1 analysis and 24 cells taken over." in words(at)
        assert "Download bundle" in labels(at) and at.file_uploader(key="exchange-upload-1")
        at.file_uploader(key="exchange-upload-1").upload("bad.toastbundle", b"PK", "application/octet-stream").run()
        assert not at.exception and any(error.value.startswith("bad.toastbundle was not used: ") for error in at.error)


def test_a_schedule_file_beyond_a_megabyte_is_not_parsed(engine, monkeypatch):
    class Large:
        name, size = "big.json", 2 << 20

        def getvalue(self) -> bytes:
            raise AssertionError("was read")

    session = {"upload": Large()}
    monkeypatch.setattr("dashboard.pages.tune.page.st.session_state", session)
    _upload(engine.description.model.shape)
    assert session["upload-error"] == "big.json was not used: it has 2 MB, more than 1; choose a schedule file"
