"""The model and images that a study is about, as the cells of the evidence store identify them."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import nn

from analysis_cache.key import METRIC_VERSIONS, CellIdentity, digest_of_subset
from toast_core.data.load import ImageData
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.machine import dtype_name
from toast_core.models.info import check_baseline, get_info
from toast_core.models.weights import weights_digest
from toast_core.pruning.statistics import Statistics
from toast_core.studies.tasks.bank import Bank, bank_for
from toast_core.studies.tasks.base import Task
from toast_core.studies.tasks.registry import task_of
from toast_core.workbench import Workbench


@dataclass(frozen=True)
class Subject:
    """The model and images that an analysis is about, with the part of the cells' identity that they fix."""

    model: nn.Module
    data: ImageData
    batch_size: int
    identity: CellIdentity
    bank: Bank | None = None

    @property
    def task(self) -> Task:
        """What the model is for."""
        return task_of(get_info(self.model).shape)

    @classmethod
    def of(
        cls, model: nn.Module, data: ImageData, batch_size: int, kind: str, executor: Executor = LOCAL, digest: str | None = None
    ) -> "Subject":
        """Describe a baseline model (in the dtype it is to run, and on the device unless the executor has its own) and an image set.

        `digest` is the weights' where it is known already; see `weights_digest`.

        Raises:
            PlanError: the model is already pruned.
        """
        info = get_info(model)
        check_baseline(info, "analyze the baseline model")
        parameter = next(model.parameters())
        identity = CellIdentity(
            kind,
            METRIC_VERSIONS[kind],
            info.name,
            digest or weights_digest(model),
            data.source.digest,
            len(data),
            digest_of_subset(data.index),
            data.transform.description,
            None,
            None,
            data.order,
            batch_size,
            data.seed,
            dtype_name(parameter.dtype),
            parameter.device.type if executor.in_order else executor.device,
        )
        return cls(model, data, batch_size, identity)

    @classmethod
    def on(cls, workbench: Workbench, kind: str, images: int | None, batch_size: int) -> "Subject":
        """The workbench's model on this many of its images, None for all, as a cell of this kind identifies them."""
        data = workbench.images(images)
        return cls.of(workbench.model, data, batch_size, kind, digest=workbench.weights_digest).with_bank(workbench)

    def with_bank(self, workbench: Workbench) -> "Subject":
        """With the workbench's calibration images to compare with, where the task looks for neighbours and they can be compared with."""
        return replace(self, bank=bank_of(workbench, self.data)[0])

    def request(self, **asked: object) -> dict:
        """What identifies an analysis: the shared identity, the weights' file where there is one, and what was asked."""
        file = get_info(self.model).weights_file
        return {**self.identity.to_dict(), **({"weights_file": file} if file else {}), **asked}


def bank_of(workbench: Workbench, data: ImageData) -> tuple[Bank | None, tuple[str, ...]]:
    """The workbench's calibration images as a bank for these images, see `bank_for`; nothing where its task looks for no neighbours."""
    if not task_of(workbench.shape).seeks_neighbours:
        return None, ()
    return bank_for(data, workbench.calibration() if workbench.setup.calibration is not None else None)


def statistics_digest(statistics: Statistics | None) -> str:
    """What calibrated channels were chosen from, as identities name it: 16 hex digits, or `none`."""
    if statistics is None:
        return "none"
    digest = hashlib.sha256(str(statistics.images).encode())
    for key in sorted(statistics.score_sums):
        digest.update(f"{key}".encode() + torch.as_tensor(statistics.score_sums[key], dtype=torch.float64).numpy().tobytes())
    return digest.hexdigest()[:16]
