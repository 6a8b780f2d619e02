"""A backbone measured batch by batch, beside its baseline and a bank."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from toast_core.data.load import Batch
from toast_core.studies.tasks.backbone import bank_features, output_of
from toast_core.studies.tasks.bank import Bank
from toast_core.studies.tasks.features import FeatureOutcomes, Features
from toast_core.studies.tasks.neighbours import nearest_classes


@dataclass(eq=False)
class FeatureProbe:
    """A model beside its baseline (None: not known) and a bank; the bank's features are taken at the first batch."""

    model: nn.Module
    baseline: nn.Module | None = None
    bank: Bank | None = None
    _known: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    def __call__(self, batch: Batch) -> FeatureOutcomes:
        """The outcomes of one batch, run in the model's dtype where it is."""
        task, parameter = Features(), next(self.model.parameters())
        with torch.inference_mode():
            images = batch.images.to(parameter.device, parameter.dtype)
            own = output_of(self.model, images)
            reference = own if self.baseline is self.model else output_of(self.baseline, images) if self.baseline is not None else None
        return task.outcomes(own, reference, batch, self.answers(task.numbers(own).numpy(), len(batch.index)))

    def answers(self, features: np.ndarray, batch_size: int) -> np.ndarray | None:
        """The classes of the nearest bank images; None without a bank."""
        if self.bank is None:
            return None
        self._known = self._known or bank_features(self.model, self.bank, next(self.model.parameters()), batch_size)
        return nearest_classes(features, *self._known)
