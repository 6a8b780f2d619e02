"""What a run would cost, told before it starts: what is stored, what is left, and how long that takes on this machine."""

import statistics
import time
from dataclasses import dataclass

import torch

from analysis_cache.store import EvidenceStore
from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData
from toast_core.jobs.book import JobBook, Quote
from toast_core.studies.base import Run
from toast_core.studies.registry import run_to_dict
from toast_core.workbench import Workbench

_PROBE_IMAGES = 32
_PAST_JOBS = 5


@dataclass(frozen=True)
class Offer:
    """A job as it would be submitted: what `JobQueue.submit` takes."""

    title: str
    run: dict
    basis: dict
    command: str
    quote: Quote


class Quoter:
    """Quotes runs on one workbench. `start_s` is what loading PyTorch and the model took: a job does it again."""

    def __init__(self, workbench: Workbench, book: JobBook, start_s: float) -> None:
        self.workbench, self.book, self.start_s = workbench, book, start_s
        self._seconds_a_mac: float | None = None

    def offer(self, run: Run) -> Offer:
        """The job with its price; see `quote`."""
        setup = self.workbench.setup
        return Offer(run.title(), run_to_dict(run), setup.to_dict(), run.command(setup), self.quote(run))

    def quote(self, run: Run) -> Quote:
        """The price of a run here and now. The model must be free.

        Raises:
            ToastError: the run does not fit the model or the data.
        """
        with EvidenceStore.open(self.workbench.setup.store) as store:
            work = run.work(self.workbench, store)
        before = work.calibration * count_cost(self.workbench.shape).macs
        seconds = self.start_s + (before + work.macs) * self._rate(run) if work.macs else 0.0
        return Quote(**vars(work), seconds=seconds)

    def _rate(self, run: Run) -> float:
        """Seconds a MAC: the median of this machine's last jobs of the kind, model and device, else a short measurement."""
        setup = self.workbench.setup
        past = [
            job.measured_s / job.quote.macs for job in self.book.jobs()
            if job.measured_s and job.quote.macs and job.run.kind == run.kind
            and (job.model, job.basis["device"]) == (setup.model, setup.device)
        ]
        if past:
            return statistics.median(past[:_PAST_JOBS])
        return self._probe(self.workbench.images(run.images)) * run.overhead

    def _probe(self, images: ImageData) -> float:
        """Seconds a MAC of the baseline's second look at a batch; measured once."""
        if self._seconds_a_mac is None:
            model = self.workbench.model
            images = next(images.batches(_PROBE_IMAGES)).images.to(next(model.parameters()).device)
            with torch.inference_mode():
                model(images)
                before = time.perf_counter()
                float(model(images).sum())  # a value, so that a GPU has finished
                took = time.perf_counter() - before
            self._seconds_a_mac = took / len(images) / count_cost(self.workbench.shape).macs
        return self._seconds_a_mac
