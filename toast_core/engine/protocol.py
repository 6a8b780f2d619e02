"""What pages and the engine say to each other, as frozen values: files, requests, messages. Imports no torch.

A request is one line of JSON with the token of `STATE_FILE`; the answer is one or more lines, each a message. Both name what they are,
under "request" and "answer". Reading checks every field that is listed here and passes over others. Nothing is unpickled.

    describe    Description, at once: how the engine is, and once it is ready the model, data and device
    measure     Predicted, Progress while waiting, then a Measurement after each batch; a newer one of the session ends it with Superseded
    predict     Predicted, at once: what a schedule would do that is not measured now, while a bar is dragged
    quote       Progress while waiting, then an Offered: what a job would cost and the command line that measures the same
    submit      the same, then the OneJob that is queued; an equal job that is open already is not queued twice
    jobs        AllJobs, newest first, of everyone who uses this state folder
    pause, resume, cancel   OneJob, as it is then
    log         LogEnd of a job
    pictures    Pictures of the image set
    stop        Stopping, then the process ends; running jobs go on, and the next engine finds them

What a user can cause comes back as a Refusal. Engines keep their files in a folder each; jobs with their logs, and the pruned models that
jobs write, are in folders beside those, shared by every engine there.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_args

from toast_core.engine.cards import CalibrationCard, DataCard, ModelCard
from toast_core.engine.cards import FormatCard as FormatCard  # pages read them from here
from toast_core.engine.cards import SketchCard as SketchCard
from toast_core.engine.requests import REQUESTS as REQUESTS
from toast_core.engine.requests import CancelRequest as CancelRequest
from toast_core.engine.requests import DescribeRequest as DescribeRequest
from toast_core.engine.requests import JobsRequest as JobsRequest
from toast_core.engine.requests import LogRequest as LogRequest
from toast_core.engine.requests import MeasureRequest as MeasureRequest
from toast_core.engine.requests import PauseRequest as PauseRequest
from toast_core.engine.requests import PicturesRequest as PicturesRequest
from toast_core.engine.requests import PredictRequest as PredictRequest
from toast_core.engine.requests import QuoteRequest as QuoteRequest
from toast_core.engine.requests import Request as Request
from toast_core.engine.requests import ResumeRequest as ResumeRequest
from toast_core.engine.requests import StopRequest as StopRequest
from toast_core.engine.requests import SubmitRequest as SubmitRequest
from toast_core.engine.requests import read_request as read_request
from toast_core.engine.values import ProtocolError as ProtocolError
from toast_core.engine.values import Values
from toast_core.jobs.book import Job as Job  # pages read them from here
from toast_core.jobs.book import Quote as Quote
from toast_core.studies.evaluation.result import Estimate

PROTOCOL = 7
STATE_FILE, LOCK_FILE, LOG_FILE = "engine.json", "engine.lock", "engine.log"
JOBS_FOLDER, APPLIED_FOLDER = "jobs", "applied"


@dataclass(frozen=True)
class Address(Values):
    """Where a living engine listens, and the token that every request to it must have: the state file's content."""

    port: int
    token: str
    pid: int
    protocol: int = PROTOCOL

    @classmethod
    def read(cls, folder: Path) -> "Address":
        """The address that an engine has left in its folder.

        Raises:
            OSError, ValueError: there is none, or it cannot be read.
        """
        return cls.from_dict(json.loads((folder / STATE_FILE).read_text()))


