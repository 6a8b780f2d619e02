"""Comparing: pairs, damage, the front, the audit and what it teaches; the page on a stand-in engine; pictures and a real browser."""

import base64
import io
import math
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, digest_of_subset
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from dashboard import autosave, evidence, state
from dashboard.client import EngineClient, EngineError, EngineOptions, shipped_shape
from dashboard.comparison.audit import MIN_IMAGES, audit
from dashboard.comparison.audited import coverage_in_words, learned_in_words
from dashboard.comparison.candidates import candidates, change_to, on_same_images, pareto, stored_evaluations
from dashboard.comparison.damage import damage_of, holm, mcnemar, paired_change
from dashboard.comparison.lineage import in_tree_order, parent_of, step_in_accuracy
from dashboard.comparison.measuring import lacking, run_of
from dashboard.drafts import Draft, DraftBook, Result
from dashboard.equaliser.mount import Desk, equaliser_data
from dashboard.evidence import find_evidence
from dashboard.prediction import (
    MIN_LEARNED,
    Curves,
    Interaction,
    effects,
    joint_loss,
    learn,
    predict,
    predict_change,
    read_curves,
)
from dashboard.starting_points import starting_points
from dashboard.stored_curves import StoredCurves
from dashboard.stored_latency import StoredLatency
from tests.dashboard import curves as made_up
from tests.dashboard.conftest import FakeEngine
from tests.dashboard.test_runs_page import QUOTE, job
from toast_core.data.pictures import MAX_PICTURES, pictures
from toast_core.data.sources import open_source
from toast_core.errors import DataError
from toast_core.intervals import paired_interval, wilson_percent
from toast_core.results import Estimate
from toast_core.schedule.schedule import Schedule

ME = "a" * 32
VIT = shipped_shape("demo_vit")
BASE = Schedule.uniform(12, selection="calibrated")
DRAFT = BASE.with_ratio(3, "fc2", 0.5)
IMAGES = 600
CURVES = read_curves(made_up.rows(), "calibrated")


def arrays(correct: np.ndarray, labels: np.ndarray, start: int = 0) -> dict[str, np.ndarray]:
    """Per-image outcomes on the images from `start`; a wrong one is taken for the next class."""
    predicted = np.where(correct, labels, (labels + 1) % 10)
    index = np.arange(start, start + len(labels))
    return {"index": index, "label": labels, "predicted": predicted, "margin": np.where(correct, 1.0, -np.arange(len(labels)) / 100)}


LABELS = np.arange(IMAGES) % 10
WAS = np.arange(IMAGES) % 20 != 7  # 5 % wrong, all of class 7
LESS = WAS & ~((LABELS == 3) & (np.arange(IMAGES) % 30 < 10))  # a third of class 3 is lost


# ---------- pairs and damage


def test_only_images_that_both_have_seen_are_paired():
    before, after = arrays(WAS, LABELS), arrays(LESS[100:], LABELS[100:], 100)
    order = np.random.default_rng(0).permutation(len(after["index"]))
    shuffled = {name: values[order] for name, values in after.items()}
    change, images = paired_change(before, shuffled)
    assert images == IMAGES - 100 and change.value == pytest.approx(100 * (LESS[100:].mean() - WAS[100:].mean()))
    assert change.ci95 == paired_interval(WAS[100:], LESS[100:])
    assert paired_change(before, arrays(WAS, LABELS, 10_000)) is None and damage_of(before, arrays(WAS, LABELS, 10_000)) is None


def test_damage_counts_by_class_and_lists_the_surest_mistakes_first():
    found = damage_of(arrays(WAS, LABELS), arrays(LESS, LABELS))
    assert (found.images, found.newly_wrong, found.newly_right) == (600, 20, 0)
    worst = found.classes[0]
    assert (worst.label, worst.images, worst.newly_wrong, worst.is_clear) == (3, 60, 20, True)
    assert worst.change.value == pytest.approx(-100 / 3) and len(found.classes) == 10
    assert not any(one.is_clear for one in found.classes[1:])
    assert found.confusion == (((3, 4), 20),) and set(found.label) == {3} and set(found.predicted) == {4}
    assert list(found.wrong) == sorted(np.flatnonzero(WAS & ~LESS), reverse=True)


def test_mcnemar_is_the_exact_binomial_and_holm_steps_down():
    assert mcnemar(0, 0) == 1.0 and mcnemar(5, 5) == 1.0
    assert mcnemar(10, 0) == pytest.approx(2 / 1024) and mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * 11 / 1024)
    assert 0 < mcnemar(3000, 2000) < 1e-40
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


