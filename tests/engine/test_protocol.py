"""The wire between pages and engine: what is written is read back equal, additions are passed over, what a page relies on is checked."""

import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from dashboard.engine.client import shipped_shape
from toast_core.engine import cards, protocol
from toast_core.engine.values import ProtocolError
from toast_core.errors import ScheduleError
from toast_core.jobs.book import Job, JobRun, Quote
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.result import Estimate

QUOTE = Quote(cells=36, stored=4, images=1000, macs=10**12, calibration=0, seconds=250)
JOB = Job(
    number=3, title="sensitivity of fc2", run=JobRun("sensitivity", {"sites": ["fc2"], "images": None}),
    basis={"model": "demo_vit", "data": "fashion-mnist"}, command="toast analyze", quote=QUOTE, state="running", queued_at=1.5,
    submitted_at=1.0, wish=None, done=5, total=10, left_s=None, message="Measuring", analysis=None, crashes=0, lives=1, started_at=2.0,
    finished_at=None, measured_s=None,
)
FIGURES = protocol.Figures(("top1", "loss"), (Estimate(90.0, (88.0, 92.0)), Estimate(0.4, (-math.inf, math.inf))))
READY = protocol.Description(
    "ready", model=cards.ModelCard("demo_vit", "random, seed 0", shipped_shape("demo_vit")), device="cpu", versions={"torch": "2"},
    data=cards.DataCard("fashion-mnist", ("bag", "coat"), 10_000, "0123", 75, 25, "shuffled", 0, "crop_pct=1.0", ("2 left aside",)),
    calibration=cards.CalibrationCard("fashion-mnist:calibration", 500, "4567"),
    sketch=cards.SketchCard("fashion-mnist:calibration", 64, 64, "calibrated", True, "the disk is full"),
)
MESSAGES = (
    READY, replace(READY, data=None, calibration=None, sketch=None), protocol.Description("starting", progress="Loading PyTorch"),
    protocol.Description("failed", error="no such file"), protocol.Progress("Measuring"),
    protocol.Predicted(Estimate(0.01, (0.0, 0.02)), None, 6, "more is lost than can be told in points"),
    protocol.Measurement(25, 75, FIGURES, FIGURES, Estimate(0.0, (-1.0, 1.0)), Estimate(0.1, (-1.0, 1.0))), protocol.Superseded(),
    protocol.Offered("a run", "toast analyze", QUOTE), protocol.OneJob(JOB), protocol.AllJobs((JOB, JOB)), protocol.AllJobs(()),
    protocol.LogEnd("done\n"), protocol.Pictures(("QUJD", None)), protocol.Stopping(), protocol.Refusal("session is None"),
)
REQUESTS = (
    protocol.DescribeRequest(), protocol.MeasureRequest("a", Schedule.uniform(2, fc2=0.5, selection="calibrated", compensation=FULL), 30),
    protocol.QuoteRequest({"kind": "redundancy"}), protocol.SubmitRequest({"kind": "redundancy"}), protocol.JobsRequest(),
    protocol.PredictRequest(Schedule.uniform(2, fc2=0.5)),
    protocol.PauseRequest(1), protocol.ResumeRequest(1), protocol.CancelRequest(1), protocol.LogRequest(1),
    protocol.PicturesRequest((0, 7)), protocol.StopRequest(),
)


def sent(value: protocol.Message | protocol.Request) -> dict:
    """The JSON values that arrive."""
    return json.loads(json.dumps(value.to_dict()))


def test_every_message_and_every_request_is_here() -> None:
    assert {type(message) for message in MESSAGES} == set(protocol.Message.__args__)
    assert {type(request) for request in REQUESTS} == set(protocol.REQUESTS.values())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.answer)
def test_a_message_is_read_back_equal_whatever_is_added(message: protocol.Message) -> None:
    values = sent(message)
    assert protocol.read_message(values) == message
    for name in {"data", "job", "quote", "scheduled"} & {name for name, value in values.items() if value}:
        values[name] |= {"later": 1}
    assert protocol.read_message({**values, "later": [1, 2]}) == message


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.name)
def test_a_request_is_read_back_equal_whatever_is_added(request_: protocol.Request) -> None:
    assert protocol.read_request({**sent(request_), "token": "a", "later": 1}) == request_


@pytest.mark.parametrize("message", [message for message in MESSAGES if fields(message)], ids=lambda message: message.answer)
def test_what_a_page_relies_on_must_be_there(message: protocol.Message) -> None:
    values, name = sent(message), fields(message)[0].name
    with pytest.raises(ProtocolError, match=f"{type(message).__name__} lacks {name}; restart the dashboard"):
        protocol.read_message({key: value for key, value in values.items() if key != name})


@pytest.mark.parametrize(("message", "place", "wrong", "says"), [
    (READY, ("data", "images"), "many", "DataCard.images is 'many', not a whole number"),
    (READY, ("data", "classes"), [1], r"DataCard.classes\[0\] is 1, not text"),
    (READY, ("data", "classes"), "bag", "DataCard.classes is 'bag', not a list"),
    (READY, ("data",), [], r"DataCard is \[\], not an object"),
    (READY, ("model", "shape"), {}, r"ModelCard.shape cannot be read \(KeyError: 'name'\)"),
    (READY, ("sketch", "finished"), 1, "SketchCard.finished is 1, not true or false"),
    (READY, ("versions",), None, "Description.versions is None, not an object"),
    (protocol.OneJob(JOB), ("job", "done"), True, "OneJob.job.done is True, not a whole number"),
    (protocol.OneJob(JOB), ("job", "left_s"), "soon", "OneJob.job.left_s is 'soon', not a number"),
    (protocol.OneJob(JOB), ("job", "quote", "seconds"), None, "OneJob.job.quote.seconds is None, not a number"),
    (protocol.OneJob(JOB), ("job", "run"), {}, r"OneJob.job.run cannot be read \(KeyError: 'kind'\)"),
    (MESSAGES[6], ("change", "ci95"), [1.0], "Measurement.change cannot be read"),
])
def test_what_is_of_another_kind_is_named(message: protocol.Message, place: tuple[str, ...], wrong: object, says: str) -> None:
    values = sent(message)
    inner = values
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = wrong
    with pytest.raises(ProtocolError, match=says):
        protocol.read_message(values)


@pytest.mark.parametrize("values", [None, [], {}, {"answer": "later"}, {"error": "as protocol 2 wrote it"}])
def test_what_is_no_message_is_one_line(values: object) -> None:
    with pytest.raises(ProtocolError, match=r"is no message of protocol 7; restart the dashboard"):
        protocol.read_message(values)


def test_a_schedule_is_checked_as_everywhere() -> None:
    with pytest.raises(ScheduleError, match=r"write 0\.5 for 50 %"):
        protocol.read_request({"request": "measure", "session": "a", "schedule": {"version": 1, "blocks": [{"fc2": 50}]}})


def test_pictures_are_bytes_and_no_text_is_decoded_that_is_none() -> None:
    assert protocol.Pictures(("QUJD", None)).decoded() == [b"ABC", None]
    with pytest.raises(ValueError, match=r"base64|padding|alphabet"):
        protocol.Pictures(("no base64!",)).decoded()


def test_a_job_for_pages_names_no_store() -> None:
    assert "secret" not in str(sent(protocol.OneJob(replace(JOB, basis={**JOB.basis, "store": "postgresql://user:secret@host/a"}))))


def test_the_protocol_needs_no_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import toast_core.engine.protocol, toast_core.engine.report"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
