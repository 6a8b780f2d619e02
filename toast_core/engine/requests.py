"""What pages ask of the engine, as frozen values; `protocol` says what is answered. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeGuard

from toast_core.engine.values import ProtocolError, Values
from toast_core.schedule.schedule import Schedule

_MAX_SESSION_CHARS = 64


class Request(Values):
    """What is asked of the engine; `name` says which of the requests below it is."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the name."""
        return {"request": self.name, **super().to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back; others beside them are passed over."""
        return cls()


@dataclass(frozen=True)
class DescribeRequest(Request):
    """How is the engine?"""

    name = "describe"


@dataclass(frozen=True)
class MeasureRequest(Request):
    """Measure a schedule on so many images, rounded up to whole batches; None: on all that the engine holds."""

    name = "measure"
    session: str
    schedule: Schedule
    images: int | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back; ProtocolError and ScheduleError say which of them is not right."""
        session, images = values.get("session"), values.get("images")
        if not isinstance(session, str) or not 0 < len(session) <= _MAX_SESSION_CHARS:
            raise ProtocolError(f"session is {session!r:.80}; send a text of 1 to {_MAX_SESSION_CHARS} characters")
        if images is not None and (not _is_whole(images) or images < 1):
            raise ProtocolError(f"images is {images!r:.80}; send a whole number of at least 1, or leave it out for all")
        return cls(session, Schedule.from_dict(values.get("schedule")), images)


@dataclass(frozen=True)
class PredictRequest(Request):
    """What is this schedule predicted to do?"""

    name = "predict"
    schedule: Schedule

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back; ScheduleError where it is none."""
        return cls(Schedule.from_dict(values.get("schedule")))


@dataclass(frozen=True)
class QuoteRequest(Request):
    """What would this run cost? `run` holds its kind and fields; whether it is one is for the kinds of runs to say."""

    name = "quote"
    run: Mapping[str, Any] | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back."""
        return cls(values.get("run"))


@dataclass(frozen=True)
class SubmitRequest(QuoteRequest):
    """Queue this run as a job."""

    name = "submit"


@dataclass(frozen=True)
class JobsRequest(Request):
    """Which jobs are there?"""

    name = "jobs"


@dataclass(frozen=True)
class _JobRequest(Request):
    """Something about one job, by its number."""

    job: int

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back; ProtocolError where the job is no number."""
        if not _is_whole(job := values.get("job")):
            raise ProtocolError(f"job is {job!r:.80}; send its number")
        return cls(job)


@dataclass(frozen=True)
class PauseRequest(_JobRequest):
    """Stop a job where it is."""

    name = "pause"


@dataclass(frozen=True)
class ResumeRequest(_JobRequest):
    """Put a stopped job into the queue again."""

    name = "resume"


@dataclass(frozen=True)
class CancelRequest(_JobRequest):
    """Stop a job for good."""

    name = "cancel"


@dataclass(frozen=True)
class LogRequest(_JobRequest):
    """What has a job's process written?"""

    name = "log"


@dataclass(frozen=True)
class PicturesRequest(Request):
    """Small pictures of these images, by their positions in the set."""

    name = "pictures"
    index: tuple[int, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back; ProtocolError unless they are whole numbers."""
        index = values.get("index")
        if not isinstance(index, list) or not all(map(_is_whole, index)):
            raise ProtocolError(f"index is {index!r:.80}; send a list of image positions")
        return cls(tuple(index))


@dataclass(frozen=True)
class StopRequest(Request):
    """End the engine."""

    name = "stop"


REQUESTS: dict[str, type[Request]] = {
    kind.name: kind for kind in (
        DescribeRequest, MeasureRequest, PredictRequest, QuoteRequest, SubmitRequest, JobsRequest, PauseRequest, ResumeRequest,
        CancelRequest, LogRequest, PicturesRequest, StopRequest,
    )
}


def read_request(values: Mapping[str, Any]) -> Request:
    """The request that these JSON values are.

    Raises:
        ProtocolError: an unknown request, or a field that is none of it; ScheduleError where the schedule is none.
    """
    if (name := values.get("request")) not in REQUESTS:
        raise ProtocolError(f"unknown request {name!r}; choose from {', '.join(REQUESTS)}")
    return REQUESTS[name].from_dict(values)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