# ---------- candidates


def put_evaluation(store: EvidenceStore, schedule: Schedule, correct: np.ndarray, images: int = IMAGES) -> None:
    """Store an evaluation as the job does, on the images that the stand-in engine measures on."""
    weights = Path(made_up.toast_core.__file__).parent / made_up.WEIGHTS
    digest, _ = digest_of_weights(weights, weights.stat().st_mtime_ns)
    outcomes = arrays(correct[:images], LABELS[:images])
    identity = CellIdentity(
        "evaluation", METRIC_VERSIONS["evaluation"], "demo_vit", digest, "b" * 64, images, digest_of_subset(outcomes["index"]), "made up",
        schedule.digest(), None if schedule.is_baseline else schedule.selection, "shuffled", 64, 0, "float32", "cpu",
        {"execution": "baseline" if schedule.is_baseline else "masked"},
    )
    request = {**identity.to_dict(), "metric": "evaluation", "schedule": schedule.to_dict(), "weights_file": made_up.WEIGHTS}
    store.put_analysis(Analysis(request, "evaluation", (identity.key,), made_up.TIME, made_up.TIME))
    hits = int(correct[:images].sum())
    top1 = Estimate(100 * hits / images, wilson_percent(hits, images)).to_dict()
    store.put(identity, {"images": images, "top1": top1}, outcomes)


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineOptions:
    """Options of a store with the baseline, DRAFT on all images, and an older evaluation of DRAFT on fewer."""
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    path = tmp_path / "evidence.sqlite"
    with EvidenceStore.open(path) as store:
        put_evaluation(store, DRAFT, WAS, 200)
        put_evaluation(store, Schedule.uniform(12), WAS)
        put_evaluation(store, DRAFT, LESS)
    return EngineOptions(store=str(path))


def result(schedule: Schedule, delta: float, images: int = 1000, half: float = 0.5) -> Result:
    """What was measured while editing."""
    def estimate(value: float) -> dict:
        return {"value": value, "ci95": [value - half, value + half]}

    return Result(schedule, {"images": images, "top1": estimate(92 + delta), "baseline": estimate(92.0), "delta_top1": estimate(delta)})


def results(*found: Result) -> dict[str, Result]:
    """By digest."""
    return {one.schedule.digest(): one for one in found}


def draft(number: int, schedule: Schedule, parent: int | None = None, origin: str = "Baseline") -> Draft:
    """A draft as the book gives it."""
    return Draft(number, f"Draft {number}", parent, origin, schedule, b"", True, 0, 0.0, 0.0)


def test_what_is_known_best_counts_and_says_how(evaluated):
    stored = stored_evaluations(find_evidence(evaluated, "demo_vit", "b" * 64))
    assert {name: one.images for name, one in stored.items()} == {"baseline": IMAGES, DRAFT.digest(): IMAGES}
    edited, guessed = BASE.with_ratio(2, "fc2", 0.4), BASE.with_ratio(1, "fc2", 0.3)
    drafts = [draft(1, DRAFT), draft(2, edited), draft(3, guessed), draft(4, BASE.with_ratio(0, "qk", 0.99))]
    found = candidates(VIT, DRAFT, drafts, starting_points(VIT, "calibrated"), stored, results(result(edited, -1.0)), CURVES)
    known = {one.key: (one.badge, one.images) for one in found}
    assert known["baseline"] == ("measured", IMAGES) and known["draft-1"] == ("measured", IMAGES)
    assert known["draft-2"] == ("measured", 1000) and known["draft-3"] == ("predicted", 0) and known["draft-4"] == (None, 0)
    assert known["uniform-30"][0] == "predicted" and "in-hand" not in known
    by_key = {one.key: one for one in found}
    change, images = change_to(by_key["draft-1"], by_key["baseline"])
    assert images == IMAGES and change.value == pytest.approx(-100 * 20 / 600)
    assert change_to(by_key["draft-2"], by_key["baseline"]) == (Estimate(-1.0, (-1.5, -0.5)), 1000)
    assert change_to(by_key["draft-2"], by_key["draft-1"]) is None and change_to(by_key["draft-3"], by_key["baseline"]) is None
    assert [one.key for one in on_same_images(found)] == ["baseline", "draft-1"]
    assert [one.key for one in lacking(list(by_key.values())[:1], IMAGES)] == []
    assert lacking([by_key["draft-1"]], 10_000) == [by_key["draft-1"]]


