"""The Deliver page without a browser, on a stand-in engine and a store of its own: the check, batches, and the schedule's files."""

import dataclasses
import json
from dataclasses import replace

import pytest

from analysis_cache.store import EvidenceStore
from dashboard.pages.deliver.record import record_table
from dashboard.pages.tune.page import _upload
from dashboard.wording import accuracy
from tests.support.compositions import composition_rows
from tests.support.deliveries import DYNAMIC, MODEL_FILE, RECORD, SCHEDULE, labels, open_page, put_composition, put_record, words
from tests.support.engines import job
from toast_core.schedule.reference import from_reference
from toast_core.schedule.schedule import Schedule


class TestCheck:
    """Before, while and after a schedule is written and checked."""

    def test_a_schedule_that_prunes_nothing_is_not_delivered(self, deliver_engine):
        at = open_page(Schedule.uniform(12))
        assert "nothing to deliver yet" in words(at) and not at.button and not deliver_engine.asked

    def test_it_says_the_price_and_starts(self, deliver_engine):
        at = open_page()
        assert "**About 4 min** on this machine: 1 cell" in words(at) and "toast apply --of this" in words(at)
        at.number_input(key="apply-images").set_value(500).run()
        at.button(key="apply-start").click().run()
        run = {"kind": "apply", "schedule": SCHEDULE.to_dict(), "images": 500}
        assert ("submit", run) in deliver_engine.asked and "Run 1 is queued; it starts when its turn comes." in words(at)

    def test_a_running_one_is_followed(self, deliver_engine):
        run = {"kind": "apply", "schedule": SCHEDULE.to_dict()}
        deliver_engine.listed = [job(3, "running", run=run, done=5, total=10, left_s=20.0)]
        at = open_page()
        assert not [button for button in at.button if button.key == "apply-start"]
        assert not at.button  # fixed channels need no check of batches

    def test_another_schedules_run_is_not_this_ones(self, deliver_engine):
        other = {"kind": "apply", "schedule": Schedule.uniform(12, fc2=0.1).to_dict()}
        deliver_engine.listed = [job(3, "running", run=other)]
        assert open_page().button(key="apply-start")

    def test_a_failed_run_and_a_refusal_are_said(self, deliver_engine):
        deliver_engine.listed = [job(3, "failed", run={"kind": "apply", "schedule": SCHEDULE.to_dict()}, message="the disk is full")]
        assert "Run 3 failed: the disk is full" in words(open_page())
        deliver_engine.refusal = "calibrated selection needs calibration images"
        assert "calibrated selection needs calibration images" in words(open_page())

    def test_without_images_it_says_what_to_do(self, deliver_engine):
        deliver_engine.description = replace(deliver_engine.description, data=None)
        assert "started without images" in words(open_page())

    def test_the_record_is_shown_with_its_file_after_a_reload(self, deliver_engine):
        put_record(deliver_engine)
        at = open_page()
        said = words(at)
        assert RECORD.sentence() in [element.value for element in at.success]
        assert [metric.value for metric in at.metric] == [accuracy(RECORD.headline[name]) for name in ("baseline", "masked", "compact")]
        assert "2.00\N{MULTIPLICATION SIGN} (2.00 to 2.00) as fast on single images" in said and "worse than the baseline" in said
        assert "**2.000 (2.000 to 2.000) ms**" in said and "**0.0500 GMACs**" in said and "**1.35 M**" in said
        assert "Download model (0.0 MB)" in labels(at) and not [button for button in at.button if button.key == "apply-start"]
        at.toggle(key="apply-again").set_value(True).run()
        assert at.button(key="apply-start").label == "Measure again"

    def test_what_a_bundle_can_bring_is_never_drawn_as_a_picture(self, deliver_engine):
        put_record(deliver_engine)
        at = open_page()
        assert "elsewhere.example" in "".join(element.value for element in at.text)
        assert "elsewhere.example" not in "".join(str(element.value) for kind in ("markdown", "caption") for element in at.get(kind))

    def test_a_record_of_another_schedule_is_not_shown(self, deliver_engine):
        put_record(deliver_engine, schedule=Schedule.uniform(12, fc2=0.25, selection="calibrated"))
        assert not open_page().metric

    def test_masked_unlike_compact_is_an_error(self, deliver_engine):
        put_record(deliver_engine, dataclasses.replace(RECORD, largest_difference=0.5, same=900))
        at = open_page()
        assert "equals" not in at.success[0].value and at.error[0].value.startswith("Masked and compact differ")

    @pytest.mark.parametrize("file", [None, b"", MODEL_FILE + b"!", b"A MODEL"])
    def test_a_file_that_is_not_the_records_is_not_offered(self, deliver_engine, file):
        put_record(deliver_engine, file=file)
        at = open_page()
        assert "not on this machine, or was changed" in words(at)
        assert not [label for label in labels(at) if label.startswith("Download model")]

    def test_a_record_that_cannot_be_read_is_one_line(self, deliver_engine):
        cell = put_record(deliver_engine)
        with EvidenceStore.open(deliver_engine.setup.store) as store:
            identity = store.get(cell).identity
            store.remove([cell])
            store.put(identity, {"top1": "x"}, {})
        at = open_page()
        assert "cannot be read" in at.error[0].value and "measure it again" in at.error[0].value

    def test_the_table_has_every_figure(self):
        table = record_table(RECORD).set_index("Figure")
        assert table.loc["Parameters", "Compact"] == 900_000 and table.loc["Top-1 (%)", "Baseline"] == 91.5
        assert table.loc["Batch of 32, third quartile of 3 pairs (ms)", "Baseline"] == pytest.approx(72)


