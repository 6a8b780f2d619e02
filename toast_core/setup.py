"""What is asked about: model, weights, images, calibration, device and store, as one frozen value. Imports no torch.

The command line reads it from its options, the engine, a job and a certificate from JSON, and `toast_core.command` writes it back as
a command line. Whatever measures takes one of these, so that two ways to the same figure cannot disagree about what it is a figure of.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from toast_core.errors import SetupError
from toast_core.preprocessing import Preprocessing, Reading, numbers

CALIBRATION_IMAGES = 512
BATCH_SIZE = 64
LIVE_IMAGES = 1000  # what a dashboard measures on while a person edits
DEMO_MODELS = ("demo_vit", "demo_swin")
DEMO_DATA = "fashion-mnist"
DEMO_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DEMO_CALIBRATION = f"{DEMO_DATA}:calibration"
TASKS = ("classification", "features", "zero_shot")
_WHOLE, _TEXT, _SWITCH, _NUMBER = ("a whole number", int), ("text", str), ("true or false", bool), ("a number", int | float)
_KINDS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("model", "weights", "data", "calibration", "train", "device", "store", "applied"), _TEXT),
    **dict.fromkeys(("class_order", "class_map", "labels", "task", "class_embeddings"), _TEXT),
    **dict.fromkeys(("mean", "std", "crop_mode", "interpolation"), _TEXT),
    **dict.fromkeys(("num_classes", "img_size", "in_chans", "calibration_images", "images", "batch_size", "seed"), _WHOLE),
    **dict.fromkeys(("use_ema", "random_classifier", "exif_rotate"), _SWITCH),
    "crop_pct": _NUMBER,
}
_MAY_BE_ZERO = ("seed", "num_classes")
_FOLDER = "local-dir:"  # what a model that lies in a folder is called by
SAVED_DATA = "hfds-disk:"  # what a data set that datasets saved to a folder may be called by
_PLACES = ("weights", "data", "calibration", "train", "class_map", "labels", "class_embeddings")


@dataclass(frozen=True)
class Setup:
    """A model and images, in the words of the command line.

    model               timm's name, demo_vit or demo_swin, hf-hub:OWNER/NAME or local-dir:FOLDER; None where `weights` names it
    weights             a checkpoint's file or folder, random, or none to count only; None: those that the model brings, or timm's
    num_classes         of the classifier, 0 for a backbone without one; None: the weights' or the model's own
    img_size            of the square input in pixels; None: the model's own
    in_chans            channels of the input, 1 or 3; None: the weights' or the model's own
    use_ema             of a checkpoint that holds averaged weights too, take those
    random_classifier   whether labels may be measured with a classifier that the weights leave random
    mean, std, crop_pct, crop_mode, interpolation, exif_rotate
                        in place of the model's own, see `Preprocessing`
    data                images to measure on: fashion-mnist, fashion-mnist:calibration or a folder
    class_order, class_map, labels
                        which output of the model a class is, see `Reading`
    task                one of TASKS; None: classification, or features where there is no classifier
    class_embeddings    .safetensors file that makes the head of a zero-shot task
    images              how many of them, class-balanced; None: all
    calibration         images that calibrated selection and compensation learn from, labels unused
    calibration_images  how many of those, class-balanced
    train               images that recovery learns from; None: the calibration images
    batch_size          images of one forward
    seed                draws subsets and orders of the images to measure on, and random weights; what a schedule chooses from, its
                        calibration images and its token sample, is drawn by the schedule's own seed
    device              auto, cpu, cuda, cuda:N or mps
    store               evidence store, a file or a database URL; None: the user's own
    applied             folder that pruned models are written to; None where nothing but measuring is asked for
    """

    model: str | None = None
    weights: str | None = None
    num_classes: int | None = None
    img_size: int | None = None
    data: str | None = None
    calibration: str | None = None
    calibration_images: int = CALIBRATION_IMAGES
    device: str = "auto"
    store: str | None = None
    applied: str | None = None
    train: str | None = None
    images: int | None = None
    batch_size: int = BATCH_SIZE
    seed: int = 0
    in_chans: int | None = None
    use_ema: bool = False
    random_classifier: bool = False
    mean: str | None = None
    std: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    exif_rotate: bool = False
    class_order: str | None = None
    class_map: str | None = None
    labels: str | None = None
    task: str | None = None
    class_embeddings: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (words, kind) = getattr(self, field.name), _KINDS[field.name]
            if value is None and field.default is None:
                continue
            if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
                raise SetupError(f"{field.name.replace('_', '-')} is {value!r:.80}; write {words}")
            lowest = int(field.name not in _MAY_BE_ZERO)
            if kind is int and value < lowest:
                raise SetupError(f"{field.name.replace('_', '-')} is {value}; write a whole number of at least {lowest}")
        if self.task not in (None, *TASKS):
            raise SetupError(f"task is {self.task!r:.40}; choose from {', '.join(TASKS)}")
        _ = self.preprocessing, self.reading, self.asked_classes  # refuse now what they refuse

    @property
    def recovery_images(self) -> str | None:
        """What a recovery learns from; None where nothing is named."""
        return self.train or self.calibration

    @property
    def sketched(self) -> "Setup":
        """With the images that a sketch looks at as those to measure on: the calibration images where some are named, else the same.

        Labels are not used, so those that are measured on need not be looked at; a file of labels is about them alone.
        """
        return self if self.calibration is None else replace(self, data=self.calibration, labels=None)

    @property
    def is_sketched(self) -> bool:
        """Whether an engine draws a map of it: there are images, and weights."""
        return self.sketched.data is not None and self.weights != "none"

    @property
    def preprocessing(self) -> Preprocessing:
        """What was chosen in place of the model's own preprocessing."""
        return Preprocessing(
            numbers("mean", self.mean), numbers("std", self.std), self.crop_pct, self.crop_mode, self.interpolation, self.exif_rotate
        )

    @property
    def asked_classes(self) -> int | None:
        """The classes to load the model with: 0 where its features are asked for, None for the weights' or the model's own."""
        if self.task == "features" and self.num_classes:
            raise SetupError(f"task features is about a model without a classifier, and num-classes is {self.num_classes}; leave one out")
        if self.task == "classification" and self.num_classes == 0:
            raise SetupError("task classification needs a classifier, and num-classes is 0; leave one out")
        if (self.task == "zero_shot") > (self.class_embeddings is not None):
            raise SetupError("task zero_shot needs the embeddings of its classes; pass --class-embeddings FILE.safetensors")
        if self.class_embeddings is not None and self.task not in (None, "zero_shot"):
            raise SetupError(f"class-embeddings are for task zero_shot, not {self.task}; leave one out")
        return 0 if self.task == "features" else self.num_classes

    @property
    def reading(self) -> Reading:
        """How the images to measure on are read."""
        return Reading(self.class_order, self.class_map, self.labels)

    def completed(self) -> "Setup":
        """With what a dashboard takes where nothing was named: the demo, its images, their calibration set, and so many images live."""
        named_by_weights = self.weights not in (None, "random", "none")
        model = self.model or (None if named_by_weights else DEMO_MODELS[0])
        data = self.data or (DEMO_DATA if model in DEMO_MODELS else None)
        calibration = self.calibration or (DEMO_CALIBRATION if data == DEMO_DATA else None)
        images = LIVE_IMAGES if self.images is None else self.images
        return replace(self, model=model, data=data, calibration=calibration, images=images)

    def anchored(self) -> "Setup":
        """With absolute paths and the store named, so that another process can start anywhere; words such as random stay as they are."""
        from analysis_cache.database import default_store, file_of

        store = default_store() if self.store is None else self.store
        file = file_of(store)
        places: dict[str, Any] = {name: _absolute(getattr(self, name)) for name in _PLACES}
        if self.model and self.model.startswith(_FOLDER):
            places["model"] = _absolute(self.model)
        return replace(self, store=store if file is None else str(file.absolute()), **places)

    @property
    def is_own_store(self) -> bool:
        """Whether evidence goes into the user's own store, which commands take by themselves."""
        from analysis_cache.database import default_store, file_of

        own = file_of(default_store())
        return self.store is None or (own is not None and str(own.absolute()) == self.store)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def to_json(self) -> str:
        """Text that `from_json` reads back."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Setup":
        """Read `to_dict`'s values; what is left out takes its default, so that older ones are read too.

        Raises:
            SetupError: an unknown field, or a value of another kind or out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise SetupError(f"unknown field {unknown[0]!r:.80} of a setup; choose from {', '.join(known)}")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> "Setup":
        """Read `to_json`'s text.

        Raises:
            SetupError: not JSON, not an object, or see `from_dict`.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise SetupError(f"the setup is not JSON ({error}); write an object with the fields of a Setup") from error
        if not isinstance(values, Mapping):
            raise SetupError(f"the setup is {type(values).__name__}, not an object; write an object with the fields of a Setup")
        return cls.from_dict(values)


def _absolute(place: str | None) -> str | None:
    for prefix in (_FOLDER, SAVED_DATA):
        if place and place.startswith(prefix):
            return f"{prefix}{Path(place.removeprefix(prefix)).absolute()}"
    return str(Path(place).absolute()) if place and Path(place).exists() else place
