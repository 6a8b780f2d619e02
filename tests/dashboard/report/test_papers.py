"""Pages of stored analyses: what each says, that names of others stay text, how files are loaded, and the PDF."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.key import METRIC_VERSIONS
from analysis_cache.replay import Replay
from analysis_cache.store import EvidenceStore
from dashboard import wording
from dashboard.report.analyses import read_paper
from dashboard.report.delivery import delivery_paper, read_applied
from dashboard.report.drawing import schedule_drawing
from dashboard.report.facts import Stored
from dashboard.report.loading import ways_to_load
from dashboard.report.paper import to_html
from dashboard.report.pdf import find_chromium, print_pdf
from tests.support import evidence
from tests.support.cells import identity as any_identity
from tests.support.certificates import RECORD as CERTIFICATE
from tests.support.chart_rows import epoch
from tests.support.compositions import composition_rows
from tests.support.deliveries import RECORD, SCHEDULE, TIME
from tests.support.evaluations import LABELS, LESS, WAS, arrays
from tests.support.tunings import put_tuning
from toast_core.cli.app import app
from toast_core.errors import DataError
from toast_core.schedule.schedule import Schedule
from toast_core.studies.delivery.result import Delivered

EXPORT = Delivered("onnx", "demo_vit_x.onnx", 9_000_000, 2e-7, 32, "ab" * 32, RECORD.file_sha256)
CLASSES = ("T-shirt", "Trouser", "Pullover", "<b>Dress</b>", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")


def put(store: EvidenceStore, metric: str, cells: list[tuple[dict, dict, dict]], **asked: object) -> Analysis:
    """Store cells (details, summary, arrays) of a metric and the analysis that lists them; a cell may be of another kind by "kind"."""
    keys = []
    for details, summary, kept in cells:
        kind = str(details.pop("kind", metric))
        cell = any_identity(kind=kind, metric_version=METRIC_VERSIONS[kind], schedule_digest=None, selection=None, details=details)
        store.put(cell, summary, kept)
        keys.append(cell.key)
    request = {**cell.to_dict(), "metric": metric, **asked}
    analysis = Analysis(request, f"{metric} of demo_vit", tuple(keys), TIME, TIME)
    store.put_analysis(analysis)
    return analysis


def put_applied(store: EvidenceStore, record: object = RECORD) -> Analysis:
    """A record with the outcomes of every image, its export and its certificate."""
    put(store, "export", [({"format": "onnx"}, dataclasses.asdict(EXPORT), {})], source=RECORD.file_sha256)
    put(store, "certificate", [({}, {"certificate": CERTIFICATE.to_dict()}, {})], source=RECORD.file_sha256)
    outcomes = [
        ({"kind": "evaluation", "execution": name}, {"images": len(LABELS)}, arrays(correct, LABELS))
        for name, correct in (("baseline", WAS), ("compact", LESS))
    ]
    return put(store, "agreement", [({}, record.to_dict(), {}), *outcomes], schedule=SCHEDULE.to_dict(), weights_file="demo.safetensors")


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    """An empty store."""
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as opened:
        yield opened


def page_of(store: EvidenceStore, analysis: Analysis) -> str:
    """The page as HTML."""
    return to_html([read_paper(Replay(store), analysis)[0]])


def words_of(page: str) -> str:
    """What is read on it."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)))


