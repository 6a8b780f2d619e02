"""From the outcomes of images to the figures that pages show. Imports no torch."""

from toast_core.engine.protocol import Figures, Measurement
from toast_core.intervals import paired_interval_of_counts
from toast_core.studies.evaluation.result import Estimate, Outcomes


def measurement(outcomes: Outcomes, baseline: Outcomes, images: int) -> Measurement:
    """What the images so far say of a schedule, out of `images` in all; `baseline` are the unpruned model's outcomes on the same ones."""
    count = len(outcomes.label)
    gained, lost = int((outcomes.correct & ~baseline.correct).sum()), int((~outcomes.correct & baseline.correct).sum())
    delta = Estimate(100 * (gained - lost) / count, paired_interval_of_counts(gained, lost, count))
    return Measurement(count, images, figures(outcomes), figures(baseline), delta)


def figures(outcomes: Outcomes) -> Figures:
    """Accuracies and the mean loss with their intervals."""
    return Figures(outcomes.top1_estimate, outcomes.top5_estimate, outcomes.loss_estimate)
