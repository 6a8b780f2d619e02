"""How images are read and become a model's input, as far as a person chooses it, in the words of timm's validation. Imports no torch."""

from dataclasses import dataclass, fields, replace
from typing import Any

from toast_core.errors import SetupError

CROP_MODES = ("center", "squash", "border")
CLASS_ORDERS = ("alphabetical", "natural")
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")
_CROPS = (0.05, 10.0)  # a crop of less, or of ten times the resized image, is a slip of the pen
_LEAST_STD = 1e-3
_MOST = {"mean": 1.0, "std": 2.0}  # in shares of the brightest value; what is above is in steps of 255


@dataclass(frozen=True)
class Preprocessing:
    """What is chosen; None leaves the model's own.

    mean, std      of each channel, in shares of the brightest value; one number stands for all channels
    crop_pct       side of the crop by the side of the resized image
    crop_mode      center: the shorter side is resized; squash: both are; border: the longer is, and the rest is filled
    interpolation  of the resizing
    exif_rotate    whether a photograph is turned as its EXIF tag says, which timm does not do
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    exif_rotate: bool = False

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, tuple(map(float, values)))  # lists of a JSON file are tuples here
                if len(values) not in (1, 3) or not all(-1e3 < value < 1e3 for value in getattr(self, name)):
                    raise SetupError(f"{name} is {values!r:.60}; write one number, or three with commas, such as 0.485,0.456,0.406")
                if max(map(abs, getattr(self, name))) > _MOST[name]:
                    shown = ",".join(map(str, getattr(self, name)))
                    raise SetupError(f"{name} is {shown}, above {_MOST[name]:g}; it is in shares of 1: divide by 255")
        if self.std is not None and min(self.std) < _LEAST_STD:
            raise SetupError(f"std is {','.join(map(str, self.std))}; write numbers of at least {_LEAST_STD:g}")
        if self.crop_pct is not None and not _CROPS[0] <= self.crop_pct <= _CROPS[1]:
            raise SetupError(f"crop-pct is {self.crop_pct}; write a number of {_CROPS[0]:g} to {_CROPS[1]:g}, usually 0.8 to 1")
        for name, known in (("crop_mode", CROP_MODES), ("interpolation", INTERPOLATIONS)):
            if getattr(self, name) not in (None, *known):
                raise SetupError(f"{name.replace('_', '-')} is {getattr(self, name)!r:.40}; choose from {', '.join(known)}")

    def over(self, other: "Preprocessing") -> "Preprocessing":
        """These choices where there are any, the other's elsewhere."""
        return replace(other, **self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values of what is chosen, nothing else."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) != field.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


OWN = Preprocessing()
"""Nothing chosen: the model's own."""


@dataclass(frozen=True)
class Reading:
    """What says which output of the model a folder's class is.

    class_order  alphabetical: class folders as text; natural: as timm's training numbers them, digits by value and case ignored;
                 None: what the model's file says, else alphabetical
    class_map    file of class names and outputs (a name a line, or a JSON object of names to numbers); it decides alone
    labels       CSV file with the class of every image, for a folder without class folders
    """

    class_order: str | None = None
    class_map: str | None = None
    labels: str | None = None

    def __post_init__(self) -> None:
        if self.class_order not in (None, *CLASS_ORDERS):
            raise SetupError(f"class-order is {self.class_order!r:.40}; choose from {', '.join(CLASS_ORDERS)}")
        if self.class_order is not None and self.class_map is not None:
            raise SetupError("both --class-order and --class-map are given; keep one of them")


def numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """Read numbers with commas or blanks between them, as --mean takes them.

    Raises:
        SetupError: something else.
    """
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise SetupError(f"{name} is {text!r:.60}; write one number, or three with commas, such as 0.485,0.456,0.406") from None
