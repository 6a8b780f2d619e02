"""A `Setup` loaded: its model and images, statistics of its calibration images, and the plan of a schedule. torch comes with `load`.

Commands, the engine, jobs, the tuner and certificates all get their plans here: which images calibrate a schedule is decided once.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from toast_core.errors import DataError, ModelError
from toast_core.setup import Setup
from toast_core.version import code_version

if TYPE_CHECKING:
    import torch
    from torch import nn

    from toast_core.compensation.memory import FitMemory
    from toast_core.cost.shapes import ModelShape
    from toast_core.data.load import ImageData
    from toast_core.data.sources import Source
    from toast_core.executors.base import Executor
    from toast_core.pruning.plan import Plan
    from toast_core.pruning.statistics import Statistics
    from toast_core.schedule.schedule import Schedule

Report = Callable[[str, int, int], None]
"""Told what is being done ("calibrating", images; "compensating", blocks), how much of it is done, and of how much."""


def _silent(what: str, done: int, total: int) -> None:
    pass


class Workbench:
    """A loaded model with the images that its setup names; the image set, calibration set and statistics asked for last are held.

    Attributes:
        model: the baseline, or what a pruned file holds; in eval mode, with `toast_info` on it.
        setup: what it was loaded from.
        executor: scores calibration images; this process unless another was given.
        report: told of calibration and compensation, which can take minutes.
        source: the setup's images to measure on, where loading had to list them; they are not listed again.
        memory: fits of compensation. None are held in this process unless its `budget` is raised; on disk they stand beside the
            evidence store, for every process.
    """

    def __init__(
        self, model: "nn.Module", setup: Setup, report: Report = _silent, executor: "Executor | None" = None,
        source: "Source | None" = None,
    ) -> None:
        from analysis_cache.shelf import Shelf
        from toast_core.compensation.memory import FitMemory
        from toast_core.executors.local import LOCAL
        from toast_core.models.info import get_info

        self.model, self.setup, self.report, self.info = model, setup, report, get_info(model)
        self.executor = LOCAL if executor is None else executor
        self.source = source
        self._images: tuple[object, ImageData] | None = None
        self._calibration: tuple[int, ImageData] | None = None
        self._sketched: tuple[int | None, ImageData] | None = None
        self._statistics: tuple[object, Statistics] | None = None
        self._content: tuple[ImageData, str] | None = None
        self.memory = FitMemory(0, Shelf.beside(setup.store))

    @classmethod
    def load(cls, setup: Setup, report: Report = _silent, executor: "Executor | None" = None) -> "Workbench":
        """Load the model on the setup's device, or on the CPU where an executor elsewhere runs it.

        Raises:
            ModelError, DeviceError: it cannot be loaded.
        """
        from toast_core.data.describe import described, source_of_names
        from toast_core.loading import load_model
        from toast_core.machine import pick_device
        from toast_core.models.info import get_info
        from toast_core.models.zero_shot import with_class_embeddings

        elsewhere = executor is not None and not executor.in_order
        where = pick_device("cpu" if elsewhere else executor.device if executor else setup.device)
        sizes = setup.asked_classes, setup.img_size
        model = load_model(setup.model, setup.weights, *sizes, where, setup.seed, setup.in_chans, setup.use_ema)
        if setup.class_embeddings is not None:
            model = with_class_embeddings(model, setup.class_embeddings, setup.weights)
        elif setup.task == "classification" and not get_info(model).shape.num_classes:
            raise ModelError(f"{get_info(model).name} has no classifier for task classification; leave out --task to compare features")
        source = source_of_names(get_info(model), setup)
        model.toast_info = described(get_info(model), setup, source)  # type: ignore[assignment]  # a module takes any attribute
        return cls(model, setup, report, executor, source)

    def cast(self, dtype: str) -> "Workbench":
        """The same with the model in another dtype."""
        from toast_core.machine import cast

        return Workbench(cast(self.model, dtype), self.setup, self.report, self.executor, self.source)

    @cached_property
    def weights_digest(self) -> str:
        """sha256 of the model's tensors, see `toast_core.models.weights.weights_digest`."""
        from toast_core.models.weights import weights_digest

        return weights_digest(self.model)

    @property
    def shape(self) -> "ModelShape":
        """The baseline model in plain integers."""
        return self.info.shape

    def check_classifier(self) -> None:
        """Raise a DataError where the head is no classifier, or is random and nobody said that labels may be measured all the same."""
        if self.info.projection:
            raise DataError(
                f"the head of {self.info.name} is the projection to CLIP's space, {self.info.shape.num_classes} numbers and no classes; "
                "pass --class-embeddings FILE for a classifier, or --num-classes 0 to compare features"
            )
        if self.info.random_classifier and not self.setup.random_classifier:
            raise DataError(
                f"the classifier of {self.info.name} is random, so its accuracy says nothing; pass weights with a classifier, "
                "--num-classes 0 to compare features, or --random-classifier to measure it all the same"
            )

    def name_classes(self, data: "ImageData") -> None:
        """Let the model carry the class names of labelled images where nothing else has said them and their order is no guess."""
        if self.info.classes is None and not data.source.guessed:
            self.info = replace(self.info, classes=data.source.classes)
            self.model.toast_info = self.info  # type: ignore[assignment]  # a module takes any attribute

    def notes(self) -> list[str]:
        """What loading chose, and what was guessed or left aside of the images asked for last, calibration images too: each line once."""
        said = list(self.info.told)
        if self._images is not None:
            said += self._images[1].notes()
        if self._calibration is not None:
            said += [f"calibration images: {line}" for line in self._calibration[1].notes()]
        return list(dict.fromkeys(said))

    def images(self, count: int | None, order: str = "shuffled", labelled: bool = True) -> "ImageData":
        """The setup's images to measure on: `count` of them, class-balanced, None for all.

        Raises:
            DataError: none are named, or they cannot be read or do not fit the model.
        """
        from toast_core.data.load import load_data

        if self.setup.data is None:
            raise DataError(f"no images to measure {self.info.name} on; pass --data DATA")
        if labelled:
            self.check_classifier()
        asked = (count, order, labelled)
        if self._images is None or self._images[0] != asked:
            place = self.source if labelled and self.source is not None else self.setup.data
            self._images = asked, load_data(place, self.model, count, order, self.setup.seed, labelled, self.setup.reading)
        return self._images[1]

    def sketched(self, count: int | None) -> "ImageData":
        """The images that a sketch looks at (`Setup.sketched`): `count` of them, class-balanced, None for all; labels are not looked at.

        Raises:
            DataError: none are named, or they cannot be read or do not fit the model.
        """
        if self._sketched is None or self._sketched[0] != count:
            self._sketched = count, Workbench(self.model, self.setup.sketched).images(count, labelled=False)
        return self._sketched[1]

    def training(self, images: int | None, seed: int, labelled: bool) -> "ImageData":
        """Images to recover on, `images` of them, drawn by `seed`: the setup's training images, else its calibration images.

        Raises:
            DataError: none are named, they cannot be read, or labels are to be learned and are not the model's or its classifier is random.
        """
        from toast_core.data.load import load_data

        place = self.setup.recovery_images
        if place is None:
            raise DataError("no images to recover on; name them as train= or calibration=")
        if labelled:
            self.check_classifier()
        data = load_data(place, self.model, images, seed=seed, labelled=labelled, reading=replace(self.setup.reading, labels=None))
        if labelled:
            self.name_classes(data)
        return data

    def calibration(self, seed: int | None = None) -> "ImageData":
        """The setup's calibration images, drawn by a schedule's seed, else by the setup's; labels are not looked at.

        Raises:
            DataError: none are named, or they cannot be read.
        """
        from toast_core.data.load import load_data

        setup, seed = self.setup, self.setup.seed if seed is None else seed
        if setup.calibration is None:
            raise DataError("selection 'calibrated' needs calibration images; pass --calibration DATA, or choose per_image")
        if self._calibration is None or self._calibration[0] != seed:
            reading = replace(setup.reading, labels=None)  # that file is about the images to measure on
            data = load_data(setup.calibration, self.model, setup.calibration_images, seed=seed, labelled=False, reading=reading)
            self._calibration = seed, data
        return self._calibration[1]

    def statistics(self, class_weight: float, batch_size: int | None = None, seed: int | None = None) -> "Statistics":
        """What calibrated selection chooses channels from. `batch_size` is the setup's unless a run has its own; `seed` see `calibration`.

        Raises:
            DataError: no calibration images are named, or none can be read.
        """
        from toast_core.pruning.calibrate import calibrate

        data, size = self.calibration(seed), batch_size or self.setup.batch_size
        asked = class_weight, size, data.seed
        if self._statistics is None or self._statistics[0] != asked:
            found = calibrate(self.model, data, size, class_weight, partial(self.report, "calibrating"), self.executor)
            self._statistics = asked, found
        return self._statistics[1]

    def statistics_for(self, schedule: "Schedule", batch_size: int | None = None) -> "Statistics | None":
        """What a schedule chooses its channels from, on images drawn by its own seed; None where it needs nothing.

        Raises:
            ScheduleError: it has another number of blocks than the model.
            DataError: it needs calibration images and none are named.
        """
        schedule.check_length(len(self.shape.blocks), self.shape.name)
        return self.statistics(schedule.class_weight, batch_size, schedule.seed) if schedule.needs_calibration else None

    def plan(self, schedule: "Schedule", batch_size: int | None = None) -> "Plan":
        """The schedule's plan, with refitted weights where it asks for compensation; a baseline's plan keeps everything.

        Raises:
            ScheduleError: it has another number of blocks than the model.
            PlanError: the model is already pruned.
            DataError: it needs calibration images and none are named.
        """
        from toast_core.compensation.plan import plan_for

        schedule.check_length(len(self.shape.blocks), self.shape.name)
        if schedule.compensation.is_none or schedule.is_baseline:
            return plan_for(self.model, schedule, partial(self.statistics_for, schedule, batch_size), list)

        def images() -> "list[torch.Tensor]":
            data = self.calibration(schedule.seed)
            found = [batch.images for batch in data.batches(batch_size or self.setup.batch_size)]
            if not found:
                raise data.unread()
            return found

        memory = self._memory_for(schedule, batch_size)
        return plan_for(self.model, schedule, partial(self.statistics_for, schedule, batch_size), images, self._compensating, memory)

    def fitting_macs(self, schedule: "Schedule", batch_size: int | None = None) -> int:
        """About what the fits that `plan` would have to make are worth in multiply-accumulates; 0 where all are remembered. Runs nothing.

        Raises:
            ScheduleError, DataError: see `plan`.
        """
        from toast_core.compensation.price import fit_macs
        from toast_core.compensation.walk import steps_of
        from toast_core.cost.macs import count_cost

        schedule.check_length(len(self.shape.blocks), self.shape.name)
        if schedule.compensation.is_none or schedule.is_baseline:
            return 0
        memory = self._memory_for(schedule, batch_size)
        places = zip(steps_of(self.model, schedule, memory.base), self.shape.blocks, count_cost(self.shape).blocks, strict=True)
        a_image = sum(fit_macs(block, cost) for step, block, cost in places if step.is_fitted and not memory.knows(step.key))
        return a_image * len(self.calibration(schedule.seed))

    def _compensating(self, done: int, total: int) -> None:
        self.report("compensating", done, total)

    def _memory_for(self, schedule: "Schedule", batch_size: int | None) -> "FitMemory":
        """The memory of fits on a schedule's calibration images in batches of this size; scores that are held already are in it.

        What a fit is called by holds the images' content and the code, so that a change of either fits anew.
        """
        import torch

        from toast_core.executors.local import LOCAL
        from toast_core.machine import dtype_name

        data, size, parameter = self.calibration(schedule.seed), batch_size or self.setup.batch_size, next(self.model.parameters())
        of_model = self.info.name, self.weights_digest, dtype_name(parameter.dtype), parameter.device.type
        of_images = self._content_of(data), data.transform.description, size
        memory = self.memory.on(" ".join(map(str, (code_version(), torch.__version__, *of_model, *of_images))))
        if self.executor is LOCAL and self._statistics is not None and self._statistics[0] == (schedule.class_weight, size, data.seed):
            memory.put_statistics(schedule.class_weight, self._statistics[1])
        return memory

    def _content_of(self, data: "ImageData") -> str:
        """sha256 of the images themselves; of calibration images read once."""
        from toast_core.data.digest import images_digest

        if self._content is None or self._content[0] is not data:
            self._content = data, images_digest(data)
        return self._content[1]

    def plan_for_timing(self, schedule: "Schedule") -> "Plan":
        """A plan of the schedule's shapes for the clock alone: channels chosen on random images, since weights do not matter for speed.

        Raises:
            ScheduleError: it has another number of blocks than the model.
            PlanError: the model is already pruned.
        """
        from toast_core.data.noise import random_images
        from toast_core.pruning.planner import make_plan
        from toast_core.pruning.statistics import collect_statistics
        from toast_core.schedule.compensation import NONE

        bare = replace(schedule, compensation=NONE)
        statistics = collect_statistics(self.model, [random_images(self.model, 2)]) if bare.needs_calibration else None
        return make_plan(self.model, bare, statistics)
