"""What a job is about: named, so that another process can load it again (`Basis`), and loaded (`Ground`). torch comes with `load`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis_cache.database import default_store, file_of
from analysis_cache.key import METRIC_VERSIONS
from toast_core.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from toast_core.cost.shapes import ModelShape
    from toast_core.data.load import ImageData
    from toast_core.pruning.plan import Plan
    from toast_core.pruning.statistics import Statistics
    from toast_core.schedule.schedule import Schedule
    from toast_core.studies.subject import Subject

_SEED = 0


@dataclass(frozen=True)
class Basis:
    """Model, images, device and store, in the words of the command line. Paths are absolute: a job may start anywhere.

    train    images that recovery learns from; None: the calibration images
    applied  the folder that pruned models are written to; None where nothing but measuring is asked for
    """

    model: str
    weights: str | None
    num_classes: int | None
    img_size: int | None
    data: str
    calibration: str | None
    calibration_images: int
    device: str
    store: str
    applied: str | None = None
    train: str | None = None

    @classmethod
    def of(
        cls, model: str, weights: str | None, data: str, calibration: str | None, store: str | None, train: str | None = None,
        **sizes: object,
    ) -> "Basis":
        """Resolve what was given relative to this process; `store` None is the user's own. `sizes` are the other fields."""
        store = default_store() if store is None else store
        file = file_of(store)
        store = store if file is None else str(file.absolute())
        places = {"data": data, "calibration": calibration, "train": train}
        return cls(model, _absolute(weights), store=store, **{name: _absolute(place) for name, place in places.items()}, **sizes)

    def options(self) -> dict[str, str]:
        """Flags that every command shares, without leading dashes; what equals a default is left out."""
        given = {"model": self.model, "weights": self.weights, "num-classes": self.num_classes, "img-size": self.img_size}
        given["data"] = self.data
        if self.device != "auto":
            given["device"] = self.device
        return {name: str(value) for name, value in given.items() if value is not None}

    def calibration_options(self) -> dict[str, str]:
        """Flags of calibrated selection; none where there are no calibration images."""
        return {"calibration": self.calibration, "calibration-images": str(self.calibration_images)} if self.calibration else {}

    def store_options(self) -> dict[str, str]:
        """The flag of a store that is not the user's own."""
        own = file_of(default_store())
        return {} if own is not None and str(own.absolute()) == self.store else {"store": self.store}

    def to_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)


class Ground:
    """The loaded baseline model; its subjects and statistics, the last ones kept.

    Model, images and statistics are made as `toast analyze` makes them with the same flags, so that both write the same cells.
    """

    def __init__(self, model: "nn.Module", basis: Basis, calibrating: Callable[[int, int], object] = lambda done, total: None) -> None:
        from toast_core.models.info import get_info

        self.model, self.basis, self.calibrating, self.info = model, basis, calibrating, get_info(model)
        self._subject: tuple[object, Subject] | None = None
        self._statistics: tuple[object, Statistics] | None = None

    @classmethod
    def load(cls, basis: Basis, calibrating: Callable[[int, int], object]) -> "Ground":
        """Load the model on its device. `calibrating` is told the calibration images done and all of them.

        Raises:
            ModelError, DeviceError: it cannot be loaded.
        """
        from toast_core.loading import load_model
        from toast_core.studies.evaluation.measure import pick_device

        where = pick_device(basis.device)
        return cls(load_model(basis.model, basis.weights, basis.num_classes, basis.img_size, where, _SEED), basis, calibrating)

    @property
    def shape(self) -> "ModelShape":
        """The baseline's shape."""
        return self.info.shape

    def subject(self, kind: str, images: int | None, batch_size: int) -> "Subject":
        """The model on this many images, None for all, as a cell of this kind identifies them."""
        from toast_core.data.load import load_data
        from toast_core.studies.subject import Subject

        asked = (images, batch_size)
        if self._subject is None or self._subject[0] != asked:
            data = load_data(self.basis.data, self.model, images, "shuffled", _SEED)
            self._subject = asked, Subject.of(self.model, data, batch_size, kind)
        found = self._subject[1]
        return replace(found, identity=replace(found.identity, kind=kind, metric_version=METRIC_VERSIONS[kind]))

    def statistics(self, batch_size: int, class_weight: float) -> "Statistics":
        """What calibrated selection chooses from.

        Raises:
            DataError: no calibration images were named.
        """
        from toast_core.pruning.statistics import collect_statistics

        data, asked = self._calibration_data(), (batch_size, class_weight)
        if self._statistics is None or self._statistics[0] != asked:

            def counted() -> object:
                done = 0
                for batch in data.batches(batch_size):
                    yield batch.images
                    done += len(batch.index)
                    self.calibrating(done, len(data))

            self._statistics = asked, collect_statistics(self.model, counted(), class_weight)
        return self._statistics[1]


    def plan(self, schedule: "Schedule", batch_size: int) -> "Plan":
        """The schedule's plan, with refitted weights where it asks for compensation.

        Raises:
            ScheduleError: it has another number of blocks than the model.
            DataError: it needs calibration images and none were named.
        """
        from toast_core.compensation.walk import compensate
        from toast_core.pruning.planner import make_plan

        statistics = self.statistics(batch_size, schedule.class_weight) if schedule.needs_calibration else None
        if schedule.compensation.is_none or schedule.is_baseline:
            return make_plan(self.model, schedule, statistics)
        images = [batch.images for batch in self._calibration_data().batches(batch_size)]
        return compensate(self.model, schedule, images)

    def _calibration_data(self) -> "ImageData":
        from toast_core.data.load import load_data

        if self.basis.calibration is None:
            raise DataError("calibrated selection needs calibration images; start the dashboard with --calibration, or choose per_image")
        return load_data(self.basis.calibration, self.model, self.basis.calibration_images, seed=_SEED, labelled=False)


def _absolute(place: str | None) -> str | None:
    """A path that is there, made absolute; other words, such as fashion-mnist and random, as they are."""
    return str(Path(place).absolute()) if place and Path(place).exists() else place
