"""From the outcomes of images to the figures that pages show. Imports no torch."""

from toast_core.engine.protocol import Figures, Measurement
from toast_core.intervals import Estimate
from toast_core.studies.tasks.base import ImageOutcomes


def measurement(outcomes: ImageOutcomes, baseline: ImageOutcomes, images: int, predicted: Estimate | None = None) -> Measurement:
    """What the images so far say of a schedule, out of `images` in all.

    `baseline` are the unpruned model's outcomes on the same ones, `predicted` what the headline's difference was predicted to be.
    """
    return Measurement(len(outcomes.index), images, figures(outcomes), figures(baseline), outcomes.change(baseline), predicted)


def figures(outcomes: ImageOutcomes) -> Figures:
    """The task's figures with their intervals, the headline first."""
    found = outcomes.estimates()
    return Figures(tuple(found), tuple(found.values()))
