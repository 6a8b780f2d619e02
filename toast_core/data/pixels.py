"""From any decoded picture to what models and people see: 8-bit grey or colour, upright where asked. Imports no torch."""

import numpy as np
from PIL import ExifTags, Image, ImageOps

from toast_core.errors import DataError

_GREY = {"1", "L", "LA", "I", "F"}
WHITE_16 = 65535
_WHITE_8 = 255
_UPRIGHT = 1


def as_seen(image: Image.Image, channels: int | None = None, exif_rotate: bool = False) -> Image.Image:
    """Return the picture in mode L or RGB: the one place where pixels of any kind become what evaluation, training and people see.

    Grey of more than 8 bits is scaled, 65535 to 255; floating-point grey runs from 0 to 1, or to 255 where a pixel is above 1.
    Transparency is dropped, as timm drops it: the colours that are stored below it are seen.

    Args:
        channels: 1 for L, 3 for RGB; None for L where the picture is grey, else RGB.
        exif_rotate: whether to turn and mirror it as its EXIF tag says.

    Raises:
        DataError: pixels without a known white: whole numbers above 65535, or floating-point ones above 255.
    """
    if exif_rotate and is_turned(image):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = _scaled(image, WHITE_16)
    elif image.mode == "F":
        image = _scaled(image, 1 if float(np.max(np.asarray(image), initial=0)) <= 1 else _WHITE_8)
    elif image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "LAB":
        image = image.convert("RGB")
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours, without Pillow's warning that it drops transparency
    grey = channels == 1 if channels else image.mode in _GREY
    return image.convert("L" if grey else "RGB")


def is_turned(image: Image.Image) -> bool:
    """Whether a decoded picture carries an EXIF tag that says it lies on its side, upside down or mirrored."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT) in range(_UPRIGHT + 1, 9)
    except Exception:  # damaged tags are no reason to leave out whole pixels, and Pillow raises whatever it meets in them
        return False


def _scaled(image: Image.Image, white: int) -> Image.Image:
    values = np.asarray(image, np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= 0 and high <= white):  # also not a number
        raise DataError(f"its pixels run from {low:g} to {high:g}, where 0 is black and {white} white; save it with 8 or 16 bits")
    return Image.fromarray((values / (white / _WHITE_8)).round().astype(np.uint8))