def test_evaluations_of_other_images_do_not_count(evaluated):
    assert stored_evaluations(find_evidence(evaluated, "demo_vit", "c" * 64)) == {}


def test_beside_candidates_measured_while_editing_the_baseline_is_of_the_same_images(evaluated):
    sweeps = {"baseline": stored_evaluations(find_evidence(evaluated, "demo_vit"))["baseline"]}
    found = candidates(VIT, BASE, [], starting_points(VIT, "calibrated"), sweeps, results(result(DRAFT, -1.0)), CURVES)
    assert (found[0].top1.value, found[0].images) == (92.0, 1000) and found[0].evaluation is sweeps["baseline"]
    assert candidates(VIT, BASE, [], starting_points(VIT, "calibrated"), sweeps, {}, CURVES)[0].images == IMAGES


def test_an_unnamed_schedule_in_hand_is_a_candidate_once():
    points = starting_points(VIT, "calibrated")
    keys = [one.key for one in candidates(VIT, DRAFT, [], points, {}, {}, None)]
    assert keys == ["baseline", "uniform-30", "uniform-50", "paper-shaped-steps", "in-hand"]
    assert "in-hand" not in [one.key for one in candidates(VIT, points[1].schedule, [], points, {}, {}, None)]


def test_the_front_has_no_one_that_is_beaten():
    assert pareto([(1.0, 90.0), (0.5, 80.0), (0.6, 79.0), (0.7, 85.0), (0.7, 84.0), (1.2, 90.0)]) == [1, 3, 0]
    assert pareto([]) == []


def test_lineage_is_in_tree_order_with_steps_only_where_they_were_measured():
    one, two, three = BASE.with_ratio(1, "fc2", 0.1), BASE.with_ratio(1, "fc2", 0.2), BASE.with_ratio(1, "fc2", 0.3)
    drafts = [draft(5, three, 9, "gone"), draft(3, two, 1, "Draft 1"), draft(1, one)]
    found = candidates(VIT, BASE, drafts, starting_points(VIT, "calibrated"), {}, results(result(one, -1.0), result(two, -1.4)), CURVES)
    own = [candidate for candidate in found if candidate.draft]
    assert [(candidate.key, depth) for candidate, depth in in_tree_order(own)] == [("draft-1", 0), ("draft-3", 1), ("draft-5", 0)]
    by_key = {candidate.key: candidate for candidate in found}
    assert parent_of(by_key["draft-1"], found).key == "baseline" and parent_of(by_key["draft-5"], found) is None
    assert step_in_accuracy(by_key["draft-1"], by_key["baseline"]) == Estimate(-1.0, (-1.5, -0.5))
    assert step_in_accuracy(by_key["draft-3"], by_key["draft-1"]) == pytest.approx(-0.4)
    assert step_in_accuracy(by_key["draft-5"], by_key["draft-3"]) is None


# ---------- the audit and what it teaches


