"""What the Deliver page offers to download: every format, the certificate and the report; on a stand-in engine."""

import pytest

from dashboard.evidence.find import find_evidence
from dashboard.pages.deliver.report import page_maker
from tests.support.certificates import RECORD as CERTIFICATE
from tests.support.deliveries import SCHEDULE, labels, open_page, put_export, put_made, put_record, words
from tests.support.engines import job


class TestFiles:
    """Every format is made on demand, offered once it is verified, or says in one line why it cannot be had."""

    def test_formats_are_offered_once_there_is_a_pruned_file(self, deliver_engine):
        assert not [button for button in open_page().button if button.key.startswith("make-")]
        put_record(deliver_engine)
        at = open_page()
        assert [button.label for button in at.button if button.key.startswith("make-")] == ["Make .pt2", "Not on this machine", "Make .zip"]
        assert at.button(key="make-onnx").disabled and "install the extra" in words(at)

    def test_one_is_made_by_a_run(self, deliver_engine):
        key = put_record(deliver_engine)
        at = open_page()
        at.button(key="make-loader").click().run()
        run = {"kind": "export", "schedule": SCHEDULE.to_dict(), "source": key, "formats": ["loader"]}
        assert ("submit", run) in deliver_engine.asked and "Run 1 is queued" in words(at)
        assert [button.key for button in at.button if button.key.startswith("make-")] == ["make-torch_export", "make-onnx"]

    def test_a_failed_one_says_why_and_can_be_tried_again(self, deliver_engine):
        key = put_record(deliver_engine)
        run = {"kind": "export", "schedule": SCHEDULE.to_dict(), "source": key, "formats": ["torch_export"]}
        deliver_engine.listed = [job(4, "failed", run=run, message="demo_vit cannot become a program")]
        at = open_page()
        assert "Run 4 failed: demo\\_vit cannot become a program" in words(at) and not at.button(key="make-torch_export").disabled

    def test_a_verified_one_is_downloaded(self, deliver_engine):
        put_record(deliver_engine)
        put_export(deliver_engine)
        at = open_page()
        assert "Download .pt2 (0.0 MB)" in labels(at) and "Run again on 32 images: equal to 2.0e-07 of the largest output" in words(at)

    @pytest.mark.parametrize("content", [b"", b"a program!", b"A program"])
    def test_one_that_was_changed_is_not(self, deliver_engine, content):
        put_record(deliver_engine)
        put_export(deliver_engine, content)
        at = open_page()
        assert "Download .pt2 (0.0 MB)" not in labels(at) and at.button(key="make-torch_export")

    def test_the_certificate_is_asked_for_with_the_exports_that_are_here(self, deliver_engine):
        key = put_record(deliver_engine)
        put_export(deliver_engine)
        at = open_page()
        at.button(key="certificate-start").click().run()
        run = {"kind": "certificate", "schedule": SCHEDULE.to_dict(), "source": key, "formats": ["torch_export"], "images": 1000}
        assert ("submit", run) in deliver_engine.asked

    def test_a_stored_certificate_is_downloaded_and_made_again_for_later_exports(self, deliver_engine):
        put_record(deliver_engine)
        put_made(deliver_engine, "certificate", {"certificate": CERTIFICATE.to_dict()})
        at = open_page()
        assert "Download certificate" in labels(at) and "4 forms" not in words(at) and "which are one model" in words(at)
        assert "certificate-start" not in [button.key for button in at.button]
        put_export(deliver_engine)
        at = open_page()
        assert "certify again to have it in" in words(at) and at.button(key="certificate-start")


class TestReport:
    """The page to send along, made from what is stored when it is asked for."""

    def test_it_is_offered_with_a_record(self, deliver_engine, monkeypatch):
        monkeypatch.setattr("dashboard.pages.deliver.report.find_chromium", lambda: None)
        put_record(deliver_engine)
        at = open_page()
        assert "Report (HTML)" in labels(at) and "Report (PDF)" not in labels(at) and "No Chromium on the server" in words(at)
        monkeypatch.setattr("dashboard.pages.deliver.report.find_chromium", lambda: "/usr/bin/chromium")
        assert "Report (PDF)" in labels(open_page())

    def test_the_page_says_what_the_record_says(self, deliver_engine):
        put_record(deliver_engine)
        (evidence,) = find_evidence(deliver_engine.setup, "demo_vit").of("agreement")
        page = page_maker(evidence, deliver_engine.description, deliver_engine)()
        assert "demo_vit, pruned: 31 % fewer operations per image" in page and "outcomes of single images are not in this store" in page
        assert "<img" not in page  # a name that a bundle brings is text