class TestDelivery:
    """The page about a pruned model."""

    def test_it_says_what_a_boss_asks(self, store):
        said = words_of(page_of(store, put_applied(store, dataclasses.replace(RECORD, data="fashion-mnist", classes=CLASSES))))
        for wanted in (
            "demo_vit, pruned: 31 % fewer operations per image",
            "2.00 times as fast on single images and 2.00 times as fast in batches of 32", "fashion-mnist, ", "31 January 2026",
            "nothing dropped; weights demo.safetensors", "ToaSt Studio",
            "4.000 ms", "2.000 ms", "5.4 MB", wording.points(RECORD.delta), f"(95 %: {wording.points_interval(RECORD.delta)})", "0.900 M",
            "Clearly worse: &lt;b&gt;Dress&lt;/b&gt;", "exact McNemar tests, Holm at 5 %", "report that the dashboard makes shows them",
            "ONNX Runtime", RECORD.file_sha256, CERTIFICATE.sha256, "equal to 2.0e-07 of the largest output", SCHEDULE.digest(),
        ):
            assert wanted in said, wanted
        assert {"measured", "computed"} <= set(said.split()) and "<b>Dress" not in said

    def test_pictures_are_in_the_page_where_they_are_at_hand(self, store):
        analysis = put_applied(store)
        asked = []

        def pictures(index: list[int]) -> list[bytes | None]:
            asked.extend(index)
            return [b"png", *[None] * (len(index) - 1)]

        page = to_html([delivery_paper(read_applied(Stored(Replay(store), analysis)), pictures, CLASSES)])
        assert 0 < len(asked) <= 8 and page.count("data:image/png;base64,cG5n") == 1 and "cannot be read" in page
        assert not re.search(r"(src|href)=[\"'](?!data:)", page), "nothing is loaded from elsewhere"

    def test_what_a_bundle_brings_stays_text(self, store):
        hostile = dataclasses.replace(RECORD, model="<script>alert(1)</script>", data="<img src=x>", classes=("<i>",) * 10)
        page = page_of(store, put_applied(store, hostile))
        assert "<script" not in page and "<img" not in page and "<i>" not in page

    def test_without_outcomes_it_says_so(self, store):
        analysis = put(store, "agreement", [({}, RECORD.to_dict(), {})], schedule=SCHEDULE.to_dict())
        assert "outcomes of single images are not in this store" in words_of(page_of(store, analysis))

    def test_a_difference_that_cannot_be_told_apart_is_no_success(self, store):
        same = dataclasses.replace(RECORD, delta=dataclasses.replace(RECORD.delta, value=0.3, ci95=(-0.2, 0.8)))
        assert "which cannot be told apart from the baseline" in words_of(page_of(store, put_applied(store, same)))

    def test_a_record_that_cannot_be_read_is_one_line(self, store):
        analysis = put(store, "agreement", [({}, {"top1": 1}, {})], schedule=SCHEDULE.to_dict())
        with pytest.raises(StoreError, match=r"^the record of analysis \w+ cannot be read .*check the schedule again$"):
            page_of(store, analysis)


class TestOthers:
    """Every other kind of analysis has a page, too, with model, data, date, version and baseline."""

    def stored(self, kind: str, store: EvidenceStore, path: Path) -> Analysis:
        """One analysis of a kind."""
        if kind in ("sensitivity", "redundancy"):
            return (evidence.put_sweep if kind == "sensitivity" else evidence.put_redundancy)(store)
        if kind == "composition":
            return put(store, kind, [({"batch": one.batch_size, "order": one.order, "of": one.seed}, one.to_dict(), {})
                                     for one in composition_rows()[:4]])
        if kind == "tuning":
            return store.get_analysis(put_tuning(path, SCHEDULE))
        if kind == "recovery":
            return put(store, kind, [({"part": "epoch", "epoch": number}, epoch(number, 0.5), {}) for number in (0, 1)])
        if kind == "certificate":
            return put(store, kind, [({}, {"certificate": CERTIFICATE.to_dict()}, {})])
        return put(store, kind, [({"batch": 1}, {"ms": 1.25, "note": "<b>"}, {})])

    @pytest.mark.parametrize(("kind", "says"), [
        ("sensitivity", "What is lost when one block drops"), ("redundancy", "hidden units of the feed-forward network"),
        ("composition", "Does the answer depend on the other images of a batch?"), ("tuning", "What is dropped, block by block"),
        ("recovery", "Epoch by epoch"), ("certificate", "Forms side by side"), ("latency", "What was measured"),
    ])
    def test_it_has_a_page(self, kind, says, store, tmp_path):
        analysis = self.stored(kind, store, tmp_path / "evidence.sqlite")
        page = page_of(store, analysis)
        said = words_of(page)
        assert says in said and "demo_vit" in said and re.search(r"\d+ [A-Z]\w+ 20\d\d", said) and analysis.short_id in said
        assert "-curves</h2>" not in page and "<b>" not in page.replace("<b>", "", page.count('class="tile"'))

    def test_an_evaluation_is_compared_with_the_baseline_on_the_same_images(self, evaluated):
        replay = Replay.open(evaluated.store)
        pages = [words_of(to_html([read_paper(replay, one)[0]])) for one in replay.analyses()]
        (told,) = (page for page in pages if "Against the baseline on the same 600 images" in page)
        assert "worse than the baseline" in told and "Who gets hurt" in told and "class 3" in told
        assert any("The baseline was not measured on the same images in this store" in page for page in pages)
        assert any("the baseline, evaluated" in page for page in pages)

    def test_an_analysis_without_a_cell_is_one_line(self, store):
        analysis = Analysis({"metric": "sensitivity", "model": "demo_vit"}, "none", (), TIME)
        store.put_analysis(analysis)
        with pytest.raises(StoreError, match=r"has no measured cell yet; wait for its run, or start it again"):
            read_paper(Replay(store), analysis)