def schedules(count: int, seed: int = 1) -> list[Schedule]:
    """Schedules with two to nine mild sites."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        schedule = BASE
        for _ in range(draw.randint(2, 9)):
            schedule = schedule.with_ratio(draw.randrange(12), draw.choice(["qk", "vo", "fc2"]), draw.choice([0.3, 0.5, 0.7]))
        found.append(schedule)
    return found


def truth(schedule: Schedule, weight: float) -> float:
    """A measured difference that follows the learned form exactly."""
    points = effects(CURVES, VIT, schedule)
    return sum(point.delta for point in points) + weight * joint_loss(points)


def test_effects_are_of_pruned_sites_and_their_joint_loss_is_of_pairs():
    schedule = BASE.with_ratio(2, "fc2", 0.5).with_ratio(4, "vo", 0.5).with_ratio(5, "fc1", 0.5).with_ratio(6, "qk", 0.1)
    points = effects(CURVES, VIT, schedule)
    a, b, c, d = (point.delta for point in points)
    assert d > 0 > a and joint_loss(points) == pytest.approx(a * b + a * c + a * d + b * c + b * d + c * d)
    assert joint_loss(effects(CURVES, VIT, DRAFT)) == 0 and joint_loss([]) == 0 and joint_loss(points[3:] * 2) == 0
    assert effects(CURVES, VIT, BASE.with_ratio(0, "vo", 0.95)) is None


def test_an_interaction_is_learned_from_eight_on_and_only_where_it_helps_on_those_left_out():
    joints = [0.5 * step for step in range(1, 13)]
    misses = [-1.3 * joint for joint in joints]
    found = learn(joints, misses)
    assert found.error < 0.3 * found.plain and found.schedules == 12 and found.most == 6.0
    assert found.correction(3.0) == pytest.approx(-3.9, rel=0.1) and found.misses[1] < 0.3 * found.misses[0]
    assert found.correction(100.0) == found.correction(6.0) and found.correction(0.0) == 0
    assert found.spread(3.0) == pytest.approx(4 * found.spread(0.0))
    assert learn(joints[: MIN_LEARNED - 1], misses[: MIN_LEARNED - 1]) is None
    assert learn(joints, [1.0, -1.0] * 6) is None and learn([0.0] * 12, misses) is None


def test_the_error_on_those_left_out_is_that_of_learning_without_them():
    draw = np.random.default_rng(5)
    joints = draw.uniform(0, 6, 10)
    misses = -1.1 * joints + draw.normal(0, 0.4, 10) * (1 + joints)
    found, terms, targets = learn(list(joints), list(misses)), joints / (1 + joints), misses / (1 + joints)
    penalty, squares = float(np.mean(terms**2)), []
    for left in range(10):
        kept = np.arange(10) != left
        weight = terms[kept] @ targets[kept] / (terms[kept] @ terms[kept] + penalty)
        squares.append((targets[left] - weight * terms[left]) ** 2)
    assert found.error == pytest.approx(math.sqrt(np.mean(squares)))


def test_a_learned_interaction_moves_and_widens_the_prediction_of_several_sites_only():
    interaction, several = Interaction(-1.2, 10.0, 9, 0.4, 1.2, (2.0, 0.6)), BASE.with_ratio(2, "fc2", 0.5).with_ratio(4, "vo", 0.5)
    plain, taught = predict_change(CURVES, VIT, several), predict_change(CURVES, VIT, several, interaction)
    joint = joint_loss(effects(CURVES, VIT, several))
    assert joint > 0 and taught.value == pytest.approx(plain.value - 1.2 * joint)
    assert taught.value - taught.ci95[0] == pytest.approx(math.hypot(plain.value - plain.ci95[0], 1.959963984540054 * 0.4 * (1 + joint)))
    assert predict(CURVES, VIT, DRAFT, interaction) == predict(CURVES, VIT, DRAFT)


def test_the_audit_checks_each_measured_schedule_once_and_learns(evaluated):
    stored = stored_evaluations(find_evidence(evaluated, "demo_vit", "b" * 64))
    found = [result(schedule, truth(schedule, -1.5)) for schedule in dict.fromkeys(schedules(20))]
    extra = [result(BASE, 0.0), result(DRAFT, -0.1), result(schedules(1, 9)[0], -1.0, MIN_IMAGES - 1)]
    other = [result(Schedule.uniform(12, fc2=0.3), -1.0)]
    audited = audit(CURVES, VIT, "calibrated", stored, [*found, *extra, *other])
    assert len(audited.checks) == 1 + len(found) and audited.checks[0].measured.value == pytest.approx(-100 * 20 / 600)
    assert audited.interaction.schedules == len(found) and audited.interaction.error < audited.interaction.plain
    assert audited.interaction.weight == pytest.approx(-1.5, rel=0.2)
    assert audited.inside == sum(one.predicted.ci95[0] <= one.measured.value <= one.predicted.ci95[1] for one in audited.checks)
    assert f"**{audited.inside} of {len(audited.checks)}** measured schedules" in coverage_in_words(audited)
    assert "**A correction is used**" in learned_in_words(audited.interaction, len(audited.checks))
    alone = audit(CURVES, VIT, "per_image", stored, other)
    assert len(alone.checks) == 1 and alone.interaction is None and "1 is measured" in learned_in_words(None, 1)


def test_runs_ask_for_all_images():
    assert run_of(DRAFT) == {"kind": "evaluation", "schedule": DRAFT.to_dict(), "images": None}


# ---------- the page


class CompareEngine(FakeEngine):
    """An engine with jobs and pictures; `asked` collects what the page wants of it."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        self.state["data"] |= {"digest": "b" * 64, "images": IMAGES, "classes": [f"class {label}" for label in range(10)]}
        self.asked: list[tuple] = []
        self.listed: list[dict] = []
        self.refusal: str | None = None

    def jobs(self) -> list[dict]:
        """The jobs."""
        return self.listed

    def quote(self, run: dict) -> dict:
        """Always the same price."""
        self.asked.append(("quote", run))
        return {"quote": QUOTE}

    def submit(self, run: dict) -> dict:
        """Refuse, or queue it."""
        if self.refusal:
            raise EngineError(self.refusal)
        self.asked.append(("submit", run))
        self.listed = [job(len(self.listed) + 1, "queued", run=run), *self.listed]
        return self.listed[0]

    def pictures(self, index: list[int]) -> list[bytes | None]:
        """The first cannot be read."""
        self.asked.append(("pictures", index))
        packed = io.BytesIO()
        Image.new("L", (8, 8)).save(packed, "PNG")
        return [None, *[packed.getvalue()] * (len(index) - 1)]