class _Message(Values):
    """A message: `answer` says which."""

    answer: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the name."""
        return {"answer": self.answer, **super().to_dict()}


@dataclass(frozen=True)
class Figures(Values):
    """The figures that a task has of images, by key and with 95 % intervals, its headline first: top1, top5 and loss, or cosines."""

    keys: tuple[str, ...]
    estimates: tuple[Estimate, ...]

    @property
    def headline(self) -> Estimate:
        """The figure that pages show."""
        return self.estimates[0]


@dataclass(frozen=True)
class Description(_Message):
    """How the engine is: `starting` with its progress in words, `failed` with the error, or `ready` with its cards.

    data, calibration   None where no such images were given, and while it is not ready
    sketch              how far the map is that it makes by itself; None before it is begun, and where there are no images
    baseline            what the unpruned model scores on the images that are measured on; None until that is measured
    versions            of Python, torch and timm
    formats             of files that a pruned model can be exported to, those that cannot be made on this machine with the reason
    """

    answer = "description"
    state: str
    progress: str = ""
    error: str = ""
    model: ModelCard | None = None
    data: DataCard | None = None
    calibration: CalibrationCard | None = None
    sketch: SketchCard | None = None
    baseline: Figures | None = None
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    formats: tuple[FormatCard, ...] = ()
    protocol: int = PROTOCOL

    @property
    def is_ready(self) -> bool:
        """Whether it can measure."""
        return self.state == "ready"


@dataclass(frozen=True)
class Progress(_Message):
    """What the engine is doing before it can answer, in words."""

    answer = "progress"
    text: str


@dataclass(frozen=True)
class Predicted(_Message):
    """What a schedule is predicted to do before it is measured.

    damage         mean damage of an image, in the task's unit, with its 95 % band; None where it cannot be predicted
    change         the headline's difference to the baseline's, on the images that are measured on; None where it cannot be told
    calibrated_by  how many measured schedules it was learned from
    why            what stands in the way of either
    """

    answer = "predicted"
    damage: Estimate | None
    change: Estimate | None
    calibrated_by: int
    why: str = ""


@dataclass(frozen=True)
class Measurement(_Message):
    """The figures of a schedule on the images so far, the baseline's on the same ones, and the headline's paired difference.

    `predicted` is what was predicted of the difference before any of it was measured.
    """

    answer = "measurement"
    images_done: int
    images_total: int
    scheduled: Figures
    baseline: Figures
    change: Estimate
    predicted: Estimate | None = None

    @property
    def is_done(self) -> bool:
        """Whether every image has been seen."""
        return self.images_done == self.images_total


@dataclass(frozen=True)
class Superseded(_Message):
    """A newer measurement of the same session has begun; this one is given up."""

    answer = "superseded"


@dataclass(frozen=True)
class Offered(_Message):
    """What a run would be as a job: its title, the command line that measures the same, and its price."""

    answer = "offer"
    title: str
    command: str
    quote: Quote


@dataclass(frozen=True)
class OneJob(_Message):
    """A job as it is now."""

    answer = "job"
    job: Job


@dataclass(frozen=True)
class AllJobs(_Message):
    """Every open job and the latest ended ones, newest first."""

    answer = "jobs"
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class LogEnd(_Message):
    """The end of what a job's process has written."""

    answer = "log"
    text: str


@dataclass(frozen=True)
class Pictures(_Message):
    """PNGs in base64; None for an image that cannot be read."""

    answer = "pictures"
    encoded: tuple[str | None, ...]

    def decoded(self) -> list[bytes | None]:
        """The PNGs as bytes; ValueError where a text is no base64."""
        return [None if one is None else base64.b64decode(one, validate=True) for one in self.encoded]


@dataclass(frozen=True)
class Stopping(_Message):
    """The engine ends now."""

    answer = "stopping"


@dataclass(frozen=True)
class Refusal(_Message):
    """What was wrong, in one line."""

    answer = "refusal"
    error: str


Message = (
    Description | Progress | Predicted | Measurement | Superseded | Offered | OneJob | AllJobs | LogEnd | Pictures | Stopping | Refusal
)
_MESSAGES: dict[str, type[Message]] = {kind.answer: kind for kind in get_args(Message)}


def read_message(values: object) -> Message:
    """The message that these JSON values are.

    Raises:
        ProtocolError: none of this protocol.
    """
    if not isinstance(values, Mapping) or values.get("answer") not in _MESSAGES:
        raise ProtocolError(f"{values!r:.80} is no message of protocol {PROTOCOL}; restart the dashboard")
    return _MESSAGES[values["answer"]].from_dict(values)