def test_a_schedule_is_drawn_and_read_aloud():
    drawn = schedule_drawing(Schedule.uniform(48, qk=0.25).with_ratio(47, "fc2", 0.9))
    assert drawn.count("<rect") == 49 and "qk: 25 %, 25 %" in drawn and "Nothing is dropped at vo, fc1." in drawn


class TestCommand:
    """`toast report` on a store."""

    def test_one_file_a_folder_and_json(self, store, tmp_path, capsys):
        ids = [put_applied(store).short_id, evidence.put_redundancy(store).short_id]
        place, own = str(tmp_path / "evidence.sqlite"), tmp_path / "sent.html"
        app(["report", *ids, "--store", place, "-o", str(own)], standalone_mode=False)
        assert capsys.readouterr().out.split() == [str(own)] and own.read_text().count("<article>") == 2
        app(["report", ids[0], "--store", place, "-o", str(tmp_path / "out"), "--json"], standalone_mode=False)
        assert json.loads(capsys.readouterr().out) == {"files": [str(tmp_path / "out" / "report.html")], "messages": []}

    def test_a_pdf_without_a_chromium_is_one_line(self, store, tmp_path, monkeypatch):
        monkeypatch.setattr("dashboard.report.pdf.find_chromium", lambda: None)
        line = ["report", put_applied(store).short_id, "--store", str(tmp_path / "evidence.sqlite"), "-o", str(tmp_path / "r.pdf")]
        with pytest.raises(DataError, match=r"^a PDF needs a Chromium on this machine; install one, name it in BROWSER_PATH, or print"):
            app(line, standalone_mode=False)
        assert not (tmp_path / "r.pdf").exists()

    def test_torch_is_not_loaded(self, store, tmp_path):
        analysis = put_applied(store)
        line = ["report", analysis.short_id, "--store", str(tmp_path / "evidence.sqlite"), "-o", str(tmp_path / "r.html")]
        code = f"import sys; sys.modules['torch'] = None; from toast_core.cli.app import app; app({line!r}, standalone_mode=False)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])

    @pytest.mark.browser
    def test_the_pdf_has_one_page_or_two(self, store, chromium, monkeypatch):
        monkeypatch.setenv("CHROMIUM", chromium)
        assert find_chromium() == chromium
        printed = print_pdf(page_of(store, put_applied(store)))
        assert printed.startswith(b"%PDF") and 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 2


@pytest.mark.export
@pytest.mark.parametrize("form", ["safetensors", "onnx", "torch_export", "loader"])
def test_the_lines_that_load_a_file_run(form, tmp_path):
    from tests.support.exportable import compact_demo, grey_noise
    from toast_core.export import FORMATS, export_model

    model, images = compact_demo("demo_vit"), grey_noise(3)
    record = export_model(model, form, tmp_path / f"demo_vit_x{FORMATS[form].suffix}", images)
    exports = [] if form == "safetensors" else [Delivered(**record.to_dict(), source="")]
    ways = ways_to_load("demo_vit_x.safetensors", exports, "input_size=(1, 28, 28) crop_pct=1.0", True)
    lines = ways[-1 if form == "safetensors" else 0][1]
    assert len(lines.splitlines()) == 5
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert re.fullmatch(r"(tensor\()?\[\d\]\)?", done.stdout.strip())
