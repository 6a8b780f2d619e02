"""Images as people look at them: small PNGs, before any model's transform. Imports no torch."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from toast_core.data.sources import Source
from toast_core.errors import DataError

MAX_PICTURES = 48
SIDE = 112  # pixels of the longer side


def pictures(source: Source, index: Sequence[int]) -> list[str | None]:
    """PNGs of these images in base64, None for one that cannot be read.

    Larger ones are shrunk to `SIDE`; smaller ones grow by a whole factor, pixel by pixel, so that nothing is made up.

    Raises:
        DataError: more than MAX_PICTURES, or a position that the set does not have.
    """
    if len(index) > MAX_PICTURES:
        raise DataError(f"{len(index)} pictures are too many at once; ask for at most {MAX_PICTURES}")
    for position in index:
        if not 0 <= position < len(source):
            raise DataError(f"{source.name} has no image {position}; its {len(source)} images are numbered from 0")
    return [_picture(source, position) for position in index]


def _picture(source: Source, position: int) -> str | None:
    try:
        image = source.open(position)
        image = image if image.mode == "L" else image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    factor = SIDE // max(image.size)
    if factor > 1:
        image = image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    else:
        image.thumbnail((SIDE, SIDE))
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return base64.b64encode(packed.getvalue()).decode()