class TestSchedule:
    """The schedule in both forms, and its batch composition."""

    def test_both_forms_are_offered(self, deliver_engine):
        assert {"Schedule (JSON)", "For the reference implementation (JSON)"} <= set(labels(open_page()))

    def test_what_the_reference_cannot_hold_is_said(self, deliver_engine):
        at = open_page(Schedule.uniform(12, fc2=0.5, selection="calibrated"))
        assert "the schedule prunes block 0, which the reference cannot" in words(at)
        assert "For the reference implementation (JSON)" not in labels(at) and at.button(key="deliver-no-reference").disabled

    def test_the_reference_form_is_read_back(self):
        from toast_core.schedule.reference import to_reference

        assert from_reference(json.loads(json.dumps(to_reference(SCHEDULE)))) == replace(SCHEDULE, selection="per_batch")

    def test_fixed_channels_need_no_check_of_batches(self, deliver_engine):
        at = open_page()
        assert at.success[0].value.startswith("Fixed channels: cannot depend on the batch")
        assert not [asked for asked in deliver_engine.asked if asked[1]["kind"] == "composition"]
        assert "composition-start" not in [button.key for button in at.button] and not at.error

    def test_composition_is_asked_for_where_channels_change_and_it_is_not_stored(self, deliver_engine):
        at = open_page(DYNAMIC)
        assert "Fixed channels" not in words(at)
        assert "Not checked yet for this schedule" in words(at) and "toast composition --of this" in words(at)
        at.number_input(key="composition-images").set_value(900)  # and nothing is drawn before the click
        at.button(key="composition-start").click().run()
        assert ("submit", {"kind": "composition", "schedule": DYNAMIC.to_dict(), "images": 900}) in deliver_engine.asked

    @pytest.mark.parametrize(("published", "kind", "says"), [
        (None, "success", "Safe to deploy"),
        ({"top1": 95.1, "ci95": (93, 97), "top1_delta": 5.0, "delta_ci95": (3.5, 6.5), "agreement": 91.0}, "error", "Not safe to deploy"),
    ])
    def test_a_stored_check_is_judged(self, deliver_engine, published, kind, says):
        put_composition(deliver_engine, composition_rows(published=published))
        at = open_page(DYNAMIC)
        assert at.get(kind)[0].value.startswith(says)
        assert not [button for button in at.button if button.key == "composition-start"]


def test_a_schedule_file_beyond_a_megabyte_is_not_parsed(engine, monkeypatch):
    class Large:
        name, size = "big.json", 2 << 20

        def getvalue(self) -> bytes:
            raise AssertionError("was read")

    session = {"upload": Large()}
    monkeypatch.setattr("dashboard.pages.tune.page.st.session_state", session)
    _upload(engine.description.model.shape)
    assert session["upload-error"] == "big.json was not used: it has 2 MB, more than 1; choose a schedule file"