@pytest.fixture
def compared(evaluated: EngineOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CompareEngine:
    """The page's engine and an owner with two drafts."""
    engine, book = CompareEngine(evaluated), DraftBook(tmp_path / "drafts")
    first = book.add(ME, "demo_vit", DRAFT, None, "Baseline")
    book.rename(ME, first.number, "late fc2")
    book.add(ME, "demo_vit", DRAFT.with_ratio(4, "fc2", 0.4), first.number, "late fc2")
    monkeypatch.setattr(state, "engine_client", lambda: engine)
    monkeypatch.setattr(autosave, "owner", lambda: ME)
    monkeypatch.setattr(autosave, "book", lambda: book)
    return engine


def _compare() -> None:
    from dashboard import state
    from dashboard.pages import compare

    state.open_session(state.model_shape())
    compare.render()


def open_page(**link: str) -> AppTest:
    """The page, drawn once."""
    at = AppTest.from_function(_compare, default_timeout=180)
    for name, value in link.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def words(at: AppTest) -> str:
    """What can be read on the page."""
    kinds = ("markdown", "caption", "info", "error", "code", "subheader", "warning")
    return "\n".join(str(element.value) for kind in kinds for element in at.get(kind))


def test_the_page_shows_who_is_known_how_and_who_gets_hurt(compared):
    at = open_page(candidate="draft-1", without="uniform-30,nonsense")
    table = at.dataframe[0].value.set_index("Candidate")
    assert list(table.index) == ["Baseline", "Uniform 50 %", "Paper-shaped steps", "Draft 2", "late fc2"]
    assert table.loc["late fc2", "Difference (points)"] == pytest.approx(-3.3) and table.loc["late fc2", "Reading"] == "worse"
    assert table.loc["late fc2", "Known"] == "measured on 600 images" and table.loc["late fc2", "Pareto"] == "front"
    said = words(at)
    assert "Of 600 images, **20 are newly wrong** and 0 newly right" in said and "1 of 10 classes change clearly" in said
    assert "Who gets hurt by late fc2" in said and "cannot be read" in said and "class 3 \N{RIGHTWARDS ARROW} class 4" in said
    assert compared.asked[0] == ("pictures", sorted(np.flatnonzero(WAS & ~LESS).tolist(), reverse=True))
    lineage = next(one.value for one in at.dataframe if "From" in one.value)
    assert list(lineage["Draft"].str.strip("\N{NO-BREAK SPACE}\u2514\u2500 ")) == ["late fc2", "Draft 2"]
    assert (at.query_params["candidate"], at.query_params["without"]) == ("draft-1", "uniform-30")
    assert at.query_params["class"] == "all" and "toast evaluate" in said


def test_what_lacks_per_image_outcomes_says_what_to_press(compared):
    at = open_page(candidate="draft-2")
    assert "Not known image by image yet: Draft 2. Press Measure above" in words(at)
    at.selectbox(key="view-compare-candidate").set_value("baseline").run()
    assert "The baseline hurts no one" in words(at) and not at.exception


def test_measure_submits_what_is_lacking_and_follows_the_jobs(compared):
    at = open_page(without="uniform-30,uniform-50,paper-shaped-steps")
    button = at.button(key="compare-measure")
    assert button.label == "Measure 1 on all 600 images" and "About 4 min each" in words(at)
    button.click().run()
    assert [run["schedule"] for kind, run in compared.asked if kind == "submit"] == [DRAFT.with_ratio(4, "fc2", 0.4).to_dict()]
    assert ":gray-badge[queued] Draft 2, run 1" in words(at)
    compared.refusal = "the disk is full; make room"
    at.button(key="compare-measure").click().run()
    assert compared.refusal in words(at) and not at.exception


def test_the_reference_can_be_another_candidate_and_stays_in_sight(compared):
    at = open_page(reference="draft-1", without="draft-1")
    table = at.dataframe[0].value.set_index("Candidate")
    assert table.loc["Baseline", "Difference (points)"] == pytest.approx(3.3) and "late fc2" in table.index
    assert "block by block" in words(at)


def test_a_draft_is_removed(compared):
    at = open_page()
    at.selectbox(key="lineage-draft").set_value(1).run()
    at.button(key="lineage-remove").click().run()
    assert [draft.name for draft in autosave.book().drafts(ME, "demo_vit")] == ["Draft 2"] and not at.exception


def test_without_an_owner_or_images_the_page_says_so(compared, monkeypatch):
    monkeypatch.setattr(autosave, "owner", lambda: None)
    compared.state |= {"data": None, "calibration": None}
    at = open_page()
    assert "This browser refuses cookies" in words(at) and "started without images" in words(at)


def test_tune_names_the_draft_and_saves_it(compared):
    def tune() -> None:
        from dashboard import state
        from dashboard.pages import tune

        state.open_session(state.model_shape())
        tune.render()

    at = AppTest.from_function(tune, default_timeout=180).run()
    assert not at.exception
    at.text_input(key="draft-name-2").set_value("two bars").run()
    at.button(key="draft-save").click().run()
    newest = autosave.book().drafts(ME, "demo_vit")[0]
    assert (newest.name, newest.closed) == ("two bars", True) and at.button(key="draft-save").disabled
    at.selectbox(key="draft-take").set_value(1).run()
    assert at.session_state["history"].present == DRAFT and at.session_state["hand"].draft.name == "late fc2"
    found = autosave.results(compared.options, compared.state)
    assert found[DRAFT.digest()].figures["images"] == 1000 and not at.exception


# ---------- pictures


def test_pictures_are_pixels_of_the_set_and_limited():
    source = open_source("fashion-mnist")
    packed = pictures(source, [5, 0])
    image = Image.open(io.BytesIO(base64.b64decode(packed[1])))
    assert image.size == (112, 112) and np.array_equal(np.asarray(image)[::4, ::4], source.arrays[0])
    with pytest.raises(DataError, match="49 pictures are too many at once; ask for at most 48"):
        pictures(source, [0] * (MAX_PICTURES + 1))
    with pytest.raises(DataError, match="has no image 10000; its 10000 images are numbered from 0"):
        pictures(source, [10_000])


def test_large_pictures_shrink_and_unreadable_ones_are_none(tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (640, 320)).save(tmp_path / "one" / "large.png")
    (tmp_path / "one" / "broken.png").write_bytes(b"no image")
    broken, large = pictures(open_source(tmp_path), [0, 1])
    assert broken is None and Image.open(io.BytesIO(base64.b64decode(large))).size == (112, 56)


@pytest.mark.slow
def test_the_engine_sends_pictures_and_refuses_what_is_none(real_engine: EngineClient):
    list(real_engine.measure("pictures", BASE, 25))
    (packed,) = real_engine.pictures([3])
    assert Image.open(io.BytesIO(packed)).size == (112, 112)
    with pytest.raises(EngineError, match="index is 'x'; send a list of image positions"):
        real_engine.pictures("x")


# ---------- in a browser


@pytest.mark.slow
def test_the_browsers_prediction_with_an_interaction_is_that_of_predict(chromium):
    from playwright.sync_api import sync_playwright

    from tests.dashboard.test_equaliser_browser import _TOTALS, FLAGS, open_desk

    interaction = Interaction(-0.8, 5.0, 12, 0.7, 2.0, (2.0, 0.7))
    curves = Curves({key: line for key, line in CURVES.points.items()}, CURVES.baseline, CURVES.images, "calibrated")
    stored = StoredCurves(curves, interaction=interaction)
    wanted = [BASE, DRAFT, *schedules(12, 4)]
    data = [equaliser_data(VIT, schedule, {}, Desk(), stored, StoredLatency(None, "none"), None) for schedule in wanted]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        found = open_desk(browser, data[0]).evaluate(_TOTALS, data)
        browser.close()
    for schedule, (_, _, got) in zip(wanted, found, strict=True):
        expected = predict(curves, VIT, schedule, interaction)
        assert got == pytest.approx([expected.value, *expected.ci95], abs=1e-9)
    assert "corrected by 12 measured schedules" in data[0]["curves_note"]

