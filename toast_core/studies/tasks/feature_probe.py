"""A backbone measured batch by batch, beside its baseline and a bank."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from toast_core.data.load import Batch
from toast_core.studies.tasks.backbone import BackboneOutput, bank_features, output_of
from toast_core.studies.tasks.bank import Bank
from toast_core.studies.tasks.base import Forward
from toast_core.studies.tasks.features import FeatureOutcomes, Features
from toast_core.studies.tasks.finiteness import check_finite
from toast_core.studies.tasks.neighbours import nearest_classes

_FEWEST_AT_ONCE = 8  # of the bank, where images are measured one by one


@dataclass(eq=False)
class Neighbours:
    """Looks up the classes of the nearest bank images by the features of one form; the bank's own are taken when they are first asked for.

    run        the form: a model, or a file that was opened as a function
    parameter  has the dtype and the device that it takes
    """

    run: Forward
    bank: Bank | None
    parameter: torch.Tensor
    _known: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    def __call__(self, output: BackboneOutput) -> np.ndarray | None:
        """Class numbers (B,); None without a bank."""
        if self.bank is None:
            return None
        check_finite(output.pooled, "features")
        features = output.pooled.float().cpu().numpy()
        if self._known is None:
            self._known = bank_features(self.run, self.bank, self.parameter, max(len(features), _FEWEST_AT_ONCE))
        return nearest_classes(features, *self._known)


@dataclass(eq=False)
class FeatureProbe:
    """A model beside its baseline (None: not known) and a bank."""

    model: nn.Module
    baseline: nn.Module | None = None
    bank: Bank | None = None

    def __post_init__(self) -> None:
        self.parameter = next(self.model.parameters())
        self.neighbours = Neighbours(self.model, self.bank, self.parameter)

    def __call__(self, batch: Batch) -> FeatureOutcomes:
        """The outcomes of one batch, run in the model's dtype where it is."""
        with torch.inference_mode():
            images = batch.images.to(self.parameter.device, self.parameter.dtype)
            own = output_of(self.model, images)
            reference = own if self.baseline is self.model else output_of(self.baseline, images) if self.baseline is not None else None
        return Features().outcomes(own, reference, batch, self.neighbours(own))
