"""Images as people look at them: small PNGs, before any model's transform. Imports no torch."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from toast_core.data.decode import Unreadable, see
from toast_core.data.image_set import Source
from toast_core.errors import DataError

MAX_PICTURES = 48
SIDE = 112  # pixels of the longer side


def pictures(source: Source, index: Sequence[int], exif_rotate: bool = False) -> list[str | None]:
    """PNGs of these images in base64, None for one that cannot be read; photographs are turned where the model's input is.

    Larger ones are shrunk to `SIDE`; smaller ones grow by a whole factor, pixel by pixel, so that nothing is made up.

    Raises:
        DataError: more than MAX_PICTURES, or a position that the set does not have.
    """
    if len(index) > MAX_PICTURES:
        raise DataError(f"{len(index)} pictures are too many at once; ask for at most {MAX_PICTURES}")
    for position in index:
        if not 0 <= position < len(source):
            raise DataError(f"{source.name} has no image {position}; its {len(source)} images are numbered from 0")
    return [_picture(source, position, exif_rotate) for position in index]


def _picture(source: Source, position: int, exif_rotate: bool) -> str | None:
    seen = see(source, position, exif_rotate=exif_rotate)
    if isinstance(seen, Unreadable):
        return None
    image = seen.image
    factor = SIDE // max(image.size)
    if factor > 1:
        image = image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    else:
        image.thumbnail((SIDE, SIDE))
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return base64.b64encode(packed.getvalue()).decode()
